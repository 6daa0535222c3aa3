//! Reads regular files: whole when they are small, in buffers when they are large, holes passed over.
//!
//! | what happens | what is kept |
//! |---|---|
//! | it vanished, or is no regular file any more | nothing; the latter is a problem |
//! | it cannot be opened or read, at its start or in the middle | nothing: the name is left out of the snapshot and is a problem. An entry never holds a part of a file that could be taken for the whole |
//! | its size or times moved while it was read | it is read again, once; if they move again, what was read last is kept, as long as that is, and it is a problem |
//! | it grows | what it had when it was opened |
//! | it has more bytes than its size says (`/proc`, some FUSE) | what there is, up to [`UNSIZED_BYTES_MAX`] |
//!
//! Blocking; called off the async threads. The system stands behind [`Files`] and [`OpenFile`], so that tests can
//! make a disk fail.

use std::fmt::Debug;
use std::io;
use std::os::fd::OwnedFd;

use holdfast_format::tree::{EntryKind, Xattr};
use rustix::fs::{Advice, SeekFrom, fadvise, fstat, seek};
use rustix::io::Errno;

use super::content::Run;
use super::folder::{Folder, file_flags, open_quietly};
use super::limits::{SPARSE_FILE_BYTES_MIN, UNSIZED_BYTES_MAX, UNSIZED_READ_BYTES};
use super::metadata::{FileStat, StatKey};
use super::xattrs;

/// Opens files.
pub(crate) trait Files: Debug + Send + Sync {
    /// Opens a name in a folder for reading; never follows a symlink and never waits.
    fn open(&self, folder: &Folder, name: &[u8]) -> io::Result<Box<dyn OpenFile>>;
}

/// An open file.
pub(crate) trait OpenFile: Debug + Send {
    /// What it is now.
    fn stat(&self) -> io::Result<FileStat>;
    /// Reads some bytes at an offset; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The next stretch of data at or after `offset`, as its start and end; `None` where only a hole follows.
    fn data_after(&self, offset: u64) -> io::Result<Option<(u64, u64)>>;
    /// Its extended attributes.
    fn xattrs(&self) -> io::Result<Option<Vec<Xattr>>>;
    /// Says that it will be read from start to end.
    fn will_read_all(&self);
}

/// The operating system's files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemFiles;

impl Files for SystemFiles {
    fn open(&self, folder: &Folder, name: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(SystemFile(open_quietly(
            &folder.fd,
            name,
            file_flags(),
        )?)))
    }
}

#[derive(Debug)]
struct SystemFile(OwnedFd);

impl OpenFile for SystemFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(fstat(&self.0)?.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match rustix::io::pread(&self.0, &mut *buffer, offset) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        let start = match seek(&self.0, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // No holes on this file system.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((offset, u64::MAX))),
            Err(error) => return Err(error.into()),
        };
        // ENXIO: the file was cut off meanwhile; reading will find its end.
        let end = seek(&self.0, SeekFrom::Hole(start)).unwrap_or(u64::MAX);
        Ok(Some((start, end)))
    }

    fn xattrs(&self) -> io::Result<Option<Vec<Xattr>>> {
        xattrs::of_open(&self.0)
    }

    fn will_read_all(&self) {
        // A hint: nothing depends on it.
        let _ = fadvise(&self.0, 0, None, Advice::Sequential);
    }
}

/// Opens a name and makes sure that it is a regular file.
pub(crate) fn open_regular(
    files: &dyn Files,
    folder: &Folder,
    name: &[u8],
) -> std::result::Result<(Box<dyn OpenFile>, FileStat), Failure> {
    let file = files
        .open(folder, name)
        .map_err(|error| match error.raw_os_error() {
            Some(code) if code == Errno::NOENT.raw_os_error() => Failure::Vanished,
            Some(code) if code == Errno::LOOP.raw_os_error() => Failure::OtherKind,
            _ => Failure::Unreadable("it cannot be opened", error),
        })?;
    let stat = file
        .stat()
        .map_err(|error| Failure::Unreadable("it cannot be looked at", error))?;
    if stat.kind == Some(EntryKind::File) {
        Ok((file, stat))
    } else {
        Err(Failure::OtherKind)
    }
}

