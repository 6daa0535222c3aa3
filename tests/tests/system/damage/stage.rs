//! A copy of the base in a folder of its own: sites to be damaged, a user, and perhaps a running coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::base::{Base, keep, noise};
use super::objects::{self, Damage, Kind, Which};

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

impl Ran {
    /// Whether it was refused because the coordinator could not open the vault.
    pub(crate) fn is_not_open(&self) -> bool {
        let nobody_reads_its_header = "the coordinator knows none of that name";
        self.said.contains(" is not open: ") || self.said.contains(nobody_reads_its_header)
    }
}

/// What a damage did at one path of a site.
struct Rot {
    /// Whether it is the object itself, not the one that it was swapped with.
    is_object: bool,
    path: PathBuf,
    whole: Vec<u8>,
    rotten: Option<Vec<u8>>,
}

/// See the module.
pub(crate) struct Stage {
    folder: TempDir,
    base: Option<&'static Base>,
    rot: Vec<Rot>,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

/// Where stages are set up: in memory if there is room, since most of the time would else go into making hundreds of small
/// vaults durable, which is not what is tried here.
fn somewhere() -> PathBuf {
    const ROOM_BYTES: u64 = 1 << 30;
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(there) if there.f_bavail * there.f_frsize >= ROOM_BYTES => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

/// The built program.
fn binary() -> String {
    std::env::var("HOLDFAST_TEST_BINARY").unwrap_or_else(|_| {
        panic!("HOLDFAST_TEST_BINARY is not set: run `cargo xtask test`, or set it to the built program")
    })
}

impl Stage {
    /// With nothing in it.
    pub(crate) fn empty() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("holdfast-damage-")
                .tempdir_in(somewhere())
                .unwrap(),
            base: None,
            rot: Vec::new(),
            child: None,
            log: Arc::default(),
            listener: None,
        }
    }

