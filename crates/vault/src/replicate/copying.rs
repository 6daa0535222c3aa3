//! Copying one record to a member as a pure protocol, and the judgement whether a member follows at all.
//!
//! The shell (`replicate.rs`) carries out effects and reports events; the model checker runs the same `step`. It must
//! never let a record stand at a member before what it names, and never take another's record for the one that it copies.

use holdfast_format::{Epoch, Position, Slot};

use super::{Diverged, Standing};
use crate::guard::Guard;

/// Where the copy of one record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It is being read at the primary.
    Reading,
    /// What it names is being copied.
    CopyingNamed,
    /// Its put at the member is under way.
    Putting,
    /// The member has a record there already: it is being compared.
    Comparing,
    /// It stands there; what it names comes after it. Never while [`Guard::NamedBeforeRecord`] stands.
    CopyingLate,
    /// It stands at the member, with all that it names.
    Copied,
    /// There is nothing to copy yet.
    Level,
    /// The member holds a record of its own there.
    Branch,
    /// The member holds a seal there that the primary lacks.
    Sealed,
    /// An event came that cannot come.
    Broken,
}

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The primary has no such record.
    Absent,
    /// The primary has it, and the owner's fold has not taken it yet.
    Unfolded,
    /// The primary has it, and the fold has taken it.
    Folded,
    /// All that it names stands at the member.
    NamedStands,
    /// The put created the object.
    Created,
    /// The put found an object there.
    Exists,
    /// The member holds the very same bytes.
    Same,
    /// The member holds another record.
    OtherRecord,
    /// The member holds another record, which is a seal; or the primary does by now, where the fold took a record.
    OtherSeal,
}

/// What the shell does next. A request that fails ends the step; the replicator starts over then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the record at the primary.
    Read,
    /// Copy what it names.
    CopyNamed,
    /// Put it, create-only.
    Put,
    /// Read the slot at the member.
    Compare,
    /// Ended: see the state.
    End,
}

/// The first state and effect.
pub fn start() -> (State, Effect) {
    (State::Reading, Effect::Read)
}

/// One step. Events that cannot come in a state leave it broken: a check that stays on in release builds.
pub fn step(state: State, event: Event) -> (State, Effect) {
    match (state, event) {
        (State::Reading, Event::Absent) => (State::Level, Effect::End),
        // ORDER: only what the fold has taken is copied. A record can be read at the primary before its writer has folded
        // it in; what it names would not be found in the fold then, would be taken for condemned since, and the record
        // would stand at the member without its keys and packs. The writer's next word brings this replicator back.
        (State::Reading, Event::Unfolded) if Guard::OnlyFoldedCopied.stands() => {
            (State::Level, Effect::End)
        }
        (State::Reading, Event::OtherSeal) => (State::Sealed, Effect::End),
        // ORDER: everything that the record names stands at the member before the record does. A failover to a member
        // whose log ends here must find all of it.
        (State::Reading, Event::Folded | Event::Unfolded) => {
            match Guard::NamedBeforeRecord.stands() {
                true => (State::CopyingNamed, Effect::CopyNamed),
                false => (State::Putting, Effect::Put),
            }
        }
        (State::CopyingNamed, Event::NamedStands) => (State::Putting, Effect::Put),
        (State::Putting, Event::Created) => stands(),
        (State::Putting, Event::Exists) => (State::Comparing, Effect::Compare),
        (State::Comparing, Event::Same) => stands(),
        (State::Comparing, Event::OtherRecord | Event::OtherSeal)
            if !Guard::SlotCompared.stands() =>
        {
            stands()
        }
        (State::Comparing, Event::OtherRecord) => (State::Branch, Effect::End),
        (State::Comparing, Event::OtherSeal) => (State::Sealed, Effect::End),
        (State::CopyingLate, Event::NamedStands) => (State::Copied, Effect::End),
        _ => (State::Broken, Effect::End),
    }
}

