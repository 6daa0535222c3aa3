//! What happened, line by line, for people and for comparing runs: the same seed gives the same hash.
//!
//! State: the hash of all lines, figures by kind, and the lines themselves where somebody wants to read them. Lines never
//! hold anything that is not a function of the seed: no hash of an object (key objects are sealed with the system's own
//! chance), no length, no address.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// See the module.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    started: Instant,
    hasher: blake3::Hasher,
    lines: Vec<String>,
    keep: bool,
    counts: BTreeMap<String, u64>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

impl Trace {
    /// An empty trace that begins now; `keep` keeps the lines.
    pub fn start(keep: bool) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            started: Instant::now(),
            hasher: blake3::Hasher::new(),
            lines: Vec::new(),
            keep,
            counts: BTreeMap::new(),
        })))
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a line.
    pub fn say(&self, who: &str, what: fmt::Arguments<'_>) {
        let mut inner = self.inner();
        let millis = inner.started.elapsed().as_millis();
        let line = format!("{:>6}.{:03} {who}: {what}", millis / 1000, millis % 1000);
        inner.hasher.update(line.as_bytes());
        inner.hasher.update(b"\n");
        if inner.keep {
            inner.lines.push(line);
        }
    }

    /// Counts one of a kind.
    pub fn count(&self, kind: &str) {
        let mut inner = self.inner();
        match inner.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                inner.counts.insert(kind.into(), 1);
            }
        }
    }

    /// The figures.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.inner().counts.clone()
    }

    /// The hash of all lines.
    pub fn hash(&self) -> String {
        self.inner().hasher.finalize().to_hex()[..16].to_owned()
    }

    /// The lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        self.inner().lines.clone()
    }
}

/// An object's name without what is not a function of the seed: segments are named by the hash of what they hold.
pub fn plain(name: &str) -> String {
    let name = name.split_once('/').map_or(name, |(_, rest)| rest);
    match name.split_once("segments/") {
        Some((before, _)) => format!("{before}segments/*"),
        None => name.into(),
    }
}
