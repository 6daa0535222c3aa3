//! The story: its acts in order, and what they share.
//!
//! State: where it happens, what is backed up, what was found out so far. Whatever happens, the coordinator is stopped
//! in order before this ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;

use super::client::VAULT;
use super::commands;
use super::folder::{Scratch, remove_tree};
use super::originals::{GIVEN, MADE, Original, Root};
use super::stage::Stage;
use super::teller::{Moved, Teller};
use super::tree::{Maker, Scale};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Progress, Reading};

/// How many steps it has.
pub(super) const STEPS: usize = 19;

/// Where the tree is that the demo makes.
const TREE: &str = "tree";

/// Decides the bytes of that tree.
const SEED: u64 = 2026;

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
    /// What is no longer needed, being removed.
    removing: Vec<JoinHandle<io::Result<()>>>,
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
            removing: Vec::new(),
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
        for removing in self.removing.drain(..) {
            // What is not gone by then is removed with all the rest, which tells what goes wrong.
            let _ = removing.await;
        }
        told.map_err(|failure| {
            // Interrupted, or nobody reads it: there is nothing to add.
            if failure.exit != Exit::Failed || failure.what.is_empty() {
                return failure;
            }
            Failure {
                what: format!("the demo failed at {}: {}", teller.at(), failure.what),
                advice: match teller.rows().is_empty() {
                    true => failure.advice,
                    false => self.advice(),
                },
                exit: failure.exit,
            }
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
        let begun = served.and_then(|originals| {
            teller.begin(
                "rescue on-site",
                "stop the coordinator, and restore from the on-site's folder alone, with the identity",
                Some(commands::RESCUE_ONSITE),
            )?;
            Ok(originals)
        });
        // ORDER: whatever happened, the coordinator has stopped before its folder is removed.
        let stopped = stage.stop().await;
        let originals = begun?;
        stopped?;
        self.rescue(&originals, teller).await
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
        self.restore(&client, &backed_up, teller).await?;
        self.compare_restored(&original, teller).await?;
        let (original, meanwhile) = self.back_up_meanwhile(&client, teller).await?;
        self.bring_back(&client, &meanwhile, teller).await?;
        self.expire(&client, &meanwhile, teller).await?;
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
        let made = Root {
            source: MADE,
            path: self.scratch.at(TREE),
        };
        let given = self.path.iter().map(|path| Root {
            source: GIVEN,
            path: path.clone(),
        });
        [made].into_iter().chain(given).collect()
    }

    /// Lets go of what was compared, in the background, so that the next restore has its room.
    pub(super) fn make_room(&mut self, name: &str) -> Outcome<()> {
        if self.scratch.is_kept() {
            return Ok(());
        }
        let (from, to) = (
            self.scratch.at(name),
            self.scratch.at(&format!("{name}, over")),
        );
        std::fs::rename(&from, &to).map_err(|error| Failure::file(&from, error))?;
        let context = self.call.context.clone();
        let removing = async move { context.run_blocking(move || remove_tree(&to)).await };
        self.removing.push(self.call.context.spawn(removing));
        Ok(())
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
