//! Holes of files in the target: found and made.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{Errno, Result};

/// How much of a stretch without a hole is read to see whether it is zeros anyway. File systems keep holes in blocks of
/// their own size, so edges are often such; a long one is made a hole again without looking.
const LOOKED_AT_BYTES: u64 = 1 << 20;

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Where the next data are at or after `at`; none if only a hole follows.
fn next_data(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data),
        Err(Errno::NXIO) => None,
        // A file system that does not tell has no holes.
        Err(_) => Some(at),
    }
}

/// Whether a stretch lies wholly in a hole or beyond the end.
pub(super) fn is_hole(file: &File, at: u64, len: u64) -> bool {
    next_data(file, at).is_none_or(|data| data >= at + len)
}

/// Whether a stretch lies within the file and reads as zeros, as far as that is found out cheaply.
pub(super) fn reads_as_zeros(file: &File, at: u64, len: u64) -> bool {
    let end = at + len;
    let mut from = at;
    let mut looked_at = 0;
    while let Some(data) = next_data(file, from).filter(|data| *data < end) {
        let stop = match rustix::fs::seek(file, SeekFrom::Hole(data)) {
            Ok(hole) => hole.min(end),
            Err(_) => end,
        };
        looked_at += stop - data;
        if looked_at > LOOKED_AT_BYTES || !are_zeros(file, data, stop) {
            return false;
        }
        from = stop;
        if from >= end {
            break;
        }
    }
    file.metadata().is_ok_and(|facts| facts.len() >= end)
}

fn are_zeros(file: &File, from: u64, to: u64) -> bool {
    let mut buffer = vec![0; (to - from) as usize];
    file.read_exact_at(&mut buffer, from).is_ok() && buffer.iter().all(|b| *b == 0)
}

/// Makes a stretch a hole; where the file system knows none, zeros.
pub(super) fn punch(file: &File, at: u64, len: u64) -> Result<()> {
    // Beyond the end there is nothing to take away; the file gets its length when it is complete.
    let end = file.metadata().map_err(|_| Errno::IO)?.len().min(at + len);
    if end <= at {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file.as_fd(), flags, at, end - at) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
        done => return done,
    }
    let mut from = at;
    while from < end {
        let count = (end - from).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..count as usize], from)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        from += count;
    }
    Ok(())
}
