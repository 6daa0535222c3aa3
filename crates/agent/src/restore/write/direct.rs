//! Writes long stretches of a restored file past the system's page cache, which costs more than all else that a restore does
//! with a byte. What is not aligned at both ends, and whatever the file system refuses, goes through the cache.
//!
//! State: buffers that are used again, and a second handle of a file, if it takes such writes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_store::direct::{ALIGNMENT, Aligned, is_refusal, set_direct};
use rustix::fs::{Mode, OFlags};

/// How many bytes one write takes.
const WRITE_BYTES: usize = 2 << 20;

/// Stretches begin and end at multiples of this, the largest page that a processor has: no page of the cache is written both ways.
const UNIT_BYTES: u64 = 64 << 10;

/// A shorter stretch goes through the cache.
const STRETCH_BYTES_MIN: u64 = 512 << 10;

/// Buffers that are kept.
const KEPT_MAX: usize = 8;

/// The buffers of one restore.
#[derive(Debug, Default)]
pub(super) struct Buffers(Mutex<Vec<Aligned>>);

impl Buffers {
    fn take(&self) -> Aligned {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Aligned::new(WRITE_BYTES))
    }

    fn give_back(&self, buffer: Aligned) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(buffer);
        }
    }
}

/// A file that bytes are written to.
#[derive(Debug)]
pub(super) struct Out {
    file: File,
    /// The same file, written past the cache.
    direct: Option<File>,
    refused: AtomicBool,
}

impl Out {
    /// Of an open file; `is_large` says that it is worth a second handle.
    pub(super) fn new(file: File, is_large: bool) -> Arc<Self> {
        let direct = is_large.then(|| reopen(&file)).and_then(Result::ok);
        Arc::new(Self {
            file,
            direct,
            refused: AtomicBool::new(false),
        })
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Writes parts one after the other from `at` on.
    pub(super) fn write(&self, buffers: &Buffers, parts: &[Bytes], at: u64) -> io::Result<()> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let first = at.next_multiple_of(UNIT_BYTES);
        let last = (at + len) / UNIT_BYTES * UNIT_BYTES;
        let direct = self.direct.as_ref();
        let direct = direct.filter(|_| !self.refused.load(Ordering::Relaxed));
        let Some(direct) = direct.filter(|_| last >= first + STRETCH_BYTES_MIN) else {
            let mut at = at;
            for part in parts {
                self.file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            return Ok(());
        };
        let mut rest = Parts { parts, at: 0 };
        rest.each((first - at) as usize, |bytes, ahead| {
            self.file.write_all_at(bytes, at + ahead)
        })?;
        let mut buffer = buffers.take();
        let mut place = first;
        while place < last {
            let step = usize::try_from(last - place)
                .unwrap_or(WRITE_BYTES)
                .min(WRITE_BYTES);
            let bytes = &mut buffer.bytes()[..step];
            rest.each(step, |part, ahead| {
                bytes[ahead as usize..][..part.len()].copy_from_slice(part);
                Ok(())
            })?;
            self.write_aligned(direct, bytes, place)?;
            place += step as u64;
        }
        buffers.give_back(buffer);
        rest.each((at + len - last) as usize, |bytes, ahead| {
            self.file.write_all_at(bytes, last + ahead)
        })
    }

    fn write_aligned(&self, direct: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match direct.write_at(&bytes[done..], at + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) if count.is_multiple_of(ALIGNMENT) => done += count,
                // A part of a sector: what follows is not aligned any more.
                Ok(count) => {
                    done += count;
                    return self.file.write_all_at(&bytes[done..], at + done as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_refusal(&error) => {
                    self.refused.store(true, Ordering::Relaxed);
                    return self.file.write_all_at(&bytes[done..], at + done as u64);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens a file once more, by what the system shows of this process's own: it may have any name, or none.
fn reopen(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let again = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let again = File::from(again);
    set_direct(&again, true)?;
    Ok(again)
}

/// Parts that are taken from front to back.
struct Parts<'p> {
    parts: &'p [Bytes],
    /// How much of the first one was taken.
    at: usize,
}

impl Parts<'_> {
    /// Hands the next `len` bytes on, with how many of them came before.
    fn each(
        &mut self,
        len: usize,
        mut take: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let Some(part) = self.parts.first() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let some = (part.len() - self.at).min(len - done);
            take(&part[self.at..self.at + some], done as u64)?;
            done += some;
            self.at += some;
            if self.at == part.len() {
                (self.parts, self.at) = (&self.parts[1..], 0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_land_where_they_belong_whatever_their_edges() {
        for folder in ["/var/tmp", "/dev/shm"] {
            for is_large in [false, true] {
                for (before, sizes) in [
                    (0, vec![3 << 20, 17, 1 << 20]),
                    (1, vec![700_000]),
                    (4095, vec![4096, 2 << 20, 5, 600_000]),
                    (8192, vec![100, 0, 100]),
                    (5000, vec![5 << 20]),
                ] {
                    let file = tempfile::tempfile_in(folder).unwrap();
                    let out = Out::new(file, is_large);
                    let parts: Vec<Bytes> = sizes
                        .iter()
                        .map(|size| (0..*size).map(|n: usize| (n / 5 + size) as u8).collect())
                        .collect();
                    out.file().write_all_at(&vec![9; before], 0).unwrap();
                    let buffers = Buffers::default();
                    out.write(&buffers, &parts, before as u64).unwrap();
                    let mut there = vec![0; before + sizes.iter().sum::<usize>()];
                    out.file().read_exact_at(&mut there, 0).unwrap();
                    assert!(there[..before].iter().all(|byte| *byte == 9));
                    assert!(there[before..] == parts.concat(), "{folder} {before}");
                    assert_eq!(out.file().metadata().unwrap().len(), there.len() as u64);
                }
            }
        }
    }
}
