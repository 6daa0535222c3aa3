//! Appending as a pure protocol: one record proposed for one slot, driven to a settled end.
//!
//! The shell (`log/writer.rs`) carries out effects and reports events; the simulator and the model checker run the same
//! `step`. It must never propose two records for one slot, and never take an unknown outcome for a known one.

use crate::guard::Guard;

/// Where one append stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The record's put is under way.
    Putting,
    /// The put's outcome is unknown, or the slot is taken: its content is being read.
    Settling,
    /// It stands in the log.
    Done,
    /// Another owner's record or seal stands there.
    Fenced,
    /// Something stands there that this writer must have written and did not.
    Broken,
}

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The put created the object.
    Created,
    /// The put found an object there.
    Exists,
    /// The put failed, and surely did not happen.
    NotDone,
    /// The put failed, and may have happened.
    Unknown,
    /// The slot was read: nothing is there.
    Absent,
    /// The slot was read: the very bytes proposed.
    Mine,
    /// The slot was read: other bytes with this claim's nonce, no seal.
    MineButOther,
    /// The slot was read: a seal, or a record of another claim.
    Others,
    /// The slot could not be read.
    Unreadable,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Put the same bytes.
    Put,
    /// Put the same bytes again, after a pause.
    PutLater,
    /// Read the slot.
    Read,
    /// Read the slot again, after a pause.
    ReadLater,
    /// Tell the proposers that it stands.
    Acknowledge,
    /// Stop this writer: it is fenced.
    StopFenced,
    /// Stop this writer: a check failed.
    StopBroken,
}

/// The first state and effect of an append.
pub fn start() -> (State, Effect) {
    (State::Putting, Effect::Put)
}

/// One step. Events that cannot come in a state leave it broken: a check that stays on in release builds.
pub fn step(state: State, event: Event) -> (State, Effect) {
    match (state, event) {
        (State::Putting, Event::Created) => (State::Done, Effect::Acknowledge),
        // ORDER: a store that retries by itself answers "exists" for our own landed write, so a taken slot is read
        // before it is believed to be another's. Taking it for a fence would lose an acknowledgement; taking an
        // unknown outcome for a failure and proposing other bytes would fork the slot.
        (State::Putting, Event::Exists | Event::Unknown) if Guard::OutcomeSettled.stands() => {
            (State::Settling, Effect::Read)
        }
        (State::Putting, Event::Exists | Event::Unknown) => (State::Done, Effect::Acknowledge),
        (State::Putting, Event::NotDone) => (State::Putting, Effect::PutLater),
        (State::Settling, Event::Mine) => (State::Done, Effect::Acknowledge),
        (State::Settling, Event::Absent) => (State::Putting, Effect::Put),
        (State::Settling, Event::Others) => (State::Fenced, Effect::StopFenced),
        (State::Settling, Event::Unreadable) => (State::Settling, Effect::ReadLater),
        _ => (State::Broken, Effect::StopBroken),
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
    fn only_a_seen_record_is_acknowledged() {
        check(&[Event::Created], State::Done);
        check(&[Event::Exists, Event::Mine], State::Done);
        check(
            &[Event::Unknown, Event::Absent, Event::Exists, Event::Mine],
            State::Done,
        );
        check(
            &[Event::Unknown, Event::Unreadable, Event::Mine],
            State::Done,
        );
        check(&[Event::NotDone, Event::Created], State::Done);
    }

    #[test]
    fn anothers_bytes_stop_the_writer() {
        check(&[Event::Exists, Event::Others], State::Fenced);
        check(&[Event::Unknown, Event::Others], State::Fenced);
        check(&[Event::Exists, Event::MineButOther], State::Broken);
    }
}
