//! The built program's demo: the small story, with a path, kept, interrupted. Each must end as it says, and leave behind
//! what it says and nothing else.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The steps of the story, as scripts see them.
const STEPS: [&str; 19] = [
    "make a tree",
    "start",
    "create vault",
    "back up",
    "change things",
    "back up again",
    "wait",
    "destroy on-site",
    "fail over",
    "restore",
    "compare",
    "change more",
    "back up meanwhile",
    "bring on-site back",
    "expire",
    "collect",
    "look at both",
    "rescue on-site",
    "rescue off-site",
];

/// A place for the demo's own folder, on a disk that keeps extended attributes.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["tmp", "home"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command
            .arg("demo")
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.at("home"))
            .env("TMPDIR", self.at("tmp"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, code: i32, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?}\n{said}\n{told}"
        );
        output
    }

    /// Nothing is left in the folder for temporary files, nor in the user's home.
    fn require_clean(&self) {
        for name in ["tmp", "home"] {
            assert_eq!(names(&self.at(name)), BTreeSet::new(), "{name}");
        }
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().into_owned()
    };
    entries.map(name).collect()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().find(|step| step["step"] == name).unwrap()
}

#[test]
fn the_small_story_ends_well_and_leaves_nothing() {
    let place = Place::new();
    let report = json(&place.run(0, &["--small", "--json"]));
    assert_eq!(report["ok"], true);
    let names: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    assert_eq!(names, STEPS);

    let bytes = |name: &str, field: &str| step(&report, name)[field].as_u64().unwrap();
    assert!(bytes("back up", "bytes_read") > 8 << 20);
    assert!(bytes("back up again", "bytes_sent") < bytes("back up", "bytes_sent") / 4);
    assert_eq!(bytes("destroy on-site", "bytes_onsite"), 0);
    assert_eq!(bytes("back up meanwhile", "bytes_onsite"), 0);
    assert!(bytes("back up meanwhile", "bytes_offsite") > bytes("fail over", "bytes_offsite"));
    for site in ["bytes_onsite", "bytes_offsite"] {
        let (before, after) = (bytes("expire", site), bytes("look at both", site));
        assert!(after + (2 << 20) < before, "{site}: {before} → {after}");
    }
    assert!(report["paths_compared"].as_u64().unwrap() > 3 * 500);
    assert_eq!(report["differences_count"], 0);
    place.require_clean();
}

#[test]
fn a_given_path_is_backed_up_and_only_read() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let given = place.at("given");
    std::fs::create_dir_all(given.join("below")).unwrap();
    std::fs::write(given.join("file"), "content").unwrap();
    std::fs::write(given.join("below/odd\nname"), vec![7; 300_000]).unwrap();
    std::os::unix::fs::symlink("nowhere", given.join("link")).unwrap();
    std::fs::hard_link(given.join("file"), given.join("below/the same")).unwrap();
    let look = |path: &Path| {
        let facts = path.symlink_metadata().unwrap();
        (facts.ino(), facts.ctime(), facts.ctime_nsec(), facts.size())
    };
    let all = [
        given.clone(),
        given.join("below"),
        given.join("file"),
        given.join("link"),
    ];
    let before: Vec<_> = all.iter().map(|path| look(path)).collect();

    let output = place.run(0, &["given"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("All is as it should be"), "{text}");
    assert!(text.contains("is source given, and only read"), "{text}");
    assert!(text.contains("WHAT IT DID"), "{text}");
    assert_eq!(output.stderr, b"", "quiet in a pipe");

    let after: Vec<_> = all.iter().map(|path| look(path)).collect();
    assert_eq!(before, after);
    place.require_clean();
}

#[test]
fn what_is_kept_is_what_the_help_says() {
    let place = Place::new();
    let report = json(&place.run(0, &["--small", "--json", "--keep", "kept"]));
    let kept = place.at("kept");
    let said = Path::new(report["kept"].as_str().unwrap()).to_owned();
    assert_eq!(said, kept.canonicalize().unwrap());
    let expected = [
        "agent.bundle",
        "cache",
        "coordinator",
        "identity.txt",
        "offsite",
        "onsite",
        "rescued-offsite",
        "rescued-onsite",
        "restored",
        "tree",
    ];
    assert_eq!(names(&kept), expected.map(String::from).into());
    let help = String::from_utf8(place.run(0, &["--help"]).stdout).unwrap();
    for name in expected {
        assert!(help.contains(name), "{name} in:\n{help}");
    }

    // It is a vault like any other.
    for site in ["onsite", "offsite"] {
        let url = format!("file:{}/{site}/store", kept.display());
        let listed = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["rescue", "ls", "--json", "--site", &url, "--identity"])
            .arg(kept.join("identity.txt"))
            .output()
            .unwrap();
        let snapshots: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!(snapshots.as_array().unwrap().len(), 1, "{snapshots}");
    }
    let refused = place.run(2, &["--small", "--keep", "kept"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("is not empty"), "{told}");
    place.require_clean();
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let place = Place::new();
    // At several points: while files are made, while the coordinator runs, while it is over.
    for until in [" 1 of", " 4 of", "14 of", "18 of"] {
        let mut child = place
            .command(&["--small"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = lines.by_ref().any(|line| line.unwrap().starts_with(until));
        assert!(seen, "{until}");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        // Read to the end, so that it never waits for its reader.
        let rest = lines.map_while(Result::ok).count();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "at {until}, {rest} lines later");
        place.require_clean();
    }
}

#[test]
fn what_cannot_be_backed_up_is_told_before_anything_is_made() {
    let place = Place::new();
    let missing = place.run(1, &["no/such/path"]);
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(told.contains("no/such/path"), "{told}");
    // The demo would back up its own sites.
    let around = place.run(1, &[place.folder.path().to_str().unwrap()]);
    let told = String::from_utf8(around.stderr).unwrap();
    assert!(told.contains("its own sites"), "{told}");
    place.require_clean();
}
