//! A vault over two sites, made once by real processes; every cell of the table works on a copy of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use holdfast_context::{Context, ManualClock};

use super::objects::{self, Found, Kind, Which};
use super::stage::{SITES, Stage};

/// What is kept of a snapshot once a policy was applied: the two newest of each source, and nothing stays in the trash.
const POLICY: &str = "version = 1\ntrash = \"0\"\nexpire_share_max = 1.0\n[keep]\nlast = 2\n";

/// A vault `db` with two snapshots of one tree, both at both sites, and a vault `other` to swap objects with. In memory,
/// so that nothing is left behind.
///
/// The coordinator was stopped and started before the last backup, so that the log has a seal and a claim in it.
pub(crate) struct Base {
    /// The first snapshot, which is given up later.
    pub(crate) first: String,
    /// The second snapshot.
    pub(crate) latest: String,
    /// What it holds: path below the tree, content.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Where the tree was, without the leading slash.
    pub(crate) tree: PathBuf,
    pub(crate) vault: String,
    /// Everything in its folder: path, mode, content (none of a folder).
    pub(crate) kept: BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>,
    /// What the other member had before the coordinator was stopped for the last backup.
    pub(crate) earlier: BTreeSet<PathBuf>,
    /// The objects of each kind.
    found: Vec<((Kind, Which), Found)>,
}

/// The base; made by the first who asks.
pub(crate) fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(Base::make)
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Context::seeded(seed, Arc::new(ManualClock::at(0))).fill_random(&mut bytes);
    bytes
}

impl Base {
    fn make() -> Self {
        let mut stage = Stage::empty();
        for name in [
            "home",
            "data",
            "onsite",
            "offsite",
            "tree/kept",
            "tree/other",
        ] {
            fs::create_dir_all(stage.at(name)).unwrap();
        }
        fs::write(stage.at("policy.toml"), POLICY).unwrap();
        let mut files = BTreeMap::new();
        let mut put = |stage: &Stage, name: &str, bytes: Vec<u8>| {
            fs::write(stage.at("tree").join(name), &bytes).unwrap();
            files.insert(name.to_owned(), bytes);
        };
        put(&stage, "kept/large", noise(1, 300_000));
        put(&stage, "kept/small", b"small and kept".to_vec());
        put(&stage, "kept/middle", noise(2, 5000));
        // More than the rest: once the first snapshot is given up, its pack is worth to be copied.
        put(&stage, "other/changes", noise(3, 500_000));
        stage.start();
        for vault in ["db", "other"] {
            let identity = format!("{vault}.identity");
            let sites = ["--sites", "onsite,offsite", "--identity-out", &identity];
            stage.must(&[&["vault", "create", vault][..], &sites].concat());
        }
        // So that the vault's key has an older generation.
        let second = format!("second={}", recipient_of(&stage, "other"));
        stage.must(&["key", "add-recipient", "--vault", "db", &second]);
        must_back_up(&stage, "other");
        let first = must_back_up(&stage, "db");
        for count in 1..=2 {
            must_make_checkpoint(&stage, "db", count);
        }
        // So that some records lie between the checkpoint and the last one of the epoch.
        for _ in 0..3 {
            must_tick(&stage, "db");
        }
        stage.end();
        let mut before = BTreeMap::new();
        keep(&stage.at(""), Path::new(SITES[1]), &mut before);
        stage.start();
        put(&stage, "other/changes", noise(4, 120_000));
        put(&stage, "other/new", noise(5, 50_000));
        let latest = must_back_up(&stage, "db");
        stage.end();
        let mut kept = BTreeMap::new();
        keep(&stage.at(""), Path::new(""), &mut kept);
        let tree = stage.at("tree");
        let (vault, other) = (vault_id(&stage, "db"), vault_id(&stage, "other"));
        Self {
            first,
            latest,
            files,
            tree: tree.strip_prefix("/").unwrap().into(),
            found: find_all(&stage.at(SITES[0]), &vault, &other),
            vault,
            kept,
            earlier: before.into_keys().collect(),
        }
    }

