//! What stands at a place in the target: system calls relative to an open directory, none of which follows a symlink.
//!
//! Everything that the restore does to the target's names goes through here or through an open descriptor, so that
//! neither a symlink in the snapshot nor one that was there before can lead outside.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holdfast_format::tree::{Entry, EntryKind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::{Errno, Result};

/// The facts about a file that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) kind: FileType,
    /// Device and inode: what it is, whatever it is called.
    pub(super) identity: (u64, u64),
    pub(super) nlink: u64,
    /// Permission bits, set-id and sticky bits included.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: (i64, u32),
    pub(super) device: u64,
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between machines"
)]
impl From<rustix::fs::Stat> for Stat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            identity: (stat.st_dev as u64, stat.st_ino as u64),
            nlink: stat.st_nlink as u64,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            device: stat.st_rdev as u64,
        }
    }
}

/// What an open descriptor stands for.
pub(super) fn stat_fd(fd: impl AsFd) -> Result<Stat> {
    rustix::fs::fstat(fd).map(Stat::from)
}

/// What a name stands for; none if there is no such name.
pub(super) fn stat_at(dir: impl AsFd, name: &[u8]) -> Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory.
pub(super) fn open_directory(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens a regular file and gives its facts. Never blocks, whatever stands there.
pub(super) fn open_file(dir: impl AsFd, name: &[u8], access: OFlags) -> Result<(OwnedFd, Stat)> {
    let flags = access | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = stat_fd(&fd)?;
    if stat.kind != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok((fd, stat))
}

/// Creates a file that nobody else can open.
pub(super) fn create_file(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600))
}

/// Removes a name that is no directory; fine if it is not there.
pub(super) fn unlink(dir: impl AsFd, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes whatever has that name, with all below it, but nothing on another file system. Gives how many were removed.
pub(super) fn remove_all(dir: BorrowedFd<'_>, name: &[u8]) -> Result<u64> {
    let Some(stat) = stat_at(dir, name)? else {
        return Ok(0);
    };
    if stat.kind != FileType::Directory {
        unlink(dir, name)?;
        return Ok(1);
    }
    if stat.identity.0 != stat_fd(dir)?.identity.0 {
        return Err(Errno::XDEV);
    }
    let inner = open_directory(dir, name)?;
    let mut removed = 0;
    let mut names = rustix::fs::Dir::read_from(&inner)?;
    while let Some(entry) = names.read() {
        let entry = entry?;
        let below = entry.file_name().to_bytes();
        if below != b"." && below != b".." {
            removed += remove_all(inner.as_fd(), below)?;
        }
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(removed + 1)
}

/// Moves a temporary name to its real one; replaces what stands there only if `replace`.
pub(super) fn rename(dir: impl AsFd, from: &[u8], to: &[u8], replace: bool) -> Result<()> {
    let dir = dir.as_fd();
    if !replace {
        let careful = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(dir, from, dir, to, careful) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            done => return done,
        }
    }
    rustix::fs::renameat(dir, from, dir, to)
}

/// A path that names an entry of an open directory, for the few calls that know no `…at` form.
pub(super) fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// The kind that an entry has on this machine; none for a socket, which is never made.
pub(super) fn kind_of(entry: &Entry) -> Option<FileType> {
    Some(match entry.kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::CharDevice => FileType::CharacterDevice,
        EntryKind::Socket => return None,
    })
}

/// An entry's modification time, leaving the access time as it is.
pub(super) fn times(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: entry.mtime_seconds,
            tv_nsec: entry.mtime_nanos.into(),
        },
    }
}
