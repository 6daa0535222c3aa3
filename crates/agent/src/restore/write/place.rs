//! Puts entries into the target, all but the content of files that have any.
//!
//! Everything is made under a temporary name, given its metadata, and then moved to its real one.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::tree::EntryKind;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

use super::file::FileJob;
use super::level::{self, Level};
use super::links::{Claim, Settled, Waiting, link, settle};
use super::local::{
    Stat, create_file, kind_of, open_file, remove_all, rename, stat_at, stat_fd, unlink,
};
use super::metadata::{Before, Place, apply, matches};
use super::run::Run;
use super::target::MARKER;
use crate::restore::item::{FileContent, Item};
use crate::restore::progress::RestoreProgress;

/// Puts entries into the target. Gives back the files whose content has to be written.
pub(super) fn place_all(run: &Run, entries: Vec<Waiting>) -> Vec<Arc<FileJob>> {
    let mut jobs = Vec::new();
    for (level, item) in entries {
        if run.stopped() {
            level::release(level, run);
            continue;
        }
        let Some(number) = item.entry.hard_link else {
            jobs.extend(place(run, level, item));
            continue;
        };
        let size = item.entry.size;
        match run.links.claim(number, (level, item)) {
            Claim::First((level, item)) => {
                jobs.extend(place(run, level, item));
                continue;
            }
            Claim::Waits => {}
            Claim::Settled((level, item), settled) => {
                link(run, &level, &item, &settled);
                level::release(level, run);
            }
        }
        // The content is the first name's matter.
        RestoreProgress::add(&run.progress.entries_done, 1);
        RestoreProgress::add(&run.progress.bytes_done, size);
    }
    jobs
}

/// Puts one entry into the target, or gives it back as a file whose content has to be written.
fn place(run: &Run, level: Arc<Level>, item: Box<Item>) -> Option<Arc<FileJob>> {
    let number = item.entry.hard_link;
    let done = make_room(run, &level, &item).and_then(|room| match (room, &item.content) {
        (false, _) => Ok(Some(Settled::Failed)),
        (true, FileContent::Extents(_) | FileContent::Node(_)) => Ok(None),
        (true, FileContent::Inline(bytes)) if item.is_file() => {
            place_small(run, &level, &item, bytes).map(Some)
        }
        (true, _) if item.is_file() => place_small(run, &level, &item, &Bytes::new()).map(Some),
        (true, _) => place_special(run, &level, &item).map(Some),
    });
    let settled = match done {
        Ok(Some(settled)) => settled,
        Ok(None) => return Some(FileJob::new(level, item)),
        Err(errno) => {
            let what = match (errno, item.entry.kind) {
                (Errno::EXIST, _) => {
                    "another entry stands there already (does the target's file system ignore case?)"
                }
                (Errno::PERM, EntryKind::BlockDevice | EntryKind::CharDevice) => {
                    "a device can only be made by root"
                }
                _ => "it could not be made",
            };
            run.failed(level.path(&item.entry.name), what, errno);
            Settled::Failed
        }
    };
    RestoreProgress::add(&run.progress.entries_done, 1);
    RestoreProgress::add(&run.progress.bytes_done, item.entry.size);
    if let Some(number) = number {
        settle(run, number, settled);
    }
    level::release(level, run);
    None
}

/// Whether an entry can be put there; takes a directory out of its way if that may be done.
pub(super) fn make_room(run: &Run, level: &Level, item: &Item) -> Result<bool> {
    let name = &item.entry.name;
    if level.is_top() && name == MARKER {
        run.problem(
            level.path(name),
            "this name is kept for the restore itself: it was left out",
        );
        return Ok(false);
    }
    if !run.may_exist {
        return Ok(true);
    }
    let dir = &*level.dir(run)?;
    let stands = stat_at(dir, name)?;
    if stands.is_none_or(|stat| stat.kind != FileType::Directory) {
        return Ok(true);
    }
    if run.delete_extra {
        let count = remove_all(dir.as_fd(), name)?;
        run.report.count(|result| result.deleted += count);
        return Ok(true);
    }
    match rustix::fs::unlinkat(dir, name.as_slice(), rustix::fs::AtFlags::REMOVEDIR) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            run.problem(
                level.path(name),
                "a directory that is not empty stands there: move it away, or add --delete-extra",
            );
            Ok(false)
        }
        Err(errno) => Err(errno),
    }
}

