//! The main story by hand: a coordinator process and client commands, from the vault's creation to a restore from the
//! site that took over. The same steps over the unix socket and over mutual TLS, on folders and on the buckets of a
//! real S3 server, with the embedded placement and with etcd.

use std::fs;

use holdfast_tests::compare::{assert_as_described, assert_same, describe};
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Authority, Client, Ground, surroundings};
use serde_json::Value;

#[test]
fn over_the_socket_on_folders_with_embedded_placement() {
    let ground = Ground::new();
    let starting = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .placement("embedded:");
    let mut coordinator = starting.start();
    let user = ground.user().on(&coordinator);
    until_failover(&ground, &user);
    // What was stopped in order goes on where it was.
    coordinator.stop();
    coordinator.start_again();
    from_failover(&ground, &user);
}

#[test]
fn over_tls_on_s3_with_etcd() {
    let ground = Ground::new();
    let authority = Authority::new(&ground.at("tls"), "ca");
    let s3 = surroundings::s3();
    let starting = ground
        .coordinator("c1")
        .site("onsite", &s3.site(0, "on"))
        .site("offsite", &s3.site(1, "off"))
        .placement(&surroundings::etcd("story"))
        .tls(&authority.issue("server"));
    let mut coordinator = starting.start();
    let certificate = authority.issue("client");
    let user = ground.user().over_tls(&coordinator, &certificate);
    until_failover(&ground, &user);
    coordinator.stop();
    coordinator.start_again();
    // The port is another one now.
    let user = ground.user().over_tls(&coordinator, &certificate);
    from_failover(&ground, &user);
}

/// Creates, backs up twice, looks, restores in every way, collects.
fn until_failover(ground: &Ground, user: &Client) {
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::awkward(&path, 7);
    user.done(&[
        "vault",
        "create",
        "db",
        "--sites",
        "onsite,offsite",
        "--identity-out",
        "identity",
        "--bundle-out",
        "bundle",
    ]);
    let user = &user.with_identity("identity");

    let first = user.json(0, &backup(&text, &["--tag", "first"]));
    assert_eq!(first["state"], "committed", "{first}");
    assert_eq!(first["errors"], 0, "{first}");
    let before = describe(&path);

    tree::change(&path, 1);
    let second = user.json(0, &backup(&text, &["--wait", "protected"]));
    assert_eq!(second["state"], "protected", "{second}");
    assert!(second["chunks_reused"].as_u64().unwrap() > 0, "{second}");
    let sent = |result: &Value| result["bytes_sent"].as_u64().unwrap();
    assert!(sent(&second) < sent(&first), "{first}\n{second}");
    let first = first["snapshot"].as_str().unwrap();

    listings(user, first, &text);
    whole_and_partial(ground, user, first, &before);

    let before = bytes_read(user);
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
    assert_eq!(
        verified["snapshots"].as_array().unwrap().len(),
        2,
        "{verified}"
    );
    // What was read at the sites was opened as it came by: each site is read once, and nodes and the log a few times.
    let stored = verified["bytes"].as_u64().unwrap();
    let read = bytes_read(user) - before;
    assert!(read < stored * 5 / 4, "{read} of {stored}: {verified}");
    assert!(verified["chunks_opened"].as_u64().unwrap() > 0);
    let each = verified["snapshots"].as_array().unwrap();
    assert!(each.iter().all(|one| one["chunks"] == 0), "{verified}");

    user.done(&[
        "forget",
        first,
        "--vault",
        "db",
        "--purge",
        "--why",
        "the story",
    ]);
    let collected = user.json(0, &["gc", "--vault", "db", "--wait"]);
    assert_eq!(collected["done"], true, "{collected}");
    assert_eq!(snapshots(user).len(), 1);
    restore(ground, user, "after-gc", &["latest"]);
    assert_same(&path, &restored(&ground.at("after-gc"), &path));
}

