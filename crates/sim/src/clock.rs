//! A machine's wall clock: true time, which is tokio's paused clock, plus how far this machine is off.

use std::sync::atomic::{AtomicI64, Ordering};

use holdfast_context::Clock;
use tokio::time::Instant;

/// True time when a history begins: milliseconds since 1970-01-01 UTC.
pub const BEGIN_MILLIS: i64 = 1_800_000_000_000;

/// See the module.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    off_millis: AtomicI64,
}

impl SimClock {
    /// A clock that is right, in a history that began then.
    pub fn new(began: Instant) -> Self {
        Self {
            began,
            off_millis: AtomicI64::new(0),
        }
    }

    /// When the history began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// True time.
    pub fn true_millis(&self) -> i64 {
        BEGIN_MILLIS + self.began.elapsed().as_millis() as i64
    }

    /// The clock jumps.
    pub fn jump(&self, millis: i64) {
        self.off_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// The clock is set right.
    pub fn set_right(&self) {
        self.off_millis.store(0, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_millis(&self) -> i64 {
        self.true_millis() + self.off_millis.load(Ordering::SeqCst)
    }
}
