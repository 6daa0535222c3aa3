//! How far a backup is: counters that any thread adds to and a renderer reads whenever it likes.
//!
//! State: the counters. It decides nothing and never waits for the renderer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of one backup in progress.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    unchanged_files: AtomicU64,
    directories: AtomicU64,
    bytes_read: AtomicU64,
    bytes_done: AtomicU64,
    files_found: AtomicU64,
    bytes_found: AtomicU64,
    files_before: AtomicU64,
    bytes_before: AtomicU64,
    walked: AtomicBool,
    problems: AtomicU64,
    current: Mutex<Vec<u8>>,
}

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgressSnapshot {
    /// Files done, read or found unchanged.
    pub files: u64,
    /// Of these, files that were not read because they are unchanged.
    pub unchanged_files: u64,
    /// Directories done.
    pub directories: u64,
    /// Bytes read from the source; what is read twice counts twice.
    pub bytes_read: u64,
    /// Bytes of content gone through: read, found to be holes, or unchanged.
    pub bytes_done: u64,
    /// Files that there are in all: exact once `total_is_exact`, before that a guess from the last backup and what
    /// was found so far.
    pub files_total: u64,
    /// Bytes that there are in all, guessed likewise. 0 for a stream.
    pub bytes_total: u64,
    /// Whether the walk has seen everything.
    pub total_is_exact: bool,
    /// Problems so far.
    pub problems: u64,
    /// A path that is being read.
    pub current: Vec<u8>,
}

impl Progress {
    /// The counters now. They are read one after the other, so they may differ by what happened meanwhile.
    pub fn snapshot(&self) -> ProgressSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let exact = self.walked.load(Ordering::Acquire);
        let total = |found: &AtomicU64, before: &AtomicU64| {
            if exact {
                get(found)
            } else {
                get(found).max(get(before))
            }
        };
        ProgressSnapshot {
            files: get(&self.files),
            unchanged_files: get(&self.unchanged_files),
            directories: get(&self.directories),
            bytes_read: get(&self.bytes_read),
            bytes_done: get(&self.bytes_done),
            files_total: total(&self.files_found, &self.files_before),
            bytes_total: total(&self.bytes_found, &self.bytes_before),
            total_is_exact: exact,
            problems: get(&self.problems),
            current: self
                .current
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    pub(crate) fn found_file(&self, bytes: u64) {
        self.files_found.fetch_add(1, Ordering::Relaxed);
        self.bytes_found.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn finished_walk(&self) {
        self.walked.store(true, Ordering::Release);
    }

    pub(crate) fn expect_as_before(&self, files: u64, bytes: u64) {
        self.files_before.store(files, Ordering::Relaxed);
        self.bytes_before.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn done_file(&self, unchanged: bool) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.unchanged_files
            .fetch_add(u64::from(unchanged), Ordering::Relaxed);
    }

    pub(crate) fn done_directory(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that need no reading: holes, unchanged files.
    pub(crate) fn passed_over(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_problems(&self, count: u64) {
        self.problems.store(count, Ordering::Relaxed);
    }

    pub(crate) fn set_current(&self, path: Vec<u8>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }
}
