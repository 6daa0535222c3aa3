//! A file system that forgets: it keeps two states of everything, what is visible and what a machine that loses its
//! power would find again. A file's bytes are kept by `fsync` of the file, a name by `fsync` of its folder, and
//! nothing else keeps anything. That is the least that POSIX promises.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyStatfs, ReplyWrite, Request, WriteFlags,
};

/// One file or folder.
#[derive(Debug, Default)]
struct Node {
    is_folder: bool,
    links: u32,
    names: BTreeMap<String, u64>,
    names_kept: BTreeMap<String, u64>,
    bytes: Vec<u8>,
    bytes_kept: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<u64, Node>,
    /// Syncs that were asked for.
    syncs: u64,
    /// Syncs that fail, by number; every one from the given number on, if there is one.
    fails: Vec<u64>,
    fails_from: Option<u64>,
    /// How long the sync of a folder takes.
    slow: Duration,
    /// Names given to files whose bytes were not kept.
    torn: Vec<String>,
}

/// The hand on a forgetful file system; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Forgetful(Arc<Mutex<State>>);

impl Forgetful {
    /// Mounts an empty one.
    pub(crate) fn mount(at: &Path) -> (Self, BackgroundSession) {
        let forgetful = Self::default();
        let root = Node {
            is_folder: true,
            links: 2,
            ..Node::default()
        };
        forgetful.0.lock().unwrap().nodes.insert(1, root);
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".into())];
        config.n_threads = Some(8);
        let session = fuser::spawn_mount(forgetful.clone(), at, &config)
            .expect("this test mounts a FUSE file system: run it as root");
        (forgetful, session)
    }

    /// What would be found at `path` after the power failed now.
    pub(crate) fn survives(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let mut at = state.nodes.get(&1)?;
        for part in path.split('/') {
            at = state.nodes.get(at.names_kept.get(part)?)?;
        }
        (!at.is_folder).then(|| at.bytes_kept.clone())
    }

    /// Names that were given to files whose bytes were not kept yet.
    pub(crate) fn torn(&self) -> Vec<String> {
        self.0.lock().unwrap().torn.clone()
    }

    /// How many syncs were asked for.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// Makes the sync with this number fail.
    pub(crate) fn fail(&self, sync: u64) {
        self.0.lock().unwrap().fails.push(sync);
    }

    /// Makes all syncs fail, or none any more.
    pub(crate) fn fail_all(&self, fail: bool) {
        let mut state = self.0.lock().unwrap();
        state.fails_from = fail.then_some(state.syncs);
    }

    /// Makes syncs of folders slow.
    pub(crate) fn slow(&self, slow: Duration) {
        self.0.lock().unwrap().slow = slow;
    }
}

impl State {
    fn child(&self, parent: INodeNo, name: &OsStr) -> Option<u64> {
        self.nodes
            .get(&parent.0)?
            .names
            .get(name.to_str()?)
            .copied()
    }

    fn add(&mut self, parent: INodeNo, name: &OsStr, number: u64) -> bool {
        let (Some(folder), Some(name)) = (self.nodes.get_mut(&parent.0), name.to_str()) else {
            return false;
        };
        folder.names.insert(name.into(), number);
        true
    }

    fn make(&mut self, parent: INodeNo, name: &OsStr, is_folder: bool) -> Result<u64, Errno> {
        if self.child(parent, name).is_some() {
            return Err(Errno::EEXIST);
        }
        let number = self.nodes.len() as u64 + 1;
        self.nodes.insert(
            number,
            Node {
                is_folder,
                links: 1,
                ..Node::default()
            },
        );
        if self.add(parent, name, number) {
            Ok(number)
        } else {
            Err(Errno::ENOENT)
        }
    }

    /// Notes a sync; whether it fails.
    fn sync(&mut self) -> Result<(), Errno> {
        let number = self.syncs;
        self.syncs += 1;
        let fails =
            self.fails.contains(&number) || self.fails_from.is_some_and(|from| number >= from);
        if fails { Err(Errno::EIO) } else { Ok(()) }
    }

    fn attributes(&self, number: u64) -> Option<FileAttr> {
        let node = self.nodes.get(&number)?;
        Some(FileAttr {
            ino: INodeNo(number),
            size: node.bytes.len() as u64,
            blocks: node.bytes.len().div_ceil(512) as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if node.is_folder {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: if node.is_folder { 0o755 } else { 0o644 },
            nlink: node.links,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// The kernel is to remember nothing, so that it asks each time.
const TTL: Duration = Duration::ZERO;

impl Filesystem for Forgetful {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.0.lock().unwrap();
        match state
            .child(parent, name)
            .and_then(|number| state.attributes(number))
        {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.lock().unwrap().attributes(number.0) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.0.lock().unwrap();
        match state.make(parent, name, true) {
            Ok(number) => reply.entry(&TTL, &state.attributes(number).unwrap(), Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.0.lock().unwrap();
        match state.make(parent, name, false) {
            Ok(number) => {
                let attributes = state.attributes(number).unwrap();
                reply.created(
                    &TTL,
                    &attributes,
                    Generation(0),
                    FileHandle(0),
                    FopenFlags::empty(),
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn link(&self, _: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.0.lock().unwrap();
        if state.child(parent, name).is_some() {
            return reply.error(Errno::EEXIST);
        }
        if !state.add(parent, name, number.0) {
            return reply.error(Errno::ENOENT);
        }
        let node = state.nodes.get_mut(&number.0).unwrap();
        node.links += 1;
        if node.bytes != node.bytes_kept {
            state.torn.push(name.to_string_lossy().into());
        }
        reply.entry(&TTL, &state.attributes(number.0).unwrap(), Generation(0));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.0.lock().unwrap();
        let Some(number) = state.child(parent, name) else {
            return reply.error(Errno::ENOENT);
        };
        state.nodes.get_mut(&number).unwrap().links -= 1;
        state
            .nodes
            .get_mut(&parent.0)
            .unwrap()
            .names
            .remove(name.to_str().unwrap());
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.0.lock().unwrap();
        let bytes = &state.nodes[&number.0].bytes;
        let start = (offset as usize).min(bytes.len());
        reply.data(&bytes[start..(start + size as usize).min(bytes.len())]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.0.lock().unwrap();
        let bytes = &mut state.nodes.get_mut(&number.0).unwrap().bytes;
        let end = offset as usize + data.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[offset as usize..end].copy_from_slice(data);
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.0.lock().unwrap();
        if let Err(errno) = state.sync() {
            return reply.error(errno);
        }
        let node = state.nodes.get_mut(&number.0).unwrap();
        node.bytes_kept.clone_from(&node.bytes);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let slow = self.0.lock().unwrap().slow;
        std::thread::sleep(slow);
        let mut state = self.0.lock().unwrap();
        if let Err(errno) = state.sync() {
            return reply.error(errno);
        }
        let node = state.nodes.get_mut(&number.0).unwrap();
        node.names_kept.clone_from(&node.names);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = self.0.lock().unwrap();
        let names = state.nodes[&number.0]
            .names
            .iter()
            .enumerate()
            .skip(offset as usize);
        for (index, (name, child)) in names {
            let kind = if state.nodes[child].is_folder {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if reply.add(INodeNo(*child), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
