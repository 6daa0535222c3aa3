//! Objects as files below a site's folder: what each operation does, step by step, on a thread that may block.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use holdfast_format::ObjectName;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::below::{kind_of, sync_below, why};
use super::direct;
use super::folder::{Entered, Folder, RESERVED};
use super::walk::Walk;
use crate::counters::{Counters, Request, Tally};
use crate::error::{Error, Kind, Result};
use crate::site::{ObjectInfo, Space};

/// The objects of one site.
#[derive(Debug)]
pub(super) struct Objects {
    pub(super) folder: Folder,
    /// Folders below the site's that this process has seen synced into their parents. Never a folder that merely
    /// exists: whoever made it may not have synced it yet.
    pub(super) durable: Mutex<HashSet<String>>,
    /// Bytes of packs that are accepted and not yet written, so that concurrent packs do not share the same room.
    pub(super) packs_under_way_bytes: AtomicU64,
    pub(super) tally: Tally,
}

impl Objects {
    pub(super) fn new(folder: Folder) -> Self {
        Self {
            folder,
            durable: Mutex::new(HashSet::new()),
            packs_under_way_bytes: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    pub(super) fn place(&self) -> String {
        self.folder.place()
    }

    pub(super) fn counters(&self) -> Counters {
        self.tally.snapshot()
    }

    pub(super) fn failed(&self, verb: &str, name: &ObjectName, errno: Errno) -> Error {
        self.tally.failed();
        Error::at(kind_of(errno), verb, name, self.folder.site(), why(errno)).because(errno)
    }

    pub(super) fn failed_io(&self, verb: &str, name: &ObjectName, error: &io::Error) -> Error {
        self.failed(verb, name, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// Refuses the names that the site keeps for itself, which no caller has a business with.
    pub(super) fn check(&self, verb: &str, name: &ObjectName) -> Result<()> {
        if name.as_str().starts_with(RESERVED) {
            let why = format!("names that start with {RESERVED} are the site's own");
            return Err(Error::at(Kind::Bug, verb, name, self.folder.site(), why));
        }
        Ok(())
    }

    /// Opens an object; none if it is absent for certain.
    fn look(&self, root: &Entered<'_>, name: &ObjectName) -> Result<Option<File>> {
        self.check("reading", name)?;
        let reading = |errno| self.failed("reading", name, errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(root.fd(), name.as_str(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                root.verify()?;
                return Ok(None);
            }
            Err(errno) => return Err(reading(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(reading)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // ORDER: an object that may not be durable yet (see `staging`) is made so before it is shown. Otherwise a
        // replicator could carry a record to another site, and a crash of this machine take it away here.
        if stat.st_nlink > 1 {
            sync_below(root.fd(), folder_of(name.as_str())).map_err(reading)?;
        }
        Ok(Some(file.into()))
    }

    pub(super) fn get(&self, name: &ObjectName) -> Result<Option<Bytes>> {
        self.tally.request(Request::Get);
        let Some(file) = self.look(&self.folder.enter()?, name)? else {
            return Ok(None);
        };
        let reading = |error| self.failed_io("reading", name, &error);
        let size = file.metadata().map_err(reading)?.len();
        let body = read(&file, 0..size).map_err(reading)?;
        if (body.len() as u64) < size {
            return Err(Error::short(
                name,
                self.folder.site(),
                &(0..size),
                body.len() as u64,
            ));
        }
        self.tally.read(size);
        Ok(Some(body))
    }

    pub(super) fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>> {
        self.tally.request(Request::Get);
        let Some(file) = self.look(&self.folder.enter()?, name)? else {
            return Ok(None);
        };
        let reading = |error| self.failed_io("reading", name, &error);
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let size = file.metadata().map_err(reading)?.len();
        if range.end > size {
            return Err(Error::short(name, self.folder.site(), &range, size));
        }
        // It fits: the range lies within the file, whose size the system can address.
        let len = range.end - range.start;
        let body = read(&file, range.clone()).map_err(reading)?;
        if (body.len() as u64) < len {
            return Err(Error::short(name, self.folder.site(), &range, size));
        }
        self.tally.read(len);
        Ok(Some(body))
    }

    pub(super) fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>> {
        self.tally.request(Request::Head);
        let Some(file) = self.look(&self.folder.enter()?, name)? else {
            return Ok(None);
        };
        let metadata = file
            .metadata()
            .map_err(|error| self.failed_io("reading", name, &error))?;
        Ok(Some(ObjectInfo {
            name: name.clone(),
            size: metadata.len(),
            modified_millis: millis(metadata.mtime(), metadata.mtime_nsec()),
        }))
    }

    pub(super) fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>> {
        self.tally.request(Request::List);
        let root = self.folder.enter()?;
        let found = Walk::objects(root.fd(), prefix, after.map(ObjectName::as_str));
        self.listed(&root, found)
    }

    pub(super) fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        self.tally.request(Request::List);
        let root = self.folder.enter()?;
        let found = Walk::folders(root.fd(), prefix);
        self.listed(&root, found)
    }

    fn listed<T>(&self, root: &Entered<'_>, found: rustix::io::Result<T>) -> Result<T> {
        let found = found.map_err(|errno| {
            self.tally.failed();
            Error::new(
                kind_of(errno),
                format!("listing site {}", self.folder.site()),
                why(errno),
            )
            .because(errno)
        })?;
        // What a listing does not show counts as absent, so that it needs the same proof.
        root.verify()?;
        Ok(found)
    }

    pub(super) fn delete(&self, name: &ObjectName) -> Result<()> {
        self.tally.request(Request::Delete);
        self.check("deleting", name)?;
        let root = self.folder.enter()?;
        match rustix::fs::unlinkat(root.fd(), name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => {}
            Err(errno) => return Err(self.failed("deleting", name, errno)),
        }
        // Synced even if it was absent: an earlier attempt may have got no further than here. Folders that became
        // empty stay: somebody may be about to put something in.
        match sync_below(root.fd(), folder_of(name.as_str())) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => root.verify(),
            Err(errno) => Err(self.failed("deleting", name, errno).indeterminate()),
        }
    }

    pub(super) fn space(&self) -> Result<Space> {
        self.space_of(&self.folder.enter()?)
    }

    pub(super) fn space_of(&self, root: &Entered<'_>) -> Result<Space> {
        let stat = rustix::fs::fstatvfs(root.fd()).map_err(|errno| {
            let doing = format!("asking for the room at site {}", self.folder.site());
            Error::new(kind_of(errno), doing, why(errno)).because(errno)
        })?;
        let total_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes,
            reserve_bytes: Space::reserve_of(total_bytes),
        })
    }
}

/// Reads a range of a file that was just opened; fewer bytes if the file ends before.
fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let len = range.end - range.start;
    if len >= direct::READ_BYTES_MIN {
        return direct::read_range(file, range);
    }
    let len = len as usize;
    let mut body = Vec::with_capacity(len);
    while body.len() < len {
        let at = range.start + body.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut body), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    body.truncate(len);
    Ok(body.into())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while holding the lock cannot leave the set half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder that a name lies in; `""` for the site's own.
pub(super) fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Milliseconds since 1970 of a file's time.
pub(super) fn millis(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1000)
        .saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_what_stands_before_the_last_slash() {
        assert_eq!(folder_of("a/b/c"), "a/b");
        assert_eq!(folder_of("a"), "");
    }
}
