//! One restore while it runs: what all of its parts share.
//!
//! State: the report, the hard links met so far, and whether to stop. Nothing here outlives the restore.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_context::Context;
use holdfast_format::{ChunkId, Hash, ScopeKeys};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::direct::Buffers;
use super::level::KeptOpen;
use super::links::Links;
use super::owner::Owners;
use crate::error::Error;
use crate::restore::flaw::Flaw;
use crate::restore::nodes::NodeReader;
use crate::restore::path::{hex, shown};
use crate::restore::progress::RestoreProgress;
use crate::restore::report::Report;

/// What temporary names start with.
pub(super) const TEMPORARY: &[u8] = b".holdfast-restore-";

/// What temporary names end with.
const PART: &[u8] = b".part";

/// Hexadecimal digits between the two.
const DIGITS: usize = 32;

/// See the module header.
pub(super) struct Run {
    pub(super) ctx: Context,
    pub(super) nodes: Arc<NodeReader>,
    pub(super) keys: Option<ScopeKeys>,
    /// The root's chunk id: makes temporary names this snapshot's own.
    pub(super) root: ChunkId,
    pub(super) target: PathBuf,
    /// The target's top directory.
    pub(super) top: OwnedFd,
    pub(super) kept_open: KeptOpen,
    /// Whether the target may hold something: a delta, or an interrupted restore that goes on.
    pub(super) may_exist: bool,
    pub(super) delete_extra: bool,
    pub(super) is_root: bool,
    pub(super) owners: Owners,
    pub(super) links: Links,
    pub(super) buffers: Buffers,
    pub(super) report: Report,
    pub(super) progress: Arc<RestoreProgress>,
    /// Set when the caller cancels, and when something fails that ends the whole restore.
    pub(super) stop: CancellationToken,
    pub(super) fatal: Mutex<Option<Error>>,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Run {
    /// Ends the whole restore with an error; the first one counts.
    pub(super) fn abort(&self, error: Error) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        fatal.get_or_insert(error);
        self.stop.cancel();
    }

    /// Whether to stop.
    pub(super) fn stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells of something that the target refused: a problem of that path, or the end if nothing more can be written.
    pub(super) fn failed(&self, path: Vec<u8>, what: &str, errno: Errno) {
        let why = match errno {
            Errno::NOSPC | Errno::DQUOT => "the disk is full: make room",
            Errno::ROFS => "it is read-only: mount it writable",
            Errno::MFILE | Errno::NFILE => "too many files are open: raise the limit (ulimit -n)",
            errno => {
                let why = std::io::Error::from(errno);
                return self.problem(path, format!("{what}: {why}"));
            }
        };
        self.abort(Error::Local {
            what: format!("{} ({})", self.target.display(), shown(&path)),
            why: format!("{why} and run the same restore again: it goes on where it was"),
        });
    }

    /// Tells of a problem.
    pub(super) fn problem(&self, path: Vec<u8>, what: impl Into<String>) {
        RestoreProgress::add(&self.progress.problems, 1);
        self.report.problem(path, what);
    }

    /// Tells of a loss.
    pub(super) fn lost(&self, path: Vec<u8>, flaw: &Flaw) {
        RestoreProgress::add(&self.progress.problems, 1);
        self.report.loss(path, flaw);
    }

    /// The name under which a file is written until it is complete. No two names of a directory share one.
    pub(super) fn temporary(&self, name: &[u8]) -> Vec<u8> {
        let mut salted = self.root.0.to_vec();
        salted.extend_from_slice(name);
        let digits = hex(&Hash::of(&salted).0[..DIGITS / 2]);
        [TEMPORARY, digits.as_bytes(), PART].concat()
    }
}

/// Whether a name has exactly the form of a temporary name, of whichever restore.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(TEMPORARY)
        .and_then(|rest| rest.strip_suffix(PART))
        .is_some_and(|digits| {
            digits.len() == DIGITS && digits.iter().all(|b| b"0123456789abcdef".contains(b))
        })
}
