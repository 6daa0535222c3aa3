//! What a tree is at one moment: every path with every attribute that a restore is to bring back, and its content's hash.
//!
//! It is taken before a backup and compared with what a restore made, so that the tree may go on changing meanwhile.
//! Names are used relative to open folders, so that no path is too long; nothing is followed, nothing is changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::content::Content;

/// Linux keeps no longer list and no longer value.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Everything about one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// What it is.
    pub(super) kind: FileType,
    /// Permission bits, set-id and sticky bits included.
    pub(super) mode: u32,
    /// Owner and group.
    pub(super) owner: (u32, u32),
    /// Modification time: seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    /// Of a file: its size.
    pub(super) size: u64,
    /// Of a device: its number.
    pub(super) device: Option<u64>,
    /// Of a symlink: where it points.
    pub(super) target: Option<Vec<u8>>,
    /// Extended attributes, ACLs among them.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Another name of the same file: the first path, in order, of those that share it. The first itself has none.
    pub(super) link: Option<Vec<u8>>,
    /// Of a file: what is in it.
    pub(super) content: Option<Content>,
    /// Bytes that it takes on its disk.
    pub(super) allocated: u64,
    /// The file system's block, bytes.
    pub(super) block: u64,
    /// What tells that it is untouched: device, inode, time of the last change of any kind.
    pub(super) untouched: (u64, u64, (i64, u32)),
}

/// A tree at one moment. Paths are relative to its top, which itself is the empty path.
#[derive(Debug, Default)]
pub(super) struct Fingerprint {
    /// All that could be read.
    pub(super) facts: BTreeMap<Vec<u8>, Facts>,
    /// What could not, and why.
    pub(super) unread: Vec<(Vec<u8>, String)>,
}

/// How a fingerprint is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Content and all.
    Everything,
    /// What `stat` says.
    StatOnly,
}

struct Walk<'a> {
    depth: Depth,
    cancel: &'a CancellationToken,
    done_bytes: &'a AtomicU64,
    found: Fingerprint,
    first_names: HashMap<(u64, u64), Vec<u8>>,
}

impl Fingerprint {
    /// Takes one of what lies at `top`, an absolute path. `done_bytes` is raised by what was read.
    ///
    /// # Errors
    /// If `top` itself cannot be read, or `cancel` was cancelled. Whatever else cannot be read is told in the result.
    pub(super) fn take(
        top: &Path,
        cancel: &CancellationToken,
        done_bytes: &AtomicU64,
    ) -> io::Result<Self> {
        Self::walk(top, Depth::Everything, cancel, done_bytes)
    }

    /// Counts and sizes alone: what `stat` says.
    pub(super) fn glance(top: &Path, cancel: &CancellationToken) -> io::Result<Self> {
        Self::walk(top, Depth::StatOnly, cancel, &AtomicU64::new(0))
    }

    /// Paths that are not as they were when this was taken, by what `stat` says.
    pub(super) fn moved(
        &self,
        top: &Path,
        cancel: &CancellationToken,
    ) -> io::Result<BTreeSet<Vec<u8>>> {
        let now = Self::walk(top, Depth::StatOnly, cancel, &AtomicU64::new(0))?;
        let unread: BTreeSet<&Vec<u8>> = self.unread.iter().map(|(path, _)| path).collect();
        let of_now = now.facts.iter().filter(|(path, facts)| {
            let before = self.facts.get(*path);
            let is_new = before.is_none() && !unread.contains(path);
            is_new || before.is_some_and(|before| before.untouched != facts.untouched)
        });
        let gone = self
            .facts
            .keys()
            .filter(|path| !now.facts.contains_key(*path));
        Ok(of_now.map(|(path, _)| path).chain(gone).cloned().collect())
    }

    fn walk(
        top: &Path,
        depth: Depth,
        cancel: &CancellationToken,
        done_bytes: &AtomicU64,
    ) -> io::Result<Self> {
        let (folder, name) = (top.parent(), top.file_name());
        let (Some(folder), Some(name)) = (folder, name) else {
            return Err(io::Error::other("the top of all folders is not supported"));
        };
        let folder = open_folder(CWD, folder.as_os_str().as_bytes())?;
        let mut walk = Walk {
            depth,
            cancel,
            done_bytes,
            found: Self::default(),
            first_names: HashMap::new(),
        };
        walk.entry(&folder, name.as_bytes(), Vec::new())?;
        match walk.found.unread.pop_if(|(path, _)| path.is_empty()) {
            Some((_, why)) => Err(io::Error::other(why)),
            None => Ok(walk.found),
        }
    }

    /// How many regular files there are, each name counted.
    pub(super) fn files(&self) -> u64 {
        let is_file = |facts: &&Facts| facts.kind == FileType::RegularFile;
        self.facts.values().filter(is_file).count() as u64
    }

    /// How many folders there are.
    pub(super) fn folders(&self) -> u64 {
        let is_folder = |facts: &&Facts| facts.kind == FileType::Directory;
        self.facts.values().filter(is_folder).count() as u64
    }