    /// A copy of the base. With `lagging` the other member has not seen the last backup.
    pub(crate) fn copy_of(base: &'static Base, lagging: bool) -> Self {
        let mut stage = Self::empty();
        stage.base = Some(base);
        for (path, (mode, content)) in &base.kept {
            if lagging
                && path.starts_with(SITES[1])
                && path.iter().count() > 1
                && !base.earlier.contains(path)
            {
                continue;
            }
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

    fn command(&self, seconds: u64, words: &[&str]) -> Command {
        // Whatever hangs is ended, and shows as exit code 124.
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", &seconds.to_string()])
            .arg(binary())
            .args(words);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        let socket = self.at("data/holdfast.sock");
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.at("home"))
            .env("USER", "tester")
            .env("TZ", "UTC")
            .env("HOLDFAST_COORDINATOR", format!("unix:{}", socket.display()))
            .stdin(Stdio::null());
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
        self.run_within(COMMAND_SECONDS, words)
    }

    /// Runs a command that may wait for a site that never comes: exit code 124 once it has waited so long.
    pub(crate) fn run_within(&self, seconds: u64, words: &[&str]) -> Ran {
        let mut command = self.command(seconds, &[words, &["--json"]].concat());
        command.env("HOLDFAST_IDENTITY", self.at("db.identity"));
        Self::finish(command)
    }

    /// Runs a command without it.
    pub(crate) fn run_without_identity(&self, words: &[&str]) -> Ran {
        Self::finish(self.command(COMMAND_SECONDS, &[words, &["--json"]].concat()))
    }

    /// Runs a `rescue` command at a site.
    pub(crate) fn rescue(&self, words: &[&str], site: &str) -> Ran {
        self.run(&[&["rescue"], words, &["--site", &self.site_url(site)]].concat())
    }

    /// Runs a command that must do all that it is to do.
    pub(crate) fn must(&self, words: &[&str]) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.code, 0, "{words:?}\n{}", ran.said);
        ran
    }

    /// Backs the tree up again; with a vault that is not open it is given up soon (exit code 124).
    pub(crate) fn backup(&self, is_open: bool, more: &[&str]) -> Ran {
        let tree = self.at("tree").display().to_string();
        let seconds = if is_open {
            COMMAND_SECONDS
        } else {
            PATIENCE_SECONDS
        };
        let words = ["backup", "--vault", "db", "--source", "web", &tree];
        self.run_within(seconds, &[&words[..], more].concat())
    }

    /// Adds a file to the tree.
    pub(crate) fn write_new_file(&self) {
        fs::write(self.at("tree").join(NEW_FILE), noise(6, 4000)).unwrap();
    }

    /// Whether it was restored as it is.
    pub(crate) fn new_file_is_right(&self, target: &str) -> bool {
        let path = self.at("tree").join(NEW_FILE);
        let restored = self.at(target).join(path.strip_prefix("/").unwrap());
        fs::read(restored).is_ok_and(|content| content == noise(6, 4000))
    }

    /// Starts a coordinator, and waits until it has tried to open its vaults.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(binary());
        let data = self.at("data").display().to_string();
        command.args(["coordinator", "--name", "c1", "--data", &data]);
        for site in SITES {
            command.args(["--site", &format!("{site}={}", self.site_url(site))]);
        }
        self.surround(&mut command);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
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
            self.log()
        );
    }

    /// Stops it in order: all that it holds is on the disk.
    pub(crate) fn end(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.unwrap().success());
        assert!(child.wait().unwrap().success(), "{}", self.log());
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
        self.log()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Damages an object at a site. A damaged object at both sites is the same one.
    pub(crate) fn damage(&mut self, site: &str, kind: Kind, damage: Damage, which: Which) {
        let base = self.base();
        let found = base.find(kind, which);
        let touched = objects::damage(found, kind, damage, |name| base.original(name));
        for (name, rotten) in touched {
            let whole = base.original(&name).to_vec();
            self.rot.push(Rot {
                is_object: name == found.object,
                path: self.at(site).join(name),
                whole,
                rotten,
            });
        }
        self.damage_again();
    }

    /// Damages again what was repaired since. What was replaced by something else, or given up, is left alone.
    pub(crate) fn damage_again(&self) {
        for rot in &self.rot {
            if fs::read(&rot.path).is_ok_and(|there| there == rot.whole) {
                match &rot.rotten {
                    Some(rotten) => fs::write(&rot.path, rotten).unwrap(),
                    None => fs::remove_file(&rot.path).unwrap(),
                }
            }
        }
    }

    /// Whether the object is whole again wherever it was damaged.
    pub(crate) fn is_healed(&self) -> bool {
        let is_whole = |rot: &Rot| fs::read(&rot.path).is_ok_and(|there| there == rot.whole);
        self.rot.iter().filter(|rot| rot.is_object).all(is_whole)
    }

    /// Whether what a command said names the object.
    pub(crate) fn names(&self, ran: &Ran, kind: Kind, which: Which) -> bool {
        let base = self.base();
        let object = &base.find(kind, which).object;
        let name = object.to_str().unwrap();
        let parts: Vec<&str> = name.split('/').collect();
        let number = |text: &str| text.trim_start_matches('0').to_owned();
        let words: Vec<String> = match kind {
            Kind::Header => vec!["header".into(), format!("{}/vault", base.vault)],
            Kind::VaultKey => vec!["keys/vault/".into(), "vault's key".into()],
            Kind::SessionKey => vec![parts[2].to_owned()],
            Kind::DataBody | Kind::DataFooter | Kind::NodePack => {
                let (footer, _) = objects::footer(base.original(object));
                vec![footer.pack.to_string(), name.to_owned()]
            }
            Kind::Checkpoint => vec![parts[2].to_owned(), "checkpoint ".into()],
            Kind::Segment => vec![parts[2].to_owned()],
            _ => {
                let slot = number(parts[3]);
                let slot = if slot.is_empty() { "0" } else { &slot };
                let short = format!("{}/{slot}", number(parts[2]));
                vec![name.to_owned(), format!("record {short}")]
            }
        };
        words.iter().any(|word| ran.said.contains(word))
    }

    /// Whether all files of this stage's own tree were restored as they are.
    pub(crate) fn tree_is_right(&self, target: &str) -> bool {
        let tree = self.at("tree");
        let there = self.at(target).join(tree.strip_prefix("/").unwrap());
        let mut files = self.base().files.iter();
        files.all(|(name, content)| fs::read(there.join(name)).is_ok_and(|there| there == *content))
    }

    /// The files of the latest snapshot that are not in a folder it was restored to.
    pub(crate) fn lacking(&self, target: &str) -> BTreeSet<&'static str> {
        let base = self.base();
        let there = self.at(target).join(&base.tree);
        let files = base.files.iter();
        let lacking = files.filter(|(name, content)| {
            !fs::read(there.join(name)).is_ok_and(|there| there == **content)
        });
        lacking.map(|(name, _)| name.as_str()).collect()
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
