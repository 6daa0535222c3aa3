//! An agent and the people around it: backups of a tree that changes or of streams, restores, what is forgotten, expired and
//! collected meanwhile. One source each; what is drawn comes from the agent's own seed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdfast_tests::compare::describe;
use holdfast_tests::{Client, Noise, tree};
use serde_json::Value;

use super::ledger::{Content, Entry, Told};
use super::plan::VAULTS;
use super::reins::{Held, Reins, breakage};
use super::stage::{Stage, patiently};
use super::story::Story;

/// A stream comes in so many pieces, with pauses between them.
const PIECES: u64 = 16;
const PIECE_BYTES: u64 = 300_000;
const PAUSE_MILLIS: u64 = 400;

/// See the module header.
pub(super) struct Agent<'s> {
    story: &'s Story,
    reins: &'s Reins,
    name: String,
    vault: &'static str,
    source: String,
    bundle: String,
    user: Client,
    top: PathBuf,
    target: PathBuf,
    noise: Noise,
    is_stream: bool,
    entries: Vec<Entry>,
}

impl<'s> Agent<'s> {
    /// An agent with a home and a bundle of its own.
    pub(super) fn new(
        stage: &Stage,
        story: &'s Story,
        reins: &'s Reins,
        number: usize,
        seed: u64,
    ) -> Self {
        let (name, vault) = (format!("agent-{number}"), VAULTS[number % VAULTS.len()].0);
        let keeper = stage.keeper(vault);
        let bundle = stage.ground.text(format!("{name}.bundle"));
        // The first of a vault's agents share their chunks, the second keep theirs apart.
        let dedup = ["vault", "agent"][number / VAULTS.len()];
        let words = [
            "key", "bundle", "--vault", vault, "--agent", &name, "--dedup", dedup,
        ];
        patiently(&keeper, &[&words[..], &["--out", &bundle]].concat());
        let top = stage.ground.at(format!("tree-{number}"));
        tree::small(&top, seed);
        Self {
            story,
            reins,
            vault,
            source: format!("source-{number}"),
            bundle,
            user: keeper.at_home(format!("home-{name}")),
            top,
            target: stage.ground.at(format!("restored-{number}")),
            noise: Noise::new(seed),
            // One vault has streams only from one, so that each vault has both kinds.
            is_stream: number >= VAULTS.len() && number != 5,
            name,
            entries: Vec::new(),
        }
    }

    /// Works until it is told to stop; what it backed up.
    pub(super) fn work(mut self, stop: &AtomicBool) -> Vec<Entry> {
        while !stop.load(Ordering::SeqCst) {
            match self.noise.below(20) {
                0..11 => self.back_up(),
                11..15 => self.restore(),
                15 => self.forget(),
                16 => self.ask(&["policy", "apply", "--vault", self.vault, "--confirm"]),
                17 => self.ask(&["gc", "--vault", self.vault]),
                18 => self.ask(&["verify", "--vault", self.vault]),
                _ => self.look(),
            }
            thread::sleep(Duration::from_millis(self.noise.below(700)));
        }
        self.entries
    }

    /// Judges how a command ended; whether all was done.
    fn judge(&self, held: &Held, what: &str) -> bool {
        let ran = &held.ran;
        if let Some(wrong) = breakage(held) {
            self.story.fail(&self.name, format_args!("{wrong}: {ran}"));
        }
        let how = match ran.code {
            Some(0) => "done",
            Some(3) => "in part",
            Some(4) => "not protected in time",
            Some(_) => "failed",
            None => "killed",
        };
        self.story.count(&format!("{what} {how}"));
        ran.code == Some(0)
    }

    fn back_up(&mut self) {
        let number = self.entries.len();
        let waits = self.noise.below(2) == 0;
        let bytes = self.change();
        let content = match &bytes {
            Some(bytes) => Content::Stream(blake3::hash(bytes)),
            None => Content::Files(self.top.clone(), describe(&self.top)),
        };
        let entry = Entry {
            vault: self.vault,
            source: self.source.clone(),
            number,
            content,
            told: None,
            may_go: false,
        };
        let tag = entry.tag();
        // Before it is begun: it may be committed although nobody hears of it.
        self.entries.push(entry);
        let words = [
            "--json",
            "backup",
            "--vault",
            self.vault,
            "--source",
            &self.source,
        ];
        let path = self.top.to_str().unwrap();
        let what = if bytes.is_some() { "--stdin" } else { path };
        let more = ["--bundle", &self.bundle, "--tag", &tag, what];
        let wait: &[&str] = match waits {
            true => &["--wait", "protected", "--wait-timeout", "20s"],
            false => &[],
        };
        let words = [&words[..], &more, wait].concat();
        let held = match &bytes {
            None => self.reins.hold(self.user.start(&words)),
            Some(bytes) => {
                let (running, stdin) = self.user.start_fed(&words);
                let pauses = Noise::new(self.noise.number());
                thread::scope(|scope| {
                    scope.spawn(move || feed(stdin, bytes, pauses));
                    self.reins.hold(running)
                })
            }
        };
        self.judge(&held, "backup");
        let told = match held.ran.code {
            Some(0 | 3 | 4) => self.told(&held, waits),
            _ => None,
        };
        let what = told.as_ref().map_or_else(
            || {
                format!(
                    "nothing told ({:?}): {}",
                    held.ran.code,
                    short(&held.ran.stderr)
                )
            },
            |told| {
                format!(
                    "{} ({:?}) {}",
                    told.id,
                    held.ran.code,
                    if told.is_protected {
                        "protected"
                    } else {
                        "committed"
                    }
                )
            },
        );
        self.story.tell(
            &self.name,
            format_args!("backup {tag} of {}: {what}", self.vault),
        );
        self.entries[number].told = told;
    }

