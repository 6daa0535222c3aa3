//! Protected means protected: whenever a backup is told to be, each key, pack and record of the primary stands at the
//! off-site too, byte for byte. Many small backups of new vaults, several at once, since what could go wrong is a matter of
//! milliseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_tests::{
    Client, Coordinator, Gate, Ground, Noise, assert_same_below, surroundings, tree,
};

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

/// Objects at the off-site.
fn at_offsite(ground: &Ground, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let offsite = ground.at("offsite");
    let mut objects = BTreeMap::new();
    gather(&offsite, &offsite, &mut objects);
    let names = objects.keys().filter(|name| is_meant(name));
    names.map(|name| offsite.join(name)).collect()
}

/// A coordinator with two sites, and a vault at both.
fn with_a_vault(ground: &Ground) -> (Coordinator, Client) {
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    (coordinator, user)
}

fn states(user: &Client) -> Vec<String> {
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    let states = all.as_array().unwrap().iter().map(|one| &one["state"]);
    states.map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Whatever a snapshot was told to be once, it is not told that any more when a verification, or a person, knows better.
#[test]
fn what_is_damaged_is_not_told_verified() {
    let ground = Ground::new();
    let (mut coordinator, user) = with_a_vault(&ground);
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), &Noise::new(7).bytes(50_000));
    let backup = ["backup", "--vault", "db", &path, "--wait", "protected"];
    user.done(&backup);
    let verify = ["verify", "--vault", "db", "--read-data"];
    user.done(&verify);
    assert_eq!(states(&user), ["verified"]);

    for pack in at_offsite(&ground, |name| name.contains("/packs/")) {
        fs::remove_file(pack).unwrap();
    }
    let _ = user.run(&["verify", "--vault", "db"]).expect(3);
    assert_eq!(states(&user), ["damaged"]);
    let status = user.json(0, &["status"])["vaults"][0]["unprotected"].to_string();
    let way_out = "holdfast verify --vault db --site offsite --read-data --repair";
    assert!(status.contains(way_out), "{status}");
    coordinator.kill();
    coordinator.start_again();
    assert_eq!(states(&user), ["damaged"]);
    // Only what reads it says that it is whole.
    user.done(&["verify", "--vault", "db", "--repair"]);
    assert_eq!(states(&user), ["damaged"]);
    user.done(&[
        "verify",
        "--vault",
        "db",
        "--site",
        "offsite",
        "--read-data",
    ]);
    assert_eq!(states(&user), ["verified"]);

    // Another disk in the site's place was never read.
    fs::rename(ground.at("offsite"), ground.at("away")).unwrap();
    user.done(&["failback", "--vault", "db", "--site", "offsite"]);
    tree::write(&ground.at("tree/file"), &Noise::new(8).bytes(50_000));
    user.done(&backup);
    assert_eq!(states(&user), ["protected", "protected"]);
    user.done(&verify);
    assert_eq!(states(&user), ["verified", "verified"]);

    // Nor does it count once the site has left.
    user.done(&[
        "site", "remove", "--vault", "db", "offsite", "--why", "test",
    ]);
    let offsite = format!("offsite={}", ground.file_site("offsite"));
    user.done(&["site", "add", "--vault", "db", &offsite]);
    tree::write(&ground.at("tree/file"), &Noise::new(9).bytes(50_000));
    user.done(&backup);
    assert_eq!(states(&user), ["protected"; 3]);

    // Without the vault's key nothing there can be restored.
    let keys = at_offsite(&ground, |name| name.contains("/keys/vault/"));
    assert_eq!(keys.len(), 1, "{keys:?}");
    fs::remove_file(&keys[0]).unwrap();
    let _ = user.run(&["verify", "--vault", "db"]).expect(3);
    assert_eq!(states(&user), ["damaged"; 3]);
    // Nor can what comes now, whatever of it is new.
    let other = ground.text("other");
    tree::write(&ground.at("other/file"), &Noise::new(10).bytes(50_000));
    let words = ["backup", "--vault", "db", &other, "--wait", "protected"];
    let said = user.run(&words).expect(4).stderr;
    assert!(said.contains("is damaged"), "{said}");
    assert_eq!(states(&user), ["damaged"; 4]);
    let mend = ["verify", "--vault", "db", "--read-data", "--repair"];
    user.done(&mend);
    assert_eq!(states(&user), ["verified"; 4]);
}

