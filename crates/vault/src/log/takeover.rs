//! Taking a vault over as a pure protocol: seal the old epoch, claim the next, prove that the site refuses a second claim.
//!
//! The shell (`log/claim.rs`) carries out effects, folds what it reads, and reports events. The order of writes is the
//! fence: whoever's seal stands first names the next owner; everyone else finds it there.

use holdfast_format::{ClaimNonce, Epoch, Position, Slot};

use crate::guard::Guard;

/// Where one takeover stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Following the log: the next slot is being read.
    Following(Position),
    /// The seal's put at this place is under way.
    Sealing(Position),
    /// The claim's put is under way.
    Claiming,
    /// The outcome of the claim's put is being read.
    SettlingClaim,
    /// A second claim with other bytes is being tried: it must be refused.
    Proving,
    /// The epoch is ours.
    Owner,
    /// A later epoch was announced: start again with a higher number.
    Superseded(Epoch),
    /// The site let a second claim replace the first: it must not be used.
    Unfit,
}

/// What a slot holds, as the claimant reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slotted {
    /// Nothing.
    Absent,
    /// A record or another's claim; it was folded.
    Record,
    /// A seal; it was folded.
    Seal {
        /// The epoch that it names.
        next_epoch: Epoch,
        /// The nonce that it names.
        next_nonce: ClaimNonce,
    },
    /// Our own claim, byte for byte.
    OwnClaim,
}

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A slot was read (and folded, if it holds a record).
    Read(Slotted),
    /// A slot could not be read.
    Unreadable,
    /// A put created its object.
    Created,
    /// A put found an object there.
    Exists,
    /// A put failed and surely did not happen.
    NotDone,
    /// A put failed and may have happened.
    Unknown,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read this slot and fold what it holds.
    Read(Position),
    /// The same, after a pause.
    ReadLater(Position),
    /// Put our seal there.
    PutSeal(Position),
    /// The same, after a pause.
    PutSealLater(Position),
    /// Put our claim at slot 0 of our epoch.
    PutClaim,
    /// The same, after a pause.
    PutClaimLater,
    /// Try to put a claim of other bytes over ours.
    PutDecoy,
    /// The same, after a pause.
    PutDecoyLater,
    /// Ended: see the state.
    End,
}

/// A claimant: the epoch that placement issued to it, and its nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its nonce.
    pub nonce: ClaimNonce,
}

impl Claimant {
    fn claim_at(&self) -> Position {
        Position {
            epoch: self.epoch,
            slot: Slot(0),
        }
    }

    /// The first state and effect; `next` is where the folded history goes on. The first claim of a new vault has no
    /// epoch to seal: its claimant's epoch is `next`'s. Nor is there one left to seal where the claimant's own seal is the
    /// head (`ready`).
    pub fn start(&self, next: Position, ready: bool) -> (State, Effect) {
        if ready {
            (State::Claiming, Effect::PutClaim)
        } else {
            (State::Following(next), Effect::Read(next))
        }
    }

    /// One step.
    pub fn step(&self, state: State, event: Event) -> (State, Effect) {
        match (state, event) {
            (State::Following(at), Event::Read(Slotted::Absent)) => {
                if at.epoch >= self.epoch {
                    // An epoch at or above ours was announced or claimed: ours would not follow it.
                    return (State::Superseded(at.epoch), Effect::End);
                }
                if !Guard::SealBeforeClaim.stands() {
                    return (State::Claiming, Effect::PutClaim);
                }
                (State::Sealing(at), Effect::PutSeal(at))
            }
            (State::Following(at), Event::Read(slotted)) => self.follow(at, slotted),
            (State::Following(at), Event::Unreadable) => (state, Effect::ReadLater(at)),
            // ORDER: the seal stands before the claim is put. A claim first would open an epoch while the old owner
            // still appends to its own.
            (State::Sealing(_), Event::Created) => (State::Claiming, Effect::PutClaim),
            (State::Sealing(at), Event::Exists | Event::Unknown) => {
                (State::Following(at), Effect::Read(at))
            }
            (State::Sealing(at), Event::NotDone) => (state, Effect::PutSealLater(at)),
            (State::Claiming, Event::Created) => (State::Proving, Effect::PutDecoy),
            (State::Claiming, Event::Exists | Event::Unknown) => {
                (State::SettlingClaim, Effect::Read(self.claim_at()))
            }
            (State::Claiming, Event::NotDone) => (state, Effect::PutClaimLater),
            (State::SettlingClaim, Event::Read(Slotted::OwnClaim)) => {
                (State::Proving, Effect::PutDecoy)
            }
            (State::SettlingClaim, Event::Read(Slotted::Absent)) => {
                (State::Claiming, Effect::PutClaim)
            }
            // Someone sealed our epoch before we claimed it.
            (State::SettlingClaim, Event::Read(Slotted::Seal { next_epoch, .. })) => {
                (State::Superseded(next_epoch), Effect::End)
            }
            (State::SettlingClaim, Event::Read(Slotted::Record)) => {
                (State::Superseded(self.epoch), Effect::End)
            }
            (State::SettlingClaim, Event::Unreadable) => {
                (state, Effect::ReadLater(self.claim_at()))
            }
            (State::Proving, Event::Exists) => (State::Owner, Effect::End),
            (State::Proving, Event::Created) if !Guard::ClaimProven.stands() => {
                (State::Owner, Effect::End)
            }
            (State::Proving, Event::Created) => (State::Unfit, Effect::End),
            // Whether the decoy landed is unknown: put it again; a site that lets it through answers so sooner or later.
            (State::Proving, Event::NotDone | Event::Unknown) => (state, Effect::PutDecoyLater),
            (ended, _) => (ended, Effect::End),
        }
    }

