//! Disks that are full to their last page, reserve and all, at each step. One that fills while packs are written is in
//! `outages`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::compare::assert_same_below;
use holdfast_tests::mounted::free_bytes;
use holdfast_tests::{Client, Ground, Mounted, Noise, tree};

use super::{backup, ids, restores, vault};

/// Every store's disk here: its reserve is 2 % of this.
const DISK_BYTES: u64 = 48 << 20;

/// A vault whose failover failed is open again before it was asked for so often, at some hundredths of a second each.
const REOPENED_WITHIN_TRIES: usize = 1000;

/// What is backed up, forgotten and collected: it must be missed on such a disk.
const LARGE_BYTES: usize = 12 << 20;

/// A file that takes all the room that a disk has left.
struct Ballast(PathBuf);

impl Ballast {
    /// Fills a disk to its last page.
    fn fill(disk: &Path) -> Self {
        let path = disk.join("ballast");
        let mut file = File::create(&path).unwrap();
        for block in [&[1; 1 << 20][..], &[1; 4096]] {
            while file.write_all(block).is_ok() {}
        }
        Self(path)
    }

    /// Makes room for so many bytes.
    fn leave(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(&self.0).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len - bytes).unwrap();
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// It says which site is full.
#[track_caller]
fn names_the_full(said: &str, site: &str) {
    assert!(said.contains(site), "{said}");
    assert!(said.contains("full") || said.contains("space"), "{said}");
}

#[test]
fn a_site_that_is_full_to_its_last_page_at_every_step() {
    let ground = Ground::new();
    let _onsite = Mounted::new(&ground.at("onsite"), DISK_BYTES);
    let _offsite = Mounted::new(&ground.at("offsite"), DISK_BYTES);
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (coordinator, user) = vault(starting, &ground);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    let noise = &mut Noise::new(71);
    tree::small(&path, 72);
    fs::write(path.join("bulk"), noise.bytes(LARGE_BYTES)).unwrap();
    user.done(&backup(&text, &["--wait", "protected"]));
    fs::remove_file(path.join("bulk")).unwrap();
    user.done(&backup(&text, &["--wait", "protected"]));
    let before = ids(&user);

    // A backup. Reading needs no room.
    let ballast = Ballast::fill(&ground.at("onsite"));
    tree::change_small(&path, noise);
    names_the_full(&user.fails(1, &backup(&text, &[])), "onsite");
    assert_eq!(ids(&user), before);
    drop(ballast);
    user.done(&backup(&text, &["--wait", "protected"]));
    restores(&ground, &user, &path);

    full_when_it_commits(&ground, &user);

    // What needs a record waits for room, and the coordinator says for which; then it goes on by itself. To forget and to
    // collect takes no more than the reserve, even where others have eaten half of that.
    let ballast = Ballast::fill(&ground.at("onsite"));
    let mut forgetting = user.start(&["forget", "--vault", "db", "--purge", &before[0]]);
    let said = loop {
        let log = coordinator.log();
        if let Some(line) = log
            .lines()
            .find(|line| line.contains("was not written yet"))
        {
            break line.to_owned();
        }
        assert!(!forgetting.has_ended(), "there was room for a record");
        std::thread::yield_now();
    };
    names_the_full(&said, "onsite");
    ballast.leave(DISK_BYTES / 100);
    let _ = forgetting.wait().expect(0);
    // What has to be copied first has no room yet; what needs no copy goes, and makes it.
    for _ in 0..2 {
        user.done(&["gc", "--vault", "db", "--wait"]);
    }
    drop(ballast);
    for site in ["onsite", "offsite"] {
        let used = DISK_BYTES - free_bytes(&ground.at(site));
        assert!(
            used < LARGE_BYTES as u64,
            "{site}: {used} bytes are still used"
        );
    }
    restores(&ground, &user, &path);

    full_when_it_fails_over(&ground, &user, &path);
}

/// The disk fills between a backup's bytes and its commit.
fn full_when_it_commits(ground: &Ground, user: &Client) {
    let before = ids(user);
    let (bulk, gate) = (ground.at("bulk"), ground.at("gate"));
    fs::write(&bulk, Noise::new(73).bytes(3 << 20)).unwrap();
    let made = Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let script = format!("cat '{}'; read go < '{}'", bulk.display(), gate.display());
    let words = ["backup", "--vault", "db", "--source", "dump", "--command"];
    let words = [&words[..], &["--", "sh", "-c", &script]].concat();
    let running = user.start(&words);
    // Opens once the other end is there: by then all bytes are on their way.
    let mut gate = OpenOptions::new().write(true).open(gate).unwrap();
    let ballast = Ballast::fill(&ground.at("onsite"));
    writeln!(gate, "go").unwrap();
    drop(gate);
    let said = running.wait().expect(1).says();
    names_the_full(&said, "onsite");
    assert_eq!(ids(user), before);
    drop(ballast);
    let listed = user.done(&["verify", "--vault", "db", "--read-data"]);
    println!("{}", listed.text());
    let words = ["backup", "--vault", "db", "--source", "dump", "--command"];
    let cat = ["--", "cat", bulk.to_str().unwrap()];
    user.done(&[&words[..], &["--wait", "protected"], &cat].concat());
    user.done(&[
        "forget",
        "--vault",
        "db",
        "--purge",
        &ids(user)[before.len()],
    ]);
}

/// A full site takes no claim, and stays what it was; a full primary is drained as it is.
fn full_when_it_fails_over(ground: &Ground, user: &Client, path: &Path) {
    let before = ids(user);
    let to = |site| ["failover", "--vault", "db", "--to", site];
    let primary = || {
        let shown = user.json(0, &["placement", "show", "--vault", "db"]);
        shown["primary"].as_str().unwrap().to_owned()
    };
    let ballast = Ballast::fill(&ground.at("offsite"));
    names_the_full(&user.fails(1, &to("offsite")), "offsite");
    drop(ballast);
    // It was given up for the failover, and is taken again by itself.
    let shown = ["placement", "show", "--vault", "db"];
    let is_open = (0..REOPENED_WITHIN_TRIES).any(|_| user.run(&shown).code == Some(0));
    assert!(is_open, "{}", user.run(&shown));
    // Whichever of the two it is now, it is one, and takes a backup.
    let text = path.to_str().unwrap();
    tree::change_small(path, &mut Noise::new(74));
    user.done(&backup(text, &["--wait", "protected"]));
    assert_eq!(ids(user)[..before.len()], before[..]);
    restores(ground, user, path);

    let (from, other) = match primary().as_str() {
        "onsite" => ("onsite", "offsite"),
        _ => ("offsite", "onsite"),
    };
    let ballast = Ballast::fill(&ground.at(from));
    let done = user.json(0, &to(other));
    assert_eq!(done["done"], true, "{done}");
    assert_eq!(primary(), other);
    drop(ballast);
    tree::change_small(path, &mut Noise::new(75));
    user.done(&backup(text, &["--wait", "protected"]));
    restores(ground, user, path);
    let verified = user.json(0, &["verify", "--vault", "db", "--read-data"]);
    assert_eq!(verified["complete"], true, "{verified}");
}

#[test]
fn a_restore_to_a_disk_that_is_too_small_goes_on_with_room() {
    let ground = Ground::new();
    let target = Mounted::new(&ground.at("target"), 2 << 20);
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (_coordinator, user) = vault(starting, &ground);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    tree::small(&path, 76);
    fs::write(path.join("bulk"), Noise::new(77).bytes(4 << 20)).unwrap();
    user.done(&backup(&text, &["--wait", "protected"]));
    let words = ["restore", "--vault", "db", "latest", "--target", "target"];
    let words = [&words[..], &["--delta", "--delete-extra"]].concat();
    let said = user.fails(1, &words);
    assert!(said.contains("target") && said.contains("full"), "{said}");
    target.resize(32 << 20);
    user.done(&words);
    assert_same_below(&ground.at("target"), &path);
}

#[test]
fn a_start_with_a_full_data_disk_is_said_or_works() {
    let ground = Ground::new();
    let _data = Mounted::new(&ground.at("c1"), 16 << 20);
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let (mut coordinator, user) = vault(starting, &ground);
    let (path, text) = (ground.at("tree"), ground.text("tree"));
    tree::small(&path, 78);
    user.done(&backup(&text, &["--wait", "protected"]));
    coordinator.kill();
    let ballast = Ballast::fill(&ground.at("c1"));
    // Its socket alone takes no page of this disk, so that it may start; what then needs room says so.
    coordinator.start_again();
    tree::change_small(&path, &mut Noise::new(79));
    let ran = user.run(&backup(&text, &[]));
    if ran.code != Some(0) {
        println!("{}", ran.expect(1).says());
    }
    user.done(&[
        "rescue",
        "ls",
        "--site",
        &format!("file:{}", ground.text("onsite")),
    ]);
    drop(ballast);
    coordinator.kill();
    coordinator.start_again();
    user.done(&backup(&text, &["--wait", "protected"]));
    restores(&ground, &user, &path);
}
