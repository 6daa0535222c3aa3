//! Files that are being written, before they get their names.
//!
//! Each is locked (`flock`) by its writer for as long as that lives, so that whoever opens the site can tell the
//! debris of a crash from a living neighbour's work: what can be locked has no writer.
//!
//! A staging name also outlives the object's own name by a moment, on purpose: it goes only when the object's name is
//! durable. So an object with two links is one whose name may not be durable yet, and whoever reads it syncs its
//! folder first. A crash between the two leaves such a pair; [`clear`] makes it durable before it takes the
//! staging name away.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holdfast_context::Context;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::below::open_below;
use super::walk::Walk;

/// The folder below a site's folder where staging files lie.
pub(super) const FOLDER: &str = ".holdfast-staging";

/// A file without a name of its own yet. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staging {
    folder: OwnedFd,
    name: String,
    file: File,
    stays: bool,
}

impl Staging {
    /// Makes an empty file in the staging folder of the site's folder `root`.
    pub(super) fn create(root: BorrowedFd<'_>, chance: &Context) -> Result<Self> {
        let folder = match open_below(root, FOLDER) {
            Err(Errno::NOENT) => {
                make_folder(root)?;
                open_below(root, FOLDER)?
            }
            other => other?,
        };
        loop {
            let name: String = chance
                .random::<16>()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(&folder, &name, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(errno),
            };
            if lock(file.as_fd(), &folder, &name)? {
                return Ok(Self {
                    folder,
                    name,
                    file: file.into(),
                    stays: false,
                });
            }
        }
    }

    /// The file, to write to.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file the name `to` below `root`, unless that name is taken.
    pub(super) fn link(&self, root: BorrowedFd<'_>, to: &str) -> Result<()> {
        rustix::fs::linkat(&self.folder, &self.name, root, to, AtFlags::empty())
    }

    /// Gives the file the name `to` below `root` instead of its own, whatever has that name now.
    pub(super) fn rename(mut self, root: BorrowedFd<'_>, to: &str) -> Result<()> {
        rustix::fs::renameat(&self.folder, &self.name, root, to)?;
        // The staging name is gone with it.
        self.stays = true;
        Ok(())
    }

    /// Leaves the staging name where it is, as the sign that the object's own name may not be durable.
    pub(super) fn leave(mut self) {
        self.stays = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.stays {
            // A name that stays is cleared at the next opening; until then it costs a sync per read.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Locks a staging file that was just made. False: somebody who clears debris was faster, and the file is lost.
fn lock(file: BorrowedFd<'_>, folder: &OwnedFd, name: &str) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(rustix::fs::fstat(file)?.st_nlink > 0),
        Err(Errno::WOULDBLOCK) => Ok(false),
        // A file system without locks: then nobody can lock debris either, and it is never cleared.
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(true),
        Err(errno) => {
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
            Err(errno)
        }
    }
}

fn make_folder(root: BorrowedFd<'_>) -> Result<()> {
    match rustix::fs::mkdirat(root, FOLDER, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes the staging files of writers that died, and no others.
pub(super) fn clear(root: BorrowedFd<'_>) -> Result<()> {
    let folder = match open_below(root, FOLDER) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return make_folder(root),
        Err(errno) => return Err(errno),
    };
    let debris = debris(&folder)?;
    // ORDER: the names of half-finished objects become durable before their second names go. Otherwise a reader would
    // take such an object for durable, carry it to another site, and a crash of the machine could then take it away
    // here: that site would hold more of the history than this one. All are locked before, so that none can have got
    // its name after this. (Listing settles what it sees; `syncfs` would do nothing on some file systems.)
    if debris.iter().any(|(_, links)| *links > 1) {
        Walk::objects(root, "", None)?;
    }
    for (file, _) in &debris {
        match rustix::fs::unlinkat(&folder, &file.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// A staging file without a writer; locked as long as this lives.
struct Debris {
    name: String,
    _lock: OwnedFd,
}

/// All staging files without a writer, each with the number of its names.
fn debris(folder: &OwnedFd) -> Result<Vec<(Debris, u64)>> {
    let mut debris = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if !is_ours(name) {
            continue;
        }
        // Open for writing, since network file systems lock exclusively only then.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()) else {
            continue;
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let links = rustix::fs::fstat(&file)?.st_nlink;
            debris.push((
                Debris {
                    name: name.into(),
                    _lock: file,
                },
                links,
            ));
        }
    }
    Ok(debris)
}

fn is_ours(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
