//! All nodes of a forgetful file system, and what each call does to them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::time::Duration;

use fuser::{Errno, FileAttr, FileType};

use super::node::{NameChange, Node, Write};
use crate::noise::Noise;

/// The root's number, in FUSE.
const ROOT: u64 = 1;

/// What a power cut took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Writes that nobody had synced.
    pub writes: usize,
    /// Names given or taken that nobody had synced.
    pub names: usize,
}

#[derive(Debug)]
pub(super) struct State {
    nodes: BTreeMap<u64, Node>,
    /// Numbers given out; none is given twice, so that nobody meets another file under an old number.
    numbers: u64,
    /// Calls that changed names.
    calls: u64,
    /// Folders that are open, as they were when they were opened: what others remove meanwhile makes a listing miss
    /// nothing else.
    listings: HashMap<u64, Listing>,
    /// The power is off: every call fails.
    pub(super) is_off: bool,
    /// The power fails in the middle of the sync with this number; what is spared then.
    pub(super) fails_within: Option<(u64, Option<Noise>)>,
    /// What the present power cut took away.
    lost: Lost,
    /// Syncs that were asked for.
    pub(super) syncs: u64,
    /// Syncs that fail, by number; every one from the given number on, if there is one.
    pub(super) fails: Vec<u64>,
    pub(super) fails_from: Option<u64>,
    /// How long a sync takes.
    pub(super) slow: Duration,
    /// Names given to files whose bytes were not kept.
    pub(super) torn: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        let root = Node::new(FileType::Directory, 0o755);
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            numbers: ROOT,
            calls: 0,
            listings: HashMap::new(),
            is_off: false,
            fails_within: None,
            lost: Lost::default(),
            syncs: 0,
            fails: Vec::new(),
            fails_from: None,
            slow: Duration::ZERO,
            torn: Vec::new(),
        }
    }
}

/// Names with their numbers and kinds.
type Listing = Vec<(String, u64, FileType)>;

type Outcome<T> = Result<T, Errno>;

impl State {
    pub(super) fn node(&self, number: u64) -> Outcome<&Node> {
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    fn node_mut(&mut self, number: u64) -> Outcome<&mut Node> {
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)
    }

    pub(super) fn attributes(&self, number: u64) -> Outcome<FileAttr> {
        Ok(self.node(number)?.attributes(number))
    }

    pub(super) fn child(&self, parent: u64, name: &OsStr) -> Outcome<u64> {
        let found = self.node(parent)?.names.get(text(name)?);
        found.copied().ok_or(Errno::ENOENT)
    }

    fn set_name(
        &mut self,
        call: u64,
        parent: u64,
        name: &OsStr,
        number: Option<u64>,
    ) -> Outcome<()> {
        let name = text(name)?.to_owned();
        let change = NameChange { call, name, number };
        self.node_mut(parent)?.rename(change);
        Ok(())
    }

