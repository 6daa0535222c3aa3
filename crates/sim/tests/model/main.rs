//! The model check: every interleaving of a few owners, sites and requests that go wrong, at stated bounds.
//!
//! The processes are driven by the very functions that the coordinator runs: `log::append`, `log::takeover`,
//! `replicate::copying`, `collect::sweeping`, `branch::closing`. Sites, the fold, the mark and the order of a session, a failover
//! and a salvage are the model's own, in small, with the product's guards at the same places.
//!
//! Not covered: truncation (there is none yet), checkpoints, rewriting and merging of packs, stale chunks, holds, erasures, the
//! clock, recipients and rotation, healing and repair, damaged bytes, a third site and what a failover gathers there, sessions
//! that come back to another owner, placement that forgets, sites that refuse a create but let racers win, and a pack that
//! is on its way when it is swept. Looking where a member stands, and a failback's reading, are one step each.
//!
//! It must be deterministic. Each configuration prints how many states it has, and runs to its end or to the depth it states.

mod collector;
mod copier;
mod failback;
mod history;
#[cfg(feature = "mutation")]
mod mutations;
mod owner;
mod properties;
mod setups;
mod system;
mod world;

use stateright::{Checker, HasDiscoveries, Model};

use system::System;

/// Explores a configuration to its end, and requires that it keeps every property and reaches what it must.
fn holds(system: System) {
    let (name, reached) = (system.name, system.reached.len());
    let depth = system.depth;
    let mut builder = system.checker().finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = depth {
        // The first state counts as one.
        builder = builder.target_max_depth(depth + 1);
    }
    let checker = builder.spawn_bfs().join();
    println!(
        "{name}: {} states ({} generated), depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
    );
    let mut found = 0;
    for (property, path) in checker.discoveries() {
        if property.starts_with("reached") {
            found += 1;
            continue;
        }
        let actions = path.into_actions();
        for action in &actions {
            println!("  {action:?}");
        }
        panic!(
            "{name}: violated after {} actions: {property}",
            actions.len()
        );
    }
    assert!(checker.is_done(), "{name}: not explored to its end");
    if found < reached {
        let found: Vec<_> = checker.discoveries().into_keys().collect();
        panic!("{name}: of what must be reached, only this is: {found:?}");
    }
}

#[test]
fn claims_on_one_site() {
    holds(setups::claims());
}

#[test]
fn claims_on_a_site_that_overwrites() {
    holds(setups::overwriting());
}

#[test]
fn collection_with_two_owners() {
    holds(setups::collection());
}

#[test]
fn promises_against_the_collector() {
    holds(setups::promises());
}

#[test]
fn failover_and_failback() {
    holds(setups::failover());
}

#[test]
fn failover_with_a_collection() {
    holds(setups::forgetting());
}

#[test]
fn failover_there_and_back() {
    holds(setups::twice());
}

#[test]
fn members_leave_and_join() {
    holds(setups::members());
}
