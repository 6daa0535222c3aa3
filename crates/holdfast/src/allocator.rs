//! The system's allocator, told to give back what frames and packs leave.
//!
//! They are blocks of a megabyte and more that come and go on many threads. As it comes, glibc keeps a heap for each thread and
//! over 100 MB of holes in them; with two heaps, and blocks of four megabytes and more always mapped by themselves, a backup
//! is as fast and takes 90 MB less (measured: 344 MB to 252 MB in the agent). One heap would take less still, but a scan of
//! 100,000 unchanged files takes a quarter longer then, for its threads wait for each other.
//!
//! Setting the size from which blocks are mapped also stops glibc from learning how much to keep at a heap's end: it would
//! give back all but 128 KiB after each frame, and have the kernel clear the same pages again for the next. Half of a verification's
//! time went there: 900,000 page faults in the coordinator for 2 GiB, and 3.7 s instead of 2.1 s.

/// What a heap keeps at its end.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 32 << 20;

/// Blocks from this size on are mapped, and unmapped at once when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: libc::c_int = 4 << 20;

/// Sets it. Called first, before any thread is started.
#[cfg(target_env = "gnu")]
#[expect(
    unsafe_code,
    reason = "mallopt has no safe binding; it is called once, before a second thread exists, with documented parameters"
)]
pub(crate) fn settle() {
    // SAFETY: see the reason above. An answer of 0 means that a parameter was not taken, which costs memory only.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

/// Other allocators are left as they are.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn settle() {}
