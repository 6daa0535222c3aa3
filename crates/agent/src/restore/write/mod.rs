//! Writes a snapshot, or part of it, into a directory.
//!
//! One walk goes through the snapshot and makes directories as it enters them. Other entries are put into place some at
//! a time, on a thread that may block; files with content are cut into batches of pieces (`batch.rs`), a few of which
//! are fetched and written at once. What is under way in a directory holds a share of its level (`level.rs`), so that its
//! metadata come last. Memory is bounded by [`BATCHES_MAX`] batches, the cache of nodes and the hard links of the
//! snapshot.
//!
//! Nothing is ever written outside the target: all names are used relative to open directories and never followed
//! (`local.rs`). No byte is written that was not verified, and none under its real name before a file is complete; the
//! exception is told in `file.rs`. Run again, a restore that was interrupted goes on.

mod batch;
mod direct;
mod file;
mod hole;
mod level;
mod links;
mod local;
mod metadata;
mod owner;
mod place;
mod run;
mod target;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_context::Context;
use holdfast_format::{ChunkId, ScopeKeys};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::batch::{BATCH_BYTES, Batch};
use self::direct::Buffers;
use self::file::{Done, Failure, FileJob};
use self::level::Level;
use self::links::{Links, Waiting};
pub use self::owner::OwnerMode;
use self::owner::Owners;
use self::run::Run;
use self::target::Target;
use super::extents::ExtentReader;
use super::flaw::Trouble;
use super::item::{Extent, Item};
use super::path::shown;
use super::progress::RestoreProgress;
use super::report::{Report, RestoreResult};
use super::select::Selection;
use super::tree::Tree;
use super::walk::{Event, Walk};
use crate::error::{Error, Result};
use crate::source::ChunkSource;

/// How many batches are under way at once: with [`BATCH_BYTES`] each, 64 MiB.
pub(super) const BATCHES_MAX: usize = 8;

const _: () = assert!(BATCHES_MAX as u64 * BATCH_BYTES <= 64 << 20);

/// How many entries are put into place in one go.
const PLACED_AT_ONCE: usize = 128;

/// So many pieces of a file are looked at for others of the same chunk. Their nodes are read before the first byte is asked for.
const WINDOW_PIECES: usize = 1 << 13;

/// How many directories on the way down keep their descriptors open.
const OPEN_LEVELS: usize = 64;

/// What a restore shall do.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Where to. Created if it is absent. What was `/srv/db` lands at `TARGET/srv/db`.
    pub target: PathBuf,
    /// Paths and patterns, as bytes; none means everything. See [`Selection`].
    pub include: Vec<Vec<u8>>,
    /// The target may hold files: those that are right are kept, others are brought to the snapshot's state.
    pub delta: bool,
    /// With `delta`: what the snapshot does not have is deleted, in directories that are restored as a whole and that
    /// could be read as a whole.
    pub delete_extra: bool,
    /// How owners are taken.
    pub owner: OwnerMode,
    /// Whether everything is brought to the disk before the restore counts as done.
    pub sync: bool,
}

impl RestoreOptions {
    /// Everything into an empty or new directory, owners by number, synced at the end.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            include: Vec::new(),
            delta: false,
            delete_extra: false,
            owner: OwnerMode::Number,
            sync: true,
        }
    }
}

