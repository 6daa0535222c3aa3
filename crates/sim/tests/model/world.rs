//! The world of the model: sites with logs, packs and keys; coordinators' ownerships over them; requests under way.
//!
//! State: everything that the checker hashes. Records, packs and keys are small numbers; whatever decides is the product's
//! own `step`, never this file.

use std::sync::Arc;

use holdfast_vault::branch::closing;
use holdfast_vault::collect::sweeping;
use holdfast_vault::log::{append, takeover};
use holdfast_vault::replicate::copying;

/// A set of packs, keys, snapshots or sites, one bit each. Pack `i` is made by session `i` under key `i`; pack `i + 4` is
/// the copy of it that a salvage makes, under the same key.
pub(crate) type Mask = u8;

pub(crate) fn bit(number: u8) -> Mask {
    1 << number
}

/// The keys that packs are under.
pub(crate) fn keys_of(packs: Mask) -> Mask {
    (packs | packs >> 4) & 0x0f
}

/// The members of a set.
pub(crate) fn each(mask: Mask) -> impl Iterator<Item = u8> {
    (0..8).filter(move |&number| mask & bit(number) != 0)
}

/// A record's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) epoch: u8,
    pub(crate) slot: u8,
}

impl At {
    pub(crate) fn next(self) -> Self {
        Self {
            slot: self.slot + 1,
            ..self
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fact {
    Claim {
        decoy: bool,
    },
    Seal {
        next: u8,
        ends_at: u8,
    },
    /// A branch's seal: `ends_at` is the fork, and the survivor's seal `(next, next_nonce)` is read there.
    BranchSeal {
        next: u8,
        next_nonce: u8,
        ends_at: u8,
    },
    /// Something that concerns nothing else here.
    Word(u8),
    /// Opens a session, and names its key.
    Open(u8),
    /// Names `packs`; the snapshot's node lies in one of them and refers to chunks in `uses`.
    Commit {
        snap: u8,
        packs: Mask,
        uses: Mask,
    },
    End(u8),
    Trash(u8),
    Condemn {
        snaps: Mask,
        packs: Mask,
        keys: Mask,
    },
    Swept {
        packs: Mask,
        keys: Mask,
    },
    Join(u8),
    Leave(u8),
    Salvaged {
        site: u8,
        from: At,
    },
}

/// A record: what it says, and the nonce under which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rec {
    pub(crate) nonce: u8,
    pub(crate) fact: Fact,
}

/// An object-store location.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Site {
    /// By epoch; the slots of each are filled without a gap.
    pub(crate) log: Vec<Vec<Rec>>,
    pub(crate) packs: Mask,
    pub(crate) keys: Mask,
}

/// How a put ends, as far as chance has a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It is done and answered.
    Answered,
    /// It fails before it is done, and says so.
    Refused,
    /// It is done, and the answer is lost.
    Landed,
    /// The answer is lost, and it may be done at any later time, or never.
    Late,
    /// It is done, the store tries it once more by itself, and answers that something is there.
    Again,
}

/// A coordinator's ownership of the vault, or its attempt at one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) epoch: u8,
    pub(crate) nonce: u8,
    /// Where it claims.
    pub(crate) site: u8,
    pub(crate) stage: Stage,
    /// The fold before its claim.
    pub(crate) base: Arc<Vec<(At, Rec)>>,
    /// Its claim, and every record that it acknowledged, in order.
    pub(crate) wrote: Vec<Rec>,
    /// The record that is being appended.
    pub(crate) flight: Option<Flight>,
    /// Its replicators, by site.
    pub(crate) copiers: Vec<Copier>,
    pub(crate) sweep: Option<Sweeping>,
    /// A collection's plan between mark and record: snapshots, packs, keys.
    pub(crate) plan: Option<(Mask, Mask, Mask)>,
    pub(crate) session: Option<Session>,
    pub(crate) failback: Failback,
    /// It sealed the old primary first.
    pub(crate) drained: bool,
}

/// How far an ownership is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Unborn,
    /// The first half of a takeover, at this site: its seal.
    Sealing(u8, takeover::State, takeover::Effect),
    /// Copying to its site what the old primary holds; the fold it copies by; whether the seal comes only then.
    Draining(Arc<Vec<(At, Rec)>>, Copier, bool),
    Taking(takeover::State, takeover::Effect),
    Owns,
    Ended(Why),
}

/// Why an ownership, or the attempt, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Superseded,
    Unfit,
    Fenced,
    Broken,
    Diverged,
}

/// An append under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) rec: Rec,
    pub(crate) state: append::State,
    pub(crate) effect: append::Effect,
}

/// A replicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Copier {
    /// What it copies next; nothing: it has not looked where the member stands.
    pub(crate) next: Option<At>,
    pub(crate) head: Option<At>,
    pub(crate) step: Option<(copying::State, copying::Effect)>,
    pub(crate) diverged: bool,
}