    fn told(&self, held: &Held, waits: bool) -> Option<Told> {
        let Ok(told) = serde_json::from_slice::<Value>(&held.ran.stdout) else {
            self.story
                .fail(&self.name, format_args!("no answer to read: {}", held.ran));
            return None;
        };
        let is_protected = told["state"] == "protected";
        if waits && held.ran.code == Some(0) && !is_protected {
            self.story
                .fail(&self.name, format_args!("done, and not protected: {told}"));
        }
        if held.ran.code == Some(3) {
            self.story.fail(
                &self.name,
                format_args!("every file can be read: {}", held.ran),
            );
        }
        let id = told["snapshot"].as_str().unwrap_or_default().to_owned();
        Some(Told { id, is_protected })
    }

    /// Changes the tree, or draws the bytes of a stream.
    fn change(&mut self) -> Option<Vec<u8>> {
        if self.is_stream {
            let len = PIECE_BYTES * (1 + self.noise.below(PIECES));
            return Some(self.noise.bytes(len as usize));
        }
        tree::change_small(&self.top, &mut self.noise);
        if self.noise.below(3) == 0 {
            // Enough to be hit while it is sent.
            let len = self.noise.below(6 << 20) as usize;
            tree::write(&self.top.join("bulk"), &self.noise.bytes(len));
        }
        None
    }

    /// Any snapshot that was told of and that nobody wanted gone.
    fn any(&mut self) -> Option<usize> {
        let kept = self.entries.iter().rev().take(super::ledger::KEPT);
        let told = kept.filter(|entry| entry.told.is_some() && !entry.may_go);
        let told: Vec<usize> = told.map(|entry| entry.number).collect();
        let count = told.len() as u64;
        (count > 0).then(|| told[self.noise.below(count) as usize])
    }

    fn id(&self, number: usize) -> String {
        let told = self.entries[number].told.as_ref();
        told.map_or_else(String::new, |told| told.id.clone())
    }

    fn restore(&mut self) {
        let Some(number) = self.any() else { return };
        let (id, target) = (self.id(number), self.target.to_str().unwrap());
        let words = ["restore", "--vault", self.vault, &id, "--target", target];
        let running = self
            .user
            .start(&[&words[..], &["--delta", "--delete-extra"]].concat());
        let held = self.reins.hold(running);
        if self.judge(&held, "restore") {
            let entry = &self.entries[number];
            match entry.compare(&self.target) {
                Ok(()) => self.story.count("restores compared"),
                Err(why) => self.story.fail(
                    &self.name,
                    format_args!("{} restored wrong: {why}", entry.tag()),
                ),
            }
        }
        let code = held.ran.code;
        self.story.tell(
            &self.name,
            format_args!(
                "restore of {}: {code:?} {}",
                self.entries[number].tag(),
                short(&held.ran.stderr)
            ),
        );
    }

    fn forget(&mut self) {
        let Some(number) = self.any() else { return };
        let id = self.id(number);
        self.entries[number].may_go = true;
        self.ask(&["forget", "--vault", self.vault, "--purge", &id]);
    }

    fn ask(&self, words: &[&str]) {
        let held = self.reins.hold(self.user.start(words));
        self.judge(&held, words[0]);
        let (words, code) = (words.join(" "), held.ran.code);
        self.story.tell(
            &self.name,
            format_args!("{words}: {code:?} {}", short(&held.ran.stderr)),
        );
    }

    fn look(&self) {
        let held = self.reins.hold(self.user.start(&["--json", "status"]));
        if self.judge(&held, "status") {
            let broken = held.ran.json()["invariants_broken"].as_u64();
            if broken != Some(0) {
                self.story.fail(
                    &self.name,
                    format_args!("invariants are broken: {}", held.ran),
                );
            }
        }
    }
}

/// Writes a stream, as a slow database would.
fn feed(mut stdin: ChildStdin, bytes: &[u8], mut pauses: Noise) {
    for piece in bytes.chunks(PIECE_BYTES as usize) {
        // One that has ended does not read on.
        if stdin.write_all(piece).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(pauses.below(PAUSE_MILLIS)));
    }
}

/// What a command said, in one line.
pub(super) fn short(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| line.starts_with("holdfast: "));
    let said: Vec<&str> = lines.collect();
    said.join(" / ").chars().take(300).collect()
}