/// Restores. `keys` are those of the snapshot's scope: with them, what stands in the target is judged without fetching
/// it; without them it is fetched and compared. See the module header for what is promised.
///
/// Damage and what the target refuses are in the result; an error means that the restore did not come to its end. After
/// an error or an interruption the target is marked as unfinished, and the same call goes on where it was.
pub async fn restore(
    ctx: &Context,
    source: Arc<dyn ChunkSource>,
    root: ChunkId,
    keys: Option<&ScopeKeys>,
    options: &RestoreOptions,
    cancel: CancellationToken,
    progress: Arc<RestoreProgress>,
) -> Result<RestoreResult> {
    if options.delete_extra && !options.delta {
        return Err(Error::Invalid {
            what: "--delete-extra".into(),
            why: "it goes with --delta only: a new target has nothing extra".into(),
        });
    }
    let selection = Arc::new(Selection::new(&options.include)?);
    let tree = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(Error::Interrupted),
        tree = Tree::open(source, root) => tree?,
    };
    let target = Target::open(&options.target, root, options.delta)?;
    let top = target.dir().try_clone().map_err(|e| Error::Local {
        what: options.target.display().to_string(),
        why: e.to_string(),
    })?;
    let run = Arc::new(Run {
        ctx: ctx.clone(),
        nodes: tree.nodes.clone(),
        keys: keys.cloned(),
        root,
        target: options.target.clone(),
        top,
        kept_open: Default::default(),
        may_exist: target.may_exist,
        delete_extra: options.delete_extra,
        is_root: rustix::process::geteuid().is_root(),
        owners: Owners::new(options.owner),
        links: Links::default(),
        buffers: Buffers::default(),
        report: Report::default(),
        progress,
        stop: cancel.child_token(),
        fatal: Mutex::default(),
    });
    let mut writer = Writer {
        run: run.clone(),
        frames: Vec::new(),
        entries: Vec::new(),
        batch: Batch::default(),
        under_way: VecDeque::new(),
    };
    let walked = writer.walk(&tree, selection.clone()).await;
    if let Err(error) = walked {
        run.abort(error);
    }
    writer.drain().await;
    if let Some(error) = run
        .fatal
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        return Err(error);
    }
    if run.stopped() {
        return Err(Error::Interrupted);
    }
    let missed = missed(&run, &selection);
    let sync = options.sync && missed.is_ok();
    let finished = ctx.run_blocking(move || target.finish(sync)).await;
    finished.map_err(|errno| Error::Local {
        what: options.target.display().to_string(),
        why: format!(
            "everything is written, but it could not be brought to the disk: {}",
            std::io::Error::from(errno)
        ),
    })?;
    missed?;
    Ok(run.report.result())
}

/// Tells of paths that were asked for and are not in the snapshot: an error if none of them is.
fn missed(run: &Run, selection: &Selection) -> Result<()> {
    let missed = selection.unmatched();
    let result = run.report.result();
    let found = result.files + result.directories + result.others + result.losses_count;
    if let Some(first) = missed.first()
        && found + result.problems_count == 0
    {
        return Err(Error::Missing {
            what: shown(first),
            why: "nothing in this snapshot has that path; `holdfast ls` shows what there is".into(),
        });
    }
    for path in missed {
        run.problem(path, "nothing in this snapshot has that path");
    }
    Ok(())
}

/// The walk's side of a restore: what is collected before it goes to a thread or a batch.
struct Writer {
    run: Arc<Run>,
    /// The directories on the way down.
    frames: Vec<Frame>,
    /// Entries that wait to be put into place.
    entries: Vec<Waiting>,
    /// The batch that is being filled.
    batch: Batch,
    under_way: VecDeque<AbortOnDropHandle<Result<()>>>,
}

/// A directory on the way down. One that only leads to something selected is made when that is found.
struct Frame {
    item: Option<Box<Item>>,
    selected: bool,
    level: Option<Arc<Level>>,
    /// It could not be made, which was told once.
    failed: bool,
}

