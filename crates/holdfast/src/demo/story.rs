//! The story: its acts in order, and what they share.
//!
//! State: where it happens, what is backed up, what was found out so far. Whatever happens, the coordinator is stopped
//! in order before this ends.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{BackedUp, VAULT};
use super::commands;
use super::compare::{Aside, Comparison};
use super::fingerprint::Fingerprint;
use super::folder::Scratch;
use super::stage::Stage;
use super::teller::{Moved, Teller};
use super::tree::{Maker, Scale};
use crate::call::Call;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Progress, Reading};

/// How many steps it has.
pub(super) const STEPS: usize = 18;

/// Where the tree is that the demo makes.
const TREE: &str = "tree";

/// Decides the bytes of that tree.
const SEED: u64 = 2026;

/// Differences that are shown as text; JSON has more.
const SHOWN_MAX: usize = 20;

/// Something that is backed up.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// Its absolute path.
    pub(super) path: PathBuf,
    /// Whether the demo made it, so that nobody else changes it.
    pub(super) ours: bool,
}

/// What a root was when it was backed up.
#[derive(Debug)]
pub(super) struct Original {
    root: Root,
    fingerprint: Arc<Fingerprint>,
    aside: Aside,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Story<'a> {
    pub(super) call: &'a Call,
    pub(super) scratch: &'a Scratch,
    path: Option<PathBuf>,
    pub(super) scale: Scale,
    /// What was left out of the tree, or of a comparison, because something forbids it.
    pub(super) left_out: Vec<String>,
    /// Paths that could not be read.
    pub(super) unreadable: u64,
    /// Over all comparisons.
    pub(super) paths_compared: u64,
    /// Over all comparisons.
    pub(super) bytes_compared: u64,
    /// Over all comparisons.
    pub(super) differences_count: u64,
    /// The first of them.
    pub(super) differences: Vec<String>,
    seed: u64,
}

/// A path that was given, absolute, without symlinks on the way to it.
pub(super) fn settled(path: &Path) -> Outcome<PathBuf> {
    let failed = |error: io::Error| Failure::file(path, error);
    let facts = path.symlink_metadata().map_err(failed)?;
    if facts.is_symlink()
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
    {
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        return Ok(folder.canonicalize().map_err(failed)?.join(name));
    }
    path.canonicalize().map_err(failed)
}

impl<'a> Story<'a> {
    /// The story of a path, or of a tree that is made for it.
    pub(super) fn new(
        call: &'a Call,
        scratch: &'a Scratch,
        path: Option<PathBuf>,
        small: bool,
    ) -> Self {
        let scale = match small || path.is_some() {
            true => Scale::SMALL,
            false => Scale::USUAL,
        };
        Self {
            call,
            scratch,
            path,
            scale,
            left_out: Vec::new(),
            unreadable: 0,
            paths_compared: 0,
            bytes_compared: 0,
            differences_count: 0,
            differences: Vec::new(),
            seed: SEED,
        }
    }

