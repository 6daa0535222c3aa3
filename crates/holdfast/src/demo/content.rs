//! What is in a regular file, in a form that two copies can be compared by: a hash of its bytes, and where its data lies.
//!
//! The hash does not depend on holes: stretches of zeros are left out of it whether they take space or not, so a huge
//! sparse file costs what its data cost. Where there is data and where a hole is compared apart.

use std::io;
use std::os::fd::AsFd;

use holdfast_format::Hash;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Bytes that are read and hashed at once.
const WINDOW: u64 = 1 << 20;

/// See the module header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Of every window that is not all zeros, with its place.
    pub(super) hash: Hash,
    /// Stretches of data, each as its start and end; what lies between them is holes.
    pub(super) data: Vec<(u64, u64)>,
}

impl Content {
    /// Reads an open file of this size. `tell` hears of bytes read.
    pub(super) fn read(file: impl AsFd, size: u64, tell: &mut dyn FnMut(u64)) -> io::Result<Self> {
        let file = file.as_fd();
        let mut buffer = vec![0; WINDOW.min(size) as usize];
        let (mut data, mut hashes) = (Vec::new(), Vec::new());
        let (mut at, mut hashed_to) = (0, 0);
        while let Some((start, end)) = next_data(file, at, size)? {
            data.push((start, end));
            let mut window = (start / WINDOW * WINDOW).max(hashed_to);
            while window < end {
                let wanted = WINDOW.min(size - window) as usize;
                let bytes = &mut buffer[..wanted];
                fill(file, bytes, window)?;
                tell(wanted as u64);
                if bytes.iter().any(|&byte| byte != 0) {
                    hashes.extend_from_slice(&window.to_le_bytes());
                    hashes.extend_from_slice(&Hash::of(bytes).0);
                }
                window += WINDOW;
            }
            hashed_to = window;
            at = end;
        }
        Ok(Self {
            hash: Hash::of(&hashes),
            data,
        })
    }

    /// Bytes that are no holes.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data.iter().map(|(start, end)| end - start).sum()
    }

    /// The first hole of `self`, a file of `size` bytes, that `copy` has not; each end may be off by `block`.
    pub(super) fn lost_hole(&self, copy: &Self, size: u64, block: u64) -> Option<(u64, u64)> {
        let starts = self.data.iter().map(|(start, _)| *start).chain([size]);
        let ends = [0].into_iter().chain(self.data.iter().map(|(_, end)| *end));
        ends.zip(starts).find(|&(from, to)| {
            let (inner_from, inner_to) = (from + block, to.saturating_sub(block));
            let filled = |&(start, end): &(u64, u64)| start < inner_to && end > inner_from;
            inner_from < inner_to && copy.data.iter().any(filled)
        })
    }
}

/// The next stretch of data at or after `at`; none where only a hole follows.
fn next_data(
    file: std::os::fd::BorrowedFd<'_>,
    at: u64,
    size: u64,
) -> io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // No holes on this file system.
        Err(Errno::INVAL) => return Ok(Some((at, size))),
        Err(errno) => return Err(errno.into()),
    };
    let end = seek(file, SeekFrom::Hole(start)).unwrap_or(size).min(size);
    Ok((start < end).then_some((start, end)))
}

fn fill(file: std::os::fd::BorrowedFd<'_>, bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = rustix::io::pread(file, &mut *rest, at)?;
        if read == 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        at += read as u64;
        rest = &mut rest[read..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom as From, Write};

    use super::*;

    fn file(parts: &[(u64, &[u8])], size: u64) -> std::fs::File {
        let mut file = tempfile::tempfile_in("/var/tmp").unwrap();
        for (at, bytes) in parts {
            file.seek(From::Start(*at)).unwrap();
            file.write_all(bytes).unwrap();
        }
        file.set_len(size).unwrap();
        file
    }

    fn read(file: &std::fs::File) -> Content {
        let size = file.metadata().unwrap().len();
        Content::read(file, size, &mut |_| ()).unwrap()
    }

    #[test]
    fn zeros_and_holes_have_one_hash_and_two_layouts() {
        let sparse = read(&file(&[(8 << 20, b"x")], 16 << 20));
        let filled = read(&file(&[(0, &vec![0; 8 << 20]), (8 << 20, b"x")], 16 << 20));
        assert_eq!(sparse.hash, filled.hash);
        assert_eq!(
            sparse.lost_hole(&filled, 16 << 20, 4096),
            Some((0, 8 << 20))
        );
        assert_eq!(filled.lost_hole(&sparse, 16 << 20, 4096), None);
        assert_eq!(sparse.lost_hole(&sparse, 16 << 20, 4096), None);
        assert!(sparse.data_bytes() < 1 << 20);
    }

    #[test]
    fn every_byte_and_its_place_count() {
        let one = read(&file(&[(8 << 20, b"x")], 16 << 20));
        let other_byte = read(&file(&[(8 << 20, b"y")], 16 << 20));
        let other_place = read(&file(&[(9 << 20, b"x")], 16 << 20));
        assert_ne!(one.hash, other_byte.hash);
        assert_ne!(one.hash, other_place.hash);
        assert_eq!(read(&file(&[], 0)).hash, read(&file(&[], 1 << 30)).hash);
    }
}
