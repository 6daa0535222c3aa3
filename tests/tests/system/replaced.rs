//! Disks that were replaced or emptied: a site is filled anew only where a person wants that, and what went with a disk is said.

use std::fs;

use holdfast_tests::{Ground, tree};

use super::outages::{create, restore_and_compare, with_two_sites, words};

/// An empty place may be a disk that is not mounted: only who names the site says otherwise.
#[test]
fn failback_fills_no_site_anew_that_nobody_named() {
    let ground = Ground::new();
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let text = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&words(&text, &["--wait", "protected"]));
    let offsite = ground.at("offsite");
    fs::rename(&offsite, ground.at("away")).unwrap();
    tree::write(&ground.at("tree/file"), b"second");
    let protected = ["--wait", "protected", "--wait-timeout", "2s"];
    let _ = user.run(&words(&text, &protected)).expect(4);
    let said = user.fails(1, &["failback", "--vault", "db"]);
    assert!(
        said.contains("filled anew with `holdfast failback --all --site offsite`"),
        "{said}"
    );
    assert!(!offsite.exists());

    user.done(&["failback", "--vault", "db", "--site", "offsite"]);
    tree::write(&ground.at("tree/file"), b"third");
    user.done(&words(&text, &["--wait", "protected"]));
    restore_and_compare(&ground, &user, "after", "offsite");
}

/// A failover names what it leaves behind; where the disk that has it was replaced, the failback says that it is gone.
#[test]
fn failback_says_what_went_with_a_disk() {
    let ground = Ground::new();
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let text = ground.text("tree");
    let (onsite, offsite) = (ground.at("onsite"), ground.at("offsite"));
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&words(&text, &["--wait", "protected"]));
    fs::rename(&offsite, ground.at("away")).unwrap();
    tree::write(&ground.at("tree/file"), b"second");
    user.done(&words(&text, &[]));
    fs::rename(&onsite, ground.at("burnt")).unwrap();
    fs::rename(ground.at("away"), &offsite).unwrap();
    let failover = ["failover", "--vault", "db", "--to", "offsite"];
    user.done(&[&failover[..], &["--accept-loss"]].concat());
    let failback = ["failback", "--vault", "db", "--site", "onsite"];
    let said = String::from_utf8(user.done(&failback).stdout).unwrap();
    assert!(said.contains("may be nowhere now"), "{said}");
    tree::write(&ground.at("tree/file"), b"third");
    user.done(&words(&text, &["--wait", "protected"]));

    // It turns up after all.
    fs::rename(&onsite, ground.at("new disk")).unwrap();
    fs::rename(ground.at("burnt"), &onsite).unwrap();
    let said = String::from_utf8(user.done(&failback).stdout).unwrap();
    assert!(said.contains("1 snapshot came back"), "{said}");
    assert!(!said.contains("may be nowhere now"), "{said}");
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(all.as_array().unwrap().len(), 3, "{all}");
}

#[test]
fn a_site_that_was_removed_and_emptied_is_added_again() {
    let ground = Ground::new();
    let mut coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let text = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&words(&text, &["--wait", "protected"]));
    for empties in ["the folder", "the folder, and a restart"] {
        println!("{empties}");
        let remove = ["site", "remove", "--vault", "db", "offsite"];
        user.done(&[&remove[..], &["--why", "test"]].concat());
        let away = ground.at(format!("before {empties}"));
        fs::rename(ground.at("offsite"), away).unwrap();
        if empties.ends_with("restart") {
            coordinator.kill();
            coordinator.start_again();
        }
        let offsite = format!("offsite={}", ground.file_site("offsite"));
        user.done(&["site", "add", "--vault", "db", &offsite]);
        tree::write(&ground.at("tree/file"), empties.as_bytes());
        user.done(&words(&text, &["--wait", "protected"]));
        restore_and_compare(&ground, &user, empties, "offsite");
    }
}
