//! The model: a backup system as naive as can be, a map of snapshots to trees. Every restore is compared with it.
//!
//! State: what was given to be backed up, what was acknowledged, what people asked for since. It knows nothing of logs,
//! packs or sites.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{HoldId, SnapshotId};

use crate::tree::Tree;

/// One snapshot, as its agent knows it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its source.
    pub source: String,
    /// What it holds.
    pub tree: Tree,
    /// Which backup it was, counted over all.
    pub number: u64,
    /// Its agent was told that it is committed.
    pub acknowledged: bool,
    /// Its agent was told that it is on every member.
    pub protected: bool,
    /// Somebody asked to forget it, and has not recovered it since.
    pub forgotten: bool,
    /// How often somebody asked to forget it.
    forgets: u64,
    /// How many of those were not answered: they may happen yet.
    forgets_open: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    snapshots: BTreeMap<SnapshotId, Entry>,
    holds: BTreeMap<HoldId, SnapshotId>,
    /// Holds that somebody asked to release.
    released: BTreeSet<HoldId>,
    /// The policy keeps so many of each source.
    keeps_last: Option<usize>,
    number: u64,
}

impl Model {
    /// An agent is about to commit this.
    pub fn intend(&mut self, id: SnapshotId, source: &str, tree: &Tree) {
        self.number += 1;
        let entry = Entry {
            source: source.into(),
            tree: tree.clone(),
            number: self.number,
            acknowledged: false,
            protected: false,
            forgotten: false,
            forgets: 0,
            forgets_open: 0,
        };
        self.snapshots.insert(id, entry);
    }

    /// It was acknowledged as committed.
    pub fn acknowledge(&mut self, id: &SnapshotId) {
        if let Some(entry) = self.snapshots.get_mut(id) {
            entry.acknowledged = true;
        }
    }

    /// It was acknowledged as protected.
    pub fn protect(&mut self, id: &SnapshotId) {
        if let Some(entry) = self.snapshots.get_mut(id) {
            entry.protected = true;
        }
    }

    /// Somebody asks to forget it; whether it happens is open until it is answered.
    pub fn forget(&mut self, id: &SnapshotId) {
        if let Some(entry) = self.snapshots.get_mut(id) {
            entry.forgotten = true;
            entry.forgets += 1;
            entry.forgets_open += 1;
        }
    }

    /// It was forgotten, as somebody was told.
    pub fn forgot(&mut self, id: &SnapshotId) {
        if let Some(entry) = self.snapshots.get_mut(id) {
            entry.forgets_open -= 1;
        }
    }

    /// Somebody is about to take it out of the trash: how often it was forgotten so far, if that is settled.
    pub fn recovering(&self, id: &SnapshotId) -> Option<u64> {
        let entry = self.snapshots.get(id)?;
        (entry.forgets_open == 0).then_some(entry.forgets)
    }

    /// It was recovered, as somebody was told; it counts unless somebody asked to forget it meanwhile.
    pub fn recover(&mut self, id: &SnapshotId, before: Option<u64>) {
        if let Some(entry) = self.snapshots.get_mut(id)
            && before == Some(entry.forgets)
        {
            entry.forgotten = false;
        }
    }

    /// A hold was placed, as somebody was told.
    pub fn hold(&mut self, hold: HoldId, id: SnapshotId) {
        self.holds.insert(hold, id);
    }

    /// Somebody asks to release it; whether it happens is open.
    pub fn release(&mut self, hold: &HoldId) {
        self.released.insert(*hold);
    }

    /// A policy that keeps so many of each source may be in force from now on.
    pub fn keep_last(&mut self, count: usize) {
        let before = self.keeps_last.unwrap_or(usize::MAX);
        self.keeps_last = Some(before.min(count));
    }

    /// Holds that are in force.
    pub fn held(&self) -> Vec<(HoldId, SnapshotId)> {
        let held = self.holds.iter();
        held.filter(|(hold, _)| !self.released.contains(hold))
            .map(|(hold, id)| (*hold, *id))
            .collect()
    }

    /// The snapshot, if it is one.
    pub fn get(&self, id: &SnapshotId) -> Option<&Entry> {
        self.snapshots.get(id)
    }

    /// Snapshots that were acknowledged, oldest first.
    pub fn acknowledged(&self) -> Vec<SnapshotId> {
        let mut found: Vec<_> = (self.snapshots.iter())
            .filter(|(_, entry)| entry.acknowledged)
            .map(|(id, entry)| (entry.number, *id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// Snapshots that must be there, whatever has happened.
    pub fn must_be_there(&self) -> BTreeSet<SnapshotId> {
        let held: BTreeSet<SnapshotId> = self.held().into_iter().map(|(_, id)| id).collect();
        let kept = |id: &SnapshotId, entry: &Entry| {
            if held.contains(id) {
                return true;
            }
            let newer = self.snapshots.values();
            let newer = newer
                .filter(|other| other.source == entry.source && other.number > entry.number)
                .count();
            !entry.forgotten && self.keeps_last.is_none_or(|last| newer < last)
        };
        (self.snapshots.iter())
            .filter(|(id, entry)| entry.acknowledged && kept(id, entry))
            .map(|(id, _)| *id)
            .collect()
    }
}