/// Fails over to the off-site, backs up there, restores from there.
fn from_failover(ground: &Ground, user: &Client) {
    let user = &user.with_identity("identity");
    let path = ground.at("tree");
    let failed_over = user.json(0, &["failover", "--vault", "db", "--to", "offsite"]);
    assert_eq!(failed_over["done"], true, "{failed_over}");
    assert_eq!(failed_over["drained"], true, "{failed_over}");
    tree::change(&path, 2);
    let third = user.json(0, &backup(&ground.text("tree"), &[]));
    assert!(third["chunks_reused"].as_u64().unwrap() > 0, "{third}");
    restore(
        ground,
        user,
        "from-offsite",
        &["latest", "--site", "offsite"],
    );
    assert_same(&path, &restored(&ground.at("from-offsite"), &path));
    let placement = user.json(0, &["placement", "show", "--vault", "db"]);
    assert_eq!(placement["primary"], "offsite", "{placement}");
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
}

fn backup<'a>(path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["backup", "--vault", "db", "--source", "files", path],
        more,
    ]
    .concat()
}

fn restore(ground: &Ground, user: &Client, target: &str, words: &[&str]) -> Value {
    let target = ground.text(target);
    let start = ["restore", "--vault", "db", "--target", &target];
    user.json(0, &[&start[..], words].concat())
}

fn snapshots(user: &Client) -> Vec<Value> {
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    all.as_array().unwrap().clone()
}

fn listings(user: &Client, first: &str, path: &str) {
    let all = snapshots(user);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0]["id"], first);
    assert_eq!(all[0]["tags"][0], "first");
    for snapshot in &all {
        assert_eq!(snapshot["state"], "protected", "{snapshot}");
        for field in ["id", "source", "time", "bytes"] {
            assert!(!snapshot[field].is_null(), "{field}: {snapshot}");
        }
    }
    let has = |list: &Value, end: &str| {
        let paths = list.as_array().unwrap().iter();
        paths.clone().any(|entry| {
            entry["path"]
                .as_str()
                .is_some_and(|path| path.ends_with(end))
        })
    };
    let listed = user.json(0, &["ls", "--vault", "db", first, path, "--recursive"]);
    assert!(has(&listed, "/links/hard-one"), "{listed}");
    let shown = user
        .done(&["ls", "--vault", "db", first, &format!("{path}/names")])
        .text();
    assert!(
        shown.contains("line\\nbreak") && !shown.contains("line\nbreak"),
        "{shown}"
    );
    let found = user.json(0, &["find", "--vault", "db", "latest", "bottom"]);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let changes = user.json(0, &["diff", "--vault", "db", first, "latest"]);
    assert!(has(&changes, "/new-1/3"), "{changes}");
    assert!(!has(&changes, "/links/hard-one"), "{changes}");
    let file = format!("{path}/twin-of-random");
    let dumped = user.done(&["dump", "--vault", "db", "latest", &file]);
    assert!(dumped.stdout == fs::read(&file).unwrap());
}

fn whole_and_partial(
    ground: &Ground,
    user: &Client,
    first: &str,
    before: &holdfast_tests::compare::Tree,
) {
    let path = ground.at("tree");
    let result = restore(ground, user, "whole", &["latest"]);
    assert_eq!(result["complete"], true, "{result}");
    assert_same(&path, &restored(&ground.at("whole"), &path));

    restore(ground, user, "first", &[first, "--site", "offsite"]);
    assert_as_described(before, &restored(&ground.at("first"), &path));
    let target = ground.text("first");
    let refused = user.fails(
        1,
        &["restore", "--vault", "db", "latest", "--target", &target],
    );
    assert!(refused.contains("--delta"), "{refused}");
    let delta = restore(
        ground,
        user,
        "first",
        &["latest", "--delta", "--delete-extra"],
    );
    assert_same(&path, &restored(&ground.at("first"), &path));
    let (kept, written) = (&delta["bytes_kept"], &delta["bytes_written"]);
    assert!(kept.as_u64() > written.as_u64(), "{delta}");

    let part = ground.text("tree/many");
    restore(ground, user, "part", &["latest", "--include", &part]);
    let part = restored(&ground.at("part"), &path);
    assert_same(&path.join("many"), &part.join("many"));
    let names: Vec<_> = fs::read_dir(part).unwrap().collect();
    assert_eq!(names.len(), 1, "only what was asked for");
}

/// What was read at all sites so far, bytes.
fn bytes_read(user: &Client) -> u64 {
    let status = user.json(0, &["status"]);
    let sites = status["vaults"][0]["sites"].as_array().unwrap();
    let read = sites
        .iter()
        .map(|site| site["bytes_read"].as_u64().unwrap());
    read.sum()
}
