//! Writes a large file, and reads large ranges, past the system's page cache.
//!
//! Through the cache each byte is copied into a page that has to be found and cleared first, and written back later by somebody
//! else: two seconds of processor time for a GB, and a fifth of the disk's speed. A pack is not read again soon, so that the
//! cache has nothing from it either. What is read of it in large ranges is read once, by a restore or a check; in the cache it would
//! drive out what the machine's databases need, and a check is to see the disk, not memory.
//!
//! State: one buffer, aligned as disks want it, and whether the file is still used past the cache. It must never leave a byte out because a
//! file system does not take that: whatever is refused goes through the cache instead.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;

use crate::direct::{ALIGNMENT, Aligned, is_refusal, set_direct};

/// How many bytes one write takes: fewer cost more turns to the disk, more are no faster.
const WRITE_BYTES: usize = 4 << 20;

/// A pack of fewer bytes is written through the page cache: its last part needs that anyway.
pub(super) const WRITE_BYTES_MIN: u64 = 1 << 20;

/// A range of so many bytes is read past the page cache: a single frame, which a mount may want again, is not.
pub(super) const READ_BYTES_MIN: u64 = 2 << 20;

/// A file that is used past the cache for as long as it takes that.
struct Direct<'f> {
    file: &'f File,
    is_direct: bool,
}

impl<'f> Direct<'f> {
    fn new(file: &'f File) -> Self {
        Self {
            file,
            is_direct: set_direct(file, true).is_ok(),
        }
    }

    /// Reads or writes once. None: nothing was done, and the same is to be tried again.
    fn step(&mut self, once: impl FnOnce(&File) -> io::Result<usize>) -> io::Result<Option<usize>> {
        match once(self.file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            // It opens so, and then does not read or write so.
            Err(error) if self.is_direct && is_refusal(&error) => {
                self.leave()?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Goes on through the cache.
    fn leave(&mut self) -> io::Result<()> {
        if self.is_direct {
            set_direct(self.file, false)?;
            self.is_direct = false;
        }
        Ok(())
    }
}

/// Writes all parts, in order, from the file's start; tells `written` of each step.
pub(super) fn write_parts(file: &File, parts: &[Bytes], written: impl Fn(u64)) -> io::Result<()> {
    let mut writer = DirectWriter {
        file: Direct::new(file),
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
    file: Direct<'f>,
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
            self.file.leave()?;
            self.buffer.bytes().copy_within(whole..end, 0);
            self.write(end - whole)?;
        }
        Ok(())
    }

    /// Writes the buffer's first bytes.
    fn write(&mut self, len: usize) -> io::Result<()> {
        let mut at = 0;
        while at < len {
            let rest = &self.buffer.bytes()[at..len];
            let Some(bytes) = self.file.step(|mut file| file.write(rest))? else {
                continue;
            };
            if bytes == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            (self.written)(bytes as u64);
            at += bytes;
            // Half a sector was written: the next write past the cache would not be aligned.
            if !bytes.is_multiple_of(ALIGNMENT) && at < len {
                self.file.leave()?;
            }
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
    let mut file = Direct::new(file);
    let mut at = 0;
    while at < wanted {
        let rest = &mut buffer.bytes()[at..];
        let Some(bytes) = file.step(|file| file.read_at(rest, from + at as u64))? else {
            continue;
        };
        if bytes == 0 {
            break;
        }
        at += bytes;
        // Half a sector was read: the next read past the cache would not be aligned.
        if !at.is_multiple_of(ALIGNMENT) && at < wanted {
            file.leave()?;
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

    /// A disk refuses memory that is not aligned; what follows is read through the cache, and whole.
    #[test]
    fn what_is_refused_is_done_through_the_cache() {
        let mut file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let there: Vec<u8> = (0..ALIGNMENT).map(|at| (at / 7) as u8).collect();
        file.write_all(&there).unwrap();
        let file = file.reopen().unwrap();
        let mut direct = Direct::new(&file);
        let was_direct = direct.is_direct;
        let mut refused = 0;
        let mut memory = Aligned::new(2 * ALIGNMENT);
        let read = loop {
            let odd = &mut memory.bytes()[1..=ALIGNMENT];
            match direct.step(|file| file.read_at(odd, 0)).unwrap() {
                Some(read) => break read,
                None => refused += 1,
            }
        };
        assert!(memory.bytes()[1..=read] == there);
        assert_eq!(was_direct && !direct.is_direct, refused > 0);

        // Whatever the disk says, a file that tells so is taken out of it once, and its own errors are not hidden.
        let mut direct = Direct::new(&file);
        if direct.is_direct {
            let refusal = || Err(rustix::io::Errno::INVAL.into());
            assert_eq!(direct.step(|_| refusal()).unwrap(), None);
            assert!(!direct.is_direct);
            direct.step(|_| refusal()).unwrap_err();
        }
        let broken = direct.step(|_| Err(rustix::io::Errno::IO.into()));
        assert_eq!(broken.unwrap_err().raw_os_error(), Some(5));
    }

    #[test]
    fn a_disk_that_is_full_says_so() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let parts = [Bytes::from(vec![1; WRITE_BYTES + 5])];
        let error = write_parts(&full, &parts, |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