fn stands() -> (State, Effect) {
    match Guard::NamedBeforeRecord.stands() {
        true => (State::Copied, Effect::End),
        false => (State::CopyingLate, Effect::CopyNamed),
    }
}

/// What was read at the primary, against the owner's fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Found {
    /// Where.
    pub at: Position,
    /// If it is a seal: the epoch that it names, and whether the primary has a record of that.
    pub seals: Option<(Epoch, bool)>,
    /// The fold's head.
    pub head: Option<Position>,
    /// Whether that is a seal.
    pub head_is_seal: bool,
}

/// What that comes to.
///
/// ORDER: a deposed owner's primary may be closed as a branch at any time. From then on a reader finds the survivor's seal
/// there in place of the owner's own record. The member holds that very seal: copying it would look as if the owner's
/// record stood there, and its snapshots would be called protected.
pub fn look(found: Found) -> Event {
    let at = found.at;
    let Some(head) = found.head.filter(|head| at <= *head) else {
        return Event::Unfolded;
    };
    match found.seals {
        Some(_) if at == head && found.head_is_seal => Event::Folded,
        // The fold went through a seal below its head only if it left that epoch for the one that the seal names.
        Some((next, goes_on)) if at.epoch == head.epoch || next > head.epoch || !goes_on => {
            Event::OtherSeal
        }
        _ => Event::Folded,
    }
}

/// What the fold says of a key or a pack that a record names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Named {
    /// It is live.
    Live,
    /// It was condemned since.
    Condemned,
    /// It was swept since: it is gone at every member.
    Swept,
}

/// Whether it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It must be there to be copied.
    Must,
    /// While it lies at the primary.
    WhileThere,
    /// It is not copied.
    Not,
}

/// Whether something that a record names is copied before it.
pub fn wanted(named: Named) -> Wanted {
    match named {
        Named::Live => Wanted::Must,
        // ORDER: what was condemned since is copied too while it lies at the primary. Until the record that condemns it, or
        // that moved its chunks, stands at the member as well, a snapshot may need it there; and after a failover to it new
        // ones would be committed on top.
        Named::Condemned if Guard::CondemnedCopied.stands() => Wanted::WhileThere,
        Named::Condemned | Named::Swept => Wanted::Not,
    }
}

/// What the last epoch that a member shares with the primary shows at the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    /// A branch seal: the member's history ends at the fork.
    Closed {
        /// The fork.
        fork: Position,
        /// Whether the primary's log says that the branch was salvaged.
        salvaged: bool,
        /// The epoch that follows in its stead, if the member has anything of it.
        goes_on: Option<Epoch>,
    },
    /// Its last record is a seal.
    Sealed {
        /// Where.
        last: Position,
        /// Whether the primary has the same there.
        same: bool,
        /// The epoch that it names, if the member has anything of it.
        goes_on: Option<Epoch>,
    },
    /// Its last record is none.
    Open {
        /// Where.
        last: Position,
        /// Whether the primary has the same there.
        same: bool,
    },
}

