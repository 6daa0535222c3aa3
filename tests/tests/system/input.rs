//! Awkward input: empty trees, giant holes, crowds of files, deep folders, names that no terminal likes, paths that vanish
//! or cannot be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use holdfast_tests::compare::{assert_as_described, assert_same, describe};
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Coordinator, Ground, surroundings};
use serde_json::Value;

/// A vault at one site, and its user.
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

/// Backs up a path as a source of its own, restores it, compares.
fn round_trip(ground: &Ground, user: &Client, name: &str) -> Value {
    let path = ground.at(name);
    let text = ground.text(name);
    let made = user.json(0, &["backup", "--vault", "db", "--source", name, &text]);
    let target = format!("{name}.restored");
    let to = ground.text(&target);
    // What is compared at once need not be on the disk.
    user.done(&[
        "restore",
        "--vault",
        "db",
        "--source",
        name,
        "latest",
        "--target",
        &to,
        "--no-sync",
    ]);
    assert_same(&path, &restored(&ground.at(&target), &path));
    made
}

#[test]
fn empty_and_nearly_empty() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    ground.folder("empty-tree");
    let made = round_trip(&ground, &user, "empty-tree");
    assert_eq!(
        (&made["files"], &made["bytes"]),
        (&0.into(), &0.into()),
        "{made}"
    );
    ground.write("empty-file", "");
    let made = round_trip(&ground, &user, "empty-file");
    assert_eq!(
        (&made["files"], &made["bytes"]),
        (&1.into(), &0.into()),
        "{made}"
    );
}

#[test]
fn a_hundred_gigabytes_of_hole() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    tree::sparse(&ground.at("sparse"), 100 << 30);
    let made = round_trip(&ground, &user, "sparse");
    assert_eq!(made["bytes"], 100u64 << 30, "{made}");
    assert!(made["bytes_read"].as_u64().unwrap() < 1 << 20, "{made}");
}

#[test]
fn a_crowd_and_a_shaft() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let user = user.within(Duration::from_secs(300));
    let count = if surroundings::is_quick() {
        10_000
    } else {
        100_000
    };
    tree::crowd(&ground.at("crowd"), count);
    // All of it is backed up; a part is restored and compared: a debug build takes minutes for a hundred thousand files.
    let text = ground.text("crowd");
    let made = user.json(0, &["backup", "--vault", "db", "--source", "crowd", &text]);
    assert_eq!(made["files"], count, "{made}");
    let (part, target) = (ground.text("crowd/000*"), ground.text("crowd.restored"));
    let restore = [
        "restore",
        "--vault",
        "db",
        "--source",
        "crowd",
        "latest",
        "--no-sync",
    ];
    user.done(&[&restore[..], &["--target", &target, "--include", &part]].concat());
    let mut want = describe(&ground.at("crowd"));
    want.retain(|path, _| path.as_os_str().is_empty() || path.to_string_lossy().starts_with("000"));
    assert_as_described(&want, &restored(target.as_ref(), &ground.at("crowd")));
    // Files that were just made are read again, until they are old enough to be trusted by their times.
    let again = || {
        let text = ground.text("crowd");
        user.json(0, &["backup", "--vault", "db", "--source", "crowd", &text])
    };
    let unchanged = (0..60)
        .map(|_| again())
        .find(|made| made["unchanged_files"] == count);
    let unchanged = unchanged.expect("unchanged files are not read for ever");
    assert_eq!(unchanged["bytes_read"], 0, "{unchanged}");
    tree::deep(&ground.at("shaft"), 200);
    round_trip(&ground, &user, "shaft");
}

#[test]
fn names_that_no_terminal_likes() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    tree::awkward(&ground.at("tree"), 5);
    round_trip(&ground, &user, "tree");
    let names = ground.text("tree/names");
    let shown = user.done(&["ls", "--vault", "db", "latest", &names]).text();
    assert!(
        !shown.contains("line\nbreak") && shown.contains("line\\nbreak"),
        "{shown}"
    );
    // JSON has the bytes too, so that scripts can find such a file.
    let listed = user.json(0, &["ls", "--vault", "db", "latest", &names]);
    let odd = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| !entry["path_bytes"].is_null());
    assert!(odd.is_some(), "{listed}");
}

