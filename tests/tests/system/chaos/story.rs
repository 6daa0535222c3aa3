//! What happened, line by line, with what came of it; counts for the last line; and everything that is wrong.
//!
//! State: a file, kept where `HOLDFAST_TEST_CHAOS` says, counts, failures. Everybody writes here.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Display};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    counts: BTreeMap<String, u64>,
    failures: Vec<String>,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Story {
    since: Instant,
    folder: Option<PathBuf>,
    inner: Mutex<Inner>,
}

impl Story {
    /// An empty one.
    pub(super) fn begin(seed: u64) -> Self {
        let folder = std::env::var_os("HOLDFAST_TEST_CHAOS").map(PathBuf::from);
        let folder = folder.map(|folder| folder.join(seed.to_string()));
        let mut inner = Inner::default();
        if let Some(folder) = &folder {
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).unwrap();
            inner.file = Some(File::create(folder.join("story")).unwrap());
        }
        Self {
            since: Instant::now(),
            folder,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line.
    pub(super) fn tell(&self, who: impl Display, what: Arguments<'_>) {
        let line = format!("{:7.2} {who}: {what}", self.since.elapsed().as_secs_f64());
        println!("{line}");
        if let Some(file) = &mut self.inner().file {
            let _ = writeln!(file, "{line}");
        }
    }

    /// Counts something.
    pub(super) fn count(&self, what: &str) {
        self.count_more(what, 1);
    }

    /// Counts several at once.
    pub(super) fn count_more(&self, what: &str, more: u64) {
        *self.inner().counts.entry(what.to_owned()).or_default() += more;
    }

    /// Something is wrong. The run goes on, so that all of it is found.
    pub(super) fn fail(&self, who: impl Display, what: Arguments<'_>) {
        self.tell(&who, format_args!("FAILURE {what}"));
        self.inner().failures.push(format!("{who}: {what}"));
    }

    /// Keeps a file beside the story, for whoever looks at a failure.
    pub(super) fn keep(&self, path: &Path) {
        if let (Some(folder), Some(name)) = (&self.folder, path.file_name()) {
            let _ = fs::copy(path, folder.join(name));
        }
    }

    /// The last line; what was wrong, if anything was.
    pub(super) fn end(&self, seed: u64) -> Vec<String> {
        let (counts, failures) = {
            let inner = self.inner();
            (inner.counts.clone(), inner.failures.clone())
        };
        let counts = counts.iter().map(|(what, count)| format!("{what} {count}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        let verdict = if failures.is_empty() {
            "passed"
        } else {
            "FAILED"
        };
        self.tell("chaos", format_args!("seed {seed} {verdict}: {counts}"));
        failures
    }
}
