//! Sites and disks that fail: full, read-only, gone for a while. Backups that can go on do so; what lags is said, catches
//! up by itself, and nothing that was acknowledged is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_tests::compare::assert_same;
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Coordinator, Gate, Ground, Mounted, Noise, Running, surroundings};
use serde_json::Value;

/// A restore of a small tree takes no longer, on a busy machine too.
const SOON: Duration = Duration::from_secs(30);

/// An idle primary is looked at every minute; this many times half a second.
const LOOKS_MAX: usize = 180;

pub(super) fn create(ground: &Ground, coordinator: &Coordinator) -> Client {
    let user = ground.user().on(coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    user.with_identity("identity")
}

pub(super) fn with_two_sites(ground: &Ground) -> Coordinator {
    ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .start()
}

pub(super) fn words<'a>(path: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [
        &["backup", "--vault", "db", "--source", "files", path],
        more,
    ]
    .concat()
}

pub(super) fn restore_and_compare(ground: &Ground, user: &Client, target: &str, site: &str) {
    let path = ground.at("tree");
    let to = ground.text(target);
    user.done(&[
        "restore", "--vault", "db", "latest", "--target", &to, "--site", site,
    ]);
    assert_same(&path, &restored(&ground.at(target), &path));
}

/// Backups go on while the off-site is away, and say so; back again, it catches up by itself.
fn away_and_back(ground: &Ground, user: &Client, leave: impl Fn(), come_back: impl Fn()) {
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::plain_only(&path, 31);
    user.done(&words(&text, &["--wait", "protected"]));
    leave();
    tree::change(&path, 32);
    let wait = ["--wait", "protected", "--wait-timeout", "3s", "--json"];
    let ran = user.run(&words(&text, &wait)).expect(4);
    let made: Value = ran.json();
    assert_eq!(made["state"], "committed", "{made}");
    assert!(ran.stderr.contains("committed and not protected"), "{ran}");
    assert!(
        ran.stderr.contains("waiting until every site has it"),
        "{ran}"
    );
    restore_and_compare(ground, user, "meanwhile", "onsite");
    let placement = user.json(0, &["placement", "show", "--vault", "db"]);
    let offsite = &placement["sites"]
        .as_array()
        .unwrap()
        .iter()
        .find(|site| site["site"] == "offsite");
    let offsite = offsite.unwrap();
    assert_eq!(offsite["reachable"], false, "{placement}");
    assert!(offsite["lag_records"].as_u64().unwrap() > 0, "{placement}");
    assert!(
        !offsite["trouble"].as_str().unwrap().is_empty(),
        "{placement}"
    );
    come_back();
    let made = user.json(0, &words(&text, &["--wait", "protected"]));
    assert_eq!(made["state"], "protected", "{made}");
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    for snapshot in all.as_array().unwrap() {
        assert_eq!(snapshot["state"], "protected", "{all}");
    }
    restore_and_compare(ground, user, "after", "offsite");
}

#[test]
fn a_folder_that_is_moved_away_catches_up() {
    let ground = Ground::new();
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let (there, away) = (ground.at("offsite"), ground.at("away"));
    away_and_back(
        &ground,
        &user,
        || fs::rename(&there, &away).unwrap(),
        || fs::rename(&away, &there).unwrap(),
    );
}

#[test]
fn an_s3_server_that_is_cut_off_catches_up() {
    let ground = Ground::new();
    let s3 = surroundings::s3();
    let gate = Gate::before(&s3.endpoint);
    let offsite = s3.at(&gate.endpoint).site(1, "gated");
    let coordinator = ground
        .coordinator("c1")
        .site("onsite", &ground.file_site("onsite"))
        .site("offsite", &offsite)
        .start();
    let user = create(&ground, &coordinator);
    away_and_back(&ground, &user, || gate.shut(), || gate.open());
}

