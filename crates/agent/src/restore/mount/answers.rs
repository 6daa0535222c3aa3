//! What a mount knows, and what it answers to each question of the kernel.
//!
//! State: the inodes told to the kernel, open files and directories. What is lost is `EIO`, with the reason in the log.
//! `filesystem.rs` brings the questions and takes the answers back.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fuser::{Errno, FileAttr, FileHandle, FileType, INodeNo, Notifier};
use holdfast_context::Context;
use holdfast_format::ChunkId;
use holdfast_format::tree::{Entry, EntryKind};

use super::attributes::{attributes, file_type};
use super::content::Contents;
use super::inodes::{Inodes, Thing};
use super::listing::Listing;
use super::snapshots::Snapshots;
use crate::restore::directory::lookup;
use crate::restore::flaw::Trouble;
use crate::restore::item::{FileContent, Item};
use crate::restore::path::shown;

/// The symlink to the newest snapshot.
const LATEST: &[u8] = b"latest";

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) ctx: Context,
    snapshots: Snapshots,
    pub(super) contents: Contents,
    inodes: Mutex<Inodes>,
    handles: Mutex<HashMap<u64, Handle>>,
    next_handle: AtomicU64,
    /// Whether everybody may look, so that the kernel has to check permissions and ACLs.
    pub(super) for_all: bool,
    /// Tells the kernel to let go of names; set once it is mounted.
    pub(super) notifier: OnceLock<Notifier>,
    letting_go: AtomicBool,
}

/// An open file or directory.
#[derive(Debug, Clone)]
pub(super) enum Handle {
    /// Where the last read of a file ended.
    File(Arc<AtomicU64>),
    /// A directory that is being listed; the folder of snapshots has no listing.
    Directory(Option<Arc<tokio::sync::Mutex<Listing>>>),
}

pub(super) type Answer<T> = Result<T, Errno>;

impl Shared {
    pub(super) fn new(
        ctx: &Context,
        snapshots: Snapshots,
        contents: Contents,
        top: Thing,
        for_all: bool,
    ) -> Self {
        Self {
            ctx: ctx.clone(),
            snapshots,
            contents,
            inodes: Mutex::new(Inodes::new(top)),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
            for_all,
            notifier: OnceLock::new(),
            letting_go: AtomicBool::new(false),
        }
    }

    /// How many inodes are known.
    pub(super) fn inode_count(&self) -> usize {
        self.inodes().len()
    }

