//! Backs up file trees: the walk on one thread, files read on all cores, results gathered in the walk's order.
//!
//! ```text
//! walk ──steps──► dispatch ──groups in order──► gather ──nodes──► sink
//!                  ▲    └─ files ─► take (many at once) ──chunks──► sink
//! cache ──records──┘
//! ```
//!
//! Every queue is bounded, and so are the bytes in flight. Blocking work comes in short steps that wait for nobody,
//! so it runs inline just as well. A step ahead waits only for those behind it, up to the sink: no circle.
//!
//! Ending it (by the token, an error, or dropping the future) aborts every task; steps under way see `stop`.

use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::ScopeKeys;
use holdfast_format::tree::SourceKind;
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::cache::format::Identity;
use super::cache::writer::CacheWriter;
use super::cached::CacheCursor;
use super::dispatch::{Dispatcher, DistantFile, Group, Item};
use super::folder::Folder;
use super::gathering::Gatherer;
use super::limits::{GROUPS_AHEAD_MAX, RACY_NANOS};
use super::metadata::EntryMaker;
use super::options::{BackupResult, FilesOptions};
use super::owners::Owners;
use super::pages::maps::PageMaps;
use super::paths::Given;
use super::pipeline::{Pipeline, join};
use super::progress::Progress;
use super::read::{Files, SystemFiles};
use super::root::{put_root, result};
use super::taking::{Taken, Taker};
use super::walk::{FileStep, Step, Walk, WalkRules, WalkTools};
use crate::error::{Error, Result};
use crate::sink::ChunkSink;

/// Backs up file trees into `sink`, down to and with the snapshot's root node; nothing is committed here.
///
/// A path that does not exist is an error before anything is put. What cannot be read is a problem in the result, and
/// the backup goes on. `cancel` ends it with [`Error::Interrupted`].
pub async fn backup_files(
    ctx: &Context,
    keys: &ScopeKeys,
    options: FilesOptions,
    sink: Arc<dyn ChunkSink>,
    cancel: CancellationToken,
    progress: Arc<Progress>,
) -> Result<BackupResult> {
    backup_files_by(
        ctx,
        keys,
        options,
        sink,
        cancel,
        progress,
        Arc::new(SystemFiles),
    )
    .await
}

/// [`backup_files`] with the system's files injected.
pub(crate) async fn backup_files_by(
    ctx: &Context,
    keys: &ScopeKeys,
    options: FilesOptions,
    sink: Arc<dyn ChunkSink>,
    cancel: CancellationToken,
    progress: Arc<Progress>,
    files: Arc<dyn Files>,
) -> Result<BackupResult> {
    let stop = cancel.child_token();
    // Blocking steps outlive this future by a moment; whatever ends it, they are told.
    let _told = stop.clone().drop_guard();
    let pipeline = Pipeline::new(ctx, keys, sink, stop, progress);
    cancel
        .run_until_cancelled(run(pipeline, options, files))
        .await
        .unwrap_or(Err(Error::Interrupted))
}

async fn run(
    pipeline: Arc<Pipeline>,
    options: FilesOptions,
    files: Arc<dyn Files>,
) -> Result<BackupResult> {
    let ctx = pipeline.ctx.clone();
    let started_millis = ctx.now_millis();
    let identity = options
        .cache
        .as_ref()
        .map(|cache| cache.identity(&pipeline.keys));
    let rules = WalkRules {
        excludes: options.excludes,
        exclude_caches: options.exclude_caches,
        one_file_system: options.one_file_system,
    };
    let (paths, shared) = (options.paths, Arc::clone(&pipeline));
    let start = move || start_walk(&paths, rules, &shared);
    let (walk, maker, arguments) = ctx.run_blocking(start).await?;

    let cache_file = options.cache.map(|cache| cache.file);
    let cursor = CacheCursor::start(&pipeline, cache_file.clone().zip(identity.clone())).await?;
    let maps = cache_file
        .as_ref()
        .map(|file| Arc::new(PageMaps::beside(file, &pipeline.keys, &ctx)));
    let writer = start_cache(&ctx, cache_file.zip(identity), maps.clone()).await;
    // A run that writes no cache writes no maps either: nothing would name them.
    let maps = maps.filter(|_| writer.is_some());
    let racy_from = i128::from(started_millis) * 1_000_000 - RACY_NANOS;
    let mut gatherer = Gatherer::new(Arc::clone(&pipeline), writer, racy_from);

    let (step_sender, steps) = mpsc::channel(2);
    let (group_sender, mut groups) = mpsc::channel(GROUPS_AHEAD_MAX);
    let walking = ctx.spawn(walk_on(Arc::clone(&pipeline), walk, step_sender));
    let walking = AbortOnDropHandle::new(walking);
    let taker = Arc::new(Taker {
        pipeline: Arc::clone(&pipeline),
        maker,
        files,
        maps,
        page_bytes: options.page_bytes,
    });
    let dispatcher = Dispatcher::new(Arc::clone(&taker), cursor, group_sender);
    let dispatching = AbortOnDropHandle::new(ctx.spawn(dispatcher.run(steps)));

    while let Some(group) = groups.recv().await {
        gather(&mut gatherer, &taker, group).await?;
        pipeline.progress.set_problems(pipeline.problems.count());
        pipeline.problems.check_starved()?;
    }
    join(dispatching).await??;
    join(walking).await?;
    pipeline.problems.check_starved()?;
    if pipeline.stop.is_cancelled() {
        return Err(Error::Interrupted);
    }

    let counts = (gatherer.files, gatherer.directories, gatherer.bytes);
    let gathered = gatherer.finish().await?;
    let root = put_root(
        &pipeline,
        SourceKind::Files,
        options.host,
        arguments,
        started_millis,
        gathered.top,
    )
    .await?;
    Ok(result(
        &pipeline,
        root,
        gathered.top,
        counts,
        gathered.cache,
    ))
}

