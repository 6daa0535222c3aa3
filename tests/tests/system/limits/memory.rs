//! Little memory.

use std::fs;

use holdfast_tests::compare::assert_same_below;
use holdfast_tests::{Ground, Noise, tree};

use super::{backup, ids, restores, vault};

/// More than half of what either side may map is backed up, verified, restored and collected: nobody holds all of it.
#[test]
fn within_little_memory() {
    const LIMIT: &str = "--as=536870912";
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (mut coordinator, user) = vault(starting.limited(&[LIMIT]), &ground);
    let user = user.limited(&[LIMIT]);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    tree::small(&path, 80);
    fs::write(path.join("bulk"), Noise::new(81).bytes(300 << 20)).unwrap();
    user.done(&backup(&text, &["--wait", "protected"]));
    user.done(&["verify", "--vault", "db", "--read-data"]);
    let words = ["restore", "--vault", "db", "latest", "--target", "target"];
    user.done(&[&words[..], &["--no-sync"]].concat());
    assert_same_below(&ground.at("target"), &path);
    user.done(&["forget", "--vault", "db", "--purge", "latest"]);
    user.done(&["gc", "--vault", "db", "--wait"]);
    assert!(!coordinator.has_ended(), "it lived through all of it");
}

/// With less than it needs the coordinator ends, and says why; the agent waits for the next one and goes on.
#[test]
fn a_coordinator_without_memory_ends_loudly_and_the_backup_goes_on() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (mut coordinator, user) = vault(starting.limited(&["--data=100663296"]), &ground);
    let path = ground.at("tree");
    tree::small(&path, 82);
    user.done(&backup(&ground.text("tree"), &["--wait", "protected"]));
    fs::write(path.join("bulk"), Noise::new(83).bytes(120 << 20)).unwrap();
    let text = ground.text("tree");
    let running = user.start(&backup(&text, &["--wait", "protected", "--json"]));
    coordinator.ends_by_itself();
    assert!(
        coordinator.log().contains("memory allocation"),
        "{}",
        coordinator.log()
    );
    coordinator.restarts(|starting| starting.limited(&[]));
    coordinator.start_again();
    let made = running.wait().expect(0).json();
    assert_eq!(made["state"], "protected", "{made}");
    assert_eq!(ids(&user).len(), 2);
    restores(&ground, &user, &path);
}
