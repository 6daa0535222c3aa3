//! What the system says of a file, in one shape on every machine, and the directory entry made from it.

use holdfast_format::ScopeKeys;
use holdfast_format::tree::{Entry, EntryKind};
use minicbor::{Decode, Encode};
use rustix::fs::{FileType, Stat};

use super::owners::Owners;

/// A moment as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
#[cbor(array)]
pub(crate) struct Moment {
    /// Seconds since 1970 UTC.
    #[n(0)]
    pub(crate) seconds: i64,
    /// Nanoseconds within the second.
    #[n(1)]
    pub(crate) nanos: u32,
}

impl Moment {
    /// Nanoseconds since 1970 UTC.
    pub(crate) fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }
}

/// What tells that a file is as it was. Equal keys mean unchanged content, but for changes within one tick of the
/// file system's clock: see [`Self::is_older_than`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct StatKey {
    /// Size, bytes.
    #[n(0)]
    pub(crate) size: u64,
    /// Last change of the content.
    #[n(1)]
    pub(crate) mtime: Moment,
    /// Last change of content or attributes. Nobody can set it.
    #[n(2)]
    pub(crate) ctime: Moment,
    /// Inode number.
    #[n(3)]
    pub(crate) inode: u64,
    /// The device that the inode is of.
    #[n(4)]
    pub(crate) device: u64,
}

impl StatKey {
    /// One that no file has: of content that was read, and whose file must be read again.
    pub(crate) const NEVER: Self = Self {
        size: u64::MAX,
        mtime: Moment {
            seconds: 0,
            nanos: 0,
        },
        ctime: Moment {
            seconds: 0,
            nanos: 0,
        },
        inode: 0,
        device: 0,
    };

    /// Whether both times lie before `nanos` (since 1970 UTC). A file with a later time may have changed again after
    /// it was read without its times showing it (git calls this racy).
    pub(crate) fn is_older_than(&self, nanos: i128) -> bool {
        self.mtime.as_nanos() < nanos && self.ctime.as_nanos() < nanos
    }
}

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStat {
    pub(crate) key: StatKey,
    pub(crate) kind: Option<EntryKind>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u64,
    /// Bytes that it takes on disk.
    pub(crate) allocated: u64,
    /// Of a device: its number.
    pub(crate) device: u64,
}

impl FileStat {
    /// Whether holes are likely.
    pub(crate) fn looks_sparse(&self) -> bool {
        self.allocated < self.key.size
    }
}

#[expect(
    clippy::unnecessary_cast,
    reason = "the fields' types differ between machines"
)]
impl From<Stat> for FileStat {
    fn from(stat: Stat) -> Self {
        let moment = |seconds: i64, nanos: u32| Moment { seconds, nanos };
        Self {
            key: StatKey {
                size: u64::try_from(stat.st_size).unwrap_or(0),
                mtime: moment(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
                ctime: moment(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
                inode: stat.st_ino as u64,
                device: stat.st_dev as u64,
            },
            kind: match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Some(EntryKind::File),
                FileType::Directory => Some(EntryKind::Directory),
                FileType::Symlink => Some(EntryKind::Symlink),
                FileType::Fifo => Some(EntryKind::Fifo),
                FileType::BlockDevice => Some(EntryKind::BlockDevice),
                FileType::CharacterDevice => Some(EntryKind::CharDevice),
                FileType::Socket => Some(EntryKind::Socket),
                FileType::Unknown => None,
            },
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid as u32,
            gid: stat.st_gid as u32,
            links: stat.st_nlink as u64,
            allocated: u64::try_from(stat.st_blocks)
                .unwrap_or(0)
                .saturating_mul(512),
            device: stat.st_rdev as u64,
        }
    }
}

/// Makes entries: knows the owners' names and the key that hides inode numbers.
#[derive(Debug)]
pub(crate) struct EntryMaker {
    keys: ScopeKeys,
    owners: Owners,
}

impl EntryMaker {
    /// With the owners' names as they are now.
    pub(crate) fn new(keys: ScopeKeys, owners: Owners) -> Self {
        Self { keys, owners }
    }

    /// An entry without content, attributes and target. A file's size is what `stat` said until it was read.
    pub(crate) fn entry(&self, name: &[u8], kind: EntryKind, stat: &FileStat) -> Entry {
        let device = matches!(kind, EntryKind::BlockDevice | EntryKind::CharDevice);
        let shared = stat.links > 1 && kind != EntryKind::Directory;
        Entry {
            name: name.to_vec(),
            kind,
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            user: self.owners.user(stat.uid),
            group: self.owners.group(stat.gid),
            mtime_seconds: stat.key.mtime.seconds,
            mtime_nanos: stat.key.mtime.nanos,
            size: if kind == EntryKind::File {
                stat.key.size
            } else {
                0
            },
            xattrs: None,
            hard_link: shared.then(|| self.hard_link(&stat.key)),
            content: None,
            directory: None,
            target: None,
            device: device.then_some(stat.device),
        }
    }

    /// The number that an inode's names share: a keyed hash of device and inode, so that it is the same in every
    /// snapshot and needs no table.
    fn hard_link(&self, key: &StatKey) -> u64 {
        let mut both = [0; 16];
        both[..8].copy_from_slice(&key.device.to_le_bytes());
        both[8..].copy_from_slice(&key.inode.to_le_bytes());
        self.keys.name_hash(&both)
    }
}