    fn call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(super) fn make(
        &mut self,
        parent: u64,
        name: &OsStr,
        kind: FileType,
        mode: u32,
    ) -> Outcome<FileAttr> {
        if self.child(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.numbers += 1;
        let number = self.numbers;
        self.nodes.insert(number, Node::new(kind, mode));
        let call = self.call();
        self.set_name(call, parent, name, Some(number))?;
        self.attributes(number)
    }

    pub(super) fn link(&mut self, number: u64, parent: u64, name: &OsStr) -> Outcome<FileAttr> {
        if self.child(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.name_is_given(number, name)?;
        let call = self.call();
        self.set_name(call, parent, name, Some(number))?;
        self.node_mut(number)?.links += 1;
        self.attributes(number)
    }

    pub(super) fn unlink(&mut self, parent: u64, name: &OsStr) -> Outcome<()> {
        let number = self.child(parent, name)?;
        if !self.node(number)?.names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let call = self.call();
        self.set_name(call, parent, name, None)?;
        // The node stays: who has it open goes on using it, and its name may come back.
        self.node_mut(number)?.links -= 1;
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Outcome<()> {
        let number = self.child(from.0, from.1)?;
        self.name_is_given(number, to.1)?;
        if let Ok(replaced) = self.child(to.0, to.1) {
            if replaced == number {
                return Ok(());
            }
            self.node_mut(replaced)?.links -= 1;
        }
        let call = self.call();
        self.set_name(call, from.0, from.1, None)?;
        self.set_name(call, to.0, to.1, Some(number))
    }

    fn name_is_given(&mut self, number: u64, name: &OsStr) -> Outcome<()> {
        if !self.node(number)?.writes.is_empty() {
            self.torn.push(name.to_string_lossy().into());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, number: u64, write: Write) -> Outcome<()> {
        self.node_mut(number)?.write(write);
        Ok(())
    }

    pub(super) fn set_mode(&mut self, number: u64, mode: u32) -> Outcome<()> {
        self.node_mut(number)?.mode = mode;
        Ok(())
    }

    pub(super) fn open_listing(&mut self, number: u64) -> Outcome<u64> {
        let mut listing = Listing::new();
        for (name, child) in &self.node(number)?.names {
            listing.push((name.clone(), *child, self.node(*child)?.kind));
        }
        self.numbers += 1;
        self.listings.insert(self.numbers, listing);
        Ok(self.numbers)
    }

    pub(super) fn listing(&self, listing: u64) -> &[(String, u64, FileType)] {
        self.listings.get(&listing).map_or(&[], Vec::as_slice)
    }

    pub(super) fn close_listing(&mut self, listing: u64) {
        self.listings.remove(&listing);
    }

    /// Keeps what is visible of a node, unless this sync is to fail.
    pub(super) fn sync(&mut self, number: u64) -> Outcome<()> {
        let sync = self.syncs;
        self.syncs += 1;
        if let Some((_, mut spared)) = self.fails_within.take_if(|(within, _)| *within <= sync) {
            self.power_off(spared.as_mut());
            return Err(Errno::EIO);
        }
        if self.fails.contains(&sync) || self.fails_from.is_some_and(|from| sync >= from) {
            return Err(Errno::EIO);
        }
        self.node_mut(number)?.keep();
        Ok(())
    }

    pub(super) fn survives(&self, path: &str) -> Option<Vec<u8>> {
        let mut at = self.nodes.get(&ROOT)?;
        for part in path.split('/') {
            at = self.nodes.get(at.names_kept.get(part)?)?;
        }
        (at.kind == FileType::RegularFile).then(|| at.bytes_kept.clone())
    }

    pub(super) fn power_off(&mut self, mut spared: Option<&mut Noise>) -> Lost {
        self.fails_within = None;
        if self.is_off {
            return self.lost;
        }
        self.is_off = true;
        // Much, about half or little of it was on its way to the disk.
        let percent = spared
            .as_mut()
            .map_or(0, |chance| [15, 50, 85][chance.below(3) as usize]);
        let mut calls = HashMap::new();
        // A rename is spared as a whole or not at all, as every journal has it; one call may overtake another.
        let seed = spared.as_mut().map_or(0, |chance| chance.number());
        let mut calls_chance = Noise::new(seed);
        let mut is_chosen = |call| {
            *calls
                .entry(call)
                .or_insert_with(|| calls_chance.below(100) < percent)
        };
        let mut lost = Lost::default();
        for node in self.nodes.values_mut() {
            let spared = spared.as_mut().map(|chance| (&mut **chance, percent));
            let (writes, names) = node.forget(spared, &mut is_chosen);
            lost.writes += writes;
            lost.names += names;
        }
        self.drop_what_has_no_name();
        self.lost = lost;
        lost
    }

    /// Counts names anew and frees what none is left of.
    fn drop_what_has_no_name(&mut self) {
        let mut links = BTreeMap::from([(ROOT, 1)]);
        let mut open = vec![ROOT];
        while let Some(folder) = open.pop() {
            let children = self.nodes.get(&folder).map(|node| node.names.values());
            for &child in children.into_iter().flatten() {
                let count = links.entry(child).or_insert(0);
                *count += 1;
                if *count == 1 {
                    open.push(child);
                }
            }
        }
        self.nodes.retain(|number, node| {
            let count = links.get(number);
            node.links = count.copied().unwrap_or(0);
            count.is_some()
        });
    }
}

fn text(name: &OsStr) -> Outcome<&str> {
    name.to_str().ok_or(Errno::EINVAL)
}
