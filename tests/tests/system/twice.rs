//! Every command that changes a vault, run twice in a row. The second run changes nothing: every byte below every site is
//! compared; only a file site's staging folder is left out, where a file has a second name until it is durable. And it ends in a way that makes sense: 0 where what is asked for is so already, else a
//! refusal that says why.
//!
//! | command | first | again | why |
//! |---|---|---|---|
//! | `vault create` | 0 | 1 | the name is taken; an identity file is never overwritten |
//! | `vault attach` | 0 | 0 | it is attached |
//! | `site add` | 0 | 1 | it is a member |
//! | `site remove` | 0 | 1 | it is no member |
//! | `key add-recipient` | 0 | 1 | there is one of that name or key |
//! | `key remove-recipient` | 0 | 1 | there is none of that name |
//! | `key kit`, `key bundle` | 0 | 1 | a file is never overwritten |
//! | `key recipients` | 0 | 0 | it only reads |
//! | `policy set`, `policy apply` | 0 | 0 | it is so already |
//! | `forget` | 0 | 1 | it is in the trash |
//! | `forget --purge` | 0 | 0 | it leaves the trash already |
//! | `trash restore` | 0 | 1 | it is not in the trash |
//! | `hold place` | 0 | 0 | **a second hold**, see below |
//! | `hold release` | 0 | 1 | there is none |
//! | `gc`, with and without `--wait` | 0 | 0 | there is nothing more to give up |
//! | `verify`, `--read-data` | 0 | 0 | what was read back is said once for each snapshot and site |
//! | `verify --repair` | 0 | 0 | what was mended is named once |
//! | `failover` | 0 | 1 | it is the primary |
//! | `failback` | 0 | 0 | nothing is left behind |
//! | `failback --make-primary` | 0 | 1 | it is the primary |
//! | lists of any kind, `status`, `policy simulate`, `rescue ls` | 0 | 0 | they only read |
//! | `ls`, `find`, `diff`, `dump`, `verify` with an identity | 0 | 0 | **they hold what they read**, see below |
//! | `rescue restore` | 0 | 1 | a tree that is there is not written over |
//!
//! Two exceptions are meant. A hold is a thing of its own with its own id and reason, so that two lawyers can hold one
//! snapshot and each release theirs: `hold place` again is another hold, one record more at each site, and nothing else.
//! And whoever reads in a snapshot holds it meanwhile, by record, so that no collection takes it away under the reader:
//! records more each time, and nothing else, no hold either once it is done.
//!
//! Not here: `backup` and `restore`, which are there to do something each time (a snapshot more; a hold for as long as the
//! restore runs), and starting a coordinator, which takes a new epoch each time by two records, a seal and a claim.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_tests::{Client, Coordinator, Ground, Noise, tree};

/// Everything below a folder.
type Image = BTreeMap<PathBuf, Vec<u8>>;

/// How often it is looked whether the members are level; each look is a command of its own.
const LOOKS_MAX: usize = 400;

/// A vault `db` at `onsite` and `offsite`, with three snapshots.
struct Scene {
    // Dropped before the ground that it stands on.
    coordinator: Coordinator,
    ground: Ground,
    user: Client,
    snapshots: Vec<String>,
    /// The folders of the vault's present members.
    members: Vec<&'static str>,
}

impl Scene {
    fn new() -> Self {
        let ground = Ground::new();
        let coordinator = ground
            .coordinator("c1")
            .file_sites(&["onsite", "offsite"])
            .start();
        let user = ground.user().on(&coordinator);
        let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
        user.done(&[&create[..], &["--identity-out", "identity"]].concat());
        let mut scene = Self {
            user: user.with_identity("identity"),
            ground,
            coordinator,
            snapshots: Vec::new(),
            members: vec!["onsite", "offsite"],
        };
        for day in 0..3 {
            let bytes = Noise::new(day).bytes(200_000);
            tree::write(&scene.ground.at("tree/file"), &bytes);
            let path = scene.ground.text("tree");
            let words = ["backup", "--vault", "db", "--source", "web", &path];
            let made = [&words[..], &["--wait", "protected"]].concat();
            let made = scene.user.json(0, &made);
            let id = made["snapshot"].as_str().unwrap().to_owned();
            scene.snapshots.push(id);
        }
        scene
    }

    fn image(&self, site: &str) -> Image {
        let mut image = Image::new();
        let site = self.ground.at(site);
        read(&site, &site, &mut image);
        image
    }