/// Why a file is not in the snapshot.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is gone.
    Vanished,
    /// It was a regular file when its folder was walked and is none now.
    OtherKind,
    /// A call failed.
    Unreadable(&'static str, io::Error),
}

/// One reading of a file, from its start.
#[derive(Debug)]
pub(crate) struct Reading {
    file: Box<dyn OpenFile>,
    before: FileStat,
    sparse: bool,
    offset: u64,
    /// Where the stretch of data ends that `offset` is in.
    data_end: u64,
    /// Where reading stops.
    limit: u64,
    /// Whether bytes were found beyond what the size says.
    beyond_size: bool,
}

/// What one step of reading gave.
#[derive(Debug)]
pub(crate) struct Filled {
    /// Bytes put into the buffer.
    pub(crate) bytes: usize,
    /// Stretches of data and holes, in order; the data adds up to `bytes`.
    pub(crate) runs: Vec<Run>,
    /// Whether this was the end.
    pub(crate) end: bool,
}

impl Reading {
    /// Starts at the beginning of an open file.
    pub(crate) fn start(file: Box<dyn OpenFile>, before: FileStat) -> Self {
        let size = before.key.size;
        let sparse = size >= SPARSE_FILE_BYTES_MIN && before.looks_sparse();
        Self {
            file,
            before,
            sparse,
            offset: 0,
            data_end: if sparse { 0 } else { size },
            limit: size,
            beyond_size: false,
        }
    }

