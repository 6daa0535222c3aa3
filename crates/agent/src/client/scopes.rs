//! Several dedup scopes read as one: for a mount of all of a vault's snapshots.
//!
//! State: which scope answered last. A chunk's id does not tell its scope, so each is asked in turn; what one directory
//! refers to lies in one scope, so the first guess is nearly always right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use holdfast_format::{ChunkId, ChunkKind};

use super::RemoteSource;
use crate::error::Result;
use crate::source::{ChunkSource, Fetched, Loss};

/// See the module header.
#[derive(Debug)]
pub struct ScopedSources {
    sources: Vec<Arc<RemoteSource>>,
    last: AtomicUsize,
}

impl ScopedSources {
    /// One source for each scope.
    pub fn new(sources: Vec<Arc<RemoteSource>>) -> Self {
        Self {
            sources,
            last: AtomicUsize::new(0),
        }
    }

    /// Gives all holds back.
    pub async fn close(&self) {
        for source in &self.sources {
            source.close().await;
        }
    }
}

#[async_trait]
impl ChunkSource for ScopedSources {
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
        let lost = |(id, _): &(ChunkId, ChunkKind)| {
            let why = "the vault has no snapshots".into();
            Err(Loss { id: *id, why })
        };
        let mut answers: Vec<_> = wanted.iter().map(lost).collect();
        let mut open: Vec<usize> = (0..wanted.len()).collect();
        let first = self.last.load(Ordering::Relaxed);
        for step in 0..self.sources.len() {
            let at = (first + step) % self.sources.len();
            let asked = open.iter().map(|n| wanted[*n]).collect();
            let fetched = self.sources[at].fetch(asked).await?;
            let mut left = Vec::new();
            for (n, answer) in open.into_iter().zip(fetched) {
                match &answer {
                    Ok(_) => self.last.store(at, Ordering::Relaxed),
                    Err(_) => left.push(n),
                }
                answers[n] = answer;
            }
            open = left;
            if open.is_empty() {
                break;
            }
        }
        Ok(answers)
    }
}