/// What cannot be read is not known to be whole, nor to be damaged.
#[test]
fn what_could_not_be_read_is_not_told_verified() {
    let ground = Ground::new();
    let (_coordinator, user) = with_a_vault(&ground);
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), &Noise::new(7).bytes(50_000));
    user.done(&["backup", "--vault", "db", &path, "--wait", "protected"]);
    let verify = ["verify", "--vault", "db", "--read-data"];
    user.done(&verify);
    assert_eq!(states(&user), ["verified"]);
    let packs = at_offsite(&ground, |name| name.contains("/packs/"));
    // The operating system gives an error for these, and not that nothing is there.
    let spoil = |pack: &Path| std::os::unix::fs::symlink(pack, pack).unwrap();
    for pack in &packs {
        fs::rename(pack, pack.with_extension("away")).unwrap();
        spoil(pack);
    }
    let _ = user.run(&verify).expect(3);
    assert_eq!(states(&user), ["protected"]);

    for pack in &packs {
        fs::remove_file(pack).unwrap();
    }
    let _ = user.run(&verify).expect(3);
    assert_eq!(states(&user), ["damaged"]);
    packs.iter().for_each(|pack| spoil(pack));
    let _ = user.run(&verify).expect(3);
    assert_eq!(states(&user), ["damaged"]);
    for pack in &packs {
        fs::rename(pack.with_extension("away"), pack).unwrap();
    }
    user.done(&verify);
    assert_eq!(states(&user), ["verified"]);
}

/// A backup does not send what is there already: a new snapshot needs what is damaged as much as an old one.
#[test]
fn a_new_snapshot_that_shares_what_is_damaged_is_damaged() {
    let ground = Ground::new();
    let (mut coordinator, user) = with_a_vault(&ground);
    let (path, other) = (ground.text("tree"), ground.text("other"));
    tree::write(&ground.at("tree/file"), &Noise::new(7).bytes(50_000));
    tree::write(&ground.at("other/file"), &Noise::new(8).bytes(50_000));
    let words = ["backup", "--vault", "db", "--wait", "protected"];
    let backup = |path| [&words[..], &[path]].concat();
    user.done(&backup(&path));
    for pack in at_offsite(&ground, |name| name.contains("/packs/")) {
        fs::remove_file(pack).unwrap();
    }
    let _ = user.run(&["verify", "--vault", "db"]).expect(3);

    tree::write(&ground.at("tree/more"), b"more");
    let said = user.run(&backup(&path)).expect(4).stderr;
    assert!(said.contains("is damaged"), "{said}");
    user.done(&backup(&other));
    let sorted = || {
        let mut all = states(&user);
        all.sort();
        all
    };
    assert_eq!(sorted(), ["damaged", "damaged", "protected"]);
    // Without a wait it is said too.
    let said = user.run(&["backup", "--vault", "db", &path]).expect(0);
    assert!(said.stderr.contains("is damaged at a site"), "{said:?}");
    coordinator.kill();
    coordinator.start_again();
    // The off-site is looked at first.
    let since = tokio::time::Instant::now();
    while sorted() != ["damaged", "damaged", "damaged", "protected"] {
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", sorted());
    }

    // What is mended hurts no new one; of the old ones, who reads it says that they are whole.
    user.done(&["verify", "--vault", "db", "--repair"]);
    tree::write(&ground.at("tree/more"), b"again more");
    user.done(&backup(&path));
    let all = ["damaged", "damaged", "damaged", "protected", "protected"];
    assert_eq!(sorted(), all);
    user.done(&["verify", "--vault", "db", "--read-data"]);
    assert_eq!(sorted(), ["verified"; 5]);
}

/// A data key that a site lacks hurts what is sent under it, and what was, wherever a collection has moved it.
#[test]
fn a_key_that_a_site_lacks_hurts_what_comes_under_it() {
    let ground = Ground::new();
    let (_coordinator, user) = with_a_vault(&ground);
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), &Noise::new(7).bytes(50_000));
    tree::write(&ground.at("tree/other"), &Noise::new(8).bytes(50_000));
    let words = ["backup", "--vault", "db", &path];
    user.done(&[&words[..], &["--wait", "protected"]].concat());
    let is_of_a_session = |name: &str| name.contains("/keys/") && !name.contains("/keys/vault/");
    let keys = at_offsite(&ground, is_of_a_session);
    assert_eq!(keys.len(), 1, "{keys:?}");
    fs::remove_file(&keys[0]).unwrap();
    let _ = user.run(&["verify", "--vault", "db"]).expect(3);
    assert_eq!(states(&user), ["damaged"]);

    // Frames move to another pack as they are, sealed under the same key.
    fs::remove_file(ground.at("tree/other")).unwrap();
    user.done(&words);
    let first = user.json(0, &["snapshots", "--vault", "db"])[0]["id"].clone();
    user.done(&[
        "forget",
        "--vault",
        "db",
        "--purge",
        first.as_str().unwrap(),
    ]);
    let gc = ["gc", "--vault", "db", "--wait", "--max-unused", "0%"];
    let said = user.done(&gc);
    assert!(
        String::from_utf8_lossy(&said.stdout).contains("pack"),
        "{said}"
    );
    assert_eq!(states(&user), ["damaged"]);
    tree::write(&ground.at("tree/more"), b"more");
    user.done(&words);
    assert_eq!(states(&user), ["damaged"; 2]);

    // Its hash says that it is right: nothing has to be read for what comes.
    user.done(&["verify", "--vault", "db", "--repair"]);
    tree::write(&ground.at("tree/more"), b"again");
    user.done(&[&words[..], &["--wait", "protected"]].concat());
    let mut all = states(&user);
    all.sort();
    assert_eq!(all, ["damaged", "damaged", "protected"]);
}

