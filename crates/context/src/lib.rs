//! Clock, randomness and task spawning, injected so that a test can seed and pause them.
//!
//! Everything that asks the time, draws a random number or starts a task does so through a [`Context`].
//! Production makes one with [`Context::system`]; a test makes one with [`Context::seeded`], whose wall
//! clock is set by hand and whose randomness repeats. Waiting goes through `tokio::time`, which a paused
//! runtime controls, so it needs no door of its own.
//!
//! State: the source of randomness and the wall clock. It must never hold secrets or do I/O.

#![expect(
    clippy::disallowed_methods,
    reason = "this crate is the door that the bans point to"
)]

mod clock;
mod latest;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

pub use clock::{Clock, ManualClock, SystemClock};
pub use latest::{Ended, Latest, Seen};

/// What a component needs of the world besides its stores: time, chance, tasks.
#[derive(Clone)]
pub struct Context {
    clock: Arc<dyn Clock>,
    chance: Arc<Mutex<StdRng>>,
    inline_blocking: bool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// The real world: the system's clock, the system's randomness.
    pub fn system() -> Self {
        let mut seed = [0u8; 32];
        rand::rand_core::TryRng::try_fill_bytes(&mut SysRng, &mut seed)
            .expect("the operating system gives random bytes; without them no key can be made");
        Self {
            clock: Arc::new(SystemClock),
            chance: Arc::new(Mutex::new(StdRng::from_seed(seed))),
            inline_blocking: false,
        }
    }

    /// A world that repeats: the same seed and the same clock settings give the same run.
    /// Blocking work runs inline, on the caller's thread.
    pub fn seeded(seed: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            chance: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            inline_blocking: true,
        }
    }

    /// The same world with another clock, for tests of real components under a set time.
    pub fn with_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ..self.clone()
        }
    }

    /// Wall clock: milliseconds since 1970-01-01 UTC.
    pub fn now_millis(&self) -> i64 {
        self.clock.now_millis()
    }

    /// Fills `bytes` with random bytes fit for keys and nonces.
    pub fn fill_random(&self, bytes: &mut [u8]) {
        self.chance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }

    /// `N` random bytes fit for keys and nonces.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0u8; N];
        self.fill_random(&mut bytes);
        bytes
    }

    /// A generator of its own, seeded from this one: for a thread that draws a nonce per frame and
    /// must not wait for others.
    pub fn fork_random(&self) -> StdRng {
        StdRng::from_seed(self.random())
    }

    /// Starts a task on the current runtime. What it logs stands in the same span as its starter's words: a session's, for one.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(future.in_current_span())
    }

    /// Runs work that blocks or computes for long: on the runtime's blocking pool, or inline in a seeded world.
    /// Panics of the work are handed on to the caller.
    pub async fn run_blocking<T, W>(&self, work: W) -> T
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        if self.inline_blocking {
            return work();
        }
        let span = tracing::Span::current();
        match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let clock = Arc::new(ManualClock::at(5));
        let one = Context::seeded(7, clock.clone());
        let two = Context::seeded(7, clock.clone());
        assert_eq!(one.random::<32>(), two.random::<32>());
        assert_ne!(one.random::<32>(), Context::seeded(8, clock).random::<32>());
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Arc::new(ManualClock::at(5));
        let context = Context::seeded(7, clock.clone());
        assert_eq!(context.now_millis(), 5);
        clock.advance(10);
        assert_eq!(context.now_millis(), 15);
        clock.set(3);
        assert_eq!(context.now_millis(), 3);
    }
}
