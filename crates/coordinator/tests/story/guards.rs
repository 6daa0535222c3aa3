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
        Guard::StaleWanted,
        "upkeep::what_is_lost_everywhere_is_sent_again",
    ),
    (
        Guard::PrimaryHealed,
        "upkeep::a_damaged_primary_is_mended_before_it_is_taken",
    ),
    (
        Guard::CondemnedCopied,
        "adversary::a_member_that_catches_up_past_a_condemned_key_holds_it",
    ),
    (
        Guard::OnlyFoldedCopied,
        "upkeep::nothing_is_copied_before_it_is_folded",
    ),
];

#[test]
fn a_story_fails_without_the_guard_that_it_asks_for() {
    let program = std::env::current_exe().unwrap();
    for (guard, story) in ASKED_FOR {
        let mut command = Command::new(&program);
        command.args(["--exact", story]);
        command.env(WITHOUT_VARIABLE, format!("{guard:?}"));
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            told.contains(&format!("test {story} ... FAILED")),
            "{guard:?}: {told}"
        );
    }
}
