//! What an entry looks like to the kernel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};
use holdfast_format::tree::{Entry, EntryKind};

use crate::restore::item::{FileContent, Item};

/// Size of the blocks that `stat` counts in, bytes.
const BLOCK: u64 = 512;

pub(super) fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::NamedPipe,
        EntryKind::BlockDevice => FileType::BlockDevice,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::Socket => FileType::Socket,
    }
}

/// The attributes of an entry, owned as it was recorded.
pub(super) fn attributes(ino: u64, item: &Item) -> FileAttr {
    let entry = &item.entry;
    let size = match entry.kind {
        EntryKind::Symlink => entry.target.as_ref().map_or(0, Vec::len) as u64,
        _ => entry.size,
    };
    let time = time(entry.mtime_seconds, entry.mtime_nanos);
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: data_bytes(item).div_ceil(BLOCK),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: file_type(entry.kind),
        perm: (entry.mode & 0o7777) as u16,
        nlink: links(entry),
        uid: entry.uid,
        gid: entry.gid,
        rdev: entry.device.map_or(0, device),
        blksize: 128 << 10,
        flags: 0,
    }
}

/// A directory's count of 1 means "not counted" to those who know; 2 would mean that no directory is in it. How many
/// names a file has is not recorded, only that it has several.
fn links(entry: &Entry) -> u32 {
    if entry.hard_link.is_some() { 2 } else { 1 }
}

/// Bytes that are no hole, as far as the entry itself tells.
fn data_bytes(item: &Item) -> u64 {
    match &item.content {
        FileContent::Extents(extents) => extents
            .iter()
            .filter(|extent| extent.chunk.is_some())
            .map(|extent| extent.len)
            .sum(),
        _ => item.entry.size,
    }
}

/// A point in time; the beginning of 1970 for one that this machine cannot express.
fn time(seconds: i64, nanos: u32) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base = if seconds >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// A device number in the form that the kernel's FUSE protocol has (`new_encode_dev` in Linux' `kdev_t.h`).
fn device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
