//! Each guard of the protocol is taken away, and the simulator finds what is lost then, with the seed that the list gives.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use holdfast_sim::mutation::{FOUND, NOT_FOUND, plan, run_without};
use holdfast_vault::Guard;

#[test]
fn every_guard_is_on_the_list() {
    let mut listed: Vec<Guard> = FOUND.iter().map(|(guard, ..)| *guard).collect();
    listed.extend(NOT_FOUND.iter().map(|(guard, _)| *guard));
    listed.sort_unstable();
    let mut all = Guard::ALL.to_vec();
    all.sort_unstable();
    assert_eq!(listed, all);
}

#[test]
fn what_each_guard_is_good_for() {
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((guard, seed, kind)) =
                    FOUND.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = run_without(&plan(*seed, *guard), *guard, false);
                    let found = outcome.breaches.first().cloned().unwrap_or_default();
                    println!("without {guard:?}, seed {seed}: {found}");
                    let with =
                        holdfast_sim::history::run(&holdfast_sim::plan::Plan::of(*seed), false);
                    if !found.starts_with(kind) || !with.breaches.is_empty() {
                        let what = format!(
                            "{guard:?}, seed {seed}: {found:?} instead of {kind}; with it: {:?}",
                            with.breaches
                        );
                        missed
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(what);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(
        missed.is_empty(),
        "nothing was lost without a guard, or something with it:\n{}",
        missed.join("\n")
    );
}