#[test]
fn a_full_off_site_lags_and_a_full_primary_refuses() {
    let ground = Ground::new();
    let offsite = Mounted::new(&ground.at("offsite"), 24 << 20);
    let onsite = Mounted::new(&ground.at("onsite"), 64 << 20);
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::plain_only(&path, 41);
    user.done(&words(&text, &["--wait", "protected"]));

    // 30 MB fit at the primary, not at the off-site.
    let noise = &mut Noise::new(42);
    fs::write(path.join("large"), noise.bytes(30 << 20)).unwrap();
    let wait = ["--wait", "protected", "--wait-timeout", "3s", "--json"];
    let made = user.run(&words(&text, &wait)).expect(4).json();
    assert_eq!(made["state"], "committed", "{made}");
    let placement = user.json(0, &["placement", "show", "--vault", "db"]);
    let trouble = placement["sites"].to_string();
    assert!(
        trouble.contains("full") || trouble.contains("space"),
        "{placement}"
    );
    offsite.resize(128 << 20);
    user.done(&words(&text, &["--wait", "protected"]));
    restore_and_compare(&ground, &user, "caught-up", "offsite");

    // 40 MB more do not fit at the primary: refused, in words; nothing is committed, and what is there stays.
    fs::write(path.join("too-large"), noise.bytes(40 << 20)).unwrap();
    let said = user.fails(1, &words(&text, &[]));
    assert!(said.contains("full") || said.contains("space"), "{said}");
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    assert_eq!(all.as_array().unwrap().len(), 3, "{all}");

    // A full site can be emptied: forget and collect, then it fits.
    fs::remove_file(path.join("large")).unwrap();
    fs::remove_file(path.join("too-large")).unwrap();
    user.done(&words(&text, &["--wait", "protected"]));
    let large = all.as_array().unwrap()[1..].iter();
    for snapshot in large {
        user.done(&[
            "forget",
            "--vault",
            "db",
            "--purge",
            snapshot["id"].as_str().unwrap(),
        ]);
    }
    user.json(0, &["gc", "--vault", "db", "--wait"]);
    // Collection runs by itself too: whoever it was, the pack of the large file is gone at both.
    for site in ["onsite", "offsite"] {
        let left = large_files(&ground.at(site));
        let of_large = |(_, len): &&(PathBuf, u64)| (30 << 20..32 << 20).contains(len);
        assert_eq!(left.iter().find(of_large), None, "{site}: {left:?}");
    }
    fs::write(path.join("large"), noise.bytes(30 << 20)).unwrap();
    user.done(&words(&text, &["--wait", "protected"]));
    restore_and_compare(&ground, &user, "emptied", "onsite");
    onsite.resize(128 << 20);
}

#[test]
fn a_read_only_site_is_said_and_recovers() {
    let ground = Ground::new();
    let onsite = Mounted::new(&ground.at("onsite"), 64 << 20);
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::plain_only(&path, 51);
    user.done(&words(&text, &["--wait", "protected"]));
    onsite.read_only();
    tree::change(&path, 52);
    let said = user.fails(1, &words(&text, &[]));
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    // Reading goes on: a restore needs nothing to be written.
    let target = ground.text("meanwhile");
    user.within(SOON)
        .done(&["restore", "--vault", "db", "latest", "--target", &target]);
    onsite.resize(64 << 20);
    user.done(&words(&text, &["--wait", "protected"]));
    restore_and_compare(&ground, &user, "after", "onsite");
}

#[test]
fn a_read_only_site_is_refused_at_the_start() {
    let ground = Ground::new();
    let onsite = Mounted::new(&ground.at("onsite"), 16 << 20);
    onsite.read_only();
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let said = starting.words(&["--check"]).ends().expect(1).says();
    assert!(said.to_lowercase().contains("read-only"), "{said}");
}

