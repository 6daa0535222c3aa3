//! Creating an object in a local folder: the steps, and why they come in this order.

use std::io::{self, IoSlice, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ObjectName, Sealed};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::below::{stat_below, sync_below};
use super::direct;
use super::folder::Entered;
use super::objects::{Objects, folder_of, lock};
use super::staging::Staging;
use crate::counters::Request;
use crate::error::{Error, Kind, Result};
use crate::site::Put;

/// How many folders are remembered as durable; a site has a few per vault and one per session key.
const DURABLE_MAX: usize = 10_000;

/// How many buffers one write takes (Linux: `IOV_MAX` is 1024).
const SLICES_MAX: usize = 1024;

/// How many bytes one write takes. Linux writes 64 MiB twice as fast in pieces of 1 MiB as all at once.
const WRITE_BYTES_MAX: usize = 1 << 20;

impl Objects {
    /// Creates an object. `bulk`: leave the reserve alone.
    pub(super) fn put(
        &self,
        name: &ObjectName,
        body: &Sealed,
        bulk: bool,
        chance: &Context,
    ) -> Result<Put> {
        self.tally.request(Request::Put);
        let writing = |errno| self.failed("writing", name, errno);
        self.check("writing", name)?;
        let root = self.folder.enter()?;
        match stat_below(root.fd(), name.as_str()).map_err(writing)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                return self.exists(&root, name);
            }
            Some(_) => return Err(writing(Errno::ISDIR)),
            None => {}
        }
        let room = if bulk {
            Some(self.take_room(&root, name, body.len())?)
        } else {
            None
        };
        self.make_folders(&root, name).map_err(writing)?;

        let mut staging = Staging::create(root.fd(), chance).map_err(writing)?;
        let told = |bytes| {
            if let Some(room) = &room {
                room.used(bytes);
            }
            self.tally.written(bytes);
        };
        let written = match bulk && body.len() >= direct::WRITE_BYTES_MIN {
            true => direct::write_parts(staging.file(), body.parts(), told),
            false => write_parts(staging.file(), body.parts(), told),
        };
        written.map_err(|error| self.failed_io("writing", name, &error))?;
        // ORDER: bytes before name. Were the file linked first, a crash of the machine could leave the name on a file
        // without its bytes, and a torn object would be read as a damaged one.
        staging
            .file()
            .sync_all()
            .map_err(|error| self.failed_io("writing", name, &error))?;
        self.name(&root, name, staging)
    }

    /// Puts an object in the place of what is there, in one step. May use the reserve: a full site must be mendable.
    pub(super) fn replace(&self, name: &ObjectName, body: &Sealed, chance: &Context) -> Result<()> {
        self.tally.request(Request::Put);
        let writing = |errno| self.failed("replacing", name, errno);
        self.check("replacing", name)?;
        let root = self.folder.enter()?;
        let mut staging = Staging::create(root.fd(), chance).map_err(writing)?;
        write_parts(staging.file(), body.parts(), |bytes| {
            self.tally.written(bytes);
        })
        .map_err(|error| self.failed_io("replacing", name, &error))?;
        // ORDER: bytes before name, as for a new object; the old bytes stay until the new ones are durable.
        staging
            .file()
            .sync_all()
            .map_err(|error| self.failed_io("replacing", name, &error))?;
        // The object's folder may be gone with it, although it was seen before.
        lock(&self.durable).clear();
        self.make_folders(&root, name).map_err(writing)?;
        staging.rename(root.fd(), name.as_str()).map_err(writing)?;
        sync_below(root.fd(), folder_of(name.as_str()))
            .map_err(|errno| writing(errno).indeterminate())?;
        root.verify()
    }

    /// Gives a written, synced file its name, durably.
    fn name(&self, root: &Entered<'_>, name: &ObjectName, staging: Staging) -> Result<Put> {
        let writing = |errno| self.failed("writing", name, errno);
        let linked = match staging.link(root.fd(), name.as_str()) {
            // Somebody removed a folder that was empty until now: make it again, once.
            Err(Errno::NOENT) => {
                lock(&self.durable).clear();
                root.verify()?;
                self.make_folders(root, name).map_err(writing)?;
                staging.link(root.fd(), name.as_str())
            }
            other => other,
        };
        match linked {
            Ok(()) => {}
            Err(Errno::EXIST) => return self.exists(root, name),
            Err(Errno::PERM | Errno::OPNOTSUPP) => return Err(self.no_links(name)),
            Err(
                errno @ (Errno::NOSPC | Errno::DQUOT | Errno::ACCESS | Errno::ROFS | Errno::NOENT),
            ) => {
                return Err(writing(errno));
            }
            // A disk or a network that broke while it made the link: it may be there.
            Err(errno) => {
                staging.leave();
                return Err(writing(errno).indeterminate());
            }
        }
        // ORDER: the name becomes durable before `Created` is answered (or a crash takes an acknowledged record
        // away), and before the staging name goes (or a reader takes the object for durable too early). If it cannot
        // be made durable it is visible all the same, so that the failure is indeterminate and the sign stays.
        if let Err(errno) = sync_below(root.fd(), folder_of(name.as_str())) {
            staging.leave();
            return Err(writing(errno).indeterminate());
        }
        // ORDER: only now is it proven that the object went into the site: the folder may have been moved away, or
        // another mounted over it, since it was entered.
        root.verify().map_err(Error::indeterminate)?;
        Ok(Put::Created)
    }

    fn exists(&self, root: &Entered<'_>, name: &ObjectName) -> Result<Put> {
        // ORDER: an object that a neighbour has just linked is made durable before it is answered for. The caller
        // compares bytes, may find its own, and then counts them as written.
        sync_below(root.fd(), folder_of(name.as_str()))
            .map_err(|errno| self.failed("writing", name, errno))?;
        Ok(Put::Exists)
    }

    fn no_links(&self, name: &ObjectName) -> Error {
        let why =
            "the file system makes no hard links, without which no file is created atomically";
        Error::at(Kind::Refused, "writing", name, self.folder.site(), why)
            .next("use ext4, xfs, btrfs or another file system that has them")
    }

    /// Makes the folders above `name` and sees each synced into its parent.
    fn make_folders(&self, root: &Entered<'_>, name: &ObjectName) -> rustix::io::Result<()> {
        for (end, _) in name.as_str().match_indices('/') {
            let folder = &name.as_str()[..end];
            if lock(&self.durable).contains(folder) {
                continue;
            }
            match rustix::fs::mkdirat(root.fd(), folder, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            // ORDER: synced even if it was there, before anything is put in it: a neighbour may have made it a moment
            // ago and not synced it yet, and a crash of the machine would take it away with what we put in it.
            sync_below(root.fd(), folder_of(folder))?;
            let mut durable = lock(&self.durable);
            if durable.len() >= DURABLE_MAX {
                durable.clear();
            }
            durable.insert(folder.into());
        }
        Ok(())
    }

    /// Sets room for a pack aside, if it fits without touching the reserve.
    fn take_room(&self, root: &Entered<'_>, name: &ObjectName, bytes: u64) -> Result<Room<'_>> {
        let others = self
            .packs_under_way_bytes
            .fetch_add(bytes, Ordering::SeqCst);
        let room = Room {
            under_way: &self.packs_under_way_bytes,
            left: AtomicU64::new(bytes),
        };
        let space = self.space_of(root)?;
        let needed = space
            .reserve_bytes
            .saturating_add(others)
            .saturating_add(bytes);
        if space.free_bytes >= needed {
            return Ok(room);
        }
        self.tally.failed();
        Err(Error::at(
            Kind::Full,
            "writing",
            name,
            self.folder.site(),
            format!(
                "the site is full: it has {bytes} bytes, {} are free, and {} are kept for the log and for collection",
                space.free_bytes, space.reserve_bytes
            ),
        ))
    }
}

/// Room set aside for a pack; given back as the pack is written, since the file system then counts it.
struct Room<'a> {
    under_way: &'a AtomicU64,
    left: AtomicU64,
}

