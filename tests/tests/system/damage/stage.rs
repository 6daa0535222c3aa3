//! A vault over two sites, made once by real processes; and copies of it, each with a coordinator of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_context::{Context, ManualClock};
use holdfast_format::Footer;
use holdfast_format::pack::footer_len;
use serde_json::Value;
use tempfile::TempDir;

use super::objects::{self, Damage, Kind};

/// The sites; the first is the primary.
pub(crate) const SITES: [&str; 2] = ["onsite", "offsite"];

/// How long a coordinator may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// How long a command may take.
const COMMAND_SECONDS: u64 = 30;

/// How long a backup is let wait for a vault that is not open: by itself it is patient.
const PATIENCE_SECONDS: u64 = 2;

/// A file that a backup of a damaged vault adds.
const NEW_FILE: &str = "added-later";

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    /// What it printed, if that was JSON.
    pub(crate) json: Value,
    /// All that it said.
    pub(crate) said: String,
}

/// A vault `db` with two snapshots of one tree, both at both sites, and a vault `other` to swap objects with. In memory,
/// so that nothing is left behind.
pub(crate) struct Base {
    /// The second snapshot.
    pub(crate) latest: String,
    /// What it holds: path below the tree, content.
    files: BTreeMap<String, Vec<u8>>,
    /// Where the tree was, without the leading slash.
    tree: PathBuf,
    vault: String,
    other: String,
    /// Everything in its folder: path, mode, content (none of a folder).
    kept: BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>,
}

/// The base; made by the first who asks.
pub(crate) fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(Base::make)
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
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
        let mut files = BTreeMap::new();
        let mut put = |stage: &Stage, name: &str, bytes: Vec<u8>| {
            fs::write(stage.at("tree").join(name), &bytes).unwrap();
            files.insert(name.to_owned(), bytes);
        };
        put(&stage, "kept/large", noise(1, 300_000));
        put(&stage, "kept/small", b"small and kept".to_vec());
        put(&stage, "kept/middle", noise(2, 5000));
        put(&stage, "other/changes", noise(3, 100_000));
        stage.start();
        for vault in ["db", "other"] {
            let identity = format!("{vault}.identity");
            stage.must(&[
                "vault",
                "create",
                vault,
                "--sites",
                "onsite,offsite",
                "--identity-out",
                &identity,
            ]);
        }
        for vault in ["other", "db"] {
            stage.must_back_up(vault);
            stage.must_make_checkpoint(vault);
        }
        put(&stage, "other/changes", noise(4, 120_000));
        put(&stage, "other/new", noise(5, 50_000));
        let latest = stage.must_back_up("db");
        stage.end();
        let mut kept = BTreeMap::new();
        keep(&stage.at(""), Path::new(""), &mut kept);
        let tree = stage.at("tree");
        Self {
            latest,
            files,
            tree: tree.strip_prefix("/").unwrap().into(),
            vault: stage.vault_id("db"),
            other: stage.vault_id("other"),
            kept,
        }
    }
}

