//! Guards that a story asks for: without the guard the story fails.

use std::process::Command;

use holdfast_vault::Guard;
use holdfast_vault::guard::WITHOUT_VARIABLE;

/// The guard, and the story that fails without it.
const ASKED_FOR: &[(Guard, &str)] = &[
    (
        Guard::OwedHoldsStop,
        "adversary::what_a_branch_holds_is_not_swept",
    ),
    (
        Guard::SealAtMemberStops,
        "failback::a_deposed_owner_does_not_take_the_survivors_seal_for_its_record",
    ),
    (
        Guard::EpochsNeverReused,
        "failback::branches_of_several_epochs_come_back_again_and_again",
    ),
    (
        Guard::BranchFoldsLeft,
        "failback::a_fold_that_was_saved_in_a_branch_is_not_gone_on_from",
    ),
    (
        Guard::OwnBranchStops,
        "failback::what_a_branch_at_the_primary_needs_is_not_collected",
    ),
    (
        Guard::StaleWanted,
        "upkeep::what_is_lost_everywhere_is_sent_again",
    ),
    (
        Guard::PrimaryHealed,
        "upkeep::a_damaged_primary_is_mended_before_it_is_taken",
    ),
    (
        Guard::OnlyFoldedCopied,
        "upkeep::nothing_is_copied_before_it_is_folded",
    ),
    (
        Guard::CondemnedCopied,
        "adversary::a_member_that_catches_up_past_a_condemned_key_holds_it",
    ),
    (
        Guard::BranchIsNoDamage,
        "logs::a_branch_is_not_taken_for_damage",
    ),
    (Guard::CopyVerified, "doubt::a_damaged_pack_is_not_copied"),
    (
        Guard::WholeBeforeProtected,
        "doubt::a_member_that_catches_up_protects_nothing_yet",
    ),
    (
        Guard::OthersGathered,
        "doubt::a_failover_takes_what_a_third_site_holds",
    ),
    (
        Guard::LastPrimaryAsked,
        "doubt::a_site_that_was_left_behind_is_not_taken_for_the_primary",
    ),
    (
        Guard::LossTold,
        "doubt::sites_that_have_lost_records_are_not_opened_without_a_word",
    ),
    (
        Guard::PreviousStands,
        "doubt::a_site_that_is_an_older_copy_is_not_gone_on_behind",
    ),
];

/// The guard, the one that stands behind it, and the story that fails without both and with either.
const ASKED_FOR_BESIDE: &[(Guard, Guard, &str)] = &[
    (
        Guard::DoubtKeeps,
        Guard::HomesStay,
        "doubt::a_pack_that_cannot_be_copied_whole_stays",
    ),
    (
        Guard::ChildrenFirst,
        Guard::CommitChecked,
        "adversary::what_was_given_up_is_not_committed_again",
    ),
];

/// Runs one story in a process of its own, with guards away. True if it goes well.
fn goes_well(without: &[Guard], story: &str) -> bool {
    let names: Vec<String> = without.iter().map(|guard| format!("{guard:?}")).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", story]);
    command.env(WITHOUT_VARIABLE, names.join(","));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let ended = |how: &str| told.contains(&format!("test {story} ... {how}"));
    assert!(ended("ok") != ended("FAILED"), "{without:?}: {told}");
    ended("ok")
}

#[test]
fn a_story_fails_without_the_guard_that_it_asks_for() {
    for &(guard, story) in ASKED_FOR {
        assert!(!goes_well(&[guard], story), "{guard:?}: {story}");
    }
    for &(guard, behind, story) in ASKED_FOR_BESIDE {
        assert!(!goes_well(&[guard, behind], story), "{guard:?}: {story}");
        assert!(goes_well(&[guard], story), "{guard:?}: {story}");
        assert!(goes_well(&[behind], story), "{behind:?}: {story}");
    }
}
