//! What a backup read, for people and scripts, and how far it is while it runs.

use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::backup::{BackupResult, PendingCache, Progress};
use holdfast_agent::client::{LinkState, SessionProgress};
use holdfast_agent::restore::PathText;
use serde::Serialize;

use crate::call::Call;
use crate::failure::Outcome;
use crate::output::{self, Reading};

/// Problems that are shown as text; JSON has more.
const SHOWN_MAX: usize = 20;

/// What was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) files: u64,
    unchanged_files: u64,
    directories: u64,
    bytes: u64,
    bytes_read: u64,
    vanished: u64,
    pub(super) errors: u64,
    problems: Vec<ProblemView>,
    seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct ProblemView {
    #[serde(flatten)]
    path: PathText,
    what: String,
}

impl Summary {
    /// Takes a result apart; the cache has to be told how it ended.
    pub(super) fn new(result: BackupResult) -> (Self, PendingCache) {
        let problem = |problem: holdfast_format::tree::Problem| ProblemView {
            path: PathText(problem.path),
            what: problem.what,
        };
        let summary = Self {
            files: result.files,
            unchanged_files: result.unchanged_files,
            directories: result.directories,
            bytes: result.bytes_logical,
            bytes_read: result.bytes_read,
            vanished: result.vanished,
            errors: result.problems_count,
            problems: result.problems.into_iter().map(problem).collect(),
            seconds: 0.0,
        };
        (summary, result.cache)
    }

    /// Notes how long it took.
    pub(super) fn took(&self, time: Duration) -> Self {
        Self {
            seconds: time.as_secs_f64(),
            ..self.clone()
        }
    }

    /// For a person.
    pub(super) fn text(&self) -> Outcome<()> {
        output::line(format_args!(
            "  {} ({} unchanged) in {}, {}; read {} in {}",
            output::counted(self.files, "file"),
            output::count(self.unchanged_files),
            output::counted(self.directories, "directory"),
            output::bytes(self.bytes),
            output::bytes(self.bytes_read),
            output::seconds(self.seconds)
        ))?;
        for problem in self.problems.iter().take(SHOWN_MAX) {
            // Also with --quiet: which files are not in the snapshot is no remark.
            output::remark(false, format_args!("{}: {}", problem.path, problem.what));
        }
        if self.errors > 0 {
            let named = match self.errors > SHOWN_MAX as u64 {
                true => format!("the first {SHOWN_MAX} are named above, --json names more"),
                false => "named above".into(),
            };
            output::line(format_args!(
                "  INCOMPLETE: {} ({named})",
                output::counted(self.errors, "problem")
            ))?;
        }
        Ok(())
    }
}

/// Draws the counters of a backup.
pub(crate) fn show_progress(
    call: &Call,
    progress: &Arc<Progress>,
    session: Option<Arc<SessionProgress>>,
) -> output::Progress {
    let progress = Arc::clone(progress);
    output::Progress::show(&call.context, call.quiet(), move || {
        let now = progress.snapshot();
        let mut note = output::counted(now.files, "file");
        if let Some(session) = &session {
            let figures = session.figures();
            note.push_str(&format!(", sent {}", output::bytes(figures.bytes_sent)));
            if let LinkState::Reconnecting { attempts, why } = figures.link {
                note = format!("connection lost, attempt {attempts}: {why}");
            }
        }
        if now.problems > 0 {
            note.push_str(&format!(", {}", output::counted(now.problems, "problem")));
        }
        Reading {
            done: now.bytes_done.max(if now.bytes_total == 0 {
                now.bytes_read
            } else {
                0
            }),
            total: (now.bytes_total > 0).then_some(now.bytes_total),
            note,
        }
    })
}