    /// The sizes of all files together, holes included; a file with several names counts once.
    pub(super) fn size_bytes(&self) -> u64 {
        let once = self.facts.values().filter(|facts| facts.link.is_none());
        once.map(|facts| facts.size).sum()
    }

    /// Bytes that files take on their disk; a file with several names counts once.
    pub(super) fn allocated_bytes(&self) -> u64 {
        let once = self.facts.values().filter(|facts| facts.link.is_none());
        once.map(|facts| facts.allocated).sum()
    }

    /// Bytes of files that are no holes; a file with several names counts once.
    pub(super) fn data_bytes(&self) -> u64 {
        let once = self.facts.values().filter(|facts| facts.link.is_none());
        let content = once.filter_map(|facts| facts.content.as_ref());
        content.map(Content::data_bytes).sum()
    }
}

impl Walk<'_> {
    /// Takes in an entry and what is below it. Fails only if it was cancelled.
    fn entry(&mut self, folder: &OwnedFd, name: &[u8], path: Vec<u8>) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        match self.facts(folder, name, &path) {
            Ok(facts) => {
                let is_folder = facts.kind == FileType::Directory;
                self.found.facts.insert(path.clone(), facts);
                match is_folder {
                    true => self.below(folder, name, &path),
                    false => Ok(()),
                }
            }
            Err(error) => {
                self.found.unread.push((path, error.to_string()));
                Ok(())
            }
        }
    }

    fn below(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8]) -> io::Result<()> {
        let listed = open_folder(folder, name).and_then(|opened| {
            let names = names(&opened)?;
            Ok((opened, names))
        });
        let (opened, names) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                // Its own attributes are known; what is in it is not.
                let why = format!("it cannot be listed: {error}");
                self.found.unread.push((path.to_vec(), why));
                return Ok(());
            }
        };
        for name in names {
            let below = match path.is_empty() {
                true => name.clone(),
                false => [path, b"/", &name].concat(),
            };
            self.entry(&opened, &name, below)?;
        }
        Ok(())
    }

    fn facts(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8]) -> io::Result<Facts> {
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_device = matches!(kind, FileType::BlockDevice | FileType::CharacterDevice);
        let everything = self.depth == Depth::Everything;
        let size = match kind {
            FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        };
        let link = self.link(&stat, kind, path);
        // Another name of a file that was read needs no second reading.
        let content = match kind {
            FileType::RegularFile if everything && link.is_none() => {
                Some(self.content(folder, name, size)?)
            }
            FileType::RegularFile if everything => {
                let first = link.as_ref().and_then(|first| self.found.facts.get(first));
                first.and_then(|first| first.content.clone())
            }
            _ => None,
        };
        Ok(Facts {
            kind,
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            size,
            device: is_device.then_some(stat.st_rdev),
            target: match kind {
                FileType::Symlink => Some(readlinkat(folder, name, Vec::new())?.into_bytes()),
                _ => None,
            },
            xattrs: match everything {
                true => xattrs(folder, name)?,
                false => BTreeMap::new(),
            },
            link,
            content,
            allocated: u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512),
            block: u64::try_from(stat.st_blksize).unwrap_or(4096),
            untouched: (
                stat.st_dev,
                stat.st_ino,
                (stat.st_ctime, stat.st_ctime_nsec as u32),
            ),
        })
    }

    fn link(&mut self, stat: &Stat, kind: FileType, path: &[u8]) -> Option<Vec<u8>> {
        if stat.st_nlink < 2 || kind == FileType::Directory {
            return None;
        }
        let inode = (stat.st_dev, stat.st_ino);
        match self.first_names.get(&inode) {
            Some(first) => Some(first.clone()),
            None => {
                self.first_names.insert(inode, path.to_vec());
                None
            }
        }
    }

    fn content(&self, folder: &OwnedFd, name: &[u8], size: u64) -> io::Result<Content> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty())?;
        Content::read(&file, size, &mut |bytes| {
            self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
        })
    }
}

fn open_folder(at: impl std::os::fd::AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// The names in a folder, sorted by their bytes.
fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// The extended attributes of a name in an open folder, itself never opened or followed.
fn xattrs(folder: &OwnedFd, name: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let borrowed: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(folder);
    let mut path = format!("/proc/self/fd/{}/", borrowed.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let path = CString::new(path)?;
    let mut list = Vec::with_capacity(XATTR_BYTES_MAX);
    match rustix::fs::llistxattr(&path, spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(BTreeMap::new()),
        Err(errno) => return Err(errno.into()),
    }
    let mut all = BTreeMap::new();
    for name in list
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::with_capacity(XATTR_BYTES_MAX);
        match rustix::fs::lgetxattr(&path, name, spare_capacity(&mut value)) {
            Ok(_) => {
                all.insert(name.to_vec(), value);
            }
            // Listed by a layer that does not give it out.
            Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(all)
}
