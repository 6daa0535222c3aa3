//! A backup for real: a session, one pass over the source (a second one if the vault has lost something meanwhile), the
//! commit, the wait.

use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::backup::{PendingCache, Progress};
use holdfast_agent::client::{
    Connection, Finished, SessionOptions, SessionSink, SnapshotInfo, SnapshotState, Totals,
};
use holdfast_agent::{ChunkSink, Error};
use holdfast_format::ChunkId;
use serde::Serialize;
use tracing::Instrument as _;

use super::report::{Summary, show_progress};
use super::{BackupArgs, Job, WaitFor};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output;

#[derive(Serialize)]
struct View<'a> {
    snapshot: String,
    state: &'static str,
    vault: &'a str,
    source: &'a str,
    time: String,
    time_millis: i64,
    bytes_sent: u64,
    bytes_new: u64,
    chunks_new: u64,
    chunks_reused: u64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// A wait for every site that takes longer is told of.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// How the wait for every site ended.
enum Waited {
    /// It was not asked for, or it was worth it.
    Well(Box<SnapshotInfo>),
    /// Not in time; or nothing can be heard.
    Badly(String),
    /// A signal ended it.
    Interrupted,
}

/// Backs up.
pub(super) async fn run(call: &Call, args: &BackupArgs, job: Job) -> Outcome {
    let began = tokio::time::Instant::now();
    let connection = call.unless_interrupted(call.connect()).await?;
    let first = open(call, args, &job, &connection).await?;
    job.bundle.renew(first.recipients());
    let (sink, info, summary) = match attempt(call, args, &job, &first).await? {
        Ok((info, summary)) => (first, info, summary),
        Err(missing) => again(call, args, &job, &connection, &first, &missing).await?,
    };
    let waited = wait(call, args, &sink, info.clone()).await;
    let info = match &waited {
        Waited::Well(info) => info,
        _ => &info,
    };
    let summary = summary.took(began.elapsed());
    report(call, &job, &sink, info, &summary)?;
    if args.wait == WaitFor::Committed && info.state == SnapshotState::Damaged {
        call.remark(format_args!(
            "the snapshot needs something that is damaged at a site, as a verification found; `holdfast status` says where, and what \
             mends it"
        ));
    }
    match waited {
        Waited::Well(_) if summary.errors > 0 => Ok(Exit::Partial),
        Waited::Well(_) => Ok(Exit::Done),
        Waited::Badly(why) => {
            call.remark(format_args!(
                "the snapshot is committed and not protected: {why}"
            ));
            Ok(Exit::Unprotected)
        }
        Waited::Interrupted => Ok(Exit::Interrupted),
    }
}

async fn open(
    call: &Call,
    args: &BackupArgs,
    job: &Job,
    connection: &Connection,
) -> Outcome<Arc<SessionSink>> {
    let mut options = SessionOptions::new(job.source.clone());
    options.tags = args.tag.clone();
    options.rate_bytes_per_second = args.limit_rate.map(|rate| rate.0);
    let bundle = &job.bundle.bundle;
    let open = async {
        let opened = SessionSink::open(&call.context, connection, bundle, options).await;
        opened.map_err(|error| match error {
            // The bundle says which vault it is, and the name was only how the bundle was found.
            error @ Error::Missing { .. } => Failure::with_advice(
                format!("{error} (the bundle {} is for it)", job.bundle.path().display()),
                "name the bundle of the vault that is meant with --bundle, or the coordinator that has this vault with --coordinator",
            ),
            error => error.into(),
        })
    };
    Ok(Arc::new(call.unless_interrupted(open).await?))
}

/// Something that was taken as known was collected before the commit: everything is read and offered again, once.
async fn again(
    call: &Call,
    args: &BackupArgs,
    job: &Job,
    connection: &Connection,
    first: &Arc<SessionSink>,
    missing: &[ChunkId],
) -> Outcome<(Arc<SessionSink>, Box<SnapshotInfo>, Summary)> {
    let second = async {
        if !job.what.read_again() {
            return Err(lost(missing));
        }
        call.remark(format_args!(
            "collected meanwhile: {}; reading everything again",
            output::counted(missing.len() as u64, "chunk")
        ));
        let second = open(call, args, job, connection).await?;
        match attempt(call, args, job, &second).await? {
            Ok((info, summary)) => Ok((second, info, summary)),
            Err(missing) => {
                second.abandon("chunks are missing").await;
                Err(lost(&missing))
            }
        }
    };
    // ORDER: the first session stays open until the second has ended. What it sent would otherwise be nobody's, and
    // could be collected before the second offers it.
    let second = second.await;
    first.abandon("another session took its place").await;
    second
}