/// Where a member stands whose last shared epoch shows this.
pub fn judge(shared: Shared) -> Standing {
    match shared {
        Shared::Closed { fork, salvaged, .. } if !salvaged && Guard::SalvagedFirst.stands() => {
            Standing::Diverged(Diverged::Branch(fork))
        }
        Shared::Sealed {
            last, same: false, ..
        } => Standing::Diverged(Diverged::Sealed(last)),
        Shared::Open { last, same: false } => Standing::Diverged(Diverged::Branch(last)),
        // Epochs that the primary lacks belong to a branch.
        Shared::Closed {
            goes_on: Some(epoch),
            ..
        }
        | Shared::Sealed {
            goes_on: Some(epoch),
            ..
        } => Standing::Diverged(Diverged::Branch(Position {
            epoch,
            slot: Slot(0),
        })),
        Shared::Closed { fork, .. } => Standing::Prefix(Some(fork)),
        Shared::Sealed { last, .. } | Shared::Open { last, .. } => Standing::Prefix(Some(last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: &[Event], end: State) {
        let (mut state, _) = start();
        for &event in events {
            (state, _) = step(state, event);
        }
        assert_eq!(state, end, "{events:?}");
    }

    #[test]
    fn what_a_record_names_stands_before_it() {
        use Event::*;
        check(&[Folded], State::CopyingNamed);
        check(&[Folded, NamedStands], State::Putting);
        check(&[Folded, NamedStands, Created], State::Copied);
        check(&[Folded, Created], State::Broken);
    }

    #[test]
    fn nothing_is_copied_that_the_fold_has_not_taken() {
        check(&[Event::Absent], State::Level);
        check(&[Event::Unfolded], State::Level);
        check(&[Event::OtherSeal], State::Sealed);
    }

    #[test]
    fn anothers_record_is_not_taken_for_this_one() {
        use Event::*;
        check(&[Folded, NamedStands, Exists, Same], State::Copied);
        check(&[Folded, NamedStands, Exists, OtherRecord], State::Branch);
        check(&[Folded, NamedStands, Exists, OtherSeal], State::Sealed);
    }

    #[test]
    fn a_seal_that_the_fold_lacks_is_not_copied() {
        let at = |epoch, slot| Position {
            epoch: Epoch(epoch),
            slot: Slot(slot),
        };
        let check = |seals: Option<(u64, bool)>, head, head_is_seal, expected| {
            let found = Found {
                at: at(1, 4),
                seals: seals.map(|(next, goes_on)| (Epoch(next), goes_on)),
                head,
                head_is_seal,
            };
            assert_eq!(look(found), expected, "{found:?}");
        };
        check(None, None, false, Event::Unfolded);
        check(None, Some(at(1, 3)), false, Event::Unfolded);
        check(None, Some(at(1, 6)), false, Event::Folded);
        // The owner's primary was closed as a branch: the survivor's seal is read in place of its record.
        check(Some((2, false)), Some(at(1, 6)), false, Event::OtherSeal);
        check(Some((2, true)), Some(at(1, 4)), false, Event::OtherSeal);
        check(Some((2, false)), Some(at(3, 0)), false, Event::OtherSeal);
        check(Some((3, true)), Some(at(2, 1)), false, Event::OtherSeal);
        // A drain copies the seal that its fold ends with; an owner, those of epochs before its own.
        check(Some((2, false)), Some(at(1, 4)), true, Event::Folded);
        check(Some((2, true)), Some(at(2, 0)), false, Event::Folded);
    }

    #[test]
    fn what_was_condemned_since_is_copied_while_it_is_there() {
        assert_eq!(wanted(Named::Live), Wanted::Must);
        assert_eq!(wanted(Named::Condemned), Wanted::WhileThere);
        assert_eq!(wanted(Named::Swept), Wanted::Not);
    }

    #[test]
    fn a_branch_follows_once_it_was_salvaged() {
        let at = |epoch, slot| Position {
            epoch: Epoch(epoch),
            slot: Slot(slot),
        };
        let closed = |salvaged, goes_on| {
            judge(Shared::Closed {
                fork: at(1, 4),
                salvaged,
                goes_on,
            })
        };
        assert_eq!(
            closed(false, None),
            Standing::Diverged(Diverged::Branch(at(1, 4)))
        );
        assert_eq!(closed(true, None), Standing::Prefix(Some(at(1, 4))));
        // Salvaged once, and left behind again since.
        assert_eq!(
            closed(true, Some(Epoch(2))),
            Standing::Diverged(Diverged::Branch(at(2, 0)))
        );
        let sealed = |same, goes_on| {
            judge(Shared::Sealed {
                last: at(1, 4),
                same,
                goes_on,
            })
        };
        assert_eq!(sealed(true, None), Standing::Prefix(Some(at(1, 4))));
        assert_eq!(
            sealed(false, None),
            Standing::Diverged(Diverged::Sealed(at(1, 4)))
        );
        assert_eq!(
            sealed(true, Some(Epoch(3))),
            Standing::Diverged(Diverged::Branch(at(3, 0)))
        );
    }
}
