//! What was backed up, as it was at that moment, and whether what comes back is the same.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::client::BackedUp;
use super::compare::{Aside, Comparison};
use super::fingerprint::Fingerprint;
use super::story::{Story, show};
use super::teller::Teller;
use crate::failure::{Failure, Outcome};
use crate::output;

/// The source of the tree that the demo makes, which nobody else changes.
pub(super) const MADE: &str = "demo";

/// The source of the path that was given.
pub(super) const GIVEN: &str = "given";

/// Differences that are shown as text; JSON has more.
const SHOWN_MAX: usize = 20;

/// Something that is backed up, as a source of its own.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// The source's name.
    pub(super) source: &'static str,
    /// Its absolute path.
    pub(super) path: PathBuf,
}

/// What a root was when it was backed up.
#[derive(Debug)]
pub(super) struct Original {
    root: Root,
    fingerprint: Arc<Fingerprint>,
    aside: Aside,
}

impl Original {
    /// The source's name.
    pub(super) fn source(&self) -> &'static str {
        self.root.source
    }

    /// What it was.
    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl Story<'_> {
    /// What everything is at this moment.
    pub(super) async fn originals(&self) -> Outcome<Vec<Original>> {
        let mut originals = Vec::new();
        for root in self.roots() {
            let fingerprint = self.fingerprint(&root.path, "noting what it is").await?;
            let unread = fingerprint.unread.iter().map(|(path, _)| path.clone());
            originals.push(Original {
                aside: Aside {
                    unread: unread.collect(),
                    ..Aside::default()
                },
                fingerprint: Arc::new(fingerprint),
                root,
            });
        }
        Ok(originals)
    }

    /// Notes what a backup did not get as it was noted before: what could not be read, what changed meanwhile. Gives how
    /// many paths changed.
    pub(super) async fn set_aside(
        &mut self,
        originals: &mut [Original],
        backed_up: &[BackedUp],
    ) -> Outcome<u64> {
        let (mut moved_count, mut unreadable) = (0, 0);
        for (original, done) in originals.iter_mut().zip(backed_up) {
            unreadable += done.problems_count;
            let top = original.root.path.clone();
            for problem in &done.problems {
                if let Some(below) = problem.path.strip_prefix(top.as_os_str().as_bytes()) {
                    let below = below.strip_prefix(b"/").unwrap_or(below);
                    original.aside.unread.insert(below.to_vec());
                }
            }
            if original.root.source == MADE {
                continue;
            }
            let (before, cancel) = (Arc::clone(&original.fingerprint), self.call.cancel.clone());
            let at = top.clone();
            let look = move || before.moved(&at, &cancel);
            let moved = self.call.context.run_blocking(look).await;
            let moved = moved.map_err(|error| Failure::file(&top, error))?;
            moved_count += moved.len() as u64;
            original.aside.moved = moved;
        }
        self.unreadable = self.unreadable.max(unreadable);
        Ok(moved_count)
    }

    async fn fingerprint(&self, top: &Path, note: &'static str) -> Outcome<Fingerprint> {
        let done = Arc::new(AtomicU64::new(0));
        let _shown = show(self.call, note, None, &done);
        let (at, cancel) = (top.to_owned(), self.call.cancel.clone());
        let take = move || Fingerprint::take(&at, &cancel, &done);
        match self.call.context.run_blocking(take).await {
            Err(_) if self.call.cancel.is_cancelled() => Err(Failure::interrupted()),
            taken => taken.map_err(|error| Failure::file(top, error)),
        }
    }

    /// Compares what was restored below `target`, each source in its own folder, with the originals. A difference is a
    /// failure.
    pub(super) async fn compare(
        &mut self,
        target: &Path,
        originals: &[Original],
        teller: &Teller,
    ) -> Outcome<Comparison> {
        let mut comparison = Comparison::default();
        for original in originals {
            let path = &original.root.path;
            let below = path.strip_prefix("/").unwrap_or(path);
            let copy = target.join(original.source()).join(below);
            let note = "comparing every byte and attribute";
            let copy = self.fingerprint(&copy, note).await?;
            let label = output::name(&path.display().to_string());
            comparison.add(&label, &original.fingerprint, &copy, &original.aside);
        }
        self.paths_compared += comparison.paths;
        self.bytes_compared += comparison.bytes;
        self.differences_count += comparison.differences_count;
        self.differences.extend_from_slice(&comparison.differences);
        self.note_forbidden(&comparison.forbidden);
        if comparison.differences_count == 0 {
            return Ok(comparison);
        }
        for what in comparison.differences.iter().take(SHOWN_MAX) {
            teller.say(format_args!("DIFFERS: {what}"))?;
        }
        let first = comparison.differences.first();
        Err(Failure::new(format_args!(
            "{} differences between the original and {}; the first: {}",
            output::count(comparison.differences_count),
            target.display(),
            first.map_or("", String::as_str)
        )))
    }

    fn note_forbidden(&mut self, forbidden: &BTreeMap<&'static str, u64>) {
        for what in forbidden.keys() {
            if !self.left_out.iter().any(|known| known == what) {
                self.left_out.push((*what).into());
            }
        }
    }
}