/// What a pass over the source gives: a snapshot, or what is missing for one.
type Attempt = Result<(Box<SnapshotInfo>, Summary), Vec<ChunkId>>;

/// Reads, sends, commits. A session that fails is abandoned.
async fn attempt(
    call: &Call,
    args: &BackupArgs,
    job: &Job,
    sink: &Arc<SessionSink>,
) -> Outcome<Attempt> {
    match pass(call, args, job, sink).instrument(sink.span()).await {
        Ok((Finished::Committed(info), summary, cache)) => {
            cache.finish(true);
            Ok(Ok((info, summary)))
        }
        Ok((Finished::Missing(ids), _, cache)) => {
            cache.finish(false);
            Ok(Err(ids))
        }
        Err(failure) => {
            sink.abandon(&failure.what).await;
            Err(failure)
        }
    }
}

fn lost(missing: &[ChunkId]) -> Failure {
    Failure::with_advice(
        format!(
            "the snapshot was not committed: of what it refers to, {} went in a collection meanwhile",
            output::counted(missing.len() as u64, "chunk")
        ),
        "run the backup again: what was uploaded is reused",
    )
}

async fn pass(
    call: &Call,
    args: &BackupArgs,
    job: &Job,
    sink: &Arc<SessionSink>,
) -> Outcome<(Finished, Summary, PendingCache)> {
    let progress = Arc::new(Progress::default());
    let _shown = show_progress(call, &progress, Some(sink.progress()));
    let chunks: Arc<dyn ChunkSink> = Arc::clone(sink) as _;
    let keys = &job.bundle.bundle.keys;
    let result = job.what.read(call, keys, chunks, progress).await?;
    let root = result.root;
    let totals = Totals {
        files: result.files,
        directories: result.directories,
        bytes: result.bytes_logical,
        problems: result.problems_count,
    };
    let (summary, cache) = Summary::new(result);
    let protect = args.wait == WaitFor::Protected;
    let finish = async { Ok(sink.finish(root, totals, protect).await?) };
    let finished = call.unless_interrupted(finish).await?;
    Ok((finished, summary, cache))
}

async fn wait(
    call: &Call,
    args: &BackupArgs,
    sink: &SessionSink,
    info: Box<SnapshotInfo>,
) -> Waited {
    if args.wait == WaitFor::Committed || info.state >= SnapshotState::Protected {
        return Waited::Well(info);
    }
    let in_time = async {
        match args.wait_timeout {
            None => sink.protected().await.map_err(|error| error.to_string()),
            Some(span) => match tokio::time::timeout(span.0, sink.protected()).await {
                Ok(protected) => protected.map_err(|error| error.to_string()),
                Err(_) => Err(format!("not within {}", output::duration(span.0))),
            },
        }
    };
    let in_time = in_time.instrument(sink.span());
    let in_time = telling(call, &info, in_time);
    match call.cancel.run_until_cancelled(in_time).await {
        None => Waited::Interrupted,
        Some(Ok(info)) => Waited::Well(Box::new(info)),
        Some(Err(why)) => Waited::Badly(why),
    }
}

/// Says what is waited for, once it takes longer than a person looks at nothing.
async fn telling<T>(call: &Call, info: &SnapshotInfo, wait: impl Future<Output = T>) -> T {
    let mut wait = std::pin::pin!(wait);
    match tokio::time::timeout(SILENT_MAX, &mut wait).await {
        Ok(done) => done,
        Err(_) => {
            call.remark(format_args!(
                "snapshot {} is committed; waiting until every site has it. `holdfast status` shows which lags. \
                 Interrupting this loses nothing",
                info.id
            ));
            wait.await
        }
    }
}

fn report(
    call: &Call,
    job: &Job,
    sink: &SessionSink,
    info: &SnapshotInfo,
    summary: &Summary,
) -> Outcome<()> {
    let figures = sink.progress().figures();
    let view = View {
        snapshot: info.id.to_string(),
        state: info.state.as_str(),
        vault: job.bundle.bundle.name.as_str(),
        source: &info.source,
        time: output::time_utc(info.time_millis),
        time_millis: info.time_millis,
        bytes_sent: figures.bytes_sent,
        bytes_new: figures.bytes_new,
        chunks_new: figures.chunks_new,
        chunks_reused: figures.chunks_reused,
        summary,
    };
    if call.json() {
        return output::json(&view);
    }
    output::line(format_args!(
        "snapshot {} of source {} is {}",
        view.snapshot,
        output::name(view.source),
        view.state
    ))?;
    summary.text()?;
    output::line(format_args!(
        "  sent {} for {} ({} before compression); {} there before",
        output::bytes(view.bytes_sent),
        output::counted(view.chunks_new, "new chunk"),
        output::bytes(view.bytes_new),
        output::counted(view.chunks_reused, "chunk")
    ))
}