type Started = (Walk, Arc<EntryMaker>, Vec<Vec<u8>>);

fn start_walk(
    paths: &[std::path::PathBuf],
    rules: WalkRules,
    pipeline: &Arc<Pipeline>,
) -> Result<Started> {
    // Where all paths are absolute, it does not matter whether there is a current folder.
    let folder = if paths.iter().all(|path| path.is_absolute()) {
        "/".into()
    } else {
        std::env::current_dir().map_err(|error| Error::Local {
            what: "the current folder".into(),
            why: format!("{error}; give absolute paths"),
        })?
    };
    let given = Given::new(&folder, paths)?;
    let arguments = given.paths();
    let maker = Arc::new(EntryMaker::new(
        pipeline.keys.clone(),
        Owners::of_this_machine(),
    ));
    let tools = WalkTools {
        maker: Arc::clone(&maker),
        problems: Arc::clone(&pipeline.problems),
        progress: Arc::clone(&pipeline.progress),
        stop: pipeline.stop.clone(),
    };
    Ok((Walk::start(given, rules, tools)?, maker, arguments))
}

async fn start_cache(
    ctx: &Context,
    cache: Option<(std::path::PathBuf, Identity)>,
    maps: Option<Arc<PageMaps>>,
) -> Option<CacheWriter> {
    let ((file, identity), maps) = (cache?, maps?);
    let nonce = ctx.random();
    let created = ctx
        .run_blocking(move || CacheWriter::create(&file, &identity, nonce, maps))
        .await;
    match created {
        Ok(Some(writer)) => Some(writer),
        Ok(None) => {
            tracing::warn!(
                "another backup of this source is running; this one writes no cache of unchanged files"
            );
            None
        }
        Err(error) => {
            tracing::warn!(%error, "no cache of unchanged files can be written; the next backup reads every file");
            None
        }
    }
}

async fn walk_on(pipeline: Arc<Pipeline>, mut walk: Walk, steps: Sender<Vec<Step>>) {
    loop {
        let batch;
        (walk, batch) = pipeline
            .ctx
            .run_blocking(move || {
                let batch = walk.next_batch();
                (walk, batch)
            })
            .await;
        if batch.is_empty() {
            pipeline.progress.finished_walk();
            return;
        }
        if steps.send(batch).await.is_err() {
            return;
        }
    }
}

/// Takes another name of an inode whose first name could not be taken: that one may have vanished, and this one not.
async fn take_after_all(taker: &Arc<Taker>, file: DistantFile) -> Result<Option<Taken>> {
    let DistantFile {
        entry,
        stat,
        folder: path,
        folder_identity,
    } = file;
    let (again, ctx) = (path.clone(), &taker.pipeline.ctx);
    match ctx
        .run_blocking(move || Folder::again(&again, folder_identity))
        .await
    {
        Ok(folder) => {
            let step = FileStep {
                entry,
                folder: Arc::new(folder),
                stat,
                before: None,
            };
            Ok(Arc::clone(taker).take(vec![step]).await?.pop().flatten())
        }
        Err(error) => {
            let path = [&path, &b"/"[..], &entry.name].concat();
            let what = "its folder cannot be opened again; left out";
            taker.pipeline.problems.add_error(path, what, &error);
            Ok(None)
        }
    }
}

async fn gather(gatherer: &mut Gatherer, taker: &Arc<Taker>, group: Group) -> Result<()> {
    let taken = match group.taking {
        Some(taking) => join(taking).await??,
        None => Vec::new(),
    };
    let mut taken = taken.into_iter();
    for item in group.items {
        match item {
            Item::Enter(entry, before) => gatherer.enter(entry, before),
            Item::Leave => gatherer.leave().await?,
            Item::Leaf(entry) => gatherer.leaf(entry).await?,
            Item::Unchanged(taken) => gatherer.file(*taken, true).await?,
            Item::Taken { key, names_left } => {
                let Some(one) = taken.next() else {
                    return Err(Error::Bug("a file was dispatched and not taken".into()));
                };
                if names_left > 0 {
                    gatherer.remember_link(&key, one.clone(), names_left);
                }
                if let Some(one) = one {
                    gatherer.file(one, false).await?;
                }
            }
            Item::Link(file) => {
                let taken = match gatherer.linked(&file.stat.key, &file.entry.name) {
                    Some(taken) => Some(taken),
                    None => take_after_all(taker, *file).await?,
                };
                if let Some(one) = taken {
                    gatherer.file(one, false).await?;
                }
            }
        }
    }
    Ok(())
}
