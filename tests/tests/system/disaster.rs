//! The real disaster: the on-site folder and the coordinator's data are gone. On a fresh machine the vault is taken over
//! from the off-site and the identity, or the recovery kit on paper; backups and restores go on there.

use std::fs;

use holdfast_tests::compare::assert_same;
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Ground};

#[test]
fn with_the_identity() {
    lose_everything("identity");
}

#[test]
fn with_the_recovery_kit() {
    lose_everything("kit");
}

fn lose_everything(opened_with: &str) {
    let ground = Ground::new();
    let path = ground.at("tree");
    tree::awkward(&path, 11);
    let snapshot = before(&ground);
    fs::remove_dir_all(ground.at("onsite")).unwrap();
    fs::remove_dir_all(ground.at("c1")).unwrap();

    // A fresh machine: another coordinator, another home, no bundle, no cache.
    let coordinator = ground
        .coordinator("c2")
        .site("spare", &ground.file_site("spare"))
        .start();
    let user = ground.user().on(&coordinator).at_home("home2");
    let user = user.with_identity(opened_with);
    let offsite = format!("offsite=file:{}", ground.text("offsite"));
    user.done(&["vault", "attach", "--site", &offsite]);
    take_over(&user);

    let all = user.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(all[0]["id"], snapshot.as_str(), "{all}");
    restore(&ground, &user, "restored");
    assert_same(&path, &restored(&ground.at("restored"), &path));

    // The bundle of the new home: attach made it, or it is made now that the vault is open.
    if !ground
        .at("home2/.config/holdfast/bundles/db.bundle")
        .exists()
    {
        user.done(&["key", "bundle", "--vault", "db", "--out", "bundle2"]);
    }
    tree::change(&path, 5);
    let bundle = ground
        .at("bundle2")
        .exists()
        .then_some(["--bundle", "bundle2"]);
    let words = [
        "backup",
        "--vault",
        "db",
        "--source",
        "files",
        path.to_str().unwrap(),
    ];
    let words = [&words[..], bundle.as_ref().map_or(&[], |words| &words[..])].concat();
    let again = user.json(0, &words);
    assert!(again["chunks_reused"].as_u64().unwrap() > 0, "{again}");
    restore(&ground, &user, "restored-again");
    assert_same(&path, &restored(&ground.at("restored-again"), &path));
}

/// A vault at two sites with one protected snapshot, and a kit. The coordinator is killed.
fn before(ground: &Ground) -> String {
    let mut coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start();
    let user = ground.user().on(&coordinator);
    let sites = ["--sites", "onsite,offsite"];
    user.done(
        &[
            &["vault", "create", "db"][..],
            &sites,
            &["--identity-out", "identity"],
        ]
        .concat(),
    );
    let tree = ground.text("tree");
    let words = ["backup", "--vault", "db", "--source", "files", &tree];
    let made = user.json(0, &[&words[..], &["--wait", "protected"]].concat());
    user.with_identity("identity")
        .done(&["key", "kit", "--vault", "db", "--out", "kit"]);
    coordinator.kill();
    made["snapshot"].as_str().unwrap().to_owned()
}

/// Fails over to what is left. Nobody can know that nothing is left behind: it is said, and must be accepted.
fn take_over(user: &Client) {
    let words = ["failover", "--vault", "db", "--to", "offsite"];
    let refused = user.fails(1, &words);
    assert!(refused.contains("--accept-loss"), "{refused}");
    let done = user.json(0, &[&words[..], &["--accept-loss"]].concat());
    assert_eq!(done["done"], true, "{done}");
}

fn restore(ground: &Ground, user: &Client, target: &str) {
    let target = ground.text(target);
    user.done(&["restore", "--vault", "db", "latest", "--target", &target]);
}
