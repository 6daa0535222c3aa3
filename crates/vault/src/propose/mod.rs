//! Proposals: what sessions, people and the vault's own actors ask the writer to append, and the checks in its turn.
//!
//! A [`Draft`] gathers the facts of one record. Each proposal is checked against the state as it stands; one that
//! depends on another in the same draft waits for the next record. Nothing here does I/O.

mod check;

use std::collections::HashSet;

use holdfast_format::fact::{
    BranchSalvaged, CheckpointMade, ChunkBad, HoldPlaced, HoldReleased, MemberJoined, MemberLeft,
    PolicySet, RecipientsSet, SessionEnded, SessionOpened, SiteChecked, SnapshotCommitted,
    SnapshotVerified, SnapshotsRecovered, SnapshotsTrashed, Swept,
};
use holdfast_format::naming::MissingChildren;
use holdfast_format::{ChunkId, Fact, KeyId, Pack, SessionId};

use check::check;
pub use check::may_own;

use crate::collect::condemn::Plan;
use crate::fold::State;
use crate::promises::Promises;

/// Something to be appended.
#[derive(Debug, Clone)]
pub enum Proposal {
    /// Opens a session.
    Open(SessionOpened),
    /// Adds a session's packs, which are at the primary already, and perhaps commits its snapshot.
    Packs {
        /// The session.
        session: SessionId,
        /// The packs, children first.
        packs: Vec<Pack>,
        /// Commit behind them.
        commit: Option<Commit>,
    },
    /// Adds packs of frames that exist already: moved by the collector, or copied out of a branch.
    Copies {
        /// The packs, children first.
        packs: Vec<Pack>,
        /// Chunks in them that are not live here and become so. Whatever else is not live is carried along unnamed.
        fresh: HashSet<ChunkId>,
    },
    /// Opens a session of a branch again, so that what it committed there can be committed here.
    Reopen(SessionOpened),
    /// Commits a snapshot of a branch again, whose chunks are here by now; its ordinal is looked up anew.
    Recommit(SnapshotCommitted),
    /// Ends a session without a snapshot.
    End(SessionEnded),
    /// Puts snapshots into the trash.
    Trash(SnapshotsTrashed),
    /// Takes snapshots out of the trash.
    Recover(SnapshotsRecovered),
    /// Places a hold.
    Hold(HoldPlaced),
    /// Releases a hold.
    Release(HoldReleased),
    /// Founds a new vault: its members, recipients and policy, in one record.
    Found {
        /// The members; the primary among them.
        members: Vec<MemberJoined>,
        /// The recipients.
        recipients: RecipientsSet,
        /// The policy, if there is one.
        policy: Option<PolicySet>,
    },
    /// Sets the policy.
    Policy(PolicySet),
    /// Adds a member.
    Join(MemberJoined),
    /// Removes a member.
    Leave(MemberLeft),
    /// Sets the recipients.
    Recipients(RecipientsSet),
    /// Gives up what a plan names, but for what has been needed since.
    Condemn(Box<Plan>),
    /// Says what is gone at every member.
    Sweep(Swept),
    /// Names bad chunks.
    Bad(ChunkBad),
    /// Makes a checkpoint count.
    Checkpoint(CheckpointMade),
    /// Says that a snapshot was read back.
    Verified(SnapshotVerified),
    /// Says what is known by now of snapshots and packs at a site.
    Checked(SiteChecked),
    /// Ends the salvage of a branch.
    Salvaged(BranchSalvaged),
}

/// What a session says when all was sent.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Root node.
    pub root: ChunkId,
    /// Files in it.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Sum of its files' sizes.
    pub bytes: u64,
    /// Paths that could not be read.
    pub problems: u64,
}

/// Why a proposal is not appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It makes no sense in the present state; says why and what to do.
    Invalid(String),
    /// What it names does not exist.
    Missing(String),
    /// A commit or a node refers to chunks that are not live: the session sends them and tries again.
    Chunks(Vec<ChunkId>),
}

impl From<MissingChildren> for Refusal {
    fn from(missing: MissingChildren) -> Self {
        Self::Chunks(missing.0)
    }
}

/// What became of a proposal in a draft.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its facts are in the draft.
    Taken,
    /// It depends on what is in the draft already: propose it again for the next record.
    Later,
    /// It is not appended.
    Refused(Refusal),
    /// There is nothing to append: it is so already.
    Nothing,
}

/// The facts of one record in the making.
#[derive(Debug, Default)]
pub struct Draft {
    facts: Vec<Fact>,
    touched: HashSet<SessionId>,
    keys: HashSet<KeyId>,
    packs_named: bool,
    alone: bool,
}

impl Draft {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The facts.
    pub fn into_facts(self) -> Vec<Fact> {
        self.facts
    }

    /// Checks a proposal and takes its facts in.
    pub fn add(
        &mut self,
        state: &State,
        promises: &mut Promises,
        clock_millis: i64,
        proposal: &Proposal,
    ) -> Outcome {
        let first = self.facts.is_empty();
        if self.alone || (!first && must_be_alone(proposal)) {
            return Outcome::Later;
        }
        if let Some(session) = session_of(proposal)
            && self.touched.contains(&session)
        {
            return Outcome::Later;
        }
        // The fold refuses a key's second opening: whoever comes with the same key waits, and is refused by name then.
        if let Proposal::Open(open) = proposal
            && self.keys.contains(&open.key.key)
        {
            return Outcome::Later;
        }
        // Ordinals are handed out from the state: a second set of packs waits for the next record.
        if names_packs(proposal) && self.packs_named {
            return Outcome::Later;
        }
        let now = state.next_time(clock_millis);
        match check(state, promises, now, proposal) {
            Ok(facts) if facts.is_empty() => Outcome::Nothing,
            Ok(facts) => {
                self.facts.extend(facts);
                self.touched.extend(session_of(proposal));
                if let Proposal::Open(open) = proposal {
                    self.keys.insert(open.key.key);
                }
                self.packs_named |= names_packs(proposal);
                self.alone = must_be_alone(proposal);
                Outcome::Taken
            }
            Err(refusal) => Outcome::Refused(refusal),
        }
    }
}

fn names_packs(proposal: &Proposal) -> bool {
    match proposal {
        Proposal::Packs { packs, .. } | Proposal::Copies { packs, .. } => !packs.is_empty(),
        _ => false,
    }
}

fn session_of(proposal: &Proposal) -> Option<SessionId> {
    match proposal {
        Proposal::Open(open) => Some(open.session),
        Proposal::Packs { session, .. } => Some(*session),
        Proposal::End(end) => Some(end.session),
        _ => None,
    }
}

/// What changes the ground that other checks stand on goes into a record of its own.
fn must_be_alone(proposal: &Proposal) -> bool {
    !matches!(
        proposal,
        Proposal::Open(_) | Proposal::Packs { .. } | Proposal::Copies { .. } | Proposal::End(_)
    )
}
