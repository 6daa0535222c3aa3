//! Each guard of the protocol is taken away, and the simulator finds what is lost then, from the seed that the list gives on.

#![cfg(feature = "mutation")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use holdfast_sim::history::run;
use holdfast_sim::mutation::{FOUND, FOUND_BESIDE, NOT_FOUND, plan, run_without, with_it};
use holdfast_vault::Guard;

#[test]
fn every_guard_is_on_the_list() {
    let mut listed: Vec<Guard> = FOUND.iter().map(|(guard, ..)| *guard).collect();
    listed.extend(FOUND_BESIDE.iter().map(|(guard, ..)| *guard));
    listed.extend(NOT_FOUND.iter().map(|(guard, _)| *guard));
    listed.sort_unstable();
    let mut all = Guard::ALL.to_vec();
    all.sort_unstable();
    assert_eq!(listed, all);
}

/// A seed moves when the sequence of calls in the product does, so those behind the listed one are tried too; so many.
const SEEDS: u64 = 400;

/// What is wrong with one line of the list.
fn check(listed: u64, guard: Guard, beside: &[Guard], kind: &str) -> Option<String> {
    let _away: Vec<_> = beside.iter().map(|guard| guard.remove()).collect();
    for seed in listed..listed + SEEDS {
        let without = run_without(&plan(seed, guard), guard, false);
        let Some(found) = without.breaches.first() else {
            continue;
        };
        if !found.starts_with(kind) {
            continue;
        }
        println!("without {guard:?} and {beside:?}, seed {seed} (listed: {listed}): {found}");
        let with = run(&with_it(seed, guard), false).breaches;
        // Those beside it are away: of this seed nothing can be learnt about it.
        if !beside.is_empty() && !with.is_empty() {
            continue;
        }
        let told = format!("{guard:?}, seed {seed}: with it too: {with:?}");
        return (!with.is_empty()).then_some(told);
    }
    Some(format!(
        "{guard:?}: none of the {SEEDS} seeds from {listed} on finds what is lost without it ({kind})"
    ))
}

#[test]
fn what_each_guard_is_good_for() {
    let alone = FOUND.iter();
    let alone = alone.map(|(guard, seed, kind)| (*guard, &[] as &[Guard], *seed, *kind));
    let all: Vec<_> = alone.chain(FOUND_BESIDE.iter().copied()).collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((guard, beside, seed, kind)) =
                    all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let found = check(*seed, *guard, beside, kind);
                    let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
                    wrong.extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
