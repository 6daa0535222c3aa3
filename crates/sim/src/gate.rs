//! Whether a process lives: every call that leaves it passes its gate, out and back.
//!
//! A crash is a gate that never opens again: nothing that the process does from then on reaches the world, and no answer
//! reaches it. What others can see of a crash at any await is just that. A pause (a stopped process, a frozen machine) is a
//! gate that opens later.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Dead,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<State>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::channel(State::Open).0)
    }
}

impl Gate {
    /// Passes; waits while the process is paused, for ever once it is dead.
    pub async fn pass(&self) {
        let mut state = self.0.subscribe();
        loop {
            let now = *state.borrow_and_update();
            match now {
                State::Open => return,
                State::Dead => std::future::pending().await,
                State::Paused => {}
            }
            if state.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// The process dies.
    pub fn kill(&self) {
        self.0.send_replace(State::Dead);
    }

    /// The process stops until [`Self::resume`].
    pub fn pause(&self) {
        self.0.send_if_modified(|state| {
            let open = *state == State::Open;
            if open {
                *state = State::Paused;
            }
            open
        });
    }

    /// It goes on.
    pub fn resume(&self) {
        self.0.send_if_modified(|state| {
            let paused = *state == State::Paused;
            if paused {
                *state = State::Open;
            }
            paused
        });
    }

    /// Waits until the process dies.
    pub async fn dies(&self) {
        let mut state = self.0.subscribe();
        while *state.borrow_and_update() != State::Dead {
            if state.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        *self.0.borrow() == State::Dead
    }
}