    pub(super) fn inodes(&self) -> std::sync::MutexGuard<'_, Inodes> {
        self.inodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, fh: FileHandle) -> Option<Handle> {
        self.handles().get(&u64::from(fh)).cloned()
    }

    pub(super) fn open_handle(&self, handle: Handle) -> FileHandle {
        let number = self.next_handle.fetch_add(1, Ordering::Relaxed);
        self.handles().insert(number, handle);
        FileHandle(number)
    }

    pub(super) fn thing(&self, ino: INodeNo) -> Answer<Thing> {
        let found = self.inodes().get(u64::from(ino));
        found.map(|(thing, _)| thing).ok_or(Errno::ENOENT)
    }

    pub(super) fn item(&self, ino: INodeNo) -> Answer<Arc<Item>> {
        match self.thing(ino)? {
            Thing::Item(_, item) => Ok(item),
            other => Ok(Arc::new(self.made_up(&other))),
        }
    }

    /// An entry for what no snapshot has: the folder, `latest`, the top directories.
    fn made_up(&self, thing: &Thing) -> Item {
        let newest = self.snapshots.get(self.snapshots.len().wrapping_sub(1));
        let (kind, time_millis, target) = match thing {
            Thing::Snapshot(number) => (
                EntryKind::Directory,
                self.snapshots.get(*number).map(|one| one.time_millis),
                None,
            ),
            Thing::Latest => (
                EntryKind::Symlink,
                newest.map(|one| one.time_millis),
                newest.map(|one| one.name.clone().into_bytes()),
            ),
            Thing::Folder | Thing::Item(..) => (
                EntryKind::Directory,
                newest.map(|one| one.time_millis),
                None,
            ),
        };
        let millis = time_millis.unwrap_or(0);
        Item {
            entry: Entry {
                name: Vec::new(),
                kind,
                mode: if kind == EntryKind::Symlink {
                    0o777
                } else {
                    0o555
                },
                uid: rustix::process::geteuid().as_raw(),
                gid: rustix::process::getegid().as_raw(),
                user: None,
                group: None,
                mtime_seconds: millis.div_euclid(1000),
                mtime_nanos: millis.rem_euclid(1000) as u32 * 1_000_000,
                size: 0,
                xattrs: None,
                hard_link: None,
                content: None,
                directory: None,
                target,
                device: None,
            },
            content: FileContent::Empty,
            directory: None,
        }
    }

    pub(super) fn attributes_of(&self, ino: u64, thing: &Thing) -> FileAttr {
        match thing {
            Thing::Item(_, item) => attributes(ino, item),
            other => attributes(ino, &self.made_up(other)),
        }
    }

    /// Notes an inode as told to the kernel.
    pub(super) fn tell(self: &Arc<Self>, parent: u64, name: &[u8], thing: Thing) -> FileAttr {
        let (ino, too_many) = {
            let mut inodes = self.inodes();
            let ino = inodes.look_up(parent, name, thing.clone());
            let too_many = if self.letting_go.load(Ordering::Relaxed) {
                Vec::new()
            } else {
                inodes.too_many()
            };
            (ino, too_many)
        };
        if !too_many.is_empty() {
            self.let_go(too_many);
        }
        self.attributes_of(ino, &thing)
    }

    /// Asks the kernel to forget names. It waits for directories that are in use, so it happens apart from any request.
    fn let_go(self: &Arc<Self>, names: Vec<(u64, Arc<[u8]>)>) {
        let Some(notifier) = self.notifier.get().cloned() else {
            return;
        };
        self.letting_go.store(true, Ordering::Relaxed);
        let shared = self.clone();
        let ctx = self.ctx.clone();
        drop(self.ctx.spawn(async move {
            ctx.run_blocking(move || {
                for (parent, name) in names {
                    // A name that the kernel has forgotten already is no matter.
                    let _ = notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(&name));
                }
            })
            .await;
            shared.letting_go.store(false, Ordering::Relaxed);
        }));
    }

    pub(super) async fn look_up(
        self: &Arc<Self>,
        parent: INodeNo,
        name: &[u8],
    ) -> Answer<FileAttr> {
        let thing = match self.thing(parent)? {
            Thing::Folder if name == LATEST && self.snapshots.len() > 0 => Thing::Latest,
            Thing::Folder => Thing::Snapshot(self.snapshots.find(name).ok_or(Errno::ENOENT)?),
            Thing::Latest => return Err(Errno::ENOTDIR),
            Thing::Snapshot(number) => {
                let top = self.snapshots.top(number).await;
                let top = top.map_err(|error| told("a snapshot", &error.to_string()))?;
                self.look_into(number, top, name).await?
            }
            Thing::Item(number, item) if item.is_directory() => {
                self.look_into(number, item.directory, name).await?
            }
            Thing::Item(..) => return Err(Errno::ENOTDIR),
        };
        Ok(self.tell(u64::from(parent), name, thing))
    }

    async fn look_into(
        &self,
        number: usize,
        directory: Option<ChunkId>,
        name: &[u8],
    ) -> Answer<Thing> {
        match lookup(&self.snapshots.nodes, directory, name).await {
            Ok(Some(item)) => Ok(Thing::Item(number, Arc::new(item))),
            Ok(None) => Err(Errno::ENOENT),
            Err(trouble) => Err(troubled(name, trouble)),
        }
    }

    /// Opens a directory for listing.
    pub(super) async fn open_directory(&self, ino: INodeNo) -> Answer<FileHandle> {
        let directory = match self.thing(ino)? {
            Thing::Folder => return Ok(self.open_handle(Handle::Directory(None))),
            Thing::Latest => return Err(Errno::ENOTDIR),
            Thing::Snapshot(number) => {
                let top = self.snapshots.top(number).await;
                top.map_err(|error| told("a snapshot", &error.to_string()))?
            }
            Thing::Item(_, item) if item.is_directory() => item.directory,
            Thing::Item(..) => return Err(Errno::ENOTDIR),
        };
        let listing = Listing::new(self.snapshots.nodes.clone(), directory);
        let listing = Arc::new(tokio::sync::Mutex::new(listing));
        Ok(self.open_handle(Handle::Directory(Some(listing))))
    }

    /// Lists a directory from `offset` on until `add` says that it is full.
    ///
    /// Offsets are places plus one: 1 and 2 come after `.` and `..`, 3 after the first entry.
    pub(super) async fn list(
        self: &Arc<Self>,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut add: impl FnMut(Listed<'_>) -> bool,
    ) -> Answer<()> {
        let Some(Handle::Directory(listing)) = self.handle(fh) else {
            return Err(Errno::EBADF);
        };
        let (thing, parent) = self.inodes().get(u64::from(ino)).ok_or(Errno::ENOENT)?;
        for (at, name, number) in [(0, ".", u64::from(ino)), (1, "..", parent)] {
            let dots = Listed {
                offset: at + 1,
                name: name.as_bytes(),
                what: What::Dots(number),
            };
            if offset <= at && add(dots) {
                return Ok(());
            }
        }
        let mut place = offset.saturating_sub(2);
        let Some(listing) = listing else {
            self.list_folder(place, add);
            return Ok(());
        };
        let snapshot = match thing {
            Thing::Snapshot(number) | Thing::Item(number, _) => number,
            Thing::Folder | Thing::Latest => return Err(Errno::ENOTDIR),
        };
        let mut listing = listing.lock().await;
        let failed = |error: crate::Error| told("a directory", &error.to_string());
        listing.seek(place).await.map_err(failed)?;
        let first = place;
        while let Some(item) = listing.get(place).await.map_err(failed)? {
            place += 1;
            let listed = Listed {
                offset: place + 2,
                name: &item.entry.name,
                what: What::Thing(Thing::Item(snapshot, item.clone())),
            };
            if add(listed) {
                return Ok(());
            }
        }
        for flaw in listing.flaws.drain(..) {
            tracing::warn!(
                why = flaw.what,
                "some entries of a directory cannot be read"
            );
        }
        // All that can be had is listed; the end then is an error, so that nobody takes it for everything.
        if place == first && !listing.whole() {
            return Err(Errno::EIO);
        }
        Ok(())
    }

    fn list_folder(&self, from: u64, mut add: impl FnMut(Listed<'_>) -> bool) {
        let count = self.snapshots.len();
        // `latest` comes after the snapshots.
        for place in from..count as u64 + u64::from(count > 0) {
            let (name, thing) = match self.snapshots.get(place as usize) {
                Some(one) => (one.name.as_bytes(), Thing::Snapshot(place as usize)),
                None => (LATEST, Thing::Latest),
            };
            let listed = Listed {
                offset: place + 3,
                name,
                what: What::Thing(thing),
            };
            if add(listed) {
                return;
            }
        }
    }

    pub(super) async fn read(
        &self,
        ino: INodeNo,
        fh: FileHandle,
        at: u64,
        len: u32,
    ) -> Answer<bytes::BytesMut> {
        let item = self.item(ino)?;
        let read = self.contents.read(&item, at, len.into()).await;
        let bytes = read.map_err(|trouble| troubled(&item.entry.name, trouble))?;
        if let Some(Handle::File(last_end)) = self.handle(fh) {
            let end = at + bytes.len() as u64;
            // The kernel's own read-ahead comes in requests that may overtake one another.
            let last = last_end.fetch_max(end, Ordering::Relaxed);
            if at <= last && end > last {
                self.contents.read_ahead(&item, end).await;
            }
        }
        Ok(bytes)
    }

    pub(super) fn kind(&self, thing: &Thing) -> FileType {
        match thing {
            Thing::Folder | Thing::Snapshot(_) => FileType::Directory,
            Thing::Latest => FileType::Symlink,
            Thing::Item(_, item) => file_type(item.entry.kind),
        }
    }
}

/// An entry on its way into an answer.
pub(super) struct Listed<'a> {
    /// Where a listing goes on after it.
    pub(super) offset: u64,
    pub(super) name: &'a [u8],
    pub(super) what: What,
}

pub(super) enum What {
    /// `.` or `..`, with its inode number.
    Dots(u64),
    Thing(Thing),
}

/// Logs why something cannot be had.
fn told(what: &str, why: &str) -> Errno {
    tracing::warn!(what, why, "a mounted snapshot cannot be read");
    Errno::EIO
}

pub(super) fn troubled(name: &[u8], trouble: Trouble) -> Errno {
    match trouble {
        Trouble::Flawed(flaw) => told(&shown(name), &flaw.what),
        Trouble::Stopped(error) => told(&shown(name), &error.to_string()),
    }
}
