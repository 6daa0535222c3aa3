//! The few system calls that go by a name below an open folder, and what their errors mean.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Kind;

/// Opens the folder `name` below `fd`; `""` is `fd` itself.
pub(super) fn open_below(fd: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let name = if name.is_empty() { "." } else { name };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(fd, OsStr::new(name), flags, Mode::empty())
}

/// Makes the names in the folder `name` below `fd` durable.
pub(super) fn sync_below(fd: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    rustix::fs::fsync(open_below(fd, name)?)
}

/// Looks at `name` below `fd`, through symbolic links.
pub(super) fn stat_below(
    fd: BorrowedFd<'_>,
    name: &str,
) -> rustix::io::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(fd, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What an operating system's error asks of the caller.
pub(super) fn kind_of(errno: Errno) -> Kind {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Kind::Full,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
        Errno::NAMETOOLONG | Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::XDEV => {
            Kind::Invalid
        }
        _ => Kind::Retry,
    }
}

/// An operating system's error in words.
pub(super) fn why(errno: Errno) -> String {
    match errno {
        Errno::NOSPC => "the site is full: no space is left on the device".into(),
        Errno::DQUOT => "the site is full: the disk quota is used up".into(),
        Errno::ACCESS | Errno::PERM => "permission was denied".into(),
        Errno::ROFS => "the file system is read-only".into(),
        Errno::IO => "the disk reported an error".into(),
        Errno::STALE => "the network file system has lost the folder".into(),
        other => {
            let text = std::io::Error::from(other).to_string().to_lowercase();
            text.split(" (os error").next().unwrap_or_default().into()
        }
    }
}
