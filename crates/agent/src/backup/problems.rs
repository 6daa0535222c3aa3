//! Paths that could not be backed up as they should have been: counted all, kept the first thousands.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use holdfast_format::tree::Problem;
use rustix::io::Errno;

use super::limits::{PROBLEMS_BYTES_MAX, PROBLEMS_KEPT_MAX};
use crate::error::{Error, Result};

/// The problems of one backup.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    count: AtomicU64,
    vanished: AtomicU64,
    kept: Mutex<Kept>,
    /// The first path that failed because this process had run out of something: not the path's own fault.
    starved: Mutex<Option<Error>>,
}

#[derive(Debug, Default)]
struct Kept {
    problems: Vec<Problem>,
    bytes: usize,
}

impl Problems {
    /// Takes note of one.
    pub(crate) fn add(&self, path: Vec<u8>, what: impl Into<String>) {
        let problem = Problem {
            path,
            what: what.into(),
        };
        tracing::warn!(path = %String::from_utf8_lossy(&problem.path), what = problem.what, "not backed up as it should be");
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = kept.bytes + problem.path.len() + problem.what.len() + 16;
        if kept.problems.len() < PROBLEMS_KEPT_MAX && bytes <= PROBLEMS_BYTES_MAX {
            kept.bytes = bytes;
            kept.problems.push(problem);
        }
    }

    /// Takes note that a call failed.
    pub(crate) fn add_error(&self, path: Vec<u8>, doing: &str, error: &io::Error) {
        if let Some(why) = starvation(error) {
            let mut starved = self.starved.lock().unwrap_or_else(PoisonError::into_inner);
            starved.get_or_insert_with(|| Error::Local {
                what: String::from_utf8_lossy(&path).into_owned(),
                why: format!("{why} and back up again; nothing was committed"),
            });
        }
        self.add(path, format!("{doing}: {error}"));
    }

    /// Ends a backup that ran out of something. A snapshot without all that could not be opened for that would be
    /// committed, and retention could drop a whole one for its sake.
    ///
    /// # Errors
    /// The first that was met.
    pub(crate) fn check_starved(&self) -> Result<()> {
        let starved = self.starved.lock().unwrap_or_else(PoisonError::into_inner);
        starved.clone().map_or(Ok(()), Err)
    }

    /// Takes note of a path that was there when its folder was listed and gone when it was looked at. Deleting a
    /// file is nobody's fault: this is no problem, only a figure.
    pub(crate) fn vanished(&self, path: &[u8]) {
        tracing::debug!(path = %String::from_utf8_lossy(path), "vanished before it was read");
        self.vanished.fetch_add(1, Ordering::Relaxed);
    }

    /// How many paths vanished.
    pub(crate) fn vanished_count(&self) -> u64 {
        self.vanished.load(Ordering::Relaxed)
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Those that were kept, sorted by path, so that what a snapshot says does not depend on threads.
    pub(crate) fn kept(&self) -> Vec<Problem> {
        let mut problems = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .problems
            .clone();
        problems.sort_by(|a, b| (&a.path, &a.what).cmp(&(&b.path, &b.what)));
        problems
    }
}

/// What this process has too little of, if that is why a call failed.
fn starvation(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("too many files are open: raise the limit (ulimit -n)"),
        Errno::NFILE => Some("too many files are open on this machine: close some"),
        Errno::NOMEM => Some("there is not enough memory: give it more"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_no_fault_of_a_path() {
        let problems = Problems::default();
        let denied = io::Error::from(Errno::ACCESS);
        problems.add_error(b"/denied".to_vec(), "it cannot be opened", &denied);
        assert!(problems.check_starved().is_ok());
        let starved = io::Error::from(Errno::MFILE);
        for path in ["/first", "/second"] {
            problems.add_error(path.into(), "it cannot be opened", &starved);
        }
        let told = problems.check_starved().unwrap_err().to_string();
        assert!(
            told.contains("/first") && told.contains("ulimit -n"),
            "{told}"
        );
        assert_eq!(problems.count(), 3);
    }

    #[test]
    fn all_are_counted_and_the_first_are_kept() {
        let problems = Problems::default();
        for n in 0..PROBLEMS_KEPT_MAX + 10 {
            problems.add(format!("/{:06}", 999_999 - n).into_bytes(), "unreadable");
        }
        assert_eq!(problems.count() as usize, PROBLEMS_KEPT_MAX + 10);
        let kept = problems.kept();
        assert_eq!(kept.len(), PROBLEMS_KEPT_MAX);
        assert!(kept.is_sorted_by(|a, b| a.path < b.path));
        problems.add(vec![b'x'; PROBLEMS_BYTES_MAX], "long");
        assert_eq!(problems.kept().len(), PROBLEMS_KEPT_MAX);
    }
}