#[test]
fn a_path_that_is_not_there() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let missing = ground.text("missing");
    let said = user.fails(1, &["backup", "--vault", "db", "--source", "s", &missing]);
    assert!(said.contains("missing"), "{said}");
    let none = user.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(none, Value::Array(Vec::new()));
    let said = user.fails(2, &["backup", "--vault", "db", "--source", "s"]);
    assert!(said.contains("name paths"), "{said}");
}

#[test]
fn a_folder_that_vanishes_while_it_is_read() {
    let ground = Ground::new();
    let (_coordinator, user) = vault(&ground);
    let path = ground.at("tree");
    tree::plain_only(&path, 8);
    let text = ground.text("tree");
    let words = ["backup", "--vault", "db", "--source", "files", &text];
    let running = user.start(&[&words[..], &["--json", "--limit-rate", "2M"]].concat());
    until_a_session_is_open(&user);
    fs::remove_dir_all(path.join("many")).unwrap();
    fs::remove_file(path.join("twin-of-random")).unwrap();
    let ran = running.wait();
    // What had been read by then is there whole; what had not is named, or was never seen.
    assert!(matches!(ran.code, Some(0 | 3)), "{ran}");
    let target = ground.text("out");
    user.done(&["restore", "--vault", "db", "latest", "--target", &target]);
    let kept = restored(&ground.at("out"), &path).join("random");
    assert!(fs::read(kept).unwrap() == fs::read(path.join("random")).unwrap());
}

/// A session stands in the log: the agent is at work.
fn until_a_session_is_open(user: &Client) {
    while user.json(0, &["status"])["vaults"][0]["open_sessions"] != 1 {
        std::thread::yield_now();
    }
}

#[test]
fn files_that_may_not_be_read() {
    let ground = Ground::new();
    // The user of this test is nobody: give them what they need, over loopback, where no folder is in the way.
    fs::set_permissions(ground.at(""), PermissionsExt::from_mode(0o755)).unwrap();
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite"])
        .words(&["--listen", "127.0.0.1:0"])
        .start();
    let root = ground.user().on(&coordinator);
    root.done(&[
        "vault",
        "create",
        "db",
        "--sites",
        "onsite",
        "--identity-out",
        "identity",
        "--bundle-out",
        "bundle",
    ]);
    for name in ["bundle", "nobodys-home"] {
        let path = ground.at(name);
        if name.ends_with("home") {
            fs::create_dir(&path).unwrap();
        }
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let path = ground.at("tree");
    tree::write(&path.join("open"), b"anyone may read this");
    tree::write(&path.join("closed"), b"only root may read this");
    tree::write(&path.join("closed-folder/inside"), b"x");
    let close = |name: &str| {
        fs::set_permissions(path.join(name), PermissionsExt::from_mode(0o000)).unwrap();
    };
    close("closed");
    close("closed-folder");
    let nobody = ground
        .user()
        .at_home("nobodys-home")
        .with("HOLDFAST_COORDINATOR", coordinator.http_url())
        .with("HOLDFAST_BUNDLE", ground.at("bundle"))
        .as_user(65534);
    let text = ground.text("tree");
    let made = nobody.json(3, &["backup", "--vault", "db", "--source", "files", &text]);
    assert_eq!(made["errors"], 2, "{made}");
    assert_eq!(made["state"], "protected", "there is one site: {made}");
    let named = |end: &str| {
        let problems = made["problems"].as_array().unwrap().iter();
        problems
            .clone()
            .any(|problem| problem["path"].as_str().unwrap().ends_with(end))
    };
    assert!(named("/closed") && named("/closed-folder"), "{made}");
    let target = ground.text("out");
    let root = root.with_identity("identity");
    root.done(&["restore", "--vault", "db", "latest", "--target", &target]);
    let back = describe(&restored(&ground.at("out"), &path));
    assert!(back.contains_key(Path::new("open")), "{back:?}");
    let listed = root.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(listed[0]["errors"], 2, "{listed}");
}
