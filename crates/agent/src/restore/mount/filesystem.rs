//! Brings the kernel's requests to `answers.rs`.
//!
//! Each request that may wait becomes a task of the runtime, so that one that waits for the network holds up no other.
//! Everything is read-only and never changes, so the kernel may keep what it was told for as long as it likes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::answers::{Handle, Shared, What, troubled};
use super::inodes::Thing;

/// How long the kernel may keep what it was told: nothing changes.
const KEEP: Duration = Duration::from_secs(86_400);

/// `SEEK_DATA` and `SEEK_HOLE` of `lseek(2)` on Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// The file system as `fuser` wants it.
#[derive(Debug)]
pub(super) struct SnapshotFilesystem {
    pub(super) shared: Arc<Shared>,
    pub(super) runtime: tokio::runtime::Handle,
}

impl SnapshotFilesystem {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let _inside = self.runtime.enter();
        // Nothing waits for it: its reply is its result.
        drop(self.shared.ctx.spawn(work));
    }
}

impl Filesystem for SnapshotFilesystem {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = vec![
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        if self.shared.for_all {
            wanted.push(InitFlags::FUSE_POSIX_ACL);
        }
        for flag in wanted {
            // A kernel without one of them works too.
            let _ = config.add_capabilities(flag);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (shared, name) = (self.shared.clone(), name.as_bytes().to_vec());
        self.spawn(async move {
            match shared.look_up(parent, &name).await {
                Ok(attr) => reply.entry(&KEEP, &attr, Generation(0)),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.shared.inodes().forget(u64::from(ino), nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.shared.thing(ino) {
            Ok(thing) => reply.attr(&KEEP, &self.shared.attributes_of(u64::from(ino), &thing)),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.shared.item(ino) {
            Ok(item) => match &item.entry.target {
                Some(target) => reply.data(target),
                None => reply.error(Errno::EINVAL),
            },
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.shared.item(ino) {
            Ok(item) if item.is_file() => {
                let fh = self.shared.open_handle(Handle::File(Arc::default()));
                reply.opened(fh, FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok(item) if item.is_directory() => reply.error(Errno::EISDIR),
            Ok(_) => reply.error(Errno::EINVAL),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let shared = self.shared.clone();
        self.spawn(async move {
            match shared.read(ino, fh, offset, size).await {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.handles().remove(&u64::from(fh));
        reply.ok();
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let shared = self.shared.clone();
        self.spawn(async move {
            match shared.open_directory(ino).await {
                Ok(fh) => reply.opened(fh, FopenFlags::FOPEN_KEEP_CACHE),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let shared = self.shared.clone();
        self.spawn(async move {
            let listed = shared
                .list(ino, fh, offset, |listed| {
                    let (number, kind) = match &listed.what {
                        What::Dots(number) => (*number, FileType::Directory),
                        // Only what is looked up gets a number of its own; any that is not 0 will do for a name.
                        What::Thing(thing) => (u64::MAX, shared.kind(thing)),
                    };
                    let name = OsStr::from_bytes(listed.name);
                    reply.add(INodeNo(number), listed.offset, kind, name)
                })
                .await;
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let shared = self.shared.clone();
        self.spawn(async move {
            let parent = u64::from(ino);
            let listed = shared
                .list(ino, fh, offset, |listed| {
                    let name = OsStr::from_bytes(listed.name);
                    match listed.what {
                        What::Dots(number) => {
                            // The kernel takes these for no lookup.
                            let made_up = shared.attributes_of(number, &Thing::Folder);
                            let generation = Generation(0);
                            reply.add(
                                INodeNo(number),
                                listed.offset,
                                name,
                                &KEEP,
                                &made_up,
                                generation,
                            )
                        }
                        What::Thing(thing) => {
                            let attr = shared.tell(parent, listed.name, thing);
                            let generation = Generation(0);
                            let full =
                                reply.add(attr.ino, listed.offset, name, &KEEP, &attr, generation);
                            if full {
                                shared.inodes().forget(u64::from(attr.ino), 1);
                            }
                            full
                        }
                    }
                })
                .await;
            match listed {
                Ok(()) => reply.ok(),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.shared.handles().remove(&u64::from(fh));
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // Nothing is free here, and how much there is in all is not known.
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let item = match self.shared.item(ino) {
            Ok(item) => item,
            Err(errno) => return reply.error(errno),
        };
        let xattrs = item.entry.xattrs.as_deref().unwrap_or(&[]);
        match xattrs.iter().find(|xattr| xattr.name == name.as_bytes()) {
            Some(xattr) => give(&xattr.value, size, reply),
            None => reply.error(Errno::NO_XATTR),
        }
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let item = match self.shared.item(ino) {
            Ok(item) => item,
            Err(errno) => return reply.error(errno),
        };
        let mut names = Vec::new();
        for xattr in item.entry.xattrs.as_deref().unwrap_or(&[]) {
            names.extend_from_slice(&xattr.name);
            names.push(0);
        }
        give(&names, size, reply);
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let hole = match whence {
            SEEK_DATA => false,
            SEEK_HOLE => true,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(at) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let shared = self.shared.clone();
        self.spawn(async move {
            let item = match shared.item(ino) {
                Ok(item) => item,
                Err(errno) => return reply.error(errno),
            };
            match shared.contents.seek(&item, at, hole).await {
                Ok(Some(place)) => reply.offset(place as i64),
                Ok(None) => reply.error(Errno::ENXIO),
                Err(trouble) => reply.error(troubled(&item.entry.name, trouble)),
            }
        });
    }
}

/// Gives an attribute in the two steps in which it is asked for.
fn give(bytes: &[u8], size: u32, reply: ReplyXattr) {
    match size {
        0 => reply.size(bytes.len() as u32),
        size if (size as usize) < bytes.len() => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}