    /// Every byte at every site, once all that was asked for stands at all of them.
    fn settled(&self) -> BTreeMap<&'static str, Image> {
        let log = |image: &Image| -> Vec<PathBuf> {
            let of_log = |path: &&PathBuf| path.iter().any(|part| part == "log");
            image.keys().filter(of_log).cloned().collect()
        };
        for _ in 0..LOOKS_MAX {
            let members = self.members.iter();
            let images: BTreeMap<_, _> = members.map(|site| (*site, self.image(site))).collect();
            let logs: Vec<_> = images.values().map(log).collect();
            if logs.windows(2).all(|two| two[0] == two[1]) {
                return images;
            }
            self.user.done(&["status"]);
        }
        panic!(
            "the members do not become level:\n{}",
            self.coordinator.log()
        );
    }

    /// Runs a command twice: the second time nothing changes.
    fn twice(&self, first: i32, again: i32, words: &[&str]) {
        let _ = self.user.run(words).expect(first);
        self.once_more(again, words);
    }

    fn once_more(&self, code: i32, words: &[&str]) {
        let before = self.settled();
        let ran = self.user.run(words).expect(code);
        if code == 1 {
            let _ = ran.says();
        }
        let after = self.settled();
        for (site, before) in before {
            let changes = changes(&before, &after[site]);
            assert!(
                changes.is_empty(),
                "{words:?} at {site}: {changes:#?}\n{ran}"
            );
        }
    }
}

