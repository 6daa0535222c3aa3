//! Standard input and commands as sources: a failing command is a failed backup, never a short one. And Ctrl-C.

use holdfast_tests::{Client, Coordinator, Ground, Noise, tree};
use serde_json::Value;

fn vault(ground: &Ground) -> (Coordinator, Client) {
    let coordinator = ground.coordinator("c1").file_sites(&["onsite"]).start();
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
    (coordinator, user.with_identity("identity"))
}

fn count(user: &Client) -> usize {
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    all.as_array().unwrap().len()
}

#[test]
fn standard_input_comes_back_as_it_was() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let backup = ["backup", "--vault", "db", "--source", "dump", "--stdin"];
    for input in [Vec::new(), b"x".to_vec(), Noise::new(4).bytes(5 << 20)] {
        let named = [&backup[..], &["--stdin-filename", "db/dump.sql", "--json"]].concat();
        let made = user.run_with_input(&named, &input).expect(0).json();
        assert_eq!(made["bytes"], input.len(), "{made}");
        let dumped = user.done(&["dump", "--vault", "db", "latest", "db/dump.sql"]);
        assert!(dumped.stdout == input);
    }
    assert_eq!(count(&user), 3);
}

#[test]
fn a_failing_command_commits_nothing() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let run = |code: i32, argv: &[&str]| {
        let backup = [
            "backup",
            "--vault",
            "db",
            "--source",
            "dump",
            "--command",
            "--",
        ];
        user.run(&[&backup[..], argv].concat()).expect(code)
    };
    let said = run(1, &["false"]).says();
    assert!(said.contains("false"), "{said}");
    let said = run(1, &["sh", "-c", "echo begun; exit 3"]).says();
    assert!(said.contains('3'), "{said}");
    let said = run(1, &["sh", "-c", "echo begun | cat; false | cat"]).says();
    assert!(said.contains("status 1"), "{said}");
    let said = run(1, &["echo begun; false | cat"]).says();
    assert!(said.contains("status 1"), "{said}");
    run(1, &["sh", "-c", "echo begun; kill -9 $$"]).says();
    let said = run(1, &["/nonexistent/program"]).says();
    assert!(said.contains("/nonexistent/program"), "{said}");
    assert_eq!(count(&user), 0);

    // What it says goes to the person; what it writes comes back.
    let ran = run(0, &["sh", "-c", "echo a word >&2; printf data"]);
    assert!(ran.stderr.contains("a word"), "{ran}");
    let dumped = user.done(&["dump", "--vault", "db", "latest", "stdout"]);
    assert_eq!(dumped.stdout, b"data");
}

#[test]
fn an_interrupted_backup_ends_with_130_and_goes_on_later() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    tree::plain_only(&ground.at("tree"), 6);
    let path = ground.text("tree");
    let backup = ["backup", "--vault", "db", "--source", "files", &path];
    let running = user.start(&[&backup[..], &["--limit-rate", "300k"]].concat());
    while user.json(0, &["status"])["vaults"][0]["open_sessions"] != 1 {
        std::thread::yield_now();
    }
    running.interrupt();
    let ran = running.wait().expect(130);
    assert!(ran.stderr.contains("interrupted"), "{ran}");
    assert_eq!(count(&user), 0);
    let status = user.json(0, &["status"]);
    assert_eq!(status["vaults"][0]["open_sessions"], 0, "{status}");
    let made: Value = user.json(0, &backup);
    assert_eq!(made["state"], "protected", "there is one site: {made}");
}