    /// Reads until the buffer is full or the file ends. A full buffer may need one more step to find the end.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<Filled> {
        let mut filled = Filled {
            bytes: 0,
            runs: Vec::new(),
            end: false,
        };
        while filled.bytes < buffer.len() {
            if self.offset >= self.limit && !self.goes_on()? {
                filled.end = true;
                break;
            }
            if self.offset >= self.data_end && !self.find_data(&mut filled.runs)? {
                continue;
            }
            let room = &mut buffer[filled.bytes..];
            let wanted = usize::try_from(self.data_end - self.offset).unwrap_or(usize::MAX);
            let most = if self.beyond_size {
                UNSIZED_READ_BYTES
            } else {
                usize::MAX
            };
            let wanted = wanted.min(room.len()).min(most);
            let count = self.file.read_at(&mut room[..wanted], self.offset)?;
            if count == 0 {
                // It ends before its size: cut off meanwhile, or a file that always says more than it has.
                filled.end = true;
                break;
            }
            self.offset += count as u64;
            filled.bytes += count;
            filled.runs.push(Run::Data(count as u64));
        }
        Ok(filled)
    }

    /// Goes over the hole at `offset`, which is a multiple of `unit`, as far as whole units or the end of the file go, `most` bytes
    /// at most. Gives the lengths passed over, a unit each but for the file's last; none if there is data in the next one.
    pub(crate) fn pass_hole(&mut self, unit: u64, most: u64) -> io::Result<Vec<u64>> {
        if !self.sparse || self.offset < self.data_end || self.offset >= self.limit {
            return Ok(Vec::new());
        }
        let (start, end) = match self.file.data_after(self.offset)? {
            Some((start, end)) => (start.max(self.offset), end.max(start + 1)),
            None => {
                self.limit = self.end_of_hole()?;
                (self.limit, self.limit)
            }
        };
        let start = start.min(self.limit);
        let hole = start - self.offset;
        let mut passed = vec![unit; (hole.min(most) / unit) as usize];
        if start == self.limit && hole <= most && !hole.is_multiple_of(unit) {
            passed.push(hole % unit);
        }
        self.offset += passed.iter().sum::<u64>();
        self.data_end = match hole <= most {
            true => end.min(self.limit),
            // There is more of the hole.
            false => self.offset,
        };
        Ok(passed)
    }

    /// Reads until the buffer is full, the file ends or a hole begins in the next unit; a hole before that reads as zeros. Gives the bytes read,
    /// 0 at the end.
    pub(crate) fn fill_densely(&mut self, unit: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let stop = match self.sparse {
            true => self
                .data_end
                .div_ceil(unit)
                .saturating_mul(unit)
                .min(self.limit),
            false => self.limit,
        };
        let left = usize::try_from(stop.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let mut filled = 0;
        while filled < wanted {
            let count = self
                .file
                .read_at(&mut buffer[filled..wanted], self.offset)?;
            if count == 0 {
                // It was cut off meanwhile.
                self.limit = self.offset;
                break;
            }
            self.offset += count as u64;
            filled += count;
        }
        Ok(filled)
    }

    /// At the end by its size: whether there is more, as in files that do not know theirs.
    fn goes_on(&mut self) -> io::Result<bool> {
        if self.beyond_size {
            return Ok(false);
        }
        let more = self.file.read_at(&mut [0; 1], self.offset)? > 0;
        // A file that has just grown is not one that does not know its size.
        let goes_on = more && self.file.stat()?.key.size <= self.before.key.size;
        if goes_on {
            self.beyond_size = true;
            self.sparse = false;
            self.limit = self.offset.saturating_add(UNSIZED_BYTES_MAX);
            self.data_end = self.limit;
        }
        Ok(goes_on)
    }

    /// Goes over the hole at `offset`, if there is one. `false` when that was the rest of the file.
    fn find_data(&mut self, runs: &mut Vec<Run>) -> io::Result<bool> {
        let next = if self.sparse {
            self.file.data_after(self.offset)?
        } else {
            None
        };
        let (start, end) = match next {
            Some((start, end)) => (start.max(self.offset), end.max(start + 1)),
            None => {
                self.limit = self.end_of_hole()?;
                (self.limit, self.limit)
            }
        };
        let start = start.min(self.limit);
        if start > self.offset {
            runs.push(Run::Hole(start - self.offset));
        }
        self.offset = start;
        self.data_end = end.min(self.limit);
        Ok(start < self.limit)
    }

    /// Where a hole ends that goes on to the file's end: its end as it is now, should it have been cut off; and
    /// nowhere, should there be nothing to read where its size says so.
    fn end_of_hole(&self) -> io::Result<u64> {
        let end = self.limit.min(self.file.stat()?.key.size);
        if end <= self.offset || self.file.read_at(&mut [0; 1], end - 1)? == 0 {
            return Ok(self.offset);
        }
        Ok(end)
    }

    /// The file, to be read from its start in another way.
    pub(crate) fn into_file(self) -> (Box<dyn OpenFile>, FileStat) {
        (self.file, self.before)
    }

    /// Ends it: whether the file stayed as it was.
    pub(crate) fn finish(self) -> io::Result<Finished> {
        let after = self.file.stat()?;
        let same =
            |a: &StatKey, b: &StatKey| (a.size, a.mtime, a.ctime) == (b.size, b.mtime, b.ctime);
        Ok(Finished {
            xattrs: self.file.xattrs(),
            unchanged: same(&self.before.key, &after.key),
            endless: self.beyond_size && self.offset >= self.limit,
            file: self.file,
            before: self.before,
            after,
        })
    }
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) file: Box<dyn OpenFile>,
    /// Its extended attributes.
    pub(crate) xattrs: io::Result<Option<Vec<Xattr>>>,
    /// What it was when reading began.
    pub(crate) before: FileStat,
    /// What it was when reading ended.
    pub(crate) after: FileStat,
    /// Whether nothing moved meanwhile.
    pub(crate) unchanged: bool,
    /// Whether there was more than [`UNSIZED_BYTES_MAX`] beyond its size.
    pub(crate) endless: bool,
}
