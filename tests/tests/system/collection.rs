//! Collections that a person asks for: what is left in packs that stay.

use std::time::Duration;

use holdfast_tests::compare::assert_same_below;
use holdfast_tests::{Gate, Ground, Noise, tree};
use tokio::time::Instant;

/// What comes about by itself has this long, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// A pack that is mostly in use stays as it is, unless somebody says how little may be left unused.
#[test]
fn what_is_unused_is_left_up_to_the_share_that_is_asked_for() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let coordinator = starting.start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");
    let path = ground.at("tree");
    let text = ground.text("tree");
    let backup = ["backup", "--vault", "db", "--wait", "protected", &text];
    tree::write(&path.join("stays"), &Noise::new(1).bytes(8 << 20));
    tree::write(&path.join("goes"), &Noise::new(2).bytes(3 << 20));
    user.done(&backup);
    let first = user.json(0, &["snapshots", "--vault", "db"])[0]["id"].clone();
    std::fs::remove_file(path.join("goes")).unwrap();
    user.done(&backup);
    let first = first.as_str().unwrap();
    user.done(&["forget", "--vault", "db", "--purge", first]);

    for wrong in ["101%", "-1", "half", "5.5%", ""] {
        let words = ["gc", "--vault", "db", &format!("--max-unused={wrong}")];
        let said = user.fails(2, &words);
        assert!(said.contains("percentage from 0 to 100"), "{said}");
    }
    let gc = |more: &[&str]| {
        let words = ["gc", "--vault", "db", "--wait"];
        user.json(0, &[&words[..], more].concat())
    };
    let left = gc(&[]);
    assert_eq!(left["plan"]["copied_bytes"], 0, "{left}");
    assert!(left["freed_bytes"].as_u64().unwrap() < 1 << 20, "{left}");
    let tight = gc(&["--max-unused", "30%"]);
    assert_eq!(tight["plan"]["copied_bytes"], 0, "{tight}");
    let tight = gc(&["--max-unused", "5%"]);
    assert!(tight["freed_bytes"].as_u64().unwrap() >= 3 << 20, "{tight}");
    assert!(
        tight["plan"]["copied_bytes"].as_u64().unwrap() >= 8 << 20,
        "{tight}"
    );
    let nothing = gc(&["--max-unused", "0"]);
    assert_eq!(nothing["plan"]["copied_bytes"], 0, "{nothing}");

    for site in ["onsite", "offsite"] {
        let target = ground.text(format!("back-{site}"));
        let words = ["restore", "--vault", "db", "latest", "--target", &target];
        user.done(&[&words[..], &["--site", site]].concat());
        assert_same_below(target.as_ref(), &path);
    }
    user.done(&["verify", "--vault", "db", "--read-data"]);
}

/// An agent that died leaves its session behind, which nobody who owns the vault next can tell from one that comes back.
#[test]
fn the_session_of_a_dead_agent_is_ended_when_a_person_says_so() {
    let ground = Ground::new();
    let starting = ground.coordinator("c1").file_sites(&["onsite"]);
    let mut coordinator = starting.words(&["--listen", "127.0.0.1:0"]).start();
    let gate = Gate::before(&coordinator.http_url());
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::write(&path.join("file"), &Noise::new(3).bytes(4 << 20));
    let backup = ["backup", "--vault", "db", &text];
    let gc = ["gc", "--vault", "db", "--wait"];
    let by_hand = [&gc[..], &["--end-sessions"]].concat();

    let agent = user.with("HOLDFAST_COORDINATOR", &gate.endpoint);
    let mut dying = agent.start(&[&backup[..], &["--limit-rate", "300KiB"]].concat());
    gate.wait_sent(600_000);
    dying.kill();
    coordinator.stop();
    coordinator.start_again();
    user.done(&backup);
    let dry = user.json(0, &["gc", "--vault", "db", "--dry-run"]);
    let blocked = dry["plan"]["blocked"].as_str().unwrap();
    assert!(blocked.contains("has not come back yet"), "{dry}");
    let ran = user.run(&gc);
    assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
    assert!(ran.stdout.is_empty(), "{ran}");
    assert_eq!(
        ran.stderr.matches("has not come back yet").count(),
        1,
        "{ran}"
    );
    assert!(ran.stderr.contains("--end-sessions"), "{ran}");
    user.fails(2, &[&by_hand[..], &["--dry-run"]].concat());

    let ran = user.done(&by_hand);
    assert!(ran.stderr.contains("ended 1 session"), "{ran}");
    let ran = user.done(&by_hand);
    assert!(ran.stderr.contains("no session to end"), "{ran}");

    // Of an owner that goes on: nothing is blocked, and it is said what such a session keeps.
    tree::write(&path.join("more"), &Noise::new(4).bytes(4 << 20));
    let mut dying = user.start(&[&backup[..], &["--limit-rate", "300KiB"]].concat());
    let until_open = |open: u64| {
        let since = Instant::now();
        while user.json(0, &["vault", "show", "--vault", "db"])["open_sessions"] != open {
            assert!(since.elapsed() < LIMIT);
        }
    };
    until_open(1);
    // One whose agent is at work is left alone.
    let ran = user.done(&by_hand);
    assert!(ran.stderr.contains("no session to end"), "{ran}");
    dying.kill();
    let since = Instant::now();
    while !user
        .done(&gc)
        .stderr
        .contains("whose agents are not connected: 1")
    {
        assert!(since.elapsed() < LIMIT);
    }
    let ran = user.done(&by_hand);
    assert!(ran.stderr.contains("ended 1 session"), "{ran}");
    until_open(0);
    user.done(&backup);
    let target = ground.text("back");
    user.done(&["restore", "--vault", "db", "latest", "--target", &target]);
    assert_same_below(target.as_ref(), &path);
    user.done(&["verify", "--vault", "db", "--read-data"]);
}
