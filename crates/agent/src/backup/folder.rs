//! Open folders: everything is looked up relative to one, so that no path is too long and none changes under us.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fstat, openat, statat};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::metadata::FileStat;

/// The first bytes of a `CACHEDIR.TAG` that means it, see <https://bford.info/cachedir/>.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The name of the tag.
pub(crate) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Its descriptor.
    pub(crate) fd: OwnedFd,
    /// Its absolute path, for messages; the root is empty.
    pub(crate) path: Vec<u8>,
    /// What it was when it was opened.
    pub(crate) stat: FileStat,
}

/// What a folder is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// To list it.
    Listing,
    /// To go through it by known names: needs no right to read it.
    Passage,
    /// Likewise, and it may be a symlink to a folder.
    FollowedPassage,
}

impl Use {
    fn flags(self) -> OFlags {
        let folder = OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self {
            Self::Listing => folder | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW,
            Self::Passage => folder | OFlags::PATH | OFlags::NOFOLLOW,
            Self::FollowedPassage => folder | OFlags::PATH,
        }
    }
}

impl Folder {
    /// The root of the file system.
    pub(crate) fn root(purpose: Use) -> io::Result<Self> {
        let fd = openat(CWD, "/", purpose.flags(), Mode::empty())?;
        Self::of(fd, Vec::new())
    }

    /// Opens a folder in this one.
    pub(crate) fn open(&self, name: &[u8], purpose: Use) -> io::Result<Self> {
        let fd = match purpose {
            Use::Listing => open_quietly(&self.fd, name, purpose.flags())?,
            _ => openat(&self.fd, name, purpose.flags(), Mode::empty())?,
        };
        Self::of(fd, self.path_of(name))
    }

    /// Opens the folder that this one lies in, for passage. `path` is what it was known as.
    pub(crate) fn parent(&self, path: Vec<u8>) -> io::Result<Self> {
        let fd = openat(&self.fd, "..", Use::Passage.flags(), Mode::empty())?;
        Self::of(fd, path)
    }

    /// Opens a folder that was open before, for passage, name by name from the root. It is an error if another has
    /// taken its place, so it does not matter that symlinks are followed.
    pub(crate) fn again(path: &[u8], identity: (u64, u64)) -> io::Result<Self> {
        let mut folder = Self::root(Use::Passage)?;
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            folder = folder.open(name, Use::FollowedPassage)?;
        }
        if folder.identity() == identity {
            Ok(folder)
        } else {
            Err(io::Error::other("its folder was moved meanwhile"))
        }
    }

    fn of(fd: OwnedFd, path: Vec<u8>) -> io::Result<Self> {
        let stat = fstat(&fd)?.into();
        Ok(Self { fd, path, stat })
    }

    /// Device and inode, to know it again.
    pub(crate) fn identity(&self) -> (u64, u64) {
        (self.stat.key.device, self.stat.key.inode)
    }

    /// The path of a name in it.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        [&self.path, &b"/"[..], name].concat()
    }

    /// What a name in it is.
    pub(crate) fn stat_of(&self, name: &[u8], follow: bool) -> io::Result<FileStat> {
        let flags = if follow {
            AtFlags::empty()
        } else {
            AtFlags::SYMLINK_NOFOLLOW
        };
        Ok(statat(&self.fd, name, flags)?.into())
    }

    /// Whether it is tagged as a cache.
    pub(crate) fn is_tagged_cache(&self) -> bool {
        let stat = self.stat_of(CACHE_TAG_NAME, false);
        if !stat.is_ok_and(|stat| stat.kind == Some(holdfast_format::tree::EntryKind::File)) {
            return false;
        }
        let mut start = [0; CACHE_TAG.len()];
        open_quietly(&self.fd, CACHE_TAG_NAME, file_flags())
            .and_then(|tag| Ok(rustix::io::pread(tag, &mut start, 0)?))
            .is_ok_and(|count| count == start.len() && start == *CACHE_TAG)
    }

    /// Its names, sorted by their bytes. An error in the middle leaves those before it, and is given too.
    pub(crate) fn names(&self, stop: &CancellationToken) -> (Names, io::Result<()>) {
        let mut names = Names::default();
        let mut buffer = Vec::with_capacity(64 << 10);
        let mut listing = RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut result = Ok(());
        while let Some(entry) = listing.next() {
            match entry {
                Ok(entry) => names.add(entry.file_name().to_bytes()),
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
            if listing.is_buffer_empty() && stop.is_cancelled() {
                break;
            }
        }
        names.sort();
        (names, result)
    }
}

/// How files are opened: never through a symlink; never waiting, should a fifo have taken the file's place.
pub(crate) fn file_flags() -> OFlags {
    OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY
}

/// Opens without touching the time of last access, where we may.
pub(crate) fn open_quietly(folder: &OwnedFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    match openat(folder, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(openat(folder, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// A folder's names, packed: there may be millions.
#[derive(Debug, Default)]
pub(crate) struct Names {
    bytes: Vec<u8>,
    spans: Vec<(usize, u32)>,
}

impl Names {
    /// Adds one, but for `.` and `..`.
    pub(crate) fn add(&mut self, name: &[u8]) {
        if name != b"." && name != b".." {
            self.spans.push((self.bytes.len(), name.len() as u32));
            self.bytes.extend_from_slice(name);
        }
    }

    /// Sorts them and drops repeated ones (a listing may give a name twice while the folder changes).
    pub(crate) fn sort(&mut self) {
        let Self { bytes, spans } = self;
        let name = |span: &(usize, u32)| &bytes[span.0..span.0 + span.1 as usize];
        spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        spans.dedup_by(|a, b| name(a) == name(b));
    }

    /// The name at a place.
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, len) = *self.spans.get(index)?;
        Some(&self.bytes[start..start + len as usize])
    }

    /// Whether a name is there; they must be sorted.
    pub(crate) fn contains(&self, wanted: &[u8]) -> bool {
        let name = |span: &(usize, u32)| &self.bytes[span.0..span.0 + span.1 as usize];
        self.spans
            .binary_search_by(|span| name(span).cmp(wanted))
            .is_ok()
    }
}
