//! A sink that only counts, for dry runs.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdfast_format::{Chunk, ChunkId};

use crate::error::Result;
use crate::sink::ChunkSink;

/// Counts what a backup would send.
///
/// Over another sink it asks that one what the vault has, and puts nothing there. Without one it takes the cache's
/// word for what is unchanged, and counts what the rest comes to, each chunk once.
pub struct CountingSink {
    vault: Option<Arc<dyn ChunkSink>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: HashSet<ChunkId>,
    counts: Counts,
    /// Chunks that the vault has not been asked about yet, with their length.
    waiting: Vec<(ChunkId, u64)>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Chunks that would be sent, nodes included.
    pub chunks_new: u64,
    /// Their bytes before compression.
    pub bytes_new: u64,
    /// Chunks that the vault has, or that came more than once.
    pub chunks_reused: u64,
}

/// Ids asked about at once.
const ASK: usize = 1024;

impl std::fmt::Debug for CountingSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CountingSink").finish_non_exhaustive()
    }
}

impl CountingSink {
    /// Counts without asking anybody.
    pub fn new() -> Self {
        Self {
            vault: None,
            state: Mutex::default(),
        }
    }

    /// Counts what `vault` lacks. Nothing is put there.
    pub fn over(vault: Arc<dyn ChunkSink>) -> Self {
        Self {
            vault: Some(vault),
            state: Mutex::default(),
        }
    }

    /// What was counted. Asks the vault about the last chunks.
    pub async fn counts(&self) -> Result<Counts> {
        let waiting = std::mem::take(&mut self.lock().waiting);
        self.settle(waiting).await?;
        Ok(self.lock().counts)
    }

    async fn settle(&self, chunks: Vec<(ChunkId, u64)>) -> Result<()> {
        let known = match &self.vault {
            Some(vault) if !chunks.is_empty() => {
                vault
                    .known(chunks.iter().map(|(id, _)| *id).collect())
                    .await?
            }
            _ => vec![false; chunks.len()],
        };
        let counts = &mut self.lock().counts;
        for ((_, bytes), known) in chunks.into_iter().zip(known) {
            counts.chunks_reused += u64::from(known);
            counts.chunks_new += u64::from(!known);
            counts.bytes_new += if known { 0 } else { bytes };
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CountingSink {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ChunkSink for CountingSink {
    async fn known(&self, ids: Vec<ChunkId>) -> Result<Vec<bool>> {
        match &self.vault {
            Some(vault) => vault.known(ids).await,
            None => Ok(vec![true; ids.len()]),
        }
    }

    async fn put(&self, chunk: Chunk) -> Result<()> {
        let due = {
            let mut state = self.lock();
            if !state.seen.insert(chunk.id) {
                state.counts.chunks_reused += 1;
                return Ok(());
            }
            state.waiting.push((chunk.id, chunk.bytes.len() as u64));
            if state.waiting.len() < ASK {
                Vec::new()
            } else {
                std::mem::take(&mut state.waiting)
            }
        };
        self.settle(due).await
    }
}
