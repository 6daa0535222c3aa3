//! What goes wrong between processes and what they talk to, now: by chance, by partition, or by script.
//!
//! State: the odds, who is cut off from what, which calls are scripted to fail. Each call to a site or to placement has a
//! position, so that a sweep can make one after the other fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::chance::Chance;
use crate::trace::Trace;

/// One way to fail. One that does not fit its call changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not done, and says so.
    Fail,
    /// It is not done, and nobody can tell.
    Lost,
    /// It is done, and nobody can tell.
    DoneButFailed,
    /// It is done, and answered as if it had been there before.
    SentTwice,
    /// It takes long.
    Slow(Duration),
    /// One bit of what was read is wrong, this time.
    Flip,
    /// A listing lacks its last name.
    Stale,
    /// The process dies at this call: before it is done, or after.
    Crash,
    /// Placement's answer takes long after it was given.
    Late(Duration),
}

/// How often each goes wrong, in thousandths of the calls that it fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    /// [`Fault::Fail`].
    pub fail: u32,
    /// [`Fault::Lost`].
    pub lost: u32,
    /// [`Fault::DoneButFailed`].
    pub done_but_failed: u32,
    /// [`Fault::SentTwice`].
    pub sent_twice: u32,
    /// [`Fault::Slow`], of up to 20 s.
    pub slow: u32,
    /// [`Fault::Flip`].
    pub flip: u32,
    /// [`Fault::Stale`].
    pub stale: u32,
    /// [`Fault::Crash`].
    pub crash: u32,
    /// A stream between agent and coordinator breaks at a message.
    pub cut: u32,
    /// [`Fault::Late`], of up to 4 s; and what is told of a change in placement arrives up to 30 s late.
    pub late: u32,
}

/// The longest that placement's answer takes: as long as a store may take at all.
const ANSWER_LATE_MILLIS_MAX: u64 = 4000;

/// The longest that what is told of a change in placement takes.
const EVENT_LATE_MILLIS_MAX: u64 = 30_000;

/// What kind of call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Reads an object.
    Read,
    /// Lists.
    List,
    /// Creates an object.
    Put,
    /// Deletes or replaces one.
    Change,
    /// Asks placement.
    Ask,
    /// Changes placement.
    Tell,
}

impl Call {
    fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Change | Self::Tell)
    }
}

/// See the module. Clones are the same weather.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Chance.
    pub chance: Chance,
    /// Where it is told.
    pub trace: Trace,
    now: Arc<Mutex<Now>>,
}

#[derive(Debug, Default)]
struct Now {
    odds: Odds,
    cuts: BTreeSet<(String, String)>,
    script: BTreeMap<u64, Fault>,
    calls: u64,
}

impl Weather {
    /// Fair weather.
    pub fn new(chance: Chance, trace: Trace) -> Self {
        Self {
            chance,
            trace,
            now: Arc::default(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the odds.
    pub fn set_odds(&self, odds: Odds) {
        self.now().odds = odds;
    }

    /// Cuts a process off from a place, or ends that.
    pub fn cut(&self, process: &str, place: &str, off: bool) {
        let pair = (process.to_owned(), place.to_owned());
        match off {
            true => self.now().cuts.insert(pair),
            false => self.now().cuts.remove(&pair),
        };
    }

    /// Nobody is cut off, nothing goes wrong any more.
    pub fn clear(&self) {
        let mut now = self.now();
        now.cuts.clear();
        now.script.clear();
        now.odds = Odds::default();
    }

    /// The call at a position fails.
    pub fn at(&self, position: u64, fault: Fault) {
        self.now().script.insert(position, fault);
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.now().calls
    }

    /// Whether a process is cut off from a place.
    pub fn is_cut(&self, process: &str, place: &str) -> bool {
        self.now()
            .cuts
            .contains(&(process.to_owned(), place.to_owned()))
    }

    /// Whether a stream between an agent and a process breaks now.
    pub fn breaks(&self, agent: &str, process: &str) -> bool {
        let odds = self.now().odds.cut;
        odds > 0 && self.chance.strikes(odds, &["break", agent, process])
    }

    /// How long a message between an agent and a process takes.
    pub fn message(&self, agent: &str, process: &str, direction: &str) -> Duration {
        let words = ["message", agent, process, direction];
        let slow = self.now().odds.slow;
        match slow > 0 && self.chance.strikes(slow, &["slow", agent, process]) {
            true => Duration::from_millis(self.chance.below(20_000, &words)),
            false => Duration::from_micros(100 + self.chance.below(5000, &words)),
        }
    }

    /// How late what is told of a change in placement reaches a process, if it is late.
    pub fn event_is_late(&self, process: &str) -> Option<Duration> {
        let late = self.now().odds.late;
        if late == 0 || !self.chance.strikes(late, &["event", process]) {
            return None;
        }
        self.trace.count("fault: LateEvent");
        let millis = self
            .chance
            .below(EVENT_LATE_MILLIS_MAX, &["event late", process]);
        Some(Duration::from_millis(millis))
    }

    /// How the next call goes wrong, if it does.
    pub fn strike(&self, process: &str, place: &str, call: Call, name: &str) -> Option<Fault> {
        let (odds, scripted) = {
            let mut now = self.now();
            let position = now.calls;
            now.calls += 1;
            (now.odds, now.script.remove(&position))
        };
        let fault = scripted.or_else(|| self.draw(&odds, process, place, call, name));
        if let Some(fault) = fault {
            let kind = format!("{fault:?}");
            let kind = kind.split('(').next().unwrap_or_default();
            self.trace.count(&format!("fault: {kind}"));
            self.trace
                .say(process, format_args!("{kind} strikes at {place} {name}"));
        }
        fault
    }

    fn draw(
        &self,
        odds: &Odds,
        process: &str,
        place: &str,
        call: Call,
        name: &str,
    ) -> Option<Fault> {
        if *odds == Odds::default() {
            return None;
        }
        let words = ["call", process, place, name];
        let slow = Duration::from_millis(self.chance.below(20_000, &["slow", process, name]));
        let asks_placement = matches!(call, Call::Ask | Call::Tell);
        let late = match odds.late > 0 && asks_placement {
            true => self
                .chance
                .below(ANSWER_LATE_MILLIS_MAX, &["late", process, name]),
            false => 0,
        };
        let late = Duration::from_millis(late);
        let faults = [
            (odds.fail, true, Fault::Fail),
            (odds.lost, true, Fault::Lost),
            (odds.done_but_failed, call.writes(), Fault::DoneButFailed),
            (odds.sent_twice, call == Call::Put, Fault::SentTwice),
            (odds.flip, call == Call::Read, Fault::Flip),
            (odds.stale, call == Call::List, Fault::Stale),
            (odds.crash, true, Fault::Crash),
            (odds.slow, true, Fault::Slow(slow)),
            (odds.late, asks_placement, Fault::Late(late)),
        ];
        let mut drawn = self.chance.below(1000, &words);
        for (odds, fits, fault) in faults {
            if !fits {
                continue;
            }
            if drawn < u64::from(odds) {
                return Some(fault);
            }
            drawn -= u64::from(odds);
        }
        None
    }
}
