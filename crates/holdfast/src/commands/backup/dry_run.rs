//! `--dry-run`: reads and counts, asks nobody, leaves no trace.

use std::sync::Arc;

use holdfast_agent::backup::{CountingSink, Progress};
use serde::Serialize;

use super::Job;
use super::report::{Summary, show_progress};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;

#[derive(Serialize)]
struct View<'a> {
    dry_run: bool,
    vault: &'a str,
    source: &'a str,
    chunks_new: u64,
    bytes_new: u64,
    chunks_reused: u64,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Counts.
pub(super) async fn run(call: &Call, job: Job) -> Outcome {
    let began = tokio::time::Instant::now();
    let sink = Arc::new(CountingSink::new());
    let progress = Arc::new(Progress::default());
    let shown = show_progress(call, &progress, None);
    let keys = &job.bundle.bundle.keys;
    let result = job
        .what
        .read(call, keys, Arc::clone(&sink) as _, progress)
        .await;
    drop(shown);
    let (summary, cache) = Summary::new(result?);
    cache.finish(false);
    let counts = sink.counts().await?;
    let view = View {
        dry_run: true,
        vault: job.bundle.bundle.name.as_str(),
        source: job.source.as_str(),
        chunks_new: counts.chunks_new,
        bytes_new: counts.bytes_new,
        chunks_reused: counts.chunks_reused,
        summary: &summary.took(began.elapsed()),
    };
    if call.json() {
        output::json(&view)?;
    } else {
        output::line(format_args!(
            "dry run of source {}: nothing was sent",
            job.source
        ))?;
        view.summary.text()?;
        output::line(format_args!(
            "  would send at most {} before compression, in {}",
            output::bytes(counts.bytes_new),
            output::counted(counts.chunks_new, "chunk")
        ))?;
    }
    Ok(match summary.errors {
        0 => Exit::Done,
        _ => Exit::Partial,
    })
}
