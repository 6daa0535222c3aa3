//! The inodes that the kernel knows of.
//!
//! State: each inode that was handed out and not yet forgotten, with how often it was. Filled as the kernel looks, emptied
//! as it forgets. The kernel forgets on its own only when memory is short, so once there are more than [`INODES_MAX`]
//! the ones longest known are named to it to be let go (see `filesystem.rs`); only those in use stay.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::restore::item::Item;

/// The number of the top directory.
pub(super) const TOP: u64 = 1;

/// How many inodes may be known before the kernel is asked to forget some. Each takes about a kilobyte.
pub(super) const INODES_MAX: usize = 1 << 16;

/// How many are let go at once.
const LET_GO: usize = 1 << 12;

/// What an inode stands for.
#[derive(Debug, Clone)]
pub(super) enum Thing {
    /// The folder of all snapshots.
    Folder,
    /// `latest`, in that folder.
    Latest,
    /// The top directory of the snapshot with that number.
    Snapshot(usize),
    /// An entry of the snapshot with that number.
    Item(usize, Arc<Item>),
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Inodes {
    known: HashMap<u64, Inode>,
    numbers: HashMap<Key, u64>,
    /// Numbers in the order in which they became known; some may be forgotten by now.
    order: VecDeque<u64>,
    next: u64,
}

#[derive(Debug)]
struct Inode {
    thing: Thing,
    parent: u64,
    name: Arc<[u8]>,
    key: Key,
    /// How often the kernel was told of it.
    lookups: u64,
}

/// What makes two lookups find one inode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(u64, Arc<[u8]>),
    /// Names of one file share its inode.
    Link(usize, u64),
}

impl Inodes {
    pub(super) fn new(top: Thing) -> Self {
        let key = Key::Name(TOP, Arc::from(&b""[..]));
        let inode = Inode {
            thing: top,
            parent: TOP,
            name: Arc::from(&b""[..]),
            key: key.clone(),
            lookups: 1,
        };
        Self {
            known: HashMap::from([(TOP, inode)]),
            numbers: HashMap::from([(key, TOP)]),
            order: VecDeque::new(),
            next: TOP + 1,
        }
    }

    /// What a number stands for, and its parent directory's number.
    pub(super) fn get(&self, ino: u64) -> Option<(Thing, u64)> {
        let inode = self.known.get(&ino)?;
        Some((inode.thing.clone(), inode.parent))
    }

    /// The number of a name in a directory. It counts as told to the kernel once more.
    pub(super) fn look_up(&mut self, parent: u64, name: &[u8], thing: Thing) -> u64 {
        let name: Arc<[u8]> = Arc::from(name);
        let key = match &thing {
            Thing::Item(snapshot, item) if !item.is_directory() => match item.entry.hard_link {
                Some(number) => Key::Link(*snapshot, number),
                None => Key::Name(parent, name.clone()),
            },
            _ => Key::Name(parent, name.clone()),
        };
        if let Some(&ino) = self.numbers.get(&key)
            && let Some(inode) = self.known.get_mut(&ino)
        {
            inode.lookups += 1;
            return ino;
        }
        let ino = self.next;
        self.next += 1;
        self.numbers.insert(key.clone(), ino);
        if self.order.len() > 2 * self.known.len() + LET_GO {
            // Most of them were forgotten without being asked to be.
            self.order.retain(|ino| self.known.contains_key(ino));
        }
        self.order.push_back(ino);
        self.known.insert(
            ino,
            Inode {
                thing,
                parent,
                name,
                key,
                lookups: 1,
            },
        );
        ino
    }

    /// The kernel no longer knows of `lookups` of the times that it was told.
    pub(super) fn forget(&mut self, ino: u64, lookups: u64) {
        if ino == TOP {
            return;
        }
        let Some(inode) = self.known.get_mut(&ino) else {
            return;
        };
        inode.lookups = inode.lookups.saturating_sub(lookups);
        if inode.lookups == 0
            && let Some(gone) = self.known.remove(&ino)
        {
            self.numbers.remove(&gone.key);
        }
    }

    /// Names for the kernel to let go, if too many are known: each with its directory's number.
    pub(super) fn too_many(&mut self) -> Vec<(u64, Arc<[u8]>)> {
        if self.known.len() <= INODES_MAX {
            return Vec::new();
        }
        let mut names = Vec::new();
        for _ in 0..self.order.len() {
            if names.len() >= LET_GO {
                break;
            }
            let Some(ino) = self.order.pop_front() else {
                break;
            };
            if let Some(inode) = self.known.get(&ino) {
                names.push((inode.parent, inode.name.clone()));
                // It may be in use and stay.
                self.order.push_back(ino);
            }
        }
        names
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
