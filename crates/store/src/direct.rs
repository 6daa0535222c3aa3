//! What reading and writing past the system's page cache (`O_DIRECT`) takes.
//!
//! It is a hint: not every file system knows it, and some that take it refuse a read or a write. Whoever uses it goes through
//! the cache with what is refused.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// Offsets, lengths and addresses are multiples of this many bytes: no disk has larger sectors.
pub const ALIGNMENT: usize = 4096;

/// Has reads and writes of an open file go past the cache, or through it again.
///
/// # Errors
/// Where the file system does not know it.
pub fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    let mut flags = fcntl_getfl(file.as_fd())?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(fcntl_setfl(file.as_fd(), flags)?)
}

/// Whether an error says that this read or write has to go through the cache.
pub fn is_refusal(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::OPNOTSUPP))
}

/// Memory that begins at a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// So many bytes, zeros at first.
    pub fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGNMENT];
        // Were it unaligned after all, the first write would be refused, and go through the cache.
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { memory, start, len }
    }

    /// All of it.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// A part of it, without copying.
    pub fn into_bytes(self, part: Range<usize>) -> Bytes {
        let part = self.start + part.start..self.start + part.end;
        Bytes::from(self.memory).slice(part)
    }
}
