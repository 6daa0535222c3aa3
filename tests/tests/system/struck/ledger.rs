//! What was acknowledged: which snapshots must be there, what they hold, and which may or must be gone.

use std::collections::BTreeMap;

use holdfast_tests::compare::Tree;
use serde_json::Value;

/// The policy keeps so many of the newest snapshots. It is applied at any time, by the coordinator itself too.
pub(crate) const KEPT: usize = 8;

/// What was told of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It was to be forgotten, and nobody said that it was.
    MayGo,
    Gone,
}

#[derive(Debug)]
struct Entry {
    tree: usize,
    is_protected: bool,
    fate: Fate,
}

/// See the module header.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What the tree was like, by the number in a snapshot's tag.
    trees: Vec<Tree>,
    /// By their ids.
    snapshots: BTreeMap<String, Entry>,
    /// The trees of snapshots that somebody wanted forgotten, acknowledged or not: the policy may have counted them
    /// among the newest before they went.
    forgotten: Vec<usize>,
}

impl Ledger {
    /// Notes what the tree is like now; the tag of its backups.
    pub(crate) fn note(&mut self, tree: Tree) -> String {
        self.trees.push(tree);
        format!("tree-{}", self.trees.len() - 1)
    }

    /// A backup was acknowledged.
    pub(crate) fn acknowledged(&mut self, id: &str, tag: &str, is_protected: bool) {
        let entry = Entry {
            tree: tree_number(tag),
            is_protected,
            fate: Fate::Kept,
        };
        self.snapshots.insert(id.into(), entry);
    }

    /// How many were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.snapshots.len()
    }

    /// Somebody is about to forget it.
    pub(crate) fn may_go(&mut self, snapshot: &Value) {
        self.forgotten.push(number_of(snapshot));
        self.set(snapshot["id"].as_str().unwrap(), Fate::MayGo);
    }

    /// It was said to be forgotten.
    pub(crate) fn is_gone(&mut self, id: &str) {
        self.set(id, Fate::Gone);
    }

    fn set(&mut self, id: &str, fate: Fate) {
        if let Some(entry) = self.snapshots.get_mut(id) {
            entry.fate = fate;
        }
    }

    /// What a listed snapshot must restore to.
    pub(crate) fn tree(&self, snapshot: &Value) -> &Tree {
        &self.trees[number_of(snapshot)]
    }

    /// Requires that all that was acknowledged is listed, and nothing that was said to be gone.
    #[track_caller]
    pub(crate) fn assert_listed(&self, listed: &[Value]) {
        self.assert_those_listed(listed, |_| true);
    }

    /// Requires the same of those alone that were acknowledged as protected: one site must show them.
    #[track_caller]
    pub(crate) fn assert_protected_listed(&self, listed: &[Value]) {
        self.assert_those_listed(listed, |entry| entry.is_protected);
    }

    #[track_caller]
    fn assert_those_listed(&self, listed: &[Value], wanted: impl Fn(&Entry) -> bool) {
        let mut numbers: Vec<usize> = listed.iter().map(number_of).collect();
        numbers.extend(&self.forgotten);
        for (id, entry) in self.snapshots.iter().filter(|(_, entry)| wanted(entry)) {
            let is_listed = listed.iter().any(|one| one["id"] == id.as_str());
            let newer = numbers.iter().filter(|&&number| number > entry.tree);
            let may_have_expired = newer.count() >= KEPT;
            match entry.fate {
                Fate::Kept => assert!(
                    is_listed || may_have_expired,
                    "{id} of tree-{} was acknowledged and is missing: {listed:?}",
                    entry.tree
                ),
                Fate::MayGo | Fate::Gone => {}
            }
        }
    }

    /// Requires that what was said to be gone is not shown any more where the log is complete.
    #[track_caller]
    pub(crate) fn assert_gone(&self, listed: &[Value]) {
        for snapshot in listed {
            let id = snapshot["id"].as_str().unwrap();
            let fate = self.snapshots.get(id).map(|entry| entry.fate);
            assert_ne!(fate, Some(Fate::Gone), "{id} was forgotten and is back");
        }
    }
}

fn number_of(snapshot: &Value) -> usize {
    tree_number(snapshot["tags"][0].as_str().unwrap())
}

fn tree_number(tag: &str) -> usize {
    tag.strip_prefix("tree-").unwrap().parse().unwrap()
}
