//! Guards that a story asks for: without the guard the story fails.

use std::process::Command;

use holdfast_vault::Guard;
use holdfast_vault::guard::WITHOUT_VARIABLE;

/// The guard, and the story that fails without it.
const ASKED_FOR: &[(Guard, &str)] = &[];

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