fn read(top: &Path, folder: &Path, image: &mut Image) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // The second name of a file that is being written, for a moment.
        if path.ends_with(".holdfast-staging") {
            continue;
        }
        if path.is_dir() {
            read(top, &path, image);
        } else {
            let name = path.strip_prefix(top).unwrap().to_owned();
            image.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// What is new, gone or different.
fn changes(before: &Image, after: &Image) -> Vec<String> {
    let mut changes = Vec::new();
    for (path, bytes) in after {
        match before.get(path) {
            None => changes.push(format!("new: {}", path.display())),
            Some(old) if old != bytes => changes.push(format!("changed: {}", path.display())),
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    changes.extend(gone.map(|path| format!("gone: {}", path.display())));
    changes
}

#[test]
fn vaults_and_sites() {
    let mut scene = Scene::new();
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    scene.once_more(1, &[&create[..], &["--identity-out", "another"]].concat());
    scene.once_more(1, &[&create[..], &["--identity-out", "identity"]].concat());

    let onsite = format!("onsite={}", scene.ground.file_site("onsite"));
    scene.twice(0, 0, &["vault", "attach", "--site", &onsite]);

    let spare = format!("spare={}", scene.ground.file_site("spare"));
    let add = ["site", "add", "--vault", "db", &spare];
    scene.user.done(&add);
    scene.members.push("spare");
    scene.once_more(1, &add);
    let remove = ["site", "remove", "--vault", "db", "spare", "--why", "test"];
    scene.user.done(&remove);
    scene.members.pop();
    scene.once_more(1, &remove);
}

#[test]
fn moves() {
    let scene = Scene::new();
    scene.twice(0, 0, &["failback", "--vault", "db"]);
    scene.twice(0, 1, &["failover", "--vault", "db", "--to", "offsite"]);
    scene.twice(0, 0, &["failback", "--vault", "db"]);
    let back = ["failback", "--vault", "db", "--site", "onsite"];
    scene.twice(0, 0, &back);
    scene.twice(0, 1, &[&back[..], &["--make-primary"]].concat());
}

#[test]
fn keys() {
    let scene = Scene::new();
    let another = another_recipient();
    let add = ["key", "add-recipient", "--vault", "db", &another];
    scene.twice(0, 1, &add);
    scene.twice(0, 0, &["key", "recipients", "--vault", "db"]);
    scene.twice(
        0,
        1,
        &["key", "remove-recipient", "--vault", "db", "second"],
    );
    scene.twice(0, 1, &["key", "kit", "--vault", "db", "--out", "kit"]);
    scene.twice(0, 1, &["key", "bundle", "--vault", "db", "--out", "bundle"]);
}

/// The public half of another vault's identity.
fn another_recipient() -> String {
    let other = Scene::new();
    let identity = fs::read_to_string(other.ground.at("identity")).unwrap();
    let mut lines = identity.lines();
    let key = lines.find_map(|line| line.strip_prefix("# public key: "));
    format!("second={}", key.unwrap())
}

#[test]
fn retention() {
    let scene = Scene::new();
    let [first, second, third] = scene.snapshots.as_slice() else {
        panic!("there are three snapshots");
    };
    scene.twice(0, 1, &["forget", "--vault", "db", first]);
    scene.twice(0, 1, &["trash", "restore", "--vault", "db", first]);
    scene.twice(0, 0, &["forget", "--vault", "db", "--purge", first]);
    scene.twice(0, 0, &["gc", "--vault", "db", "--dry-run"]);
    scene.twice(0, 0, &["gc", "--vault", "db", "--wait"]);
    scene.twice(0, 0, &["gc", "--vault", "db"]);

    let policy = "version = 1\ntrash = \"0\"\nexpire_share_max = 1.0\n[keep]\nlast = 1\n";
    scene.ground.write("policy.toml", policy);
    scene.twice(0, 0, &["policy", "set", "--vault", "db", "policy.toml"]);
    scene.twice(0, 0, &["policy", "apply", "--vault", "db", "--dry-run"]);
    scene.twice(0, 0, &["policy", "apply", "--vault", "db", "--confirm"]);
    let expired = ["snapshots", "--vault", "db"];
    let left = scene.user.json(0, &expired);
    assert!(!left.to_string().contains(second.as_str()), "{left}");
    assert!(left.to_string().contains(third.as_str()), "{left}");
}

#[test]
fn holds() {
    let scene = Scene::new();
    let place = ["hold", "place", "--vault", "db", &scene.snapshots[0]];
    let place = [&place[..], &["--why", "trial"]].concat();
    let one = scene.user.json(0, &place);
    let before = scene.settled();
    let two = scene.user.json(0, &place);
    let after = scene.settled();
    for (site, before) in before {
        let changes = changes(&before, &after[site]);
        assert!(
            changes.len() == 1 && changes[0].starts_with("new: ") && changes[0].contains("/log/"),
            "{site}: {changes:?}"
        );
    }
    for hold in [&one, &two] {
        let id = hold["id"].as_str().unwrap();
        scene.twice(0, 1, &["hold", "release", "--vault", "db", id]);
    }
}

#[test]
fn verification() {
    let scene = Scene::new();
    // With an identity it reads as a restore does.
    let scene = Scene {
        user: scene.ground.user().on(&scene.coordinator),
        ..scene
    };
    scene.twice(0, 0, &["verify", "--vault", "db"]);
    scene.twice(0, 0, &["verify", "--vault", "db", "--read-data"]);
    let packs: Vec<PathBuf> = scene.image("offsite").into_keys().collect();
    let mut packs = packs
        .iter()
        .filter(|path| path.iter().any(|part| part == "packs"));
    let pack = scene.ground.at("offsite").join(packs.next().unwrap());
    let mut bytes = fs::read(&pack).unwrap();
    bytes[50] ^= 1;
    fs::write(&pack, bytes).unwrap();
    scene.twice(
        0,
        0,
        &["verify", "--vault", "db", "--read-data", "--repair"],
    );
}

#[test]
fn reading() {
    let scene = Scene::new();
    let site = scene.ground.file_site("onsite");
    let path = scene.ground.text("tree/file");
    let no_holds = scene.user.json(0, &["hold", "list", "--vault", "db"]);
    scene
        .ground
        .write("policy.toml", "version = 1\n[keep]\nlast = 1\n");
    for words in [
        &["status"][..],
        &["snapshots"],
        &["vault", "list"],
        &["vault", "show"],
        &["site", "list"],
        &["placement", "show"],
        &["policy", "show"],
        &[
            "policy",
            "simulate",
            "--policy",
            "policy.toml",
            "--until",
            "3d",
        ],
        &["trash", "list"],
        &["hold", "list"],
        &["rescue", "ls", "--site", &site],
    ] {
        let of_all = [&["status"][..], &["vault", "list"]].contains(&words);
        let named = if of_all { &[][..] } else { &["--vault", "db"] };
        scene.twice(0, 0, &[words, named].concat());
    }
    for words in [
        &["ls", "latest"][..],
        &["find", "latest", "file"],
        &["diff", &scene.snapshots[0], "latest"],
        &["dump", "latest", &path],
        &["verify", "latest"],
    ] {
        let words = [words, &["--vault", "db"]].concat();
        let before = scene.settled();
        scene.user.done(&words);
        let after = scene.settled();
        for (site, before) in before {
            let changes = changes(&before, &after[site]);
            let is_record =
                |change: &String| change.starts_with("new: ") && change.contains("/log/");
            assert!(
                changes.iter().all(is_record),
                "{words:?} at {site}: {changes:?}"
            );
        }
        assert_eq!(
            scene.user.json(0, &["hold", "list", "--vault", "db"]),
            no_holds
        );
    }
    let words = ["rescue", "restore", "--site", &site, "--target", "rescued"];
    scene.twice(0, 1, &words);
}
