//! Many histories, over several threads: each thread runs whole histories, one after the other.
//!
//! State: the next seed, the figures so far, and what failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::history::{Outcome, run};
use crate::plan::Plan;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed.
    pub seed: u64,
    /// How many histories at most.
    pub histories: u64,
    /// Ends after this time, if it is given.
    pub until: Option<Instant>,
    /// Threads.
    pub threads: usize,
    /// Goes on after a failure.
    pub keep_going: bool,
    /// The plan of a seed.
    pub plan: fn(u64) -> Plan,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Figures {
    /// Histories that were run.
    pub histories: u64,
    /// Figures over all of them.
    pub counts: BTreeMap<String, u64>,
    /// Those that failed, by seed.
    pub failed: BTreeMap<u64, Outcome>,
}

/// Runs a campaign; `progress` is told after each history, with the seed if it failed.
pub fn carry_out(campaign: &Campaign, progress: impl Fn(&Figures, Option<u64>) + Sync) -> Figures {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let result = Mutex::new(Figures::default());
    std::thread::scope(|scope| {
        for _ in 0..campaign.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = campaign.until.is_some_and(|until| Instant::now() >= until);
                    if number >= campaign.histories || late || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = campaign.seed + number;
                    let outcome = run(&(campaign.plan)(seed), false);
                    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                    result.histories += 1;
                    for (kind, count) in &outcome.counts {
                        *result.counts.entry(kind.clone()).or_default() += count;
                    }
                    let failed = (!outcome.breaches.is_empty()).then_some(seed);
                    if failed.is_some() {
                        result.failed.insert(seed, outcome);
                        if !campaign.keep_going {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    progress(&result, failed);
                }
            });
        }
    });
    result.into_inner().unwrap_or_else(PoisonError::into_inner)
}
