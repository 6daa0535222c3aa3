//! Counters of a running restore, dump, verification or mount, for whoever shows them.
//!
//! State: numbers only ever raised by the work and read by a renderer, from any thread. They are for the eye: results
//! are counted apart.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// See the module header. All byte figures are bytes of files' content, as they are restored.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    /// Bytes that the whole work will come to, if the caller knows (a snapshot's record tells its size); else 0.
    pub bytes_expected: AtomicU64,
    /// Bytes of the files that the walk came across so far, holes included.
    pub bytes_found: AtomicU64,
    /// Bytes that are done: written, kept, skipped as a hole, or given up.
    pub bytes_done: AtomicU64,
    /// Bytes that were fetched for it.
    pub bytes_fetched: AtomicU64,
    /// Files, links, devices and so on that the walk came across so far.
    pub entries_found: AtomicU64,
    /// Those of them that are done.
    pub entries_done: AtomicU64,
    /// Directories that the walk came across so far.
    pub directories_found: AtomicU64,
    /// Problems so far.
    pub problems: AtomicU64,
    /// Set once the walk has ended: the `found` figures will not grow any more.
    pub all_found: AtomicBool,
}

impl RestoreProgress {
    /// Raises one of the counters.
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    /// The share that is done, 0 to 1, if it can be told.
    pub fn share(&self) -> Option<f64> {
        let found = self.bytes_found.load(Ordering::Relaxed);
        let expected = self.bytes_expected.load(Ordering::Relaxed).max(found);
        let known = expected > found || self.all_found.load(Ordering::Relaxed);
        (known && expected > 0)
            .then(|| self.bytes_done.load(Ordering::Relaxed) as f64 / expected as f64)
    }
}
