//! What a machine runs out of: memory, room on every disk at every step, file descriptors. Each is said in words with
//! what ran out and where, nothing that was acknowledged is lost, and with more of it the same command goes on.

mod descriptors;
mod disks;
mod memory;

use std::path::Path;

use holdfast_tests::compare::assert_same_below;
use holdfast_tests::{Client, Coordinator, Ground, Starting};
use serde_json::Value;

fn vault(starting: Starting, ground: &Ground) -> (Coordinator, Client) {
    let coordinator = starting.start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    (coordinator, user.with_identity("identity"))
}

fn backup<'a>(path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["backup", "--vault", "db", "--source", "files", path];
    [&words[..], more].concat()
}

fn ids(user: &Client) -> Vec<String> {
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
    all.as_array().unwrap().iter().map(id).collect()
}

/// The newest snapshot comes back, from each site.
#[track_caller]
fn restores(ground: &Ground, user: &Client, path: &Path) {
    for site in ["onsite", "offsite"] {
        let target = ground.text(format!("back-from-{site}"));
        let words = ["restore", "--vault", "db", "latest", "--target", &target];
        user.done(&[&words[..], &["--site", site, "--delta", "--delete-extra"]].concat());
        assert_same_below(target.as_ref(), path);
    }
}
