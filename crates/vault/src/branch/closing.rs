//! Closing a branch as a pure protocol: look at the last slot, put the branch's seal behind it, look again.
//!
//! The shell (`branch.rs`) carries out effects and reports events; the model checker runs the same `step`. It must never
//! take a put for the seal: whatever came of it, the last slot says.

use holdfast_format::Slot;

/// Where the closing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The last slot of the fork's epoch is being looked at.
    Looking,
    /// The branch's seal is being put in this slot.
    Sealing(Slot),
    /// A branch's seal stands there, for this fork.
    Closed,
    /// A branch's seal stands there, for another fork.
    OtherFork,
    /// The epoch holds nothing any more.
    Gone,
    /// An event came that cannot come.
    Broken,
}

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The epoch has no slot there.
    Nothing,
    /// The last slot was listed and could not be read any more.
    Vanished,
    /// The last slot, and no branch's seal in it.
    Last(Slot),
    /// The last slot is a branch's seal; whether it is for this fork, with the same survivor.
    Seal {
        /// It is.
        same_fork: bool,
    },
    /// The put was answered, with whatever.
    Answered,
}

/// What the shell does next. A request that fails ends the closing; it is started over then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Look at the last slot.
    Look,
    /// Put the branch's seal in this slot, create-only.
    PutSeal(Slot),
    /// Ended: see the state.
    End,
}

/// The first state and effect.
pub fn start() -> (State, Effect) {
    (State::Looking, Effect::Look)
}

/// One step.
pub fn step(state: State, event: Event) -> (State, Effect) {
    match (state, event) {
        (State::Looking, Event::Nothing) => (State::Gone, Effect::End),
        (State::Looking, Event::Vanished) => (State::Looking, Effect::Look),
        (State::Looking, Event::Last(last)) => {
            let at = last.next();
            (State::Sealing(at), Effect::PutSeal(at))
        }
        (State::Looking, Event::Seal { same_fork: true }) => (State::Closed, Effect::End),
        (State::Looking, Event::Seal { same_fork: false }) => (State::OtherFork, Effect::End),
        // ORDER: the slot is looked at again, also after a success. A record that was faster is part of the branch, and the
        // seal goes behind it.
        (State::Sealing(_), Event::Answered) => (State::Looking, Effect::Look),
        _ => (State::Broken, Effect::End),
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
    fn it_is_closed_once_its_seal_was_seen() {
        use Event::*;
        let own = Seal { same_fork: true };
        check(&[Last(Slot(6))], State::Sealing(Slot(7)));
        check(&[Last(Slot(6)), Answered], State::Looking);
        check(
            &[Last(Slot(6)), Answered, Last(Slot(7))],
            State::Sealing(Slot(8)),
        );
        check(&[Last(Slot(6)), Answered, own], State::Closed);
        check(&[Vanished, own], State::Closed);
    }

    #[test]
    fn what_was_closed_for_another_fork_stays_as_it_is() {
        check(&[Event::Seal { same_fork: false }], State::OtherFork);
        check(&[Event::Nothing], State::Gone);
        check(&[Event::Answered], State::Broken);
    }
}
