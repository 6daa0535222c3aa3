//! Whether a process lives: every call that leaves it passes its gate, out and back.
//!
//! A crash is a gate that never opens again: nothing that the process does from then on reaches the world, and no answer
//! reaches it. What others can see of a crash at any await is just that. A pause (a stopped process, a frozen machine) is a
//! gate that opens later.

use holdfast_context::Latest;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Paused,
    Dead,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Gate(Latest<State>);

impl Default for Gate {
    fn default() -> Self {
        Self(Latest::new(State::Open))
    }
}

impl Gate {
    /// Passes; waits while the process is paused, for ever once it is dead.
    pub async fn pass(&self) {
        let mut state = self.0.watch();
        loop {
            match state.get() {
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
        self.0.set(State::Dead);
    }

    /// The process stops until [`Self::resume`].
    pub fn pause(&self) {
        if self.0.get() == State::Open {
            self.0.set(State::Paused);
        }
    }

    /// It goes on.
    pub fn resume(&self) {
        if self.0.get() == State::Paused {
            self.0.set(State::Open);
        }
    }

    /// Waits until the process dies.
    pub async fn dies(&self) {
        let mut state = self.0.watch();
        while state.get() != State::Dead {
            if state.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.0.get() == State::Dead
    }
}
