//! A directory of the target while something in it is still to be done.
//!
//! State: its descriptor, and what is needed when the last one leaves it. Everything that is under way in a directory
//! holds a share of its level; whoever gives back the last one (see [`release`]) sets the directory's metadata, which
//! therefore come after all of its content, deepest first. Descriptors of directories far up are closed and opened
//! again when needed, so that the depth of a tree is not bounded by the number of open files.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use holdfast_format::tree::Entry;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::local::{open_directory, remove_all, stat_at, stat_fd, unlink};
use super::metadata::{Before, Place, apply, gives_acl};
use super::run::{Run, TEMPORARY, is_temporary};
use super::target::MARKER;
use crate::restore::path::joined;

/// See the module header.
#[derive(Debug)]
pub(super) struct Level {
    parent: Option<Arc<Level>>,
    name: Vec<u8>,
    identity: (u64, u64),
    slot: Arc<Slot>,
    /// What it shall have at the end; the target itself is left as it is.
    entry: Option<Entry>,
    /// Whether it stood there before.
    existed: bool,
    /// Whether what is made in it gets an ACL that the snapshot knows nothing of.
    pub(super) gives_acl: bool,
    /// What the snapshot has here: filled only if the rest is to be deleted.
    names: Option<Names>,
    /// Names of the snapshot that look like temporary ones. Nearly always empty.
    like_temporary: Mutex<Vec<Vec<u8>>>,
    /// Whether all that the snapshot has here is known.
    whole: AtomicBool,
}

/// How many directories that the walk has left, or that had to be opened again, keep their descriptors.
const KEPT_MAX: usize = 256;

/// How many directories above one that had to be opened again are kept open too.
const KEPT_ABOVE: usize = 32;

/// A directory's descriptor, unless it is parked.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Arc<OwnedFd>>>);

impl Slot {
    fn with(fd: OwnedFd) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Arc::new(fd)))))
    }

    fn get(&self) -> Option<Arc<OwnedFd>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, fd: Option<Arc<OwnedFd>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = fd;
    }
}

/// The directories that are open though the walk is elsewhere, those opened longest ago first.
#[derive(Debug, Default)]
pub(super) struct KeptOpen(Mutex<VecDeque<Weak<Slot>>>);

impl KeptOpen {
    /// Counts one more in, and closes the one opened longest ago if there are too many.
    fn add(&self, slot: &Arc<Slot>) {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.push_back(Arc::downgrade(slot));
        if slots.len() > KEPT_MAX
            && let Some(oldest) = slots.pop_front().and_then(|slot| slot.upgrade())
        {
            oldest.set(None);
        }
    }
}

/// Names of one directory, by a hash of 64 bits: two that collide leave an extra entry standing, no more.
#[derive(Debug, Default)]
struct Names {
    hasher: RandomState,
    hashes: Mutex<HashSet<u64>>,
}