/// A disk that went back to an older copy of itself gets what it lacks again: none of that was read there.
#[test]
fn what_is_put_back_is_not_told_verified() {
    for site in ["offsite", "onsite"] {
        let ground = Ground::new();
        let (mut coordinator, user) = with_a_vault(&ground);
        let path = ground.text("tree");
        let backup = ["backup", "--vault", "db", &path, "--wait", "protected"];
        tree::write(&ground.at("tree/file"), &Noise::new(1).bytes(50_000));
        user.done(&backup);
        let older = ground.at("older");
        copy(&ground.at(site), &older);
        tree::write(&ground.at("tree/file"), &Noise::new(2).bytes(50_000));
        user.done(&backup);
        user.done(&["verify", "--vault", "db", "--read-data"]);
        assert_eq!(states(&user), ["verified", "verified"]);
        coordinator.kill();
        fs::rename(ground.at(site), ground.at("newer")).unwrap();
        fs::rename(&older, ground.at(site)).unwrap();
        coordinator.start_again();
        tree::write(&ground.at("tree/file"), &Noise::new(3).bytes(50_000));
        user.done(&backup);
        assert_eq!(
            states(&user),
            ["verified", "protected", "protected"],
            "{site}"
        );
    }
}

/// How long a site has lacked what it lacks is not forgotten with the coordinator that told it.
#[test]
fn the_lag_of_a_site_that_is_away_outlives_a_restart() {
    let ground = Ground::new();
    let (mut coordinator, user) = with_a_vault(&ground);
    let path = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&["backup", "--vault", "db", &path, "--wait", "protected"]);
    fs::rename(ground.at("offsite"), ground.at("away")).unwrap();
    tree::write(&ground.at("tree/file"), b"second");
    user.done(&["backup", "--vault", "db", &path]);
    let since = tokio::time::Instant::now();
    let offsite = || {
        let status = user.json(0, &["status"]);
        let sites = status["vaults"][0]["sites"].as_array().unwrap().clone();
        let site = sites.into_iter().find(|site| site["site"] == "offsite");
        site.unwrap()
    };
    while since.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(100));
    }
    coordinator.kill();
    coordinator.start_again();
    let looked = tokio::time::Instant::now();
    while offsite()["pending"] == true {
        assert!(looked.elapsed() < Duration::from_secs(60));
    }
    let (told, least) = (offsite(), since.elapsed().as_secs_f64() - 1.0);
    let lag = told["lag_seconds"].as_f64().unwrap();
    assert!(lag >= least, "{lag} s, and {least} s have passed: {told}");
}

/// A restore that is refused keeps nothing from being collected.
#[test]
fn a_restore_that_is_refused_leaves_no_hold() {
    let ground = Ground::new();
    let coordinator = ground.coordinator("c1").file_sites(&["onsite"]).start();
    let user = ground.user().on(&coordinator);
    for (vault, identity) in [("db", "identity"), ("other", "another")] {
        let create = ["vault", "create", vault, "--sites", "onsite"];
        user.done(&[&create[..], &["--identity-out", identity]].concat());
    }
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&["backup", "--vault", "db", &ground.text("tree")]);
    let target = ground.text("restored");
    let restore = ["restore", "--vault", "db", "latest", "--target", &target];
    let said = user.with_identity("another").fails(1, &restore);
    assert!(said.contains("identity is for vault"), "{said}");
    let holds = user.json(0, &["hold", "list", "--vault", "db", "--all"]);
    assert_eq!(holds.as_array().unwrap().len(), 0, "{holds}");
}

fn copy(from: &Path, to: &Path) {
    let mut copied = std::process::Command::new("cp");
    copied.arg("-a").args([from, to]);
    assert!(copied.status().unwrap().success());
}
