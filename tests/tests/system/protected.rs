//! Protected means protected: whenever a backup is told to be, each key, pack and record of the primary stands at the
//! off-site too, byte for byte. Many small backups of new vaults, several at once, since what could go wrong is a matter of
//! milliseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_tests::{Gate, Ground, Noise, assert_same_below, surroundings, tree};

const ROUNDS: u64 = 8;

#[test]
fn each_object_of_the_primary_stands_at_the_off_site() {
    let ground = Ground::new();
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start();
    let user = ground.user().on(&coordinator);
    let path = ground.text("tree");
    for round in 0..ROUNDS {
        tree::write(&ground.at("tree/file"), &Noise::new(round).bytes(50_000));
        let (vault, identity) = (format!("db{round}"), format!("identity{round}"));
        let create = ["vault", "create", &vault, "--sites", "onsite,offsite"];
        user.done(&[&create[..], &["--identity-out", &identity]].concat());
        let backup = |source| {
            let words = ["backup", "--vault", &vault, "--source", source, &path];
            user.start(&[&words[..], &["--wait", "protected"]].concat())
        };
        for running in ["one", "two", "three"].map(backup) {
            let _ = running.wait().expect(0);
        }
        let [onsite, offsite] = ["onsite", "offsite"].map(|site| {
            let mut objects = BTreeMap::new();
            gather(&ground.at(site), &ground.at(site), &mut objects);
            objects
        });
        let lacks = |name: &&String| onsite.get(*name) != offsite.get(*name);
        let lacking: Vec<_> = onsite.keys().filter(lacks).collect();
        assert!(
            lacking.is_empty(),
            "in round {round} the off-site lacks {lacking:?}"
        );
    }
}

/// The primary answers late that a record stands; who reads it meanwhile sees it. What the record names must be at the
/// off-site before it all the same.
#[test]
fn a_record_that_is_seen_before_its_writer_knows() {
    let ground = Ground::new();
    let s3 = surroundings::s3();
    let gate = Gate::before(&s3.endpoint);
    let coordinator = ground
        .coordinator("c1")
        .site("onsite", &s3.at(&gate.endpoint).site(0, "late"))
        .site("offsite", &ground.file_site("offsite"))
        .start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    gate.hold_puts(Duration::from_millis(200));
    let path = ground.text("tree");
    for round in 0..3 {
        tree::write(&ground.at("tree/file"), &Noise::new(round).bytes(300_000));
        let words = ["backup", "--vault", "db", "--source", "files", &path];
        user.done(&[&words[..], &["--wait", "protected"]].concat());
        let alone = ground.user().with_identity("identity");
        let site = format!("file:{}", ground.text("offsite"));
        let target = ground.text(format!("out-{round}"));
        let words = ["rescue", "restore", "--site", &site, "--target", &target];
        alone.done(&words);
        assert_same_below(target.as_ref(), &ground.at("tree"));
    }
}

/// Hashes of all objects by name, but for what belongs to the site and not to the vault.
fn gather(top: &Path, folder: &Path, objects: &mut BTreeMap<String, blake3::Hash>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') || name.contains("/.") {
            continue;
        }
        if path.is_dir() {
            gather(top, &path, objects);
        } else if ["/keys/", "/packs/", "/log/"]
            .iter()
            .any(|kind| name.contains(kind))
        {
            objects.insert(name, blake3::hash(&fs::read(&path).unwrap()));
        }
    }
}
