//! What each guard is good for: with it taken away the checker finds a violation, and prints how.
//!
//! State: none. Breadth first, so that each is a shortest one. Without any one of `PromisesKept`, `CondemningNotKnown` and
//! `CommitChecked` every property holds at these bounds: the check at the commit stands behind the promises, and they before it.

use holdfast_vault::Guard;
use stateright::{Checker, HasDiscoveries, Model};

use crate::setups;
use crate::system::System;

/// Takes a guard away and requires that a property which starts like this is violated.
fn loses(guard: Guard, system: System, expected: &str) {
    let name = system.name;
    let system = System {
        without: Some(guard),
        reached: &[],
        ..system
    };
    let checker = system
        .checker()
        .finish_when(HasDiscoveries::Any)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let shortest = found
        .into_iter()
        .min_by_key(|(property, path)| (path.clone().into_actions().len(), *property));
    let Some((property, path)) = shortest else {
        panic!(
            "without {guard:?}, {name} keeps every property in all {} states",
            checker.unique_state_count()
        );
    };
    println!(
        "without {guard:?}, {name}: {} states: violated: {property}",
        checker.unique_state_count()
    );
    for action in path.into_actions() {
        println!("  {action:?}");
    }
    assert!(property.starts_with(expected), "{property}");
}

#[test]
fn seal_before_claim() {
    loses(Guard::SealBeforeClaim, setups::claims(), "I4");
}

#[test]
fn claim_proven() {
    loses(Guard::ClaimProven, setups::overwriting(), "I");
}

#[test]
fn outcome_settled() {
    loses(Guard::OutcomeSettled, setups::claims(), "I9");
}

#[test]
fn one_proposal_per_slot() {
    loses(
        Guard::OneProposalPerSlot,
        setups::claims(),
        "no owner finds",
    );
}

#[test]
fn condemned_everywhere() {
    loses(Guard::CondemnedEverywhere, setups::collection(), "I");
}

#[test]
fn named_before_record() {
    loses(Guard::NamedBeforeRecord, setups::collection(), "I1");
}

#[test]
fn only_folded_copied() {
    loses(Guard::OnlyFoldedCopied, setups::collection(), "I");
}

#[test]
fn condemned_copied() {
    loses(Guard::CondemnedCopied, setups::collection(), "I");
}

#[test]
fn key_before_record() {
    loses(Guard::KeyBeforeRecord, setups::collection(), "I");
}

#[test]
fn pack_before_record() {
    loses(Guard::PackBeforeRecord, setups::collection(), "I");
}

#[test]
fn keys_in_use_stay() {
    loses(Guard::KeysInUseStay, setups::promises(), "I1");
}

#[test]
fn mark_brought_up_to_date() {
    loses(Guard::MarkBroughtUpToDate, setups::promises(), "I1");
}

#[test]
fn slot_compared() {
    loses(Guard::SlotCompared, setups::failover(), "I4");
}

#[test]
fn branch_closed_first() {
    loses(Guard::BranchClosedFirst, setups::failover(), "I9");
}

#[test]
fn seal_before_drain() {
    loses(Guard::SealBeforeDrain, setups::failover(), "a failover");
}

#[test]
fn salvaged_first() {
    loses(Guard::SalvagedFirst, setups::forgetting(), "I");
}

#[test]
fn keys_of_branches_stay() {
    loses(
        Guard::KeysOfBranchesStay,
        setups::forgetting(),
        "what a branch is under",
    );
}