    /// The slot at `at` holds something: go on behind it.
    fn follow(&self, at: Position, slotted: Slotted) -> (State, Effect) {
        let next = match slotted {
            Slotted::Seal {
                next_epoch,
                next_nonce,
            } => {
                if (next_epoch, next_nonce) == (self.epoch, self.nonce) {
                    // Our own seal, whose put was answered with "exists" or not at all.
                    return (State::Claiming, Effect::PutClaim);
                }
                Position {
                    epoch: next_epoch,
                    slot: Slot(0),
                }
            }
            _ => Position {
                epoch: at.epoch,
                slot: at.slot.next(),
            },
        };
        (State::Following(next), Effect::Read(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Claimant = Claimant {
        epoch: Epoch(5),
        nonce: ClaimNonce([1; 16]),
    };

    fn at(epoch: u64, slot: u64) -> Position {
        Position {
            epoch: Epoch(epoch),
            slot: Slot(slot),
        }
    }

    fn check(events: &[Event], end: State) {
        let (mut state, _) = ME.start(at(3, 4), false);
        for &event in events {
            (state, _) = ME.step(state, event);
        }
        assert_eq!(state, end, "{events:?}");
    }

    #[test]
    fn the_ordinary_way() {
        use Event::*;
        check(
            &[Read(Slotted::Absent), Created, Created, Exists],
            State::Owner,
        );
        check(
            &[
                Read(Slotted::Record),
                Read(Slotted::Absent),
                Created,
                Unknown,
                Read(Slotted::OwnClaim),
                Exists,
            ],
            State::Owner,
        );
        let mine = Slotted::Seal {
            next_epoch: ME.epoch,
            next_nonce: ME.nonce,
        };
        check(
            &[Read(Slotted::Absent), Unknown, Read(mine), Created, Exists],
            State::Owner,
        );
    }

    #[test]
    fn a_slot_that_was_taken_is_followed() {
        use Event::*;
        let other = Slotted::Seal {
            next_epoch: Epoch(4),
            next_nonce: ClaimNonce([2; 16]),
        };
        check(
            &[Read(Slotted::Absent), Exists, Read(Slotted::Record)],
            State::Following(at(3, 5)),
        );
        // Announced and never claimed: sealed at its slot 0.
        check(
            &[Read(other), Read(Slotted::Absent)],
            State::Sealing(at(4, 0)),
        );
    }

    #[test]
    fn a_later_claimant_wins() {
        use Event::*;
        let later = Slotted::Seal {
            next_epoch: Epoch(9),
            next_nonce: ClaimNonce([2; 16]),
        };
        check(
            &[Read(later), Read(Slotted::Absent)],
            State::Superseded(Epoch(9)),
        );
        check(
            &[Read(Slotted::Absent), Created, Exists, Read(later)],
            State::Superseded(Epoch(9)),
        );
    }

    #[test]
    fn a_site_that_overwrites_is_unfit() {
        use Event::*;
        check(
            &[Read(Slotted::Absent), Created, Created, Created],
            State::Unfit,
        );
    }
}