    /// The objects of a kind, by their names below a site: they are the same at both.
    pub(crate) fn find(&self, kind: Kind, which: Which) -> &Found {
        let mut all = self.found.iter();
        let found = all.find(|(of, _)| *of == (kind, which));
        &found.expect("every kind was looked for").1
    }

    /// What lies at a path below a site before anything is damaged.
    pub(crate) fn original(&self, name: &Path) -> &[u8] {
        let kept = &self.kept[&Path::new(SITES[0]).join(name)];
        kept.1.as_deref().expect("it is a file")
    }
}

fn find_all(site: &Path, vault: &str, other: &str) -> Vec<((Kind, Which), Found)> {
    let each = Kind::ALL.into_iter();
    let each = each.flat_map(|kind| Which::ALL.map(|which| (kind, which)));
    each.map(|(kind, which)| {
        let found = objects::find(&site.join(vault), &site.join(other), kind, which);
        ((kind, which), found.below(site))
    })
    .collect()
}

/// Everything below a folder.
pub(crate) fn keep(
    base: &Path,
    below: &Path,
    kept: &mut BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>,
) {
    for entry in fs::read_dir(base.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        if kind.is_dir() {
            kept.insert(path.clone(), (mode, None));
            keep(base, &path, kept);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).unwrap();
            kept.insert(path, (mode, Some(content)));
        }
    }
}

fn must_back_up(stage: &Stage, vault: &str) -> String {
    let tree = stage.at("tree").display().to_string();
    let words = ["backup", "--vault", vault, "--source", "web", &tree];
    let ran = stage.must(&[&words[..], &["--wait", "protected"]].concat());
    ran.json["snapshot"].as_str().unwrap().into()
}

/// A collection leaves a checkpoint behind, if it gave something up and there are enough records.
fn must_make_checkpoint(stage: &Stage, vault: &str, count: usize) {
    for _ in 0..10 {
        let place = ["hold", "place", "--vault", vault, "--whole-vault"];
        let placed = stage.must(&[&place[..], &["--why", "test"]].concat());
        let hold = placed.json["id"].as_str().unwrap().to_owned();
        stage.must(&["hold", "release", "--vault", vault, &hold]);
    }
    let gone = stage.must(&["backup", "--vault", vault, "--source", "gone", "--stdin"]);
    let gone = gone.json["snapshot"].as_str().unwrap();
    stage.must(&["forget", gone, "--vault", vault, "--purge"]);
    stage.must(&["gc", "--vault", vault, "--wait"]);
    let has_them = |site: &&str| {
        let folder = stage.at(site).join(vault_id(stage, vault));
        let there = fs::read_dir(folder.join("checkpoints"));
        there.is_ok_and(|all| all.count() == count)
    };
    // Records carry it to the other member.
    for _ in 0..50 {
        if SITES.iter().all(has_them) {
            return;
        }
        must_tick(stage, vault);
    }
    panic!("no checkpoint was made:\n{}", stage.log());
}

/// A few records more.
fn must_tick(stage: &Stage, vault: &str) {
    let tick = ["backup", "--vault", vault, "--source", "tick", "--stdin"];
    stage.must(&[&tick[..], &["--wait", "protected"]].concat());
}

/// A line of the comments in a vault's identity file.
fn identity_line(stage: &Stage, vault: &str, key: &str) -> String {
    let file = fs::read_to_string(stage.at(&format!("{vault}.identity"))).unwrap();
    let mut lines = file.lines();
    let found = lines.find_map(|line| line.strip_prefix(&format!("# {key}: ")));
    found.unwrap().to_owned()
}

fn vault_id(stage: &Stage, vault: &str) -> String {
    identity_line(stage, vault, "holdfast-vault")
}

fn recipient_of(stage: &Stage, vault: &str) -> String {
    identity_line(stage, vault, "public key")
}