#[test]
fn one_folder_under_two_names_is_one_site() {
    let ground = Ground::new();
    std::fs::create_dir(ground.at("onsite")).unwrap();
    std::os::unix::fs::symlink(ground.at("onsite"), ground.at("link")).unwrap();
    let url = |folder: &str| format!("file:{}", ground.text(folder));
    let coordinator = ground
        .coordinator("c1")
        .file_sites(&["onsite", "offsite"])
        .site("again", &url("link"))
        .start();
    let user = ground.user().on(&coordinator);
    let create = |sites| {
        [
            "vault",
            "create",
            "db",
            "--sites",
            sites,
            "--identity-out",
            "identity",
        ]
    };
    let said = user.fails(1, &create("onsite,again"));
    assert!(said.contains("same place as site"), "{said}");
    user.done(&create("onsite,offsite"));
    let third = format!("third={}", url("offsite"));
    let said = user.fails(1, &["site", "add", "--vault", "db", &third]);
    assert!(said.contains("same place as site offsite"), "{said}");

    // A URL that was refused does not occupy the name. Two that come at once are compared with each other.
    std::fs::create_dir(ground.at("elsewhere")).unwrap();
    std::os::unix::fs::symlink(ground.at("elsewhere"), ground.at("link2")).unwrap();
    let both = [("third", "elsewhere"), ("fourth", "link2")].map(|(name, folder)| {
        let named = format!("{name}={}", url(folder));
        user.start(&["site", "add", "--vault", "db", &named])
    });
    let ended = both.map(Running::wait);
    let mut codes = ended.each_ref().map(|ran| ran.code);
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(1)], "{ended:?}");
    let refused = ended.iter().find(|ran| ran.code == Some(1)).unwrap();
    assert!(refused.stderr.contains("same place as site"), "{refused}");
}

/// A link in the place of a disk that is not mounted makes one place of two members, long after they were compared.
#[test]
fn a_site_that_becomes_another_ones_place_counts_for_nothing() {
    let ground = Ground::new();
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let text = ground.text("tree");
    tree::write(&ground.at("tree/file"), b"first");
    user.done(&words(&text, &["--wait", "protected"]));
    let (offsite, away) = (ground.at("offsite"), ground.at("away"));
    fs::rename(&offsite, &away).unwrap();
    std::os::unix::fs::symlink(ground.at("onsite"), &offsite).unwrap();
    tree::write(&ground.at("tree/file"), b"second");
    let protected = ["--wait", "protected", "--wait-timeout", "5s"];
    let _ = user.run(&words(&text, &protected)).expect(4);
    let same = "site offsite is the same place as site onsite";
    let status = user.done(&["status"]).stdout;
    let status = String::from_utf8_lossy(&status).into_owned();
    assert!(
        status.contains("NOT PROTECTED") && status.contains(same),
        "{status}"
    );
    let ran = user
        .run(&["verify", "--vault", "db", "--read-data"])
        .expect(3);
    assert!(ran.stderr.contains(same), "{ran}");
    let said = user.fails(1, &["failover", "--vault", "db", "--to", "offsite"]);
    assert!(said.contains(same), "{said}");

    fs::remove_file(&offsite).unwrap();
    fs::rename(&away, &offsite).unwrap();
    let since = tokio::time::Instant::now();
    let is_protected = || {
        let all = user.json(0, &["snapshots", "--vault", "db"]);
        all.as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] != "committed")
    };
    while !is_protected() {
        assert!(since.elapsed() < Duration::from_secs(60));
    }
    restore_and_compare(&ground, &user, "after", "offsite");
}

#[test]
fn a_full_disk_under_the_coordinator() {
    let ground = Ground::new();
    let data = Mounted::new(&ground.at("c1"), 16 << 20);
    let mut coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    let path = ground.at("tree");
    let text = ground.text("tree");
    tree::plain_only(&path, 61);
    user.done(&words(&text, &["--wait", "protected"]));
    // Whatever else lies on that disk fills it.
    fill(&ground);
    tree::change(&path, 62);
    let ran = user.run(&words(&text, &["--json"]));
    match ran.code {
        Some(0) => println!("a backup needs no room under the coordinator"),
        _ => println!("{}", ran.expect(1).says()),
    }
    data.resize(64 << 20);
    user.done(&words(&text, &["--wait", "protected"]));
    restore_and_compare(&ground, &user, "after", "onsite");
    // A start on a full disk is told, or works; with room again it works.
    fill(&ground);
    coordinator.kill();
    let again = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    data.resize(128 << 20);
    drop(again);
    coordinator.start_again();
    user.done(&["snapshots", "--vault", "db"]);
}

