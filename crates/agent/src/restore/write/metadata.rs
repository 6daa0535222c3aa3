//! Owner, extended attributes, mode and time of one entry, set after its content.
//!
//! ORDER: owner, attributes, mode, time. A change of owner clears set-id bits and file capabilities, so both come after
//! it; an ACL changes the mode's group bits, and `user.*` attributes need a mode that is writable, so the mode comes
//! after them; each of these may touch the time.
//!
//! What only root may do is noted once for all entries when it fails. An inode that has other names than the one being
//! restored is never changed: see [`matches`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use holdfast_format::tree::{Entry, EntryKind, Xattr};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use super::local::{Stat, proc_path, stat_at, stat_fd, times};
use super::run::Run;
use crate::restore::path::shown;

/// The largest extended attribute that Linux keeps, bytes.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// The attribute that holds a file's ACL.
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";

/// The attribute that holds the ACL that new entries of a directory get.
pub(super) const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// How to reach an entry.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in an open directory, never followed.
    Named(BorrowedFd<'a>, &'a [u8]),
}

/// What an entry had before its metadata are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It was just made and has no attribute.
    New,
    /// It may have attributes that the snapshot does not have.
    Any,
}

/// Sets everything. What fails is a problem or a note of the run; an error is one that stops the restore.
pub(super) fn apply(
    run: &Run,
    place: Place<'_>,
    before: Before,
    entry: &Entry,
    path: &dyn Fn() -> Vec<u8>,
) {
    let done = place
        .stat()
        .and_then(|stat| apply_all(run, place, before, entry, stat, path));
    if let Err(errno) = done {
        run.failed(path(), "its owner, mode or time could not be set", errno);
    }
}

fn apply_all(
    run: &Run,
    place: Place<'_>,
    before: Before,
    entry: &Entry,
    stat: Stat,
    path: &dyn Fn() -> Vec<u8>,
) -> Result<()> {
    let mut mode = entry.mode;
    let wanted = run.owners.of(entry);
    let chowned = (stat.uid, stat.gid) != wanted;
    if chowned && !chown(place, wanted, stat)? {
        run.report.note(
            "the owner could not be set: run as root to restore owners",
            path,
        );
        // A set-id bit under another owner would give away that owner's rights.
        let now = place.stat()?;
        let unsafe_bits =
            u32::from(now.uid != wanted.0) * 0o4000 + u32::from(now.gid != wanted.1) * 0o2000;
        if mode & unsafe_bits != 0 {
            mode &= !unsafe_bits;
            run.report.note(
                "the set-user-id or set-group-id bit was left off, because the owner could not be set",
                path,
            );
        }
    }
    let xattrs = entry.xattrs.as_deref().unwrap_or(&[]);
    let labelled = before == Before::Any || !xattrs.is_empty();
    if labelled {
        set_xattrs(run, place, before, xattrs, path);
    }
    // Both may have changed the mode.
    let now = if chowned || labelled {
        place.stat()?
    } else {
        stat
    };
    if entry.kind != EntryKind::Symlink && now.mode != mode {
        place.chmod(mode)?;
    }
    if now.mtime != (entry.mtime_seconds, entry.mtime_nanos) {
        place.set_times(entry)?;
    }
    Ok(())
}

/// Whether the owner is now as wanted.
fn chown(place: Place<'_>, wanted: (u32, u32), stat: Stat) -> Result<bool> {
    // The highest number means "leave" to the kernel and is nobody's.
    let uid = (wanted.0 != u32::MAX).then(|| Uid::from_raw_unchecked(wanted.0));
    let gid = (wanted.1 != u32::MAX).then(|| Gid::from_raw_unchecked(wanted.1));
    match place.chown(uid, gid) {
        Ok(()) => Ok(uid.is_some() && gid.is_some()),
        Err(Errno::PERM | Errno::INVAL) => {
            // One's own groups can be given without being root.
            if stat.gid != wanted.1 && place.chown(None, gid).is_err() {
                return Ok(false);
            }
            Ok(stat.uid == wanted.0)
        }
        Err(errno) => Err(errno),
    }
}