impl Writer {
    async fn walk(&mut self, tree: &Tree, selection: Arc<Selection>) -> Result<()> {
        let run = self.run.clone();
        let mut walk = Walk::new(tree, selection);
        let top = run.top.try_clone().map_err(|_| rustix::io::Errno::MFILE);
        let top = top.and_then(|fd| Level::top(&run, fd, walk.selected()));
        let top = top.map_err(|errno| Error::Local {
            what: run.target.display().to_string(),
            why: std::io::Error::from(errno).to_string(),
        })?;
        self.frames.push(Frame {
            item: None,
            selected: walk.selected(),
            level: Some(top),
            failed: false,
        });
        loop {
            let event = tokio::select! {
                biased;
                () = run.stop.cancelled() => return Ok(()),
                event = walk.next() => event?,
            };
            match event {
                None => break,
                Some(event) => self.take(&mut walk, event).await?,
            }
        }
        self.place_entries().await?;
        self.leave(walk.whole()).await;
        self.send_batch().await?;
        run.progress.all_found.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn take(&mut self, walk: &mut Walk, event: Event) -> Result<()> {
        let progress = self.run.progress.clone();
        match event {
            Event::Enter(item) => {
                RestoreProgress::add(&progress.directories_found, 1);
                self.remember(&item.entry.name);
                let selected = walk.selected();
                self.frames.push(Frame {
                    item: Some(item),
                    selected,
                    level: None,
                    failed: false,
                });
                if selected && self.level().await.is_none() {
                    self.frames.pop();
                    walk.skip();
                }
            }
            Event::Entry(item) => {
                let Some(level) = self.level().await else {
                    return Ok(());
                };
                RestoreProgress::add(&progress.entries_found, 1);
                RestoreProgress::add(&progress.bytes_found, item.entry.size);
                level.remember(&item.entry.name);
                self.entries.push((level, item));
                if self.entries.len() >= PLACED_AT_ONCE {
                    self.place_entries().await?;
                }
            }
            Event::Leave { whole } => {
                self.leave(whole).await;
            }
            Event::Flaw(flaw) => {
                let path = walk.path().to_vec();
                if let Some(name) = path.rsplit(|&b| b == b'/').next() {
                    self.remember(name);
                }
                self.run.lost(path, &flaw);
            }
        }
        Ok(())
    }

    /// Notes a name of the directory that the walk is in.
    fn remember(&self, name: &[u8]) {
        if let Some(level) = self.frames.last().and_then(|frame| frame.level.as_ref()) {
            level.remember(name);
        }
    }

    /// The level of the directory that the walk is in, made if it is not there; none if it cannot be.
    async fn level(&mut self) -> Option<Arc<Level>> {
        if let Some(level) = &self.frames.last()?.level {
            return Some(level.clone());
        }
        if self.frames.iter().any(|frame| frame.failed) {
            return None;
        }
        let open = self
            .frames
            .iter()
            .rposition(|frame| frame.level.is_some())?;
        for at in open + 1..self.frames.len() {
            let above = self.frames[at - 1].level.clone()?;
            let frame = &self.frames[at];
            let entry = frame.item.as_ref()?.entry.clone();
            let selected = frame.selected;
            let run = self.run.clone();
            let entered = self.run.ctx.run_blocking(move || {
                let entered = above.enter(&run, &entry, selected);
                if let Err(errno) = entered {
                    let what = "this directory could not be made, and what is in it is left out";
                    run.failed(above.path(&entry.name), what, errno);
                }
                level::release(above, &run);
                entered.ok()
            });
            let entered = entered.await;
            self.frames[at].failed = entered.is_none();
            self.frames[at].level = Some(entered?);
        }
        if let Some(far) = self.frames.len().checked_sub(OPEN_LEVELS)
            && let Some(level) = &self.frames[far].level
        {
            level.park();
        }
        self.frames.last()?.level.clone()
    }

    /// Leaves the innermost directory.
    async fn leave(&mut self, whole: bool) {
        let Some(frame) = self.frames.pop() else {
            return;
        };
        if let Some(level) = frame.level {
            let run = self.run.clone();
            level.leave(&run, whole);
            if Arc::strong_count(&level) > 1 {
                // Something in it is still to be done; whoever does the last of it finishes it.
                return level::release(level, &run);
            }
            let ctx = &self.run.ctx;
            ctx.run_blocking(move || level::release(level, &run)).await;
        }
    }

    /// Puts the collected entries into place, and their files' content into batches.
    async fn place_entries(&mut self) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let run = self.run.clone();
        let place = move || place::place_all(&run, entries);
        let mut jobs = VecDeque::from(self.run.ctx.run_blocking(place).await);
        let mut planned = Ok(());
        while let Some(job) = jobs.pop_front() {
            planned = self.plan(&job).await;
            self.release(job).await;
            if planned.is_err() {
                break;
            }
        }
        for job in jobs {
            self.release(job).await;
        }
        planned
    }

