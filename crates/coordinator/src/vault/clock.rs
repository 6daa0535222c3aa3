//! `Clock`: whether the clock may be trusted with taking something away: with expiring a snapshot, and with ending its time
//! in the trash.
//!
//! State: the policy's guard of this ownership. It is no fence: it adds margin to a safety that the log gives.

use std::sync::{Mutex, PoisonError};

use holdfast_policy::{ClockGuard, ClockReading, ClockVerdict, Reference};

use super::Vault;

/// See the module.
#[derive(Debug)]
pub struct Clock {
    started: tokio::time::Instant,
    guard: Mutex<ClockGuard>,
}

impl Clock {
    /// `log_millis`: log time before this owner's first record.
    pub fn open(log_millis: i64) -> Self {
        Self {
            started: tokio::time::Instant::now(),
            guard: Mutex::new(ClockGuard::open(log_millis)),
        }
    }

    /// How long this ownership has lasted, by the monotonic clock.
    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Reads all clocks and says whether the local one is trusted now.
    pub fn verdict(&self, vault: &Vault) -> ClockVerdict {
        let reading = self.reading(vault);
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, verdict) = guard.clone().step(&reading);
        *guard = next;
        verdict
    }

    /// An operator says that the local clock is right.
    pub fn confirm(&self) {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        *guard = guard.clone().confirm();
    }

    fn reading(&self, vault: &Vault) -> ClockReading {
        let mut sites = Vec::new();
        for name in vault.state().catalog.members.keys() {
            if let Some(opened) = vault.sites.opened(name)
                && let Some(millis) = opened.site.now_hint_millis()
            {
                sites.push(Reference {
                    name: name.to_string(),
                    millis,
                });
            }
        }
        ClockReading {
            log_millis: vault.state().chain.time_millis,
            local_millis: vault.context.now_millis(),
            monotonic_millis: self.elapsed().as_millis() as i64,
            sites,
            coordinators: Vec::new(),
        }
    }
}
