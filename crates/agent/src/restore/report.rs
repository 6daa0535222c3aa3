//! What a restore has to tell at its end: what it did, what it could not do, what is lost.
//!
//! State: counters and lists that workers add to. Lists are cut at [`KEPT_MAX`] entries, counts are not.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use holdfast_format::ChunkId;
use serde::Serialize;

use super::flaw::Flaw;
use super::path::PathText;

/// The most problems and the most losses that a result lists.
pub(super) const KEPT_MAX: usize = 10_000;

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestoreResult {
    /// Regular files that stand in the target as the snapshot has them, further names of hard links included.
    pub files: u64,
    /// Directories, those on the way to something selected included.
    pub directories: u64,
    /// Symlinks, devices and fifos.
    pub others: u64,
    /// Entries that were removed because the snapshot does not have them (`--delete-extra`).
    pub deleted: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
    /// Bytes of content that were there and right.
    pub bytes_kept: u64,
    /// Bytes of holes, which take no space.
    pub bytes_holes: u64,
    /// What could not be restored as it was, at most 10,000.
    pub problems: Vec<RestoreProblem>,
    /// How many problems there were.
    pub problems_count: u64,
    /// What is lost at every site, at most 10,000. It was left out: no wrong byte stands under a real name.
    pub losses: Vec<RestoreLoss>,
    /// How many losses there were.
    pub losses_count: u64,
    /// What was left as it is for a reason that holds for many entries alike. No error.
    pub notes: Vec<RestoreNote>,
}

impl RestoreResult {
    /// Whether everything that was asked for stands in the target. If not, the exit code is 3.
    pub fn complete(&self) -> bool {
        self.problems_count == 0 && self.losses_count == 0
    }
}

/// Something that could not be restored as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreProblem {
    /// Its path in the snapshot.
    #[serde(flatten)]
    pub path: PathText,
    /// What happened.
    pub what: String,
}

/// Something that is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreLoss {
    /// Its path in the snapshot; of lost entries, their directory's.
    #[serde(flatten)]
    pub path: PathText,
    /// What is lost and why.
    pub what: String,
    /// The chunk, unless a node says something impossible.
    #[serde(serialize_with = "id_as_text")]
    pub chunk: Option<ChunkId>,
}

/// A reason that holds for many entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreNote {
    /// What was left and why.
    pub what: String,
    /// For how many entries.
    pub count: u64,
    /// The first of them.
    #[serde(flatten)]
    pub path: PathText,
}

fn id_as_text<S: serde::Serializer>(id: &Option<ChunkId>, to: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.serialize_some(&id.to_string()),
        None => to.serialize_none(),
    }
}

/// A result in the making.
#[derive(Debug, Default)]
pub(crate) struct Report {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    result: RestoreResult,
    notes: BTreeMap<String, RestoreNote>,
}

impl Report {
    /// Changes the counters.
    pub(crate) fn count(&self, change: impl FnOnce(&mut RestoreResult)) {
        change(&mut self.lock().result);
    }

    /// Adds a problem.
    pub(crate) fn problem(&self, path: Vec<u8>, what: impl Into<String>) {
        let mut state = self.lock();
        state.result.problems_count += 1;
        if state.result.problems.len() < KEPT_MAX {
            state.result.problems.push(RestoreProblem {
                path: PathText(path),
                what: what.into(),
            });
        }
    }

    /// Adds a loss.
    pub(crate) fn loss(&self, path: Vec<u8>, flaw: &Flaw) {
        let mut state = self.lock();
        state.result.losses_count += 1;
        if state.result.losses.len() < KEPT_MAX {
            state.result.losses.push(RestoreLoss {
                path: PathText(path),
                what: flaw.what.clone(),
                chunk: flaw.loss.as_ref().map(|loss| loss.id),
            });
        }
    }

    /// Adds an entry to a note; `path` is asked for only the first time.
    pub(crate) fn note(&self, what: &str, path: impl FnOnce() -> Vec<u8>) {
        let mut state = self.lock();
        if let Some(note) = state.notes.get_mut(what) {
            note.count += 1;
            return;
        }
        let note = RestoreNote {
            what: what.into(),
            count: 1,
            path: PathText(path()),
        };
        state.notes.insert(what.into(), note);
    }

    /// The result so far.
    pub(crate) fn result(&self) -> RestoreResult {
        let state = self.lock();
        let mut result = state.result.clone();
        result.notes = state.notes.values().cloned().collect();
        result
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