fn keep(base: &Path, below: &Path, kept: &mut BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>) {
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

/// A folder with sites, a user, and perhaps a running coordinator.
pub(crate) struct Stage {
    folder: TempDir,
    base: Option<&'static Base>,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

/// The built program.
fn binary() -> String {
    std::env::var("HOLDFAST_TEST_BINARY").unwrap_or_else(|_| {
        panic!("HOLDFAST_TEST_BINARY is not set: run `cargo xtask test`, or set it to the built program")
    })
}

impl Stage {
    fn empty() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("holdfast-damage-")
                .tempdir()
                .unwrap(),
            base: None,
            child: None,
            log: Arc::default(),
            listener: None,
        }
    }

    /// A copy of the base.
    pub(crate) fn copy_of(base: &'static Base) -> Self {
        let mut stage = Self::empty();
        stage.base = Some(base);
        for (path, (mode, content)) in &base.kept {
            let path = stage.folder.path().join(path);
            match content {
                None => fs::create_dir(&path).unwrap(),
                Some(content) => fs::write(&path, content).unwrap(),
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        stage
    }

    fn base(&self) -> &'static Base {
        self.base.expect("it is a copy")
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn site_url(&self, site: &str) -> String {
        format!("file:{}", self.at(site).display())
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_within(COMMAND_SECONDS, words)
    }

    fn command_within(&self, seconds: u64, words: &[&str]) -> Command {
        // Whatever hangs is ended, and shows as exit code 124.
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", &seconds.to_string()])
            .arg(binary())
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.at("home"))
            .env("USER", "tester")
            .env("TZ", "UTC")
            .env(
                "HOLDFAST_COORDINATOR",
                format!("unix:{}", self.at("data/holdfast.sock").display()),
            )
            .stdin(Stdio::null());
        command
    }

    fn finish(mut command: Command) -> Ran {
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ran {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_str(&printed).unwrap_or_default(),
            said: String::from_utf8_lossy(&output.stderr).into_owned() + &printed,
        }
    }

    /// Runs a command with the identity.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        let mut command = self.command(&[words, &["--json"]].concat());
        command.env("HOLDFAST_IDENTITY", self.at("db.identity"));
        Self::finish(command)
    }

    /// Runs a command without it.
    pub(crate) fn run_without_identity(&self, words: &[&str]) -> Ran {
        Self::finish(self.command(&[words, &["--json"]].concat()))
    }

    /// Runs a `rescue` command at a site.
    pub(crate) fn rescue(&self, words: &[&str], site: &str) -> Ran {
        self.run(&[&["rescue"], words, &["--site", &self.site_url(site)]].concat())
    }

    fn must(&self, words: &[&str]) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words:?}\n{}", ran.said);
        ran
    }

    fn must_back_up(&self, vault: &str) -> String {
        let tree = self.at("tree").display().to_string();
        let words = [
            "backup",
            "--vault",
            vault,
            "--source",
            "web",
            &tree,
            "--wait",
            "protected",
        ];
        let ran = self.must(&words);
        ran.json["snapshot"].as_str().unwrap().into()
    }

    /// A collection leaves a checkpoint behind, if it gave something up and there are enough records.
    fn must_make_checkpoint(&self, vault: &str) {
        for _ in 0..10 {
            let place = [
                "hold",
                "place",
                "--vault",
                vault,
                "--whole-vault",
                "--why",
                "test",
            ];
            let hold = self.must(&place).json["id"].as_str().unwrap().to_owned();
            self.must(&["hold", "release", "--vault", vault, &hold]);
        }
        let gone = self.must(&["backup", "--vault", vault, "--source", "gone", "--stdin"]);
        let gone = gone.json["snapshot"].as_str().unwrap();
        self.must(&["forget", gone, "--vault", vault, "--purge"]);
        self.must(&["gc", "--vault", vault, "--wait"]);
        let has_checkpoint = |site: &&str| {
            let folder = self.at(site).join(self.vault_id(vault));
            folder.join("checkpoints").exists()
        };
        // Records carry it to the other member.
        for _ in 0..50 {
            if SITES.iter().all(has_checkpoint) {
                return;
            }
            let tick = ["backup", "--vault", vault, "--source", "tick", "--stdin"];
            self.must(&[&tick[..], &["--wait", "protected"]].concat());
        }
        panic!("no checkpoint was made:\n{}", self.log.lock().unwrap());
    }

    fn vault_id(&self, vault: &str) -> String {
        let file = fs::read_to_string(self.at(&format!("{vault}.identity"))).unwrap();
        let mut lines = file.lines();
        let id = lines.find_map(|line| line.strip_prefix("# holdfast-vault: "));
        id.unwrap().to_owned()
    }

    /// Backs the tree up again; with a vault that is not open it is given up soon (exit code 124).
    pub(crate) fn backup(&self, is_open: bool) -> Ran {
        let tree = self.at("tree").display().to_string();
        let seconds = if is_open {
            COMMAND_SECONDS
        } else {
            PATIENCE_SECONDS
        };
        let words = [
            "backup", "--vault", "db", "--source", "web", &tree, "--json",
        ];
        Self::finish(self.command_within(seconds, &words))
    }

    /// Adds a file to the tree.
    pub(crate) fn write_new_file(&self) {
        fs::write(self.at("tree").join(NEW_FILE), noise(6, 4000)).unwrap();
    }

    /// Its path.
    pub(crate) fn new_file_path(&self) -> String {
        self.at("tree").join(NEW_FILE).display().to_string()
    }

    /// Whether it was restored as it is.
    pub(crate) fn new_file_is_right(&self, target: &str) -> bool {
        let path = self.at("tree").join(NEW_FILE);
        let restored = self.at(target).join(path.strip_prefix("/").unwrap());
        fs::read(restored).is_ok_and(|content| content == noise(6, 4000))
    }

    /// Starts a coordinator, and waits until it has tried to open its vaults.
    pub(crate) fn start(&mut self) {
        let mut words = vec!["coordinator".to_owned(), "--name".into(), "c1".into()];
        words.extend(["--data".into(), self.at("data").display().to_string()]);
        for site in SITES {
            words.extend(["--site".into(), format!("{site}={}", self.site_url(site))]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = Command::new(binary());
        let template = self.command(&[]);
        command
            .args(&words)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(
                template
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        self.child = Some(child);
        let (tell, told) = mpsc::channel();
        let log = Arc::clone(&self.log);
        self.listener = Some(std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(" listens at ") {
                    let _ = tell.send(());
                }
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        }));
        let listens = told.recv_timeout(LISTENS_WITHIN);
        assert!(
            listens.is_ok(),
            "the coordinator does not listen:\n{}",
            self.log.lock().unwrap()
        );
    }

    /// Stops it in order: all that it holds is on the disk.
    fn end(&mut self) {
        if let Some(child) = &self.child {
            let pid = child.id().to_string();
            assert!(
                Command::new("kill")
                    .args(["-TERM", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        if let Some(mut child) = self.child.take() {
            assert!(
                child.wait().unwrap().success(),
                "{}",
                self.log.lock().unwrap()
            );
        }
    }

    /// Ends it at once, and gives what it said.
    pub(crate) fn stop(&mut self) -> String {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.log.lock().unwrap().clone()
    }

    fn find(&self, site: &str, kind: Kind) -> (PathBuf, PathBuf) {
        let base = self.base();
        objects::find(
            &self.at(site).join(&base.vault),
            &self.at(site).join(&base.other),
            kind,
        )
    }

    /// Damages an object at a site. A damaged object at both sites is the same one.
    pub(crate) fn damage(&self, site: &str, kind: Kind, damage: Damage) {
        let (object, with) = self.find(site, kind);
        objects::damage(&object, &with, kind, damage);
    }

    /// The object of a kind as it was before anything was damaged: its name at the site, its bytes.
    fn original(&self, kind: Kind) -> (PathBuf, &'static [u8]) {
        let untouched = Stage::copy_of(self.base());
        let (object, _) = untouched.find(SITES[0], kind);
        let name = object
            .strip_prefix(untouched.at(SITES[0]))
            .unwrap()
            .to_owned();
        let kept = &self.base().kept[&Path::new(SITES[0]).join(&name)];
        (name, kept.1.as_deref().expect("it is a file"))
    }

    /// Whether the object is at the site as it was.
    pub(crate) fn is_whole(&self, site: &str, kind: Kind) -> bool {
        let (name, bytes) = self.original(kind);
        fs::read(self.at(site).join(name)).is_ok_and(|content| content == bytes)
    }

    /// Whether what a command said names the object.
    pub(crate) fn names(&self, ran: &Ran, kind: Kind) -> bool {
        let (name, bytes) = self.original(kind);
        let name = name.to_str().unwrap();
        let parts: Vec<&str> = name.split('/').collect();
        let number = |text: &str| text.trim_start_matches('0').to_owned();
        let words: Vec<String> = match kind {
            Kind::Header => vec!["header".into(), format!("{}/vault", self.base().vault)],
            Kind::VaultKey => vec!["keys/vault/".into(), "vault's key".into()],
            Kind::SessionKey => vec![parts[2].to_owned()],
            Kind::DataBody | Kind::DataFooter | Kind::NodePack => {
                let trailer = bytes.len() - 16;
                let at = trailer - footer_len(&bytes[trailer..]).unwrap() as usize;
                let pack = Footer::decode(&bytes[at..trailer]).unwrap().pack;
                vec![pack.to_string(), name.to_owned()]
            }
            Kind::CoveredRecord | Kind::MiddleRecord | Kind::LastRecord => {
                let short = format!("{}/{}", number(parts[2]), number(parts[3]));
                vec![name.to_owned(), format!("record {short}")]
            }
            Kind::Checkpoint => vec![parts[2].to_owned(), "checkpoint ".into()],
            Kind::Segment => vec![parts[2].to_owned()],
        };
        words.iter().any(|word| ran.said.contains(word))
    }

    /// What is wrong with what a restore of the latest snapshot left in a folder: nothing may be there that is not
    /// right, and what is not there must be named, with exit code 3, or nothing is there at all.
    pub(crate) fn compare(&self, target: &str, ran: &Ran) -> Vec<String> {
        let base = self.base();
        let mut wrong = Vec::new();
        let mut found = BTreeMap::new();
        let target = self.at(target);
        if target.exists() {
            let mut all = BTreeMap::new();
            keep(&target, Path::new(""), &mut all);
            // What an unfinished restore keeps for the next is no file of the snapshot's.
            all.retain(|path, _| !path.starts_with(".holdfast-restore-unfinished"));
            found.extend(
                all.into_iter()
                    .filter_map(|(path, (_, content))| Some((path, content?))),
            );
        }
        let named: BTreeSet<&str> = ["losses", "problems"]
            .into_iter()
            .flat_map(|list| ran.json[list].as_array().into_iter().flatten())
            .filter_map(|one| one["path"].as_str())
            .collect();
        for (name, content) in &base.files {
            let path = base.tree.join(name);
            match found.remove(&path) {
                Some(there) if there == *content => {}
                Some(_) => wrong.push(format!("{name} was restored with other bytes")),
                None if ran.code == 1 => {}
                None => {
                    let path = format!("/{}", path.display());
                    let ancestors = Path::new(&path).ancestors();
                    let is_named = |one: &Path| named.contains(one.to_str().unwrap());
                    if !ancestors.into_iter().any(is_named) {
                        wrong.push(format!("{name} is not there, and nothing says so"));
                    }
                }
            }
        }
        let more = found
            .keys()
            .map(|path| format!("{} was never backed up", path.display()));
        wrong.extend(more);
        wrong
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
