//! Writes a large file, and reads large ranges, past the system's page cache.
//!
//! Through the cache each byte is copied into a page that has to be found and cleared first, and written back later by somebody
//! else: two seconds of processor time for a GB, and a fifth of the disk's speed. A pack is not read again soon, so that the
//! cache has nothing from it either. What is read of it in large ranges is read once, by a restore or a check; in the cache it would
//! drive out what the machine's databases need, and a check is to see the disk, not memory.
//!
//! State of a writer: one buffer, aligned as disks want it, and whether the file takes writes past the cache still. It must never leave a
//! byte out because a file system does not: whatever refuses is written through the cache instead.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use crate::direct::{ALIGNMENT, Aligned, is_refusal, set_direct};

/// How many bytes one write takes: fewer cost more turns to the disk, more are no faster.
const WRITE_BYTES: usize = 4 << 20;

/// Writes all parts, in order, from the file's start; tells `written` of each step.
pub(super) fn write_parts(file: &File, parts: &[Bytes], written: impl Fn(u64)) -> io::Result<()> {
    let mut writer = DirectWriter {
        file,
        is_direct: set_direct(file, true).is_ok(),
        buffer: Aligned::new(WRITE_BYTES),
        filled: 0,
        written,
    };
    for part in parts {
        writer.add(part)?;
    }
    writer.finish()
}

struct DirectWriter<'f, W> {
    file: &'f File,
    is_direct: bool,
    buffer: Aligned,
    filled: usize,
    written: W,
}

impl<W: Fn(u64)> DirectWriter<'_, W> {
    fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = WRITE_BYTES - self.filled;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.bytes()[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == WRITE_BYTES {
                self.write(WRITE_BYTES)?;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// What is left: whole sectors, then the rest of the last one, which only the cache takes.
    fn finish(mut self) -> io::Result<()> {
        let (whole, end) = (self.filled - self.filled % ALIGNMENT, self.filled);
        self.write(whole)?;
        if whole < end {
            self.leave_direct()?;
            self.buffer.bytes().copy_within(whole..end, 0);
            self.write(end - whole)?;
        }
        Ok(())
    }

    /// Writes the buffer's first bytes.
    fn write(&mut self, len: usize) -> io::Result<()> {
        let mut at = 0;
        while at < len {
            match self.file.write(&self.buffer.bytes()[at..len]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    (self.written)(bytes as u64);
                    at += bytes;
                    // Half a sector was written: the next write past the cache would not be aligned.
                    if !bytes.is_multiple_of(ALIGNMENT) && at < len {
                        self.leave_direct()?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It opens so, and then does not write so.
                Err(error) if self.is_direct && is_refusal(&error) => self.leave_direct()?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn leave_direct(&mut self) -> io::Result<()> {
        if self.is_direct {
            set_direct(self.file, false)?;
            self.is_direct = false;
        }
        Ok(())
    }
}

/// Reads a range; fewer bytes if the file ends before.
pub(super) fn read_range(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let sector = ALIGNMENT as u64;
    let from = range.start - range.start % sector;
    let (skipped, wanted) = (
        (range.start - from) as usize,
        (range.end.max(range.start) - from) as usize,
    );
    let mut buffer = Aligned::new(wanted.next_multiple_of(ALIGNMENT));
    let mut is_direct = set_direct(file, true).is_ok();
    let leave_direct = || set_direct(file, false);
    let mut at = 0;
    while at < wanted {
        match file.read_at(&mut buffer.bytes()[at..], from + at as u64) {
            Ok(0) => break,
            Ok(bytes) => {
                at += bytes;
                // Half a sector was read: the next read past the cache would not be aligned.
                if is_direct && !at.is_multiple_of(ALIGNMENT) && at < wanted {
                    leave_direct()?;
                    is_direct = false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It opens so, and then does not read so.
            Err(error) if is_direct && is_refusal(&error) => {
                leave_direct()?;
                is_direct = false;
            }
            Err(error) => return Err(error),
        }
    }
    let end = at.clamp(skipped, wanted);
    Ok(buffer.into_bytes(skipped..end))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// On a disk, and on a file system in memory, which may know nothing of it.
    #[test]
    fn parts_of_any_size_are_written_whole_and_in_order() {
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            for last in [
                0,
                1,
                ALIGNMENT - 1,
                ALIGNMENT,
                3 * ALIGNMENT + 5,
                WRITE_BYTES,
            ] {
                let sizes = [0, 1, 3 * WRITE_BYTES + 17, 0, 8, 2 * WRITE_BYTES - 25, last];
                let parts: Vec<Bytes> = sizes
                    .into_iter()
                    .enumerate()
                    .map(|(n, size)| (0..size).map(|at| (at / 7 + n) as u8).collect())
                    .collect();
                let file = tempfile::NamedTempFile::new_in(&folder).unwrap();
                let told = Cell::new(0);
                write_parts(file.as_file(), &parts, |bytes| told.set(told.get() + bytes)).unwrap();
                let there = std::fs::read(file.path()).unwrap();
                assert!(there == parts.concat(), "{folder:?}, {last}");
                assert_eq!(told.get(), there.len() as u64);
            }
        }
    }

    /// On a disk, and on a file system in memory, which may know nothing of it.
    #[test]
    fn any_range_is_read_whole() {
        const SECTOR: u64 = ALIGNMENT as u64;
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let file = tempfile::NamedTempFile::new_in(&folder).unwrap();
            let bytes: Vec<u8> = (0..5 * SECTOR + 77).map(|at| (at / 7) as u8).collect();
            std::fs::write(file.path(), &bytes).unwrap();
            let len = bytes.len() as u64;
            for start in [0, 1, SECTOR - 1, SECTOR, 3 * SECTOR + 5, len - 1, len] {
                for end in [start, start + 1, 4 * SECTOR, len - 1, len] {
                    let range = start..end.max(start).min(len);
                    let file = File::open(file.path()).unwrap();
                    let read = read_range(&file, range.clone()).unwrap();
                    let there = &bytes[range.start as usize..range.end as usize];
                    assert!(read == there, "{folder:?}, {range:?}");
                }
            }
            let file = File::open(file.path()).unwrap();
            let beyond = read_range(&file, SECTOR + 3..len + 9).unwrap();
            assert!(beyond == bytes[ALIGNMENT + 3..]);
            let far = read_range(&file, len + 3..len + 2 * SECTOR).unwrap();
            assert!(far.is_empty());
        }
    }

    #[test]
    fn a_disk_that_is_full_says_so() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let parts = [Bytes::from(vec![1; WRITE_BYTES + 5])];
        let error = write_parts(&full, &parts, |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