    /// Cuts a file into pieces. Those of one chunk come together, so that it is fetched once, wherever in the file they lie.
    async fn plan(&mut self, job: &Arc<FileJob>) -> Result<()> {
        let run = self.run.clone();
        let mut extents = ExtentReader::new(&job.item);
        let (mut window, mut is_begun) = (Vec::new(), false);
        loop {
            if run.stopped() || job.has_failed() {
                job.fail(Failure::Stopped);
                return Ok(());
            }
            let found = match extents.next(&run.nodes).await {
                Ok(found) => found,
                Err(Trouble::Flawed(flaw)) => {
                    job.fail(Failure::Lost(flaw));
                    return Ok(());
                }
                Err(Trouble::Stopped(error)) => {
                    job.fail(Failure::Stopped);
                    return Err(error);
                }
            };
            let is_last = found.is_none();
            match found {
                Some((_, extent)) if extent.chunk.is_none() && !run.may_exist => {
                    job.done(&run, Done::Hole, extent.len);
                }
                found => window.extend(found),
            }
            if is_last || window.len() >= WINDOW_PIECES {
                let pieces = together(std::mem::take(&mut window));
                for group in pieces.chunk_by(|(_, one), (_, next)| one.chunk == next.chunk) {
                    // All of it fits, or none: else the chunk would be fetched for two batches.
                    let end = group.iter().map(|(_, extent)| extent.end_in_chunk()).max();
                    let mut first = Extent {
                        offset: 0,
                        len: end.unwrap_or(0),
                        chunk: group[0].1.chunk,
                    };
                    for (at, extent) in group {
                        if self.batch.is_full_for(&first) {
                            if is_begun || !is_last || *at > 0 {
                                job.set_spans();
                            }
                            self.send_batch().await?;
                        }
                        self.batch.push(job, *at, *extent);
                        (first, is_begun) = (*extent, true);
                    }
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Starts the batch that was filled, and waits while too many are under way.
    async fn send_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= BATCHES_MAX {
            self.wait_for_one().await?;
        }
        let batch = std::mem::take(&mut self.batch);
        let task = self.run.ctx.spawn(batch.work(self.run.clone()));
        self.under_way.push_back(AbortOnDropHandle::new(task));
        Ok(())
    }

    /// Waits for whichever batch is done first.
    async fn wait_for_one(&mut self) -> Result<()> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let all = self.under_way.iter_mut();
        let (done, at, _) = futures::future::select_all(all).await;
        self.under_way.remove(at);
        done.unwrap_or_else(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(failed) => Err(Error::Bug(format!("a batch of a restore ended: {failed}"))),
        })
    }

    async fn release(&self, job: Arc<FileJob>) {
        // Nearly always the batch holds shares too, and there is nothing to do.
        if Arc::strong_count(&job) > 1 {
            let run = self.run.clone();
            return file::release(job, &run);
        }
        let run = self.run.clone();
        let ctx = &self.run.ctx;
        ctx.run_blocking(move || file::release(job, &run)).await;
    }

    /// Waits for all that is under way. After a stop it also takes away what was begun.
    async fn drain(&mut self) {
        if self.run.stopped() && !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            // It fetches and writes nothing any more.
            let _ = batch.work(self.run.clone()).await;
        }
        while !self.under_way.is_empty() {
            if let Err(error) = self.wait_for_one().await {
                self.run.abort(error);
            }
        }
        self.entries.clear();
        self.frames.clear();
    }
}

/// The pieces of one chunk together, at the place of the first of them.
fn together(mut pieces: Vec<(u64, Extent)>) -> Vec<(u64, Extent)> {
    let mut places = HashMap::with_capacity(pieces.len());
    for (n, (_, extent)) in pieces.iter().enumerate() {
        places.entry(extent.chunk).or_insert(n);
    }
    // A hole stays where it is.
    let mut keyed: Vec<(usize, (u64, Extent))> = Vec::with_capacity(pieces.len());
    for (n, piece) in pieces.drain(..).enumerate() {
        let place = piece.1.chunk.map_or(n, |_| places[&piece.1.chunk]);
        keyed.push((place, piece));
    }
    keyed.sort_by_key(|(place, _)| *place);
    keyed.into_iter().map(|(_, piece)| piece).collect()
}

/// Holds a target as a running restore does.
#[cfg(test)]
pub(super) fn hold_for_test(path: &std::path::Path, root: ChunkId) -> impl Drop + use<> {
    struct Held(#[expect(dead_code, reason = "kept for its lock")] Target);
    impl Drop for Held {
        fn drop(&mut self) {}
    }
    Held(Target::open(path, root, false).unwrap())
}