fn set_xattrs(
    run: &Run,
    place: Place<'_>,
    before: Before,
    wanted: &[Xattr],
    path: &dyn Fn() -> Vec<u8>,
) {
    if before == Before::Any {
        for name in place.list_xattrs().unwrap_or_default() {
            let goes = is_ours(&name) && !wanted.iter().any(|xattr| xattr.name == name);
            if goes && let Err(errno) = place.remove_xattr(&name) {
                xattr_failed(run, &name, errno, path);
            }
        }
    }
    for xattr in wanted {
        if before == Before::Any && place.xattr(&xattr.name).as_deref() == Ok(&xattr.value) {
            continue;
        }
        if xattr.name.contains(&0) {
            run.problem(path(), "an extended attribute has an impossible name");
        } else if let Err(errno) = place.set_xattr(xattr) {
            xattr_failed(run, &xattr.name, errno, path);
        }
    }
}

/// Attributes that a snapshot decides on. Others, such as security labels, are the target machine's own.
fn is_ours(name: &[u8]) -> bool {
    let ours: [&[u8]; 5] = [
        b"user.",
        b"trusted.",
        b"security.capability",
        ACCESS_ACL,
        DEFAULT_ACL,
    ];
    ours.iter().any(|start| name.starts_with(start))
}

fn xattr_failed(run: &Run, name: &[u8], errno: Errno, path: &dyn Fn() -> Vec<u8>) {
    let kind = name.split(|&b| b == b'.').next().unwrap_or(name);
    let kind = shown(kind);
    match errno {
        Errno::OPNOTSUPP => run.report.note(
            &format!("extended attributes of the kind {kind} were left off: the target's file system does not keep them"),
            path,
        ),
        Errno::PERM | Errno::ACCESS if !run.is_root => run.report.note(
            &format!("extended attributes of the kind {kind} were left off: run as root to restore them"),
            path,
        ),
        errno => {
            let name = shown(name);
            run.failed(path(), &format!("its extended attribute {name} could not be set"), errno);
        }
    }
}

/// Whether all is already as the snapshot has it, so that an inode with other names can stay untouched.
pub(super) fn matches(run: &Run, place: Place<'_>, entry: &Entry) -> bool {
    let Ok(stat) = place.stat() else {
        return false;
    };
    let wanted = entry.xattrs.as_deref().unwrap_or(&[]);
    let Ok(names) = place.list_xattrs() else {
        return false;
    };
    (stat.uid, stat.gid) == run.owners.of(entry)
        && (entry.kind == EntryKind::Symlink || stat.mode == entry.mode)
        && stat.mtime == (entry.mtime_seconds, entry.mtime_nanos)
        && names
            .iter()
            .all(|name| !is_ours(name) || wanted.iter().any(|xattr| xattr.name == *name))
        && wanted
            .iter()
            .all(|xattr| place.xattr(&xattr.name).as_deref() == Ok(&xattr.value))
}

impl Place<'_> {
    fn stat(&self) -> Result<Stat> {
        match self {
            Self::Open(fd) => stat_fd(fd),
            Self::Named(dir, name) => stat_at(dir, name)?.ok_or(Errno::NOENT),
        }
    }

    fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Named(dir, name) => {
                rustix::fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Named(dir, name) => {
                // There is no call that changes the mode of a name without following it on every kernel; a descriptor
                // that only stands for the place is one way, and opens no device.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, *name, flags, Mode::empty())?;
                rustix::fs::chmod(format!("/proc/self/fd/{}", fd.as_raw_fd()), mode)
            }
        }
    }

    fn set_times(&self, entry: &Entry) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times(entry)),
            Self::Named(dir, name) => {
                rustix::fs::utimensat(dir, *name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_xattr(&self, xattr: &Xattr) -> Result<()> {
        let (name, value) = (xattr.name.as_slice(), xattr.value.as_slice());
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Named(dir, at) => {
                rustix::fs::lsetxattr(proc_path(*dir, at), name, value, XattrFlags::empty())
            }
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Named(dir, at) => rustix::fs::lremovexattr(proc_path(*dir, at), name),
        }
    }

    fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let len = match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, &mut value[..]),
            Self::Named(dir, at) => {
                rustix::fs::lgetxattr(proc_path(*dir, at), name, &mut value[..])
            }
        }?;
        value.truncate(len);
        Ok(value)
    }

    fn list_xattrs(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = vec![0; XATTR_BYTES_MAX];
        let len = match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, &mut names[..]),
            Self::Named(dir, at) => rustix::fs::llistxattr(proc_path(*dir, at), &mut names[..]),
        }?;
        let names = names[..len].split(|&b| b == 0);
        Ok(names
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }
}

/// Whether a directory hands an ACL on to what is made in it.
pub(super) fn gives_acl(dir: impl AsFd) -> bool {
    rustix::fs::fgetxattr_query(dir, DEFAULT_ACL).is_ok()
}
