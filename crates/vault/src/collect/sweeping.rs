//! The sweep as a pure protocol: ask every member whether the condemn record stands there, then delete at each, then
//! record that it is gone.
//!
//! The shell (the coordinator's collector) carries out effects and reports events; the model checker runs the same
//! `step`. It must never delete anything anywhere before the record was read at every member.

use crate::guard::Guard;

/// Where one sweep stands. Members are counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// This member is being asked whether the condemn record stands there.
    Asking(usize),
    /// What waits is being deleted at this member.
    Deleting(usize),
    /// The record that it is gone is being appended.
    Recording,
    /// Nothing waits any more.
    Done,
    /// Nothing was deleted: this member lacks the condemn record, or does not say.
    Waits(usize),
    /// It ended before it was done: the next sweep starts over.
    Stopped,
}

/// What the shell saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The condemn record was read at the member, and is the primary's.
    Stands,
    /// The member answers, and does not hold it.
    Lacks,
    /// The member could not be asked.
    Unreadable,
    /// All that waited is gone at the member: looked for, and absent.
    Gone,
    /// Something is still there, or may be.
    Kept,
    /// The record that ends the sweep stands.
    Recorded,
    /// It does not.
    NotRecorded,
}

/// What the shell does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Read the condemn record at this member.
    Ask(usize),
    /// Delete all that waits at this member, and look that it is gone.
    Delete(usize),
    /// Append the record that ends the sweep.
    Record,
    /// Ended: see the state.
    End,
}

/// A sweep at so many members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sweep {
    /// How many members the fold has that the sweep was started from.
    pub members: usize,
}

impl Sweep {
    /// The first state and effect.
    pub fn start(&self) -> (State, Effect) {
        self.ask(0)
    }

    /// One step. Whatever cannot come in a state stops the sweep.
    pub fn step(&self, state: State, event: Event) -> (State, Effect) {
        match (state, event) {
            (State::Asking(member), Event::Stands) => self.ask(member + 1),
            (State::Asking(member), Event::Lacks) if !Guard::CondemnedEverywhere.stands() => {
                self.ask(member + 1)
            }
            // Doubt keeps: a member that cannot be asked may lack the record.
            (State::Asking(member), Event::Lacks | Event::Unreadable) => {
                (State::Waits(member), Effect::End)
            }
            (State::Deleting(member), Event::Gone) => self.delete(member + 1),
            (State::Recording, Event::Recorded) => (State::Done, Effect::End),
            _ => (State::Stopped, Effect::End),
        }
    }

    /// ORDER: the record stands everywhere before any delete anywhere. Deleting at one member while another's log ends
    /// before the record would leave a failover to that other one with snapshots whose bytes are gone at the first.
    fn ask(&self, member: usize) -> (State, Effect) {
        match member < self.members {
            true => (State::Asking(member), Effect::Ask(member)),
            false => self.delete(0),
        }
    }

    fn delete(&self, member: usize) -> (State, Effect) {
        match member < self.members {
            true => (State::Deleting(member), Effect::Delete(member)),
            false => (State::Recording, Effect::Record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(events: &[Event], end: State) {
        let sweep = Sweep { members: 2 };
        let (mut state, _) = sweep.start();
        for &event in events {
            (state, _) = sweep.step(state, event);
        }
        assert_eq!(state, end, "{events:?}");
    }

    #[test]
    fn it_deletes_once_the_record_stands_at_every_member() {
        use Event::*;
        check(&[Stands], State::Asking(1));
        check(&[Stands, Stands], State::Deleting(0));
        check(&[Stands, Stands, Gone], State::Deleting(1));
        check(&[Stands, Stands, Gone, Gone, Recorded], State::Done);
    }

    #[test]
    fn any_doubt_ends_it() {
        use Event::*;
        check(&[Lacks], State::Waits(0));
        check(&[Stands, Unreadable], State::Waits(1));
        check(&[Stands, Stands, Gone, Kept], State::Stopped);
        check(&[Stands, Stands, Gone, Gone, NotRecorded], State::Stopped);
        check(&[Gone], State::Stopped);
    }
}
