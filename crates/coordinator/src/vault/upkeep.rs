//! What was verified and collected last in a vault, for metrics.
//!
//! State: of this ownership only; the next owner starts with nothing known. Nothing decides anything by it.

use std::sync::{Mutex, PoisonError};

/// How a verification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// When.
    pub ended_millis: i64,
    /// What it found.
    pub findings: u64,
    /// How much of that it repaired.
    pub repaired: u64,
    /// Members that did not answer.
    pub sites_unchecked: u64,
}

/// See the module header.
#[derive(Debug, Default)]
pub struct Upkeep {
    known: Mutex<Known>,
}

/// What is known.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The last verification that came to its end.
    pub verified: Option<Verified>,
    /// When a collection came to its end last.
    pub collected_millis: Option<i64>,
    /// Bytes that the last sweep freed at each member.
    pub freed_bytes_last: u64,
    /// Bytes that all sweeps freed at each member.
    pub freed_bytes: u64,
}

impl Upkeep {
    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A verification came to its end.
    pub(crate) fn verified(&self, verified: Verified) {
        self.change(|known| known.verified = Some(verified));
    }

    /// A collection came to its end: nothing waits.
    pub(crate) fn collected(&self, at_millis: i64) {
        self.change(|known| known.collected_millis = Some(at_millis));
    }

    /// So many bytes are gone at every member.
    pub(crate) fn swept(&self, bytes: u64) {
        self.change(|known| {
            known.freed_bytes_last = bytes;
            known.freed_bytes += bytes;
        });
    }
}
