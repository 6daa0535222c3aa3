//! The clock guard: whether the clock may be trusted with expiring snapshots (architecture §7).
//!
//! Expiry is the one thing here that a wrong clock turns into a loss. It runs only while the local
//! clock agrees, within five minutes, with the dates in the sites' answers; where no site gives
//! one, with the other coordinators; on a lone node, with the machine's monotonic clock since
//! start. Log time never goes back, so a leap of it cannot be undone: after one of more than 24
//! hours the guard waits until the clock has run steadily for an hour, or an operator confirms.
//!
//! The guard is a pure step from a state and a reading to a state and a verdict. The retention
//! actor owns one for each vault that it owns and steps it before each plan, and in between if it
//! waits. The guard is no fence: it adds margin to safety that the log gives.
//!
//! Half of this file's lines are tests.

use serde::Serialize;

/// How far two clocks may be apart and still agree.
pub const AGREE_MILLIS: i64 = 5 * 60 * 1000;
/// How far log time may go on, beyond the time that has passed, before it counts as a leap.
pub const LEAP_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// How long the clock must run steadily after a leap.
pub const STEADY_MILLIS: i64 = 60 * 60 * 1000;

/// Someone else's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The site or the coordinator.
    pub name: String,
    /// What it says the time is now: the answer's date plus the age of the answer.
    pub millis: i64,
}

/// All clocks, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockReading {
    /// Log time: the time of the log's last record.
    pub log_millis: i64,
    /// The local clock, in milliseconds since 1970 in UTC.
    pub local_millis: i64,
    /// The machine's monotonic clock, in milliseconds since anything, of this process's life.
    pub monotonic_millis: i64,
    /// Recent dates of sites, all that are known.
    pub sites: Vec<Reference>,
    /// Recent times of other coordinators; looked at if no site gave a date.
    pub coordinators: Vec<Reference>,
}

/// Whether expiry may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockVerdict {
    /// It may, and this is the time to decide for.
    Allowed {
        /// Milliseconds since 1970 in UTC.
        now_millis: i64,
    },
    /// It must wait.
    Waiting {
        /// For what.
        why: ClockWait,
        /// When, by the monotonic clock, the wait will end if all stays well; `None` if only a
        /// change outside ends it.
        until_monotonic_millis: Option<i64>,
    },
}

/// Why expiry has to wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum ClockWait {
    /// A reference says another time. Set the clock that is wrong.
    #[error(
        "the local clock is {ahead_millis} ms ahead of {reference}'s; set the one that is wrong"
    )]
    Disagrees {
        /// The site or coordinator that is furthest away.
        reference: String,
        /// How far the local clock is ahead of it; negative: behind.
        ahead_millis: i64,
    },
    /// On a lone node the clock was set, or the machine slept. Confirm, or start again.
    #[error(
        "the local clock moved by {drift_millis} ms against the monotonic one; confirm the time"
    )]
    Drifted {
        /// How far it moved since start or since the last confirmation.
        drift_millis: i64,
    },
    /// The log was written by a clock that was ahead. Confirm that the local one is right.
    #[error("the log is {ahead_millis} ms ahead of the local clock; confirm the time")]
    LogAhead {
        /// How far log time is ahead.
        ahead_millis: i64,
    },
    /// Log time leapt. It takes an hour of a steady clock, or a confirmation.
    #[error("log time leapt by {leap_millis} ms; waiting for an hour of steady clock, or confirm")]
    Leapt {
        /// How far it leapt, beyond the time that had passed.
        leap_millis: i64,
    },
}

/// The state of the guard of one vault, at one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockGuard {
    /// Log time as last seen, or as the next record would have carried it then, if that is later.
    log_millis: i64,
    /// The monotonic clock at that time; `None` before the first reading.
    monotonic_millis: Option<i64>,
    /// Where a lone node's clock is measured from.
    base: Option<Pair>,
    /// The leap that is waited for.
    leap: Option<Leap>,
    /// A log ahead of the clock was confirmed.
    log_ahead_confirmed: bool,
}

/// Both clocks of the machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair {
    local_millis: i64,
    monotonic_millis: i64,
}

impl Pair {
    fn of(reading: &ClockReading) -> Self {
        Self {
            local_millis: reading.local_millis,
            monotonic_millis: reading.monotonic_millis,
        }
    }

