//! Writing a snapshot to this machine, wherever its chunks come from: shared by `restore` and `rescue restore`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use holdfast_agent::ChunkSource;
use holdfast_agent::restore::{OwnerMode, RestoreOptions, RestoreProgress, RestoreResult, restore};
use holdfast_format::{ChunkId, ScopeKeys};
use serde::Serialize;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Progress, Reading};

/// Problems that are shown as text; JSON has more.
const SHOWN_MAX: usize = 20;

/// Options of everything that restores.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoringArgs {
    /// Where to: a new or empty directory, unless --delta is given
    #[arg(long, value_name = "DIR")]
    target: PathBuf,
    /// Only this path or pattern and what is below it; several may be given
    #[arg(long, value_name = "PATH", env = "HOLDFAST_INCLUDE")]
    include: Vec<OsString>,
    /// Bring what lies in the target to the snapshot's state, keeping what is right already
    #[arg(long)]
    delta: bool,
    /// With --delta: delete what the snapshot does not have
    #[arg(long, requires = "delta")]
    delete_extra: bool,
    /// Owners by name, not by number
    #[arg(long)]
    owners_by_name: bool,
    /// Don't wait until everything is on the disk
    #[arg(long)]
    no_sync: bool,
}

impl RestoringArgs {
    fn options(&self) -> RestoreOptions {
        RestoreOptions {
            include: self
                .include
                .iter()
                .map(|path| path.clone().into_vec())
                .collect(),
            delta: self.delta,
            delete_extra: self.delete_extra,
            owner: match self.owners_by_name {
                true => OwnerMode::Name,
                false => OwnerMode::Number,
            },
            sync: !self.no_sync,
            ..RestoreOptions::new(&self.target)
        }
    }
}

/// A snapshot to restore.
pub(crate) struct Wanted {
    /// Its id.
    pub(crate) id: String,
    /// Its root.
    pub(crate) root: ChunkId,
    /// Sum of its files' sizes.
    pub(crate) bytes: u64,
    /// The keys of its scope.
    pub(crate) keys: ScopeKeys,
}

#[derive(Serialize)]
struct View<'a> {
    snapshot: &'a str,
    target: String,
    complete: bool,
    seconds: f64,
    #[serde(flatten)]
    result: &'a RestoreResult,
}

/// Restores, shows how far it is, reports.
pub(crate) async fn run(
    call: &Call,
    source: Arc<dyn ChunkSource>,
    wanted: Wanted,
    args: &RestoringArgs,
) -> Outcome {
    let options = args.options();
    let progress = Arc::new(RestoreProgress::default());
    if options.include.is_empty() {
        progress
            .bytes_expected
            .store(wanted.bytes, Ordering::Relaxed);
    }
    let began = tokio::time::Instant::now();
    let shown = show(call, &progress);
    let restored = restore(
        &call.context,
        source,
        wanted.root,
        Some(&wanted.keys),
        &options,
        call.cancel.clone(),
        progress,
    )
    .await;
    drop(shown);
    let view = View {
        snapshot: &wanted.id,
        target: options.target.display().to_string(),
        complete: true,
        seconds: began.elapsed().as_secs_f64(),
        result: &restored?,
    };
    report(call, view)
}

/// Draws a restore's counters.
pub(crate) fn show(call: &Call, progress: &Arc<RestoreProgress>) -> Progress {
    let progress = Arc::clone(progress);
    Progress::show(&call.context, call.quiet(), move || {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let found = get(&progress.bytes_found);
        let expected = get(&progress.bytes_expected).max(found);
        let is_known = progress.all_found.load(Ordering::Relaxed) || expected > found;
        let files = output::counted(get(&progress.entries_done), "file");
        let problems = get(&progress.problems);
        Reading {
            done: get(&progress.bytes_done),
            total: is_known.then_some(expected),
            note: match problems {
                0 => files,
                n => format!("{files}, {}", output::counted(n, "problem")),
            },
        }
    })
}

fn report(call: &Call, mut view: View<'_>) -> Outcome {
    let result = view.result;
    view.complete = result.complete();
    if call.json() {
        output::json(&view)?;
    } else {
        text(call, &view)?;
    }
    Ok(match view.complete {
        true => Exit::Done,
        false => Exit::Partial,
    })
}

fn text(call: &Call, view: &View<'_>) -> Outcome<()> {
    let result = view.result;
    output::line(format_args!(
        "restored snapshot {} into {}",
        &view.snapshot[..8],
        view.target
    ))?;
    output::line(format_args!(
        "  {}, {}, {}; {} written, {} kept, in {}",
        output::counted(result.files, "file"),
        output::counted(result.directories, "directory"),
        output::counted(result.others, "other"),
        output::bytes(result.bytes_written),
        output::bytes(result.bytes_kept),
        output::seconds(view.seconds),
    ))?;
    if result.deleted > 0 {
        let deleted = output::count(result.deleted);
        output::line(format_args!(
            "  {deleted} deleted that the snapshot does not have"
        ))?;
    }
    for note in &result.notes {
        let count = output::counted(note.count, "entry");
        call.remark(format_args!(
            "{}: {count}, the first is {}",
            note.what, note.path
        ));
    }
    for loss in result.losses.iter().take(SHOWN_MAX) {
        call.remark(format_args!("lost: {}: {}", loss.path, loss.what));
    }
    for problem in result.problems.iter().take(SHOWN_MAX) {
        call.remark(format_args!("{}: {}", problem.path, problem.what));
    }
    let bad = result.losses_count + result.problems_count;
    if bad > 0 {
        output::line(format_args!(
            "  INCOMPLETE: {} lost at every site, {} could not be restored as they were",
            output::count(result.losses_count),
            output::count(result.problems_count),
        ))?;
    }
    Ok(())
}
