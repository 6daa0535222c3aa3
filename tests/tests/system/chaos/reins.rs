//! What the faults do to an agent: the command that it runs just then is killed or stopped where it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_tests::{Ran, Running};
use tokio::time::Instant;

/// An agent goes on trying for five minutes; whatever runs for longer than this hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(480);

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Reins {
    kill: AtomicBool,
    frozen: AtomicBool,
}

/// How a command ended that was held by reins.
pub(super) struct Held {
    pub(super) ran: Ran,
    pub(super) was_killed: bool,
    pub(super) hung: bool,
}

impl Reins {
    /// kill -9 of what runs now, or next.
    pub(super) fn kill(&self) {
        self.kill.store(true, Ordering::SeqCst);
    }

    /// Stops it where it is, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::SeqCst);
    }

    /// Waits for the end of a command, and does to it what is to be done.
    pub(super) fn hold(&self, mut running: Running) -> Held {
        let since = Instant::now();
        let (mut was_killed, mut hung, mut is_frozen) = (false, false, false);
        while !running.has_ended() {
            let kill = self.kill.swap(false, Ordering::SeqCst);
            hung |= since.elapsed() > LIMIT;
            if kill || hung {
                was_killed |= kill;
                running.kill();
            }
            let freeze = self.frozen.load(Ordering::SeqCst);
            match (is_frozen, freeze) {
                (false, true) => running.freeze(),
                (true, false) => running.thaw(),
                _ => {}
            }
            is_frozen = freeze;
            std::thread::sleep(Duration::from_millis(10));
        }
        Held {
            ran: running.wait(),
            was_killed,
            hung,
        }
    }
}

/// What is wrong with how a command ended: it may fail, in words that say what to do; it must not break.
pub(super) fn breakage(held: &Held) -> Option<&'static str> {
    let ran = &held.ran;
    let says = |text: &str| ran.stderr.contains(text);
    match ran.code {
        _ if held.hung => Some("it hangs"),
        _ if says("panicked") => Some("it panicked"),
        _ if says("internal check failed") => Some("an internal check failed"),
        Some(0 | 3 | 4) => None,
        Some(1) if says("holdfast: ") && says("  try: ") => None,
        Some(1) => Some("it does not say what happened and what to try"),
        None if held.was_killed => None,
        _ => Some("that is no way to end"),
    }
}
