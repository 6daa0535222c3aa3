//! One id a session, in what the agent logs and in what the coordinator logs, over all its streams; and nothing secret in either,
//! however much is logged.

use std::time::Duration;

use holdfast_tests::{Coordinator, Gate, Ground, Noise, tree};
use serde_json::Value;
use tokio::time::Instant;

/// What comes about by itself has this long, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// What was logged in the span of a session: its id, and the message.
fn in_sessions(log: &str) -> Vec<(String, String)> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter_map(|line| {
        let spans = line["spans"].as_array()?;
        let session = spans.iter().find(|span| span["name"] == "session")?;
        let id = session["session"].as_str()?.to_owned();
        Some((id, line["fields"]["message"].as_str()?.to_owned()))
    });
    lines.collect()
}

#[track_caller]
fn wait_for_words(coordinator: &Coordinator, words: &str) {
    let since = Instant::now();
    while !coordinator.log().contains(words) {
        assert!(
            since.elapsed() < LIMIT,
            "it does not say {words:?}:\n{}",
            coordinator.log()
        );
    }
}

#[test]
fn one_id_finds_a_session_on_both_sides() {
    let ground = Ground::new();
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .words(&["--listen", "127.0.0.1:0", "--log-format", "json"])
        .start();
    let gate = Gate::before(&coordinator.http_url());
    let user = ground.user().on(&coordinator);
    user.done(&[
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--identity-out",
        "identity",
    ]);
    tree::write(&ground.at("tree/file"), &Noise::new(7).bytes(1_500_000));
    let agent = user.with("HOLDFAST_COORDINATOR", &gate.endpoint);
    let tree = ground.text("tree");
    let words = [
        "--json",
        "--log",
        "info",
        "--log-format",
        "json",
        "backup",
        "--vault",
        "db",
    ];
    let more = ["--source", "files", &tree, "--limit-rate", "300KiB"];
    let running = agent.start(&[&words[..], &more].concat());
    // The stream is cut in the middle: the session goes on in another one, under the same id.
    gate.wait_sent(600_000);
    gate.shut();
    wait_for_words(&coordinator, "a session's stream ended");
    gate.open();
    let ran = running.wait().expect(0);
    let snapshot = ran.json()["snapshot"].as_str().unwrap().to_owned();

    let by_agent = in_sessions(&ran.stderr);
    let by_coordinator = in_sessions(&coordinator.log());
    for (said, messages) in [
        (
            &by_agent,
            &[
                "the session is open",
                "the session goes on",
                "the snapshot is committed",
            ][..],
        ),
        (
            &by_coordinator,
            &[
                "a session is open",
                "a session's stream ended",
                "the snapshot is committed",
            ][..],
        ),
    ] {
        assert!(
            said.iter().all(|(id, _)| *id == snapshot),
            "{snapshot}: {said:?}"
        );
        for message in messages {
            assert!(
                said.iter().any(|(_, told)| told == message),
                "{message}: {said:?}"
            );
        }
    }
    let opened = by_coordinator
        .iter()
        .filter(|(_, told)| told == "a session is open");
    assert_eq!(opened.count(), 2, "{by_coordinator:?}");
}

#[test]
fn nothing_secret_is_logged_however_much_is_logged() {
    let ground = Ground::new();
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .words(&["--listen", "127.0.0.1:0", "--log", "trace"])
        .start();
    let user = ground
        .user()
        .on(&coordinator)
        .with("HOLDFAST_COORDINATOR", coordinator.http_url());
    ground.write("passphrase", "a passphrase of nobody\n");
    let create = [
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--identity-out",
        "identity",
    ];
    let loud = ["--log", "trace"];
    let mut said = user.done(&[&loud[..], &create].concat()).stderr;
    tree::write(&ground.at("tree/a private name"), b"some private words");
    let backup = [
        "backup",
        "--vault",
        "db",
        "--source",
        "files",
        &ground.text("tree"),
    ];
    said += &user.done(&[&loud[..], &backup].concat()).stderr;
    let target = ground.text("out");
    let restore = [
        "restore", "--vault", "db", "--source", "files", "latest", "--target", &target,
    ];
    said += &user
        .with_identity("identity")
        .done(&[&loud[..], &restore].concat())
        .stderr;
    let protect = [
        "key",
        "passphrase",
        "--identity",
        "identity",
        "--new-passphrase-file",
        "passphrase",
    ];
    let identity = std::fs::read_to_string(ground.at("identity")).unwrap();
    said += &user.done(&[&loud[..], &protect].concat()).stderr;
    let by_coordinator = coordinator.log();
    assert!(
        said.contains("TRACE") && by_coordinator.contains("TRACE"),
        "it was asked for all"
    );

    let bundle = std::fs::read_to_string(tree::any_file(&ground.at("home"), ".bundle")).unwrap();
    let secrets = secrets_of(&identity, &bundle);
    assert!(secrets.len() >= 4, "{secrets:?}");
    for (who, log) in [("the agent", &said), ("the coordinator", &by_coordinator)] {
        let words = ["some private words", "a passphrase of nobody"];
        for secret in words.iter().chain(&secrets) {
            assert!(!log.contains(secret), "{who} logged {secret:?}");
        }
    }
    assert!(
        !by_coordinator.contains("a private name"),
        "the coordinator knows a name"
    );
}

/// What must never be said: the identity's key, the root key, and what a bundle holds, line by line.
fn secrets_of<'f>(identity: &'f str, bundle: &'f str) -> Vec<&'f str> {
    let mut lines = identity.lines();
    let key = lines
        .clone()
        .find(|line| line.starts_with("AGE-SECRET-KEY-"));
    let root = lines.find_map(|line| line.split_once("root-secret: "));
    let mut secrets = vec![key.unwrap(), root.unwrap().1];
    secrets.extend(bundle.lines().skip(1).filter(|line| line.len() > 16));
    secrets
}