impl Room<'_> {
    fn used(&self, bytes: u64) {
        let used = bytes.min(self.left.load(Ordering::SeqCst));
        self.left.fetch_sub(used, Ordering::SeqCst);
        self.under_way.fetch_sub(used, Ordering::SeqCst);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.used(u64::MAX);
    }
}

/// Writes all parts without copying them together; tells `written` of each step.
fn write_parts(file: &mut impl Write, parts: &[Bytes], written: impl Fn(u64)) -> io::Result<()> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for piece in parts.iter().flat_map(|part| part.chunks(WRITE_BYTES_MAX)) {
        if batch.len() == SLICES_MAX || bytes + piece.len() > WRITE_BYTES_MAX {
            write_batch(file, &mut batch, &written)?;
            batch.clear();
            bytes = 0;
        }
        batch.push(IoSlice::new(piece));
        bytes += piece.len();
    }
    write_batch(file, &mut batch, &written)
}

fn write_batch(
    file: &mut impl Write,
    mut left: &mut [IoSlice<'_>],
    written: &impl Fn(u64),
) -> io::Result<()> {
    while !left.is_empty() {
        match file.write_vectored(left) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(bytes) => {
                written(bytes as u64);
                IoSlice::advance_slices(&mut left, bytes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Takes a few bytes at a time, and is interrupted now and then.
    #[derive(Default)]
    struct Reluctant {
        taken: Vec<u8>,
        calls: usize,
    }

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(5) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let some = bytes.len().min(100_000);
            self.taken.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn parts_of_any_size_are_written_whole_and_in_order() {
        let sizes = [0, 1, 3_000_000, 0, 0, 17, WRITE_BYTES_MAX, 5].into_iter();
        let parts: Vec<Bytes> = sizes
            .chain(std::iter::repeat_n(3, 2 * SLICES_MAX + 1))
            .enumerate()
            .map(|(n, size)| Bytes::from(vec![n as u8; size]))
            .collect();
        let (mut file, told) = (Reluctant::default(), Cell::new(0));
        write_parts(&mut file, &parts, |bytes| told.set(told.get() + bytes)).unwrap();
        assert!(file.taken == parts.concat());
        assert_eq!(told.get(), file.taken.len() as u64);
        write_parts(&mut Reluctant::default(), &[], |_| {
            panic!("nothing was written")
        })
        .unwrap();
    }
}