/// A sweep under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sweeping {
    pub(crate) members: Mask,
    pub(crate) packs: Mask,
    pub(crate) keys: Mask,
    pub(crate) state: sweeping::State,
    pub(crate) effect: sweeping::Effect,
}

/// A session of an agent, as its owner knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) id: u8,
    /// Packs whose chunks were answered as known, once it has offered.
    pub(crate) known: Option<Mask>,
    /// Its key, then its pack, come after their record. Never while the guards stand.
    pub(crate) key_owed: bool,
    pub(crate) pack_owed: bool,
}

/// Bringing the site back that a failover left behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Failback {
    None,
    /// A later epoch of the branch is sealed.
    Sealing(Branch, takeover::State, takeover::Effect),
    Closing(Branch, closing::State, closing::Effect),
    /// The branch was read: what is committed again.
    Recommitting(Branch),
}

/// A branch, as far as its failback knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Branch {
    pub(crate) site: u8,
    pub(crate) fork: At,
    /// The claimant that closes it.
    pub(crate) epoch: u8,
    pub(crate) nonce: u8,
    /// What it committed, once it was read.
    pub(crate) commits: Option<Vec<Fact>>,
    /// Sessions that it opened, or that were opened again for it.
    pub(crate) opened: Mask,
    pub(crate) removed_a_member: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) sites: Vec<Site>,
    pub(crate) owners: Vec<Owner>,
    /// Puts that may yet be done: site, place, record.
    pub(crate) late: Vec<(u8, At, Rec)>,
    /// The last epoch that placement issued.
    pub(crate) issued: u8,
    /// Requests that may yet go wrong.
    pub(crate) faults: u8,
    /// Sessions opened.
    pub(crate) opened: u8,
    /// Sites that may yet leave or join.
    pub(crate) moves: u8,
}

impl Site {
    /// What lies in a slot.
    pub(crate) fn raw(&self, at: At) -> Option<Rec> {
        self.log
            .get(at.epoch as usize)?
            .get(at.slot as usize)
            .copied()
    }

    pub(crate) fn slots(&self, epoch: u8) -> u8 {
        self.log
            .get(epoch as usize)
            .map_or(0, |slots| slots.len() as u8)
    }

    /// Fills a slot; nothing lies beyond it.
    pub(crate) fn fill(&mut self, at: At, rec: Rec) {
        while self.log.len() <= at.epoch as usize {
            self.log.push(Vec::new());
        }
        let slots = &mut self.log[at.epoch as usize];
        match slots.get_mut(at.slot as usize) {
            Some(there) => *there = rec,
            None => {
                assert_eq!(slots.len(), at.slot as usize, "a gap at {at:?}");
                slots.push(rec);
            }
        }
    }

    pub(crate) fn epochs(&self) -> impl DoubleEndedIterator<Item = u8> + '_ {
        (0..self.log.len() as u8).filter(|&epoch| self.slots(epoch) > 0)
    }
}

/// What a put answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Created,
    Exists,
    NotDone,
    Unknown,
}

impl World {
    /// Puts a record, create-only unless the site `overwrites`. Nothing: that outcome cannot be.
    pub(crate) fn put(
        &mut self,
        (site, at): (u8, At),
        rec: Rec,
        outcome: Outcome,
        overwrites: bool,
    ) -> Option<Answer> {
        let there = &self.sites[site as usize];
        // An owner that took an unknown outcome for a success goes on behind a gap. Only a mutation does.
        if at.slot > there.slots(at.epoch) {
            return None;
        }
        let taken = there.raw(at).is_some() && !overwrites;
        if !matches!(outcome, Outcome::Answered | Outcome::Refused) {
            self.faults = self.faults.checked_sub(1)?;
        }
        match outcome {
            Outcome::Refused => return Some(Answer::NotDone),
            Outcome::Answered if taken => return Some(Answer::Exists),
            Outcome::Late => {
                if !taken {
                    self.late.push((site, at, rec));
                    self.late.sort_unstable();
                    self.late.dedup();
                }
                return Some(Answer::Unknown);
            }
            _ if taken => return None,
            // A site that replaces what is there does so when it tries again, too.
            Outcome::Again if overwrites => return None,
            _ => {}
        }
        self.land(site, at, rec);
        Some(match outcome {
            Outcome::Landed => Answer::Unknown,
            Outcome::Again => Answer::Exists,
            _ => Answer::Created,
        })
    }

    /// Fills a slot; whatever else was on its way there comes too late.
    pub(crate) fn land(&mut self, site: u8, at: At, rec: Rec) {
        self.sites[site as usize].fill(at, rec);
        self.late.retain(|late| (late.0, late.1) != (site, at));
    }
}
