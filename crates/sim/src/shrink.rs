//! Makes a failing plan short: takes steps out for as long as it still fails in the same way.
//!
//! Chance does not depend on the order in which tasks run (`chance.rs`), so that what is left mostly goes as it went.

use std::time::Duration;

use crate::history::{Outcome, run};
use crate::plan::Plan;

/// Runs at most.
const RUNS_MAX: usize = 300;

/// A shorter plan that fails in the same way, and how it ended.
pub fn shrink(plan: &Plan, outcome: Outcome) -> (Plan, Outcome) {
    let Some(kind) = kind(&outcome) else {
        return (plan.clone(), outcome);
    };
    let (mut best, mut ended) = (plan.clone(), outcome);
    let mut runs = 0;
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 && runs < RUNS_MAX {
        let mut from = 0;
        let mut removed = false;
        while from < best.steps.len() && runs < RUNS_MAX {
            let mut shorter = best.clone();
            let to = (from + size).min(shorter.steps.len());
            // The time that they took still passes: what was slow stays slow.
            let passed: Duration = shorter.steps.drain(from..to).map(|step| step.after).sum();
            if let Some(next) = shorter.steps.get_mut(from) {
                next.after += passed;
            }
            runs += 1;
            let outcome = run(&shorter, false);
            if self::kind(&outcome).as_deref() == Some(kind.as_str()) {
                (best, ended, removed) = (shorter, outcome, true);
            } else {
                from = to;
            }
        }
        if !removed || size == 1 {
            size /= 2;
        }
    }
    (best, ended)
}

/// The kind of the first breach: the invariant's number, or `liveness`.
fn kind(outcome: &Outcome) -> Option<String> {
    let first = outcome.breaches.first()?;
    Some(first.split(':').next().unwrap_or_default().to_owned())
}
