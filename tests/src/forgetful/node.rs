//! One file or folder of a forgetful file system: what is visible, what is kept, and what lies between.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::noise::Noise;

/// A disk writes this many bytes at once or not at all.
const SECTOR: usize = 512;

/// A write that is not kept yet.
#[derive(Debug)]
pub(super) enum Write {
    /// Bytes at an offset.
    Put(usize, Vec<u8>),
    /// Another length.
    Resize(usize),
}

/// A change of a folder's names that is not kept yet.
#[derive(Debug)]
pub(super) struct NameChange {
    /// Which call it is of: both halves of a rename have the same.
    pub(super) call: u64,
    pub(super) name: String,
    /// What it names; `None`: nothing any more.
    pub(super) number: Option<u64>,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: FileType,
    pub(super) mode: u32,
    pub(super) links: u32,
    pub(super) modified: SystemTime,
    pub(super) names: BTreeMap<String, u64>,
    pub(super) names_kept: BTreeMap<String, u64>,
    pub(super) changes: Vec<NameChange>,
    pub(super) bytes: Vec<u8>,
    pub(super) bytes_kept: Vec<u8>,
    pub(super) writes: Vec<Write>,
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Put(at, data) => {
                let end = at + data.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[*at..end].copy_from_slice(data);
            }
            Self::Resize(len) => bytes.resize(*len, 0),
        }
    }

    /// What is left of it if the power fails within: some of its first sectors.
    fn tear(&mut self, chance: &mut Noise) {
        if let Self::Put(_, data) = self {
            let sectors = data.len().div_ceil(SECTOR) as u64;
            data.truncate(chance.below(sectors.max(1)) as usize * SECTOR);
        }
    }
}

impl NameChange {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self.number {
            Some(number) => names.insert(self.name.clone(), number),
            None => names.remove(&self.name),
        };
    }
}

impl Node {
    pub(super) fn new(kind: FileType, mode: u32) -> Self {
        Self {
            kind,
            mode,
            links: 1,
            modified: now(),
            names: BTreeMap::new(),
            names_kept: BTreeMap::new(),
            changes: Vec::new(),
            bytes: Vec::new(),
            bytes_kept: Vec::new(),
            writes: Vec::new(),
        }
    }

    pub(super) fn write(&mut self, write: Write) {
        write.apply(&mut self.bytes);
        self.writes.push(write);
        self.modified = now();
    }

    pub(super) fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push(change);
        self.modified = now();
    }

    /// `fsync`: all that is visible of this node is kept.
    pub(super) fn keep(&mut self) {
        for write in self.writes.drain(..) {
            write.apply(&mut self.bytes_kept);
        }
        for change in self.changes.drain(..) {
            change.apply(&mut self.names_kept);
        }
    }

    /// What is not kept is gone, but for the writes that luck spares, each with a chance of `percent`, whole or torn,
    /// and for the changes of names that were chosen. How many of both are gone.
    pub(super) fn forget(
        &mut self,
        mut spared: Option<(&mut Noise, u64)>,
        is_chosen: &mut impl FnMut(u64) -> bool,
    ) -> (usize, usize) {
        let mut gone = (0, 0);
        for mut write in std::mem::take(&mut self.writes) {
            let Some((chance, percent)) = &mut spared else {
                gone.0 += 1;
                continue;
            };
            if chance.below(100) >= *percent {
                gone.0 += 1;
                continue;
            }
            if chance.below(8) == 0 {
                write.tear(chance);
            }
            write.apply(&mut self.bytes_kept);
        }
        for change in std::mem::take(&mut self.changes) {
            match is_chosen(change.call) {
                true => change.apply(&mut self.names_kept),
                false => gone.1 += 1,
            }
        }
        self.bytes.clone_from(&self.bytes_kept);
        self.names.clone_from(&self.names_kept);
        gone
    }

    pub(super) fn attributes(&self, number: u64) -> FileAttr {
        FileAttr {
            ino: INodeNo(number),
            size: self.bytes.len() as u64,
            blocks: self.bytes.len().div_ceil(SECTOR) as u64,
            atime: UNIX_EPOCH,
            mtime: self.modified,
            ctime: self.modified,
            crtime: UNIX_EPOCH,
            kind: self.kind,
            // What is left are the twelve bits of permissions.
            perm: (self.mode & 0o7777) as u16,
            nlink: self.links,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "files bear the machine's own time, which the program under test compares with its own"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