    /// How far the local clock moved since, beyond the monotonic one.
    fn drift_millis(&self, reading: &ClockReading) -> i64 {
        let local = reading.local_millis.saturating_sub(self.local_millis);
        local.saturating_sub(
            reading
                .monotonic_millis
                .saturating_sub(self.monotonic_millis),
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Leap {
    leap_millis: i64,
    steady_since: Pair,
}

impl ClockGuard {
    /// A guard for an owner that found the log at this time, **before** its own first record: what
    /// it would append itself must not hide a leap. An empty log is at the local clock's time.
    pub fn open(log_millis: i64) -> Self {
        Self {
            log_millis,
            monotonic_millis: None,
            base: None,
            leap: None,
            log_ahead_confirmed: false,
        }
    }

    /// An operator confirms that the local clock is right: ends the wait for a leap that was seen,
    /// takes the lone node's clock as it is now, and accepts a log that is ahead. A reference that
    /// disagrees is not overruled.
    pub fn confirm(self) -> Self {
        Self {
            base: None,
            leap: None,
            log_ahead_confirmed: true,
            ..self
        }
    }

    /// Takes a reading and says whether expiry may run on it.
    pub fn step(mut self, reading: &ClockReading) -> (Self, ClockVerdict) {
        self.note_leap(reading);
        let base = *self.base.get_or_insert(Pair::of(reading));
        let disagreement = disagreement(reading, base);
        self.note_steadiness(reading, disagreement.is_some());
        let log_ahead_millis = reading.log_millis.saturating_sub(reading.local_millis);
        let log_ahead = (log_ahead_millis > AGREE_MILLIS && !self.log_ahead_confirmed).then_some(
            ClockWait::LogAhead {
                ahead_millis: log_ahead_millis,
            },
        );
        let verdict = match (disagreement.or(log_ahead), &self.leap) {
            (Some(why), _) => ClockVerdict::Waiting {
                why,
                until_monotonic_millis: None,
            },
            (None, Some(leap)) => {
                let since = leap.steady_since.monotonic_millis;
                ClockVerdict::Waiting {
                    why: ClockWait::Leapt {
                        leap_millis: leap.leap_millis,
                    },
                    until_monotonic_millis: Some(since.saturating_add(STEADY_MILLIS)),
                }
            }
            (None, None) => ClockVerdict::Allowed {
                now_millis: reading.local_millis,
            },
        };
        (self, verdict)
    }

    /// Log time, as the next record would carry it, may go on by as much as has passed by the
    /// monotonic clock, if that was watched: an idle vault does not leap.
    fn note_leap(&mut self, reading: &ClockReading) {
        // Not the highest ever seen: a clock that leapt and was set right again would hide the next.
        let log_millis = reading.log_millis.max(reading.local_millis);
        let passed = match self.monotonic_millis {
            Some(before) => reading.monotonic_millis.saturating_sub(before),
            None => 0,
        };
        let leap_millis = log_millis
            .saturating_sub(self.log_millis)
            .saturating_sub(passed.max(0));
        // A monotonic clock that went back is another machine's: nothing is known of what passed.
        if leap_millis > LEAP_MILLIS || passed < 0 {
            self.leap = Some(Leap {
                leap_millis,
                steady_since: Pair::of(reading),
            });
            self.log_ahead_confirmed = false;
        }
        if passed < 0 {
            self.base = None;
        }
        self.log_millis = log_millis;
        self.monotonic_millis = Some(reading.monotonic_millis);
    }

    /// The hour begins anew whenever the clock is found unsteady.
    fn note_steadiness(&mut self, reading: &ClockReading, disagrees: bool) {
        let Some(leap) = &mut self.leap else { return };
        let since = leap.steady_since;
        if disagrees || since.drift_millis(reading).unsigned_abs() > AGREE_MILLIS.unsigned_abs() {
            leap.steady_since = Pair::of(reading);
        } else if reading
            .monotonic_millis
            .saturating_sub(since.monotonic_millis)
            >= STEADY_MILLIS
        {
            self.leap = None;
        }
    }
}

/// The reference that is furthest from the local clock, if that is too far. All that answered must
/// agree: which of two is wrong cannot be known from here.
fn disagreement(reading: &ClockReading, base: Pair) -> Option<ClockWait> {
    let references = match reading.sites.as_slice() {
        [] => &reading.coordinators,
        _ => &reading.sites,
    };
    let ahead = |reference: &Reference| reading.local_millis.saturating_sub(reference.millis);
    match references
        .iter()
        .max_by_key(|reference| ahead(reference).unsigned_abs())
    {
        Some(furthest) => {
            let ahead_millis = ahead(furthest);
            (ahead_millis.unsigned_abs() > AGREE_MILLIS.unsigned_abs()).then(|| {
                ClockWait::Disagrees {
                    reference: furthest.name.clone(),
                    ahead_millis,
                }
            })
        }
        None => {
            let drift_millis = base.drift_millis(reading);
            (drift_millis.unsigned_abs() > AGREE_MILLIS.unsigned_abs())
                .then_some(ClockWait::Drifted { drift_millis })
        }
    }
}

#[cfg(test)]
mod tests;