    /// What was given to be backed up.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Where everything stays, if it does.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.scratch.is_kept().then(|| self.scratch.path())
    }

    /// Tells all of it. A step that goes wrong ends it.
    pub(super) async fn tell(&mut self, teller: &mut Teller) -> Outcome<()> {
        let told = self.acts(teller).await;
        told.map_err(|failure| match failure.what.is_empty() {
            _ if failure.exit != crate::exit::Exit::Failed => failure,
            true => failure,
            false => Failure {
                what: format!("the demo failed at {}: {}", teller.at(), failure.what),
                advice: failure.advice.or_else(|| self.advice()),
                ..failure
            },
        })
    }

    fn advice(&self) -> Option<String> {
        let again = "run it again with --keep DIR to look at what it leaves there";
        (!self.scratch.is_kept()).then(|| again.into())
    }

    async fn acts(&mut self, teller: &mut Teller) -> Outcome<()> {
        self.prologue(teller)?;
        self.make_tree(teller).await?;
        let stage = self.start(teller).await?;
        let served = self.served(&stage, teller).await;
        let original = match served {
            Ok(original) => {
                teller.begin(
                    "rescue on-site",
                    "stop the coordinator, and restore from the on-site's folder alone, with the identity",
                    Some(commands::RESCUE_ONSITE),
                )?;
                stage.stop().await?;
                original
            }
            Err(failure) => {
                // What went wrong is told; that it cannot be stopped in order either would hide it.
                let _ = stage.stop().await;
                return Err(failure);
            }
        };
        self.rescue(&original, teller).await
    }

    /// What needs the coordinator.
    async fn served(&mut self, stage: &Stage, teller: &mut Teller) -> Outcome<Vec<Original>> {
        let client = self.create_vault(stage, teller).await?;
        self.back_up_first(&client, teller).await?;
        let original = self.change(teller).await?;
        let (original, backed_up) = self.back_up_again(&client, original, teller).await?;
        self.wait_protected(&backed_up, teller).await?;
        self.destroy(teller).await?;
        self.fail_over(&client, teller).await?;
        self.restore(&client, &backed_up.info, teller).await?;
        self.compare_restored(&original, teller).await?;
        let (original, meanwhile) = self.back_up_meanwhile(&client, teller).await?;
        self.bring_back(&client, &meanwhile, teller).await?;
        self.expire(&client, &meanwhile.info, teller).await?;
        self.collect(&client, teller).await?;
        Ok(original)
    }

    fn prologue(&self, teller: &Teller) -> Outcome<()> {
        let end = match self.scratch.is_kept() {
            true => "where it stays",
            false => "which is removed at the end; --keep DIR keeps it",
        };
        teller.line("The whole story of a vault, on this machine alone: the coordinator, the agent and two sites in")?;
        teller.line("one process, otherwise as in production. What a step would be by hand stands behind a $.")?;
        teller.line(format_args!(
            "It happens in {}, {end}.",
            output::name(&self.scratch.path().display().to_string())
        ))?;
        teller.line("")
    }

    /// What to do next with what was kept.
    pub(super) fn epilogue(&self) -> Vec<String> {
        let Some(folder) = self.kept() else {
            return Vec::new();
        };
        vec![
            format!("Everything is still in {}. To look around there:", folder.display()),
            format!("  cd {}", folder.display()),
            "  holdfast rescue ls --site file:$PWD/offsite/store --identity identity.txt".into(),
            "  holdfast coordinator --data coordinator --site onsite=file:$PWD/onsite/store --site \
             offsite=file:$PWD/offsite/store &"
                .into(),
            format!("  holdfast status --coordinator unix:$PWD/coordinator/holdfast.sock     # the vault is {VAULT}"),
        ]
    }

    /// Everything that is backed up.
    pub(super) fn roots(&self) -> Vec<Root> {
        let given = self.path.iter().map(|path| Root {
            path: path.clone(),
            ours: false,
        });
        let made = Root {
            path: self.scratch.at(TREE),
            ours: true,
        };
        given.chain([made]).collect()
    }

    /// Works on the tree that the demo made, on a thread that may block.
    pub(super) async fn on_tree<T: Send + 'static>(
        &mut self,
        note: &'static str,
        total: Option<u64>,
        work: impl FnOnce(Maker) -> io::Result<T> + Send + 'static,
    ) -> Outcome<(T, u64)> {
        self.seed += 1;
        let done = Arc::new(AtomicU64::new(0));
        let top = self.scratch.at(TREE);
        let maker = Maker::new(
            top.clone(),
            self.seed,
            self.call.cancel.clone(),
            done.clone(),
        );
        let _shown = show(self.call, note, total, &done);
        let worked = self.call.context.run_blocking(move || work(maker)).await;
        match worked {
            Ok(worked) => Ok((worked, done.load(Ordering::Relaxed))),
            Err(_) if self.call.cancel.is_cancelled() => Err(Failure::interrupted()),
            Err(error) => Err(Failure::file(&top, error)),
        }
    }

    /// What everything is at this moment.
    pub(super) async fn originals(&self) -> Outcome<Vec<Original>> {
        let mut originals = Vec::new();
        for root in self.roots() {
            let fingerprint = self.fingerprint(&root.path, "noting what it is").await?;
            let unread = fingerprint.unread.iter().map(|(path, _)| path.clone());
            originals.push(Original {
                aside: Aside {
                    unread: unread.collect(),
                    ..Aside::default()
                },
                fingerprint: Arc::new(fingerprint),
                root,
            });
        }
        Ok(originals)
    }

    /// Notes what a backup did not get as it was noted before: what changed meanwhile, what could not be read.
    pub(super) async fn set_aside(
        &mut self,
        originals: &mut [Original],
        backed_up: &BackedUp,
    ) -> Outcome<u64> {
        let mut moved_count = 0;
        for original in originals.iter_mut() {
            let top = original.root.path.clone();
            for problem in &backed_up.problems {
                let bytes = std::os::unix::ffi::OsStrExt::as_bytes(top.as_os_str());
                if let Some(below) = problem.path.strip_prefix(bytes) {
                    let below = below.strip_prefix(b"/").unwrap_or(below);
                    original.aside.unread.insert(below.to_vec());
                }
            }
            if original.root.ours {
                continue;
            }
            let (before, cancel) = (Arc::clone(&original.fingerprint), self.call.cancel.clone());
            let again = top.clone();
            let moved = self
                .call
                .context
                .run_blocking(move || before.moved(&again, &cancel))
                .await
                .map_err(|error| Failure::file(&top, error))?;
            moved_count += moved.len() as u64;
            original.aside.moved = moved;
        }
        self.unreadable = self.unreadable.max(backed_up.problems_count);
        Ok(moved_count)
    }

    async fn fingerprint(&self, top: &Path, note: &'static str) -> Outcome<Fingerprint> {
        let done = Arc::new(AtomicU64::new(0));
        let _shown = show(self.call, note, None, &done);
        let (at, cancel) = (top.to_owned(), self.call.cancel.clone());
        let taken = self
            .call
            .context
            .run_blocking(move || Fingerprint::take(&at, &cancel, &done))
            .await;
        match taken {
            Err(_) if self.call.cancel.is_cancelled() => Err(Failure::interrupted()),
            taken => taken.map_err(|error| Failure::file(top, error)),
        }
    }

    /// Compares what a restore made with the originals. A difference is a failure.
    pub(super) async fn compare(
        &mut self,
        target: &Path,
        originals: &[Original],
        teller: &Teller,
    ) -> Outcome<Comparison> {
        let mut comparison = Comparison::default();
        for original in originals {
            let path = &original.root.path;
            let below = path.strip_prefix("/").unwrap_or(path);
            let copy = self
                .fingerprint(&target.join(below), "comparing every byte and attribute")
                .await?;
            let label = path.display().to_string();
            comparison.add(&label, &original.fingerprint, &copy, &original.aside);
        }
        self.paths_compared += comparison.paths;
        self.bytes_compared += comparison.bytes;
        self.differences_count += comparison.differences_count;
        self.differences.append(&mut comparison.differences.clone());
        self.note_forbidden(&comparison.forbidden);
        if comparison.differences_count == 0 {
            return Ok(comparison);
        }
        for what in comparison.differences.iter().take(SHOWN_MAX) {
            teller.say(format_args!("DIFFERS: {what}"))?;
        }
        let first = comparison.differences.first();
        Err(Failure::new(format_args!(
            "{} differences between the original and {}; the first: {}",
            output::count(comparison.differences_count),
            target.display(),
            first.map_or("", String::as_str)
        )))
    }

    fn note_forbidden(&mut self, forbidden: &BTreeMap<&'static str, u64>) {
        for what in forbidden.keys() {
            if !self.left_out.iter().any(|known| known == what) {
                self.left_out.push((*what).into());
            }
        }
    }
}

impl Original {
    /// What it was.
    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// Draws a counter of bytes.
pub(super) fn show(
    call: &Call,
    note: &'static str,
    total: Option<u64>,
    done: &Arc<AtomicU64>,
) -> Progress {
    let done = Arc::clone(done);
    Progress::show(&call.context, call.quiet(), move || Reading {
        done: done.load(Ordering::Relaxed),
        total,
        note: note.into(),
    })
}

/// Bytes that were read and nothing sent.
pub(super) fn read(bytes: u64) -> Moved {
    Moved {
        read: Some(bytes),
        sent: None,
    }
}
