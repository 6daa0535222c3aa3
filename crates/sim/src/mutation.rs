//! Which guard is good for what: each is taken away, and histories are run until one finds what is lost then.
//!
//! Only with the feature `mutation`. [`FOUND`] is what was found: the guard, the seed, and the first breach's kind; the test
//! `tests/mutation.rs` runs each again.

use holdfast_vault::Guard;

use crate::history::{Outcome, run};
use crate::plan::{Focus, Plan};

/// What was found: the guard, the seed of a history that loses something without it, and how the breach begins.
pub const FOUND: &[(Guard, u64, &str)] = &[
    (Guard::SealBeforeClaim, 1, "I8"),
    (Guard::ClaimProven, 3, "I8"),
    (Guard::OutcomeSettled, 138, "liveness"),
    (Guard::PackBeforeRecord, 23, "liveness"),
    (Guard::KeyBeforeRecord, 172, "liveness"),
    (Guard::PromisesKept, 3, "promise"),
    (Guard::MarkBroughtUpToDate, 58, "promise"),
    (Guard::CondemningNotKnown, 4, "promise"),
    (Guard::HoldInTheTurn, 12, "I9"),
    (Guard::HomesStay, 118, "liveness"),
    (Guard::KeysInUseStay, 1, "I1"),
    (Guard::CondemnedEverywhere, 2, "I5"),
    (Guard::NamedBeforeRecord, 13, "I1"),
    (Guard::SalvagedFirst, 77, "I9"),
    (Guard::ClockTrusted, 1, "I9"),
    (Guard::PreviousStands, 2, "I1"),
    (Guard::EpochsNeverReused, 3, "liveness"),
    (Guard::OthersGathered, 52, "loss"),
    (Guard::NoMoreLeftBehind, 108, "loss"),
];

/// Guards that others stand behind: the guard, those that are taken away with it, the seed, and how the breach begins. With the
/// others alone away the same history loses nothing.
pub const FOUND_BESIDE: &[(Guard, &[Guard], u64, &str)] = &[(
    Guard::FormerSessionsFirst,
    &[
        Guard::PromisesKept,
        Guard::ChildrenFirst,
        Guard::CommitChecked,
    ],
    248,
    "I1",
)];

/// Guards whose removal no history has shown so far, and what shows it instead.
pub const NOT_FOUND: &[(Guard, &str)] = &[
    (Guard::OneProposalPerSlot, MODEL),
    (Guard::OnlyFoldedCopied, STORY),
    (Guard::SlotCompared, MODEL),
    (Guard::CondemnedCopied, STORY),
    (Guard::BranchClosedFirst, MODEL),
    (Guard::SealBeforeDrain, MODEL),
    (Guard::KeysOfBranchesStay, MODEL),
    (Guard::StaleWanted, STORY),
    (Guard::PrimaryHealed, STORY),
    (Guard::OwedHoldsStop, STORY),
    (Guard::SealAtMemberStops, STORY),
    (Guard::BranchFoldsLeft, STORY),
    (Guard::OwnBranchStops, STORY),
    (Guard::DoubtKeeps, BESIDE),
    (Guard::ChildrenFirst, BESIDE),
    (Guard::CommitChecked, BESIDE),
    (Guard::CopyVerified, STORY),
    (Guard::BranchIsNoDamage, STORY),
    (Guard::LastPrimaryAsked, STORY),
    (Guard::LossTold, STORY),
    (Guard::WholeBeforeProtected, STORY),
];

/// The model check finds it (`tests/model/`).
const MODEL: &str = "the model check finds what is lost";
/// A story of the coordinator fails without it (`crates/coordinator/tests/story/guards.rs`).
const STORY: &str = "a story of the coordinator fails without it";
/// A story of the coordinator fails without it and without the guard that stands behind it (the same file).
const BESIDE: &str = "a story of the coordinator fails without it and the one behind it";

/// The plan of a seed that is likely to need a guard.
pub fn plan(seed: u64, guard: Guard) -> Plan {
    let focus = match guard {
        // Without its proof of claims a site is one that overwrites.
        Guard::ClaimProven => {
            return Plan {
                overwrites: true,
                ..Plan::broad(seed)
            };
        }
        Guard::ClockTrusted => return Plan::of_a_jump(seed),
        Guard::PromisesKept
        | Guard::MarkBroughtUpToDate
        | Guard::CondemningNotKnown
        | Guard::HomesStay
        | Guard::StaleWanted => Focus::Reuse,
        Guard::ChildrenFirst | Guard::CommitChecked | Guard::FormerSessionsFirst => Focus::Owners,
        Guard::HoldInTheTurn => Focus::Holds,
        Guard::KeysOfBranchesStay
        | Guard::SlotCompared
        | Guard::SealAtMemberStops
        | Guard::BranchClosedFirst
        | Guard::SalvagedFirst
        | Guard::OwedHoldsStop
        | Guard::BranchFoldsLeft
        | Guard::OwnBranchStops
        | Guard::SealBeforeDrain => Focus::Branches,
        Guard::EpochsNeverReused => Focus::EmptyPlacement,
        Guard::LastPrimaryAsked => Focus::Deposed,
        Guard::OthersGathered => Focus::Moved,
        Guard::NoMoreLeftBehind => Focus::Flapping,
        Guard::DoubtKeeps | Guard::CopyVerified | Guard::BranchIsNoDamage => Focus::Damage,
        Guard::PrimaryHealed | Guard::PreviousStands => Focus::Older,
        Guard::CondemnedEverywhere
        | Guard::NamedBeforeRecord
        | Guard::OnlyFoldedCopied
        | Guard::CondemnedCopied
        | Guard::WholeBeforeProtected => Focus::Away,
        _ => return Plan::broad(seed),
    };
    Plan::focused(seed, focus)
}

/// Runs a plan without a guard.
pub fn run_without(plan: &Plan, guard: Guard, keep: bool) -> Outcome {
    let _away = guard.remove();
    run(plan, keep)
}

/// The same history with the guard in force. A site that overwrites is refused then: it can have none.
pub fn with_it(seed: u64, guard: Guard) -> Plan {
    Plan {
        overwrites: false,
        ..plan(seed, guard)
    }
}

/// The first of so many seeds that finds something without the guard, and nothing with it.
pub fn search(guard: Guard, from: u64, seeds: u64) -> Option<(u64, Outcome)> {
    let seeds = from..from + seeds;
    let runs = seeds.map(|seed| (seed, run_without(&plan(seed, guard), guard, false)));
    let mut failed = runs.filter(|(_, outcome)| !outcome.breaches.is_empty());
    failed.find(|(seed, _)| run(&with_it(*seed, guard), false).breaches.is_empty())
}