/// A file whose bytes are all here.
fn place_small(run: &Run, level: &Level, item: &Item, bytes: &Bytes) -> Result<Settled> {
    let dir = &*level.dir(run)?;
    let name = &item.entry.name;
    let path = || level.path(name);
    let count = |result: &mut super::RestoreResult, kept: bool| {
        result.files += 1;
        let len = bytes.len() as u64;
        if kept {
            result.bytes_kept += len;
        } else {
            result.bytes_written += len;
        }
    };
    if run.may_exist
        && let Some((file, stat)) = stands_right(run, level, item, bytes)?
    {
        if stat.nlink == 1 {
            apply(
                run,
                Place::Open(file.as_fd()),
                Before::Any,
                &item.entry,
                &path,
            );
        }
        run.report.count(|result| count(result, true));
        return Ok(placed(level, item, stat.identity));
    }
    let temporary = run.temporary(name);
    let file = match create_file(dir, &temporary) {
        Err(Errno::EXIST) => {
            unlink(dir, &temporary)?;
            create_file(dir, &temporary)?
        }
        created => created?,
    };
    let file = std::fs::File::from(file);
    let done = file
        .write_all_at(bytes, 0)
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        .and_then(|()| {
            let before = before(level);
            apply(run, Place::Open(file.as_fd()), before, &item.entry, &path);
            rename(dir, &temporary, name, run.may_exist)
        });
    if let Err(errno) = done {
        unlink(dir, &temporary)?;
        return Err(errno);
    }
    run.report.count(|result| count(result, false));
    Ok(placed(level, item, stat_fd(&file)?.identity))
}

/// The file that stands there, if it need not be made anew.
fn stands_right(
    run: &Run,
    level: &Level,
    item: &Item,
    bytes: &Bytes,
) -> Result<Option<(std::fs::File, Stat)>> {
    let dir = &*level.dir(run)?;
    let name = &item.entry.name;
    let right = |stat: &Stat| {
        stat.kind == FileType::RegularFile
            && stat.size == bytes.len() as u64
            && (stat.nlink == 1 || item.entry.hard_link.is_some())
    };
    if !stat_at(dir, name)?.is_some_and(|stat| right(&stat)) {
        return Ok(None);
    }
    let Ok((fd, stat)) = open_file(dir, name, OFlags::RDONLY) else {
        return Ok(None);
    };
    let file = std::fs::File::from(fd);
    let mut stands = vec![0; bytes.len()];
    let same = right(&stat) && file.read_exact_at(&mut stands, 0).is_ok() && stands == *bytes;
    // An inode with other names is left as it is or replaced, never changed.
    let usable = stat.nlink == 1 || matches(run, Place::Open(file.as_fd()), &item.entry);
    Ok((same && usable).then_some((file, stat)))
}

/// A symlink, device, fifo or socket.
fn place_special(run: &Run, level: &Level, item: &Item) -> Result<Settled> {
    let entry = &item.entry;
    let name = entry.name.as_slice();
    let path = || level.path(name);
    let Some(kind) = kind_of(entry) else {
        run.report.note(
            "sockets are not restored: the program that uses one makes it",
            path,
        );
        return Ok(Settled::Failed);
    };
    let dir = &*level.dir(run)?;
    let stands = if run.may_exist {
        stat_at(dir, name)?
    } else {
        None
    };
    if let Some(stat) = stands
        && stands_as(run, dir, &stat, kind, item)
    {
        if stat.nlink == 1 {
            apply(
                run,
                Place::Named(dir.as_fd(), name),
                Before::Any,
                entry,
                &path,
            );
        }
        run.report.count(|result| result.others += 1);
        return Ok(placed(level, item, stat.identity));
    }
    let temporary = run.temporary(name);
    if run.may_exist {
        unlink(dir, &temporary)?;
    }
    match &entry.target {
        Some(target) if kind == FileType::Symlink => {
            rustix::fs::symlinkat(target.as_slice(), dir, temporary.as_slice())?;
        }
        _ => {
            let mode = Mode::from_raw_mode(0o600);
            let device = entry.device.unwrap_or(0);
            rustix::fs::mknodat(dir, temporary.as_slice(), kind, mode, device)?;
        }
    }
    let place = Place::Named(dir.as_fd(), &temporary);
    apply(run, place, before(level), entry, &path);
    let identity = stat_at(dir, &temporary)?.ok_or(Errno::NOENT)?.identity;
    if let Err(errno) = rename(dir, &temporary, name, run.may_exist) {
        unlink(dir, &temporary)?;
        return Err(errno);
    }
    run.report.count(|result| result.others += 1);
    Ok(placed(level, item, identity))
}

/// Whether what stands there is the same symlink, device or fifo. One with other names must be right in all, since it
/// may not be changed.
fn stands_as(run: &Run, dir: impl AsFd, stat: &Stat, kind: FileType, item: &Item) -> bool {
    let place = Place::Named(dir.as_fd(), &item.entry.name);
    let own =
        stat.nlink == 1 || (item.entry.hard_link.is_some() && matches(run, place, &item.entry));
    if stat.kind != kind || !own {
        return false;
    }
    match kind {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&dir, item.entry.name.as_slice(), Vec::new());
            let wanted = item.entry.target.as_deref();
            target.is_ok_and(|target| Some(target.as_bytes()) == wanted)
        }
        FileType::BlockDevice | FileType::CharacterDevice => Some(stat.device) == item.entry.device,
        _ => true,
    }
}

fn before(level: &Level) -> Before {
    if level.gives_acl {
        Before::Any
    } else {
        Before::New
    }
}

fn placed(level: &Level, item: &Item, identity: (u64, u64)) -> Settled {
    let mut parts = Vec::new();
    if item.entry.hard_link.is_some() {
        parts = level.parts();
        parts.push(item.entry.name.clone());
    }
    Settled::Placed { parts, identity }
}