impl Level {
    /// The target itself.
    pub(super) fn top(run: &Run, fd: OwnedFd, selected: bool) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            parent: None,
            name: Vec::new(),
            identity: stat_fd(&fd)?.identity,
            gives_acl: gives_acl(&fd),
            slot: Slot::with(fd),
            entry: None,
            existed: run.may_exist,
            names: (run.delete_extra && selected).then(Names::default),
            like_temporary: Mutex::default(),
            whole: AtomicBool::new(false),
        }))
    }

    /// Makes a directory below this one, or takes the one that stands there. `selected`: all below it is wanted.
    pub(super) fn enter(
        self: &Arc<Self>,
        run: &Run,
        entry: &Entry,
        selected: bool,
    ) -> Result<Arc<Self>> {
        let dir = &*self.dir(run)?;
        let name = entry.name.as_slice();
        let made = loop {
            match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => break true,
                Err(Errno::EXIST) if run.may_exist => match stat_at(dir, name)? {
                    Some(stat) if stat.kind == FileType::Directory => break false,
                    // Something else stands in the way, perhaps a symlink that leads out.
                    _ => unlink(dir, name)?,
                },
                Err(errno) => return Err(errno),
            }
        };
        if !made && !run.is_root {
            make_usable(dir, name);
        }
        let fd = open_directory(dir, name)?;
        Ok(Arc::new(Self {
            identity: stat_fd(&fd)?.identity,
            gives_acl: (!made || self.gives_acl) && gives_acl(&fd),
            slot: Slot::with(fd),
            parent: Some(self.clone()),
            name: name.to_vec(),
            entry: Some(entry.clone()),
            existed: !made,
            names: (run.delete_extra && selected && !made).then(Names::default),
            like_temporary: Mutex::default(),
            whole: AtomicBool::new(false),
        }))
    }

    /// Its descriptor, opened again if it was parked.
    pub(super) fn dir(&self, run: &Run) -> Result<Arc<OwnedFd>> {
        if let Some(open) = self.slot.get() {
            return Ok(open);
        }
        // Downwards from the nearest open directory, without recursion: trees can be thousands deep.
        let mut way = vec![self];
        let mut dir = loop {
            let Some(parent) = way.last().and_then(|level| level.parent.as_deref()) else {
                return Err(Errno::BADF);
            };
            if let Some(open) = parent.slot.get() {
                break open;
            }
            way.push(parent);
        };
        for (above, level) in way.into_iter().enumerate().rev() {
            let next = open_directory(&*dir, &level.name)?;
            if stat_fd(&next)?.identity != level.identity {
                return Err(Errno::NOENT);
            }
            dir = Arc::new(next);
            // The ones close above will be wanted next, on the way up.
            if above <= KEPT_ABOVE {
                level.slot.set(Some(dir.clone()));
                run.kept_open.add(&level.slot);
            }
        }
        Ok(dir)
    }

    /// Whether it is the target itself.
    pub(super) fn is_top(&self) -> bool {
        self.parent.is_none()
    }

    /// Closes the descriptor until it is needed again. The target's own stays open.
    pub(super) fn park(&self) {
        if !self.is_top() {
            self.slot.set(None);
        }
    }

    /// Notes a name that the snapshot has here.
    pub(super) fn remember(&self, name: &[u8]) {
        if !self.existed {
            return;
        }
        if let Some(names) = &self.names {
            let hash = names.hasher.hash_one(name);
            let mut hashes = names.hashes.lock().unwrap_or_else(PoisonError::into_inner);
            hashes.insert(hash);
        }
        if name.starts_with(TEMPORARY) {
            let mut like = self
                .like_temporary
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            like.push(name.to_vec());
        }
    }

    /// Notes that the walk has left it; `whole` if it saw everything that the snapshot has here.
    pub(super) fn leave(&self, run: &Run, whole: bool) {
        self.whole.store(whole, Ordering::Relaxed);
        if !self.is_top() && self.slot.get().is_some() {
            run.kept_open.add(&self.slot);
        }
    }

    /// The names on the way to it.
    pub(super) fn parts(&self) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut level = self;
        while let Some(parent) = &level.parent {
            parts.push(level.name.clone());
            level = parent;
        }
        parts.reverse();
        parts
    }

    /// The path of a name in it, or its own for an empty name.
    pub(super) fn path(&self, name: &[u8]) -> Vec<u8> {
        let parts = self.parts();
        let parts = parts.iter().map(Vec::as_slice);
        joined(parts.chain((!name.is_empty()).then_some(name)))
    }

    /// What is done once nothing is under way in it any more.
    fn finish(&self, run: &Run) {
        let dir = match self.dir(run) {
            Ok(dir) => dir,
            Err(errno) => return run.failed(self.path(b""), "it could not be opened again", errno),
        };
        if self.existed
            && let Err(errno) = self.sweep(run, &dir)
        {
            run.failed(self.path(b""), "it could not be cleaned up", errno);
        }
        let Some(entry) = &self.entry else {
            return;
        };
        let before = if self.existed || self.gives_acl {
            Before::Any
        } else {
            Before::New
        };
        let path = || self.path(b"");
        apply(run, Place::Open(dir.as_fd()), before, entry, &path);
        run.report.count(|result| result.directories += 1);
    }

    /// Removes what an interrupted restore left behind, and, if that is wanted, what the snapshot does not have.
    fn sweep(&self, run: &Run, dir: &OwnedFd) -> Result<()> {
        // Any doubt about what the snapshot has here keeps everything.
        let names = self
            .names
            .as_ref()
            .filter(|_| self.whole.load(Ordering::Relaxed));
        let like = self
            .like_temporary
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut listing = rustix::fs::Dir::read_from(dir)?;
        while let Some(found) = listing.read() {
            let found = found?;
            let name = found.file_name().to_bytes();
            if is_temporary(name) && !like.iter().any(|one| one == name) {
                unlink(dir, name)?;
                continue;
            }
            let Some(names) = names else { continue };
            let hash = names.hasher.hash_one(name);
            let hashes = names.hashes.lock().unwrap_or_else(PoisonError::into_inner);
            if hashes.contains(&hash) || self.spared(name) {
                continue;
            }
            drop(hashes);
            match remove_all(dir.as_fd(), name) {
                Ok(count) => run.report.count(|result| result.deleted += count),
                Err(errno) => run.failed(
                    self.path(name),
                    "the snapshot does not have it and it could not be deleted",
                    errno,
                ),
            }
        }
        Ok(())
    }

    /// Names that are never extra.
    fn spared(&self, name: &[u8]) -> bool {
        let at_top: [&[u8]; 2] = [MARKER, b"lost+found"];
        name == b"." || name == b".." || (self.parent.is_none() && at_top.contains(&name))
    }
}

/// Gives back a share of a level. The last one finishes it, and then gives back its share of the one above.
pub(super) fn release(level: Arc<Level>, run: &Run) {
    let mut next = Some(level);
    while let Some(share) = next.take() {
        // Exactly one of several that let go at once gets the level.
        let Some(mut level) = Arc::into_inner(share) else {
            return;
        };
        if !run.stopped() {
            level.finish(run);
        }
        next = level.parent.take();
    }
}

/// Lets oneself into a directory of one's own that its mode closes; its mode is set again at the end.
fn make_usable(dir: &OwnedFd, name: &[u8]) {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else {
        return;
    };
    if let Ok(stat) = stat_fd(&fd)
        && stat.mode & 0o700 != 0o700
    {
        let path = super::local::proc_path(fd.as_fd(), b".");
        // If it does not help, opening it says so.
        let _ = rustix::fs::chmod(path, Mode::from_raw_mode(stat.mode | 0o700));
    }
}
