//! Measures how long something took, and for how long to wait for it.
#![expect(
    clippy::disallowed_methods,
    reason = "xtask measures real waits of real programs and has no Context to ask for the time"
)]

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.started.elapsed()
    }
}
