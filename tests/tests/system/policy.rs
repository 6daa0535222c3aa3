//! Policies: set, shown, simulated, applied; what expired is in the trash, then collected, and gone at every site.

use holdfast_tests::{Client, Ground, tree};
use serde_json::Value;

const POLICY: &str = "version = 1\ntrash = \"0\"\nexpire_share_max = 1.0\n[keep]\nlast = 2\n";

#[test]
fn keep_last_expires_and_is_collected() {
    let ground = Ground::new();
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start();
    let user = ground.user().on(&coordinator);
    ground.write("policy.toml", POLICY);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");

    let path = ground.text("tree");
    for day in 0..5 {
        tree::write(
            &ground.at("tree/file"),
            &holdfast_tests::Noise::new(day).bytes(300_000),
        );
        user.done(&[
            "backup",
            "--vault",
            "db",
            "--source",
            "web",
            &path,
            "--wait",
            "protected",
        ]);
    }
    assert_eq!(ids(&user, &["snapshots"]).len(), 5);

    let shown = user.json(0, &["policy", "show", "--vault", "db"]);
    assert_eq!(shown["policy"], "", "{shown}");
    let words = [
        "policy",
        "simulate",
        "--vault",
        "db",
        "--policy",
        "policy.toml",
        "--until",
        "3d",
    ];
    let simulated = user.json(0, &words);
    let kept = &simulated["sources"]["web"]["kept_at"];
    assert_eq!(kept.as_array().unwrap().len(), 2, "{simulated}");
    assert_eq!(
        ids(&user, &["snapshots"]).len(),
        5,
        "a simulation changes nothing"
    );

    user.done(&["policy", "set", "--vault", "db", "policy.toml"]);
    let shown = user.json(0, &["policy", "show", "--vault", "db", "--source", "web"]);
    assert_eq!(shown["policy"], POLICY, "{shown}");
    assert_eq!(shown["source"]["keep"][0], "last 2", "{shown}");
    // It is done by itself too: whoever is first, two are left.
    user.json(0, &["policy", "apply", "--vault", "db", "--confirm"]);
    assert_eq!(ids(&user, &["snapshots"]).len(), 2);
    user.json(0, &["policy", "apply", "--vault", "db", "--confirm"]);
    assert_eq!(
        ids(&user, &["snapshots"]).len(),
        2,
        "twice is as good as once"
    );

    user.json(0, &["gc", "--vault", "db", "--wait"]);
    assert_eq!(ids(&user, &["trash", "list"]).len(), 0);
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
    let out = ground.text("out");
    user.done(&["restore", "--vault", "db", "latest", "--target", &out]);
}

#[test]
fn a_wrong_policy_is_refused_with_its_key() {
    let ground = Ground::new();
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
    let set = |text: &str| {
        ground.write("policy.toml", text);
        user.fails(1, &["policy", "set", "--vault", "db", "policy.toml"])
    };
    let said = set("version = 1\n[keep]\nlats = 2\n");
    assert!(
        said.contains("lats") && said.contains("policy.toml"),
        "{said}"
    );
    let said = set("version = 1\n[keep]\nwithin = \"seven days\"\n");
    assert!(
        said.contains("within") || said.contains("seven days"),
        "{said}"
    );
    let said = set("version = 2\n");
    assert!(said.contains("version"), "{said}");
    let said = user.fails(1, &["policy", "set", "--vault", "db", "nothing.toml"]);
    assert!(said.contains("nothing.toml"), "{said}");
}

#[test]
fn a_hold_keeps_what_a_policy_would_drop() {
    let ground = Ground::new();
    let coordinator = ground.coordinator("c1").file_sites(&["onsite"]).start();
    let user = ground.user().on(&coordinator);
    ground.write("policy.toml", POLICY.replace("last = 2", "last = 1"));
    let create = [
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--policy",
        "policy.toml",
    ];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"one");
    let first = user.json(0, &["backup", "--vault", "db", "--source", "web", &path]);
    let first = first["snapshot"].as_str().unwrap();
    let hold = user.json(
        0,
        &["hold", "place", "--vault", "db", first, "--why", "trial"],
    );
    for text in ["two", "three"] {
        tree::write(&ground.at("tree/file"), text.as_bytes());
        user.done(&["backup", "--vault", "db", "--source", "web", &path]);
    }
    user.json(0, &["policy", "apply", "--vault", "db", "--confirm"]);
    let kept = ids(&user, &["snapshots"]);
    assert!(
        kept.len() == 2 && kept.iter().any(|id| id == first),
        "{kept:?}"
    );
    let said = user.fails(1, &["forget", first, "--vault", "db", "--purge"]);
    assert!(said.contains("hold"), "{said}");
    let id = hold["id"].as_str().unwrap();
    user.done(&["hold", "release", "--vault", "db", id]);
    user.json(0, &["policy", "apply", "--vault", "db", "--confirm"]);
    assert_eq!(ids(&user, &["snapshots"]).len(), 1);
}

fn ids(user: &Client, words: &[&str]) -> Vec<String> {
    let all = user.json(0, &[words, &["--vault", "db"]].concat());
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    all.as_array().unwrap().iter().map(id).collect()
}