/// What is larger than a mebibyte, and how large.
fn large_files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            found.extend(large_files(&path));
        } else if facts.len() > 1 << 20 {
            found.push((path, facts.len()));
        }
    }
    found
}

/// Fills the coordinator's disk to the last byte.
fn fill(ground: &Ground) {
    use std::io::Write;
    let path = ground.at(format!(
        "c1/filler-{}",
        fs::read_dir(ground.at("c1")).unwrap().count()
    ));
    let mut file = fs::File::create(path).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
}

/// The primary's folder is gone, and nobody writes: it shows by itself, with the way out; a verification does not call it damage.
#[test]
fn a_primary_that_is_gone_shows_by_itself() {
    let ground = Ground::new();
    let coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    tree::plain_only(&ground.at("tree"), 41);
    user.done(&words(&ground.text("tree"), &["--wait", "protected"]));
    fs::rename(ground.at("onsite"), ground.at("away")).unwrap();
    let primary = || {
        let status = user.json(0, &["status"]);
        let sites = status["vaults"][0]["sites"].as_array().unwrap().clone();
        let primary = sites.into_iter().find(|site| site["primary"] == true);
        primary.unwrap()
    };
    let mut looks = 0;
    while primary()["reachable"] == true {
        looks += 1;
        assert!(looks < LOOKS_MAX, "{}", primary());
        std::thread::sleep(Duration::from_millis(500));
    }
    let trouble = primary()["trouble"].to_string();
    assert!(
        trouble.contains("holdfast failover --vault db --to offsite"),
        "{trouble}"
    );
    let bare = ground.user().on(&coordinator);
    let verified = bare.json(3, &["verify", "--vault", "db"]);
    assert_eq!(verified["unchecked"][0]["site"], "onsite", "{verified}");
    assert_eq!(verified["findings_count"], 0, "{verified}");
    user.done(&["failover", "--vault", "db", "--to", "offsite"]);
    restore_and_compare(&ground, &user, "moved", "offsite");
}

/// A record that no site has whole is met while the vault is open: once that is verified with --repair the vault opens again.
#[test]
fn a_record_that_no_site_has_whole_does_not_close_the_vault() {
    let ground = Ground::new();
    let mut coordinator = with_two_sites(&ground);
    let user = create(&ground, &coordinator);
    tree::plain_only(&ground.at("tree"), 51);
    user.done(&words(&ground.text("tree"), &["--wait", "protected"]));
    tree::change(&ground.at("tree"), 52);
    user.done(&words(&ground.text("tree"), &["--wait", "protected"]));
    for site in ["onsite", "offsite"] {
        let vault = fs::read_dir(ground.at(site)).unwrap().flatten();
        let mut log = vault.map(|entry| entry.path().join("log"));
        let log = log.find(|log| log.is_dir()).unwrap();
        let record = log.join(format!("{:020}", 1)).join(format!("{:020}", 3));
        let mut bytes = fs::read(&record).unwrap();
        bytes[40] ^= 1;
        fs::write(&record, bytes).unwrap();
    }
    let bare = ground.user().on(&coordinator);
    let verified = bare.json(3, &["verify", "--vault", "db", "--repair"]);
    let what = verified["findings"].to_string();
    assert!(what.contains("saved behind it"), "{verified}");
    coordinator.stop();
    coordinator.start_again();
    restore_and_compare(&ground, &user, "opened", "onsite");
    user.done(&["failover", "--vault", "db", "--to", "offsite"]);
    restore_and_compare(&ground, &user, "moved", "offsite");
}
