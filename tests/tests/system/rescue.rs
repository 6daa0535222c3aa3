//! Rescue: a site's URL and the identity, no coordinator, no placement store. What is wrong is said clearly.

use std::fs;

use holdfast_tests::compare::assert_same;
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Ground, surroundings};

/// A vault with one protected snapshot of `tree` at two sites; its coordinator is gone, data and all.
fn left_alone(ground: &Ground, sites: [&str; 2]) -> Client {
    let path = ground.text("tree");
    tree::awkward(&ground.at("tree"), 3);
    let mut coordinator = ground
        .coordinator("c1")
        .site("onsite", sites[0])
        .site("offsite", sites[1])
        .start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let backup = ["backup", "--vault", "db", "--source", "files", &path];
    user.done(&[&backup[..], &["--wait", "protected"]].concat());
    coordinator.kill();
    fs::remove_dir_all(ground.at("c1")).unwrap();
    ground.user().with_identity("identity")
}

fn rescued_from(ground: &Ground, user: &Client, site: &str, target: &str) {
    let listed = user.json(0, &["rescue", "ls", "--site", site]);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["source"], "files", "{listed}");
    let text = ground.text(target);
    user.done(&["rescue", "restore", "--site", site, "--target", &text]);
    let path = ground.at("tree");
    assert_same(&path, &restored(&ground.at(target), &path));
}

#[test]
fn from_a_folder() {
    let ground = Ground::new();
    let sites = [ground.file_site("onsite"), ground.file_site("offsite")];
    let user = left_alone(&ground, [&sites[0], &sites[1]]);
    rescued_from(&ground, &user, &sites[0], "from-onsite");
    rescued_from(&ground, &user, &sites[1], "from-offsite");

    // A part, into an existing tree.
    let part = ground.text("tree/names");
    let words = ["rescue", "restore", "--site", &sites[1], "--target", "part"];
    user.done(&[&words[..], &["latest", "--include", &part]].concat());
    let path = ground.at("tree");
    assert_same(
        &path.join("names"),
        &restored(&ground.at("part"), &path).join("names"),
    );

    what_is_wrong_is_said(&ground, &user, &sites[0]);
}

#[test]
fn from_a_bucket() {
    let ground = Ground::new();
    let s3 = surroundings::s3();
    let sites = [s3.site(0, "rescue-on"), s3.site(1, "rescue-off")];
    let user = left_alone(&ground, [&sites[0], &sites[1]]);
    rescued_from(&ground, &user, &sites[1], "from-offsite");
    let elsewhere = s3.site(0, "nothing-here");
    let said = user.fails(1, &["rescue", "ls", "--site", &elsewhere]);
    assert!(said.contains("no vault"), "{said}");
    let bucket = sites[0].replace("s3://", "s3://no-such-");
    user.fails(1, &["rescue", "ls", "--site", &bucket]);
}

fn what_is_wrong_is_said(ground: &Ground, user: &Client, site: &str) {
    // An identity of another vault, and one that is none.
    let other = Ground::new();
    left_alone(&other, [&other.file_site("a"), &other.file_site("b")]);
    let wrong = user.with("HOLDFAST_IDENTITY", other.at("identity"));
    let said = wrong.fails(1, &["rescue", "ls", "--site", site]);
    assert!(
        said.contains("db"),
        "it names the vault that lies there: {said}"
    );
    let said = wrong.fails(1, &["rescue", "ls", "--site", site, "--vault", "db"]);
    assert!(said.contains("identity"), "{said}");
    let none = ground.write("no-identity", "not an identity\n");
    user.with("HOLDFAST_IDENTITY", none)
        .fails(1, &["rescue", "ls", "--site", site]);
    user.with("HOLDFAST_IDENTITY", ground.at("nonexistent"))
        .fails(1, &["rescue", "ls", "--site", site]);
    let said = ground.user().fails(2, &["rescue", "ls", "--site", site]);
    assert!(said.contains("--identity"), "{said}");

    // A place with nothing, no place, no URL.
    let empty = ground.file_site("empty");
    let said = user.fails(1, &["rescue", "ls", "--site", &empty]);
    assert!(said.contains("holds no site"), "{said}");
    let nowhere = format!("file:{}", ground.text("nowhere"));
    let said = user.fails(1, &["rescue", "ls", "--site", &nowhere]);
    assert!(said.contains("nowhere"), "{said}");
    let said = user.fails(2, &["rescue", "ls", "--site", "ftp://host/x"]);
    assert!(said.contains("file:/"), "{said}");
    user.fails(2, &["rescue", "ls", "--site", &ground.text("onsite")]);

    // A vault and a snapshot that are not there.
    let said = user.fails(1, &["rescue", "ls", "--site", site, "--vault", "other"]);
    assert!(said.contains("db"), "{said}");
    let words = [
        "rescue", "restore", "--site", site, "--target", "none", "abcd",
    ];
    user.fails(1, &words);
    assert!(!ground.at("none").exists(), "nothing was written");
}
