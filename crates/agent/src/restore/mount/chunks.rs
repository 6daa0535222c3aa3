//! Data chunks of a mount: kept for a while, each fetched once however many reads ask for it at a time.
//!
//! State: a cache bounded in bytes, and the fetches under way. A loss is not kept: the chunk may be repaired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use holdfast_context::Context;
use holdfast_format::{ChunkId, ChunkKind};

use crate::error::{Error, Result};
use crate::restore::cache::Cache;
use crate::restore::nodes::fetch;
use crate::source::{ChunkSource, Loss};

/// The most chunks that are read ahead at a time.
const AHEAD_MAX: usize = 64;

type Answer = std::result::Result<Bytes, Loss>;
type Batch = Shared<BoxFuture<'static, Result<Arc<HashMap<ChunkId, Answer>>>>>;

/// See the module header.
pub(super) struct Chunks {
    ctx: Context,
    source: Arc<dyn ChunkSource>,
    state: Arc<Mutex<State>>,
}

struct State {
    cache: Cache<ChunkId, Bytes>,
    under_way: HashMap<ChunkId, Batch>,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").finish_non_exhaustive()
    }
}

impl Chunks {
    pub(super) fn new(ctx: &Context, source: Arc<dyn ChunkSource>, bytes_max: u64) -> Self {
        Self {
            ctx: ctx.clone(),
            source,
            state: Arc::new(Mutex::new(State {
                cache: Cache::new(bytes_max),
                under_way: HashMap::new(),
            })),
        }
    }

    /// Chunks by their ids. All of them, or why one cannot be had.
    pub(super) async fn get(
        &self,
        ids: &[ChunkId],
    ) -> Result<std::result::Result<HashMap<ChunkId, Bytes>, Loss>> {
        let mut found = HashMap::new();
        let waited_for = {
            let mut state = lock(&self.state);
            let mut missing = Vec::new();
            let mut waited_for = Vec::new();
            for id in ids {
                if let Some(bytes) = state.cache.get(id) {
                    found.insert(*id, bytes);
                } else if let Some(batch) = state.under_way.get(id) {
                    waited_for.push((*id, batch.clone()));
                } else if !missing.contains(id) {
                    missing.push(*id);
                }
            }
            if !missing.is_empty() {
                let batch = self.start(&mut state, missing.clone());
                waited_for.extend(missing.into_iter().map(|id| (id, batch.clone())));
            }
            waited_for
        };
        for (id, batch) in waited_for {
            match batch.await?.get(&id) {
                Some(Ok(bytes)) => found.insert(id, bytes.clone()),
                Some(Err(loss)) => return Ok(Err(loss.clone())),
                None => return Err(Error::Bug(format!("chunk {id} was not fetched"))),
            };
        }
        Ok(Ok(found))
    }

    /// Starts fetching what is not there yet, without waiting.
    pub(super) fn read_ahead(&self, ids: &[ChunkId]) {
        let mut state = lock(&self.state);
        let room = AHEAD_MAX.saturating_sub(state.under_way.len());
        let mut missing: Vec<ChunkId> = Vec::new();
        for id in ids {
            let there = state.cache.has(id) || state.under_way.contains_key(id);
            if !there && !missing.contains(id) {
                missing.push(*id);
            }
        }
        missing.truncate(room);
        if !missing.is_empty() {
            // The fetch goes on without anybody polling this.
            drop(self.start(&mut state, missing));
        }
    }

    /// Starts one fetch. It goes on even if nobody waits for it.
    fn start(&self, state: &mut State, ids: Vec<ChunkId>) -> Batch {
        let (source, shared) = (self.source.clone(), self.state.clone());
        let wanted = ids.clone();
        let task = self.ctx.spawn(async move {
            let asked = wanted.iter().map(|id| (*id, ChunkKind::Data)).collect();
            let answers = fetch(&source, asked).await;
            let mut state = lock(&shared);
            for id in &wanted {
                state.under_way.remove(id);
            }
            let mut all = HashMap::new();
            for (id, answer) in wanted.into_iter().zip(answers?) {
                let answer = answer.map(|fetched| fetched.bytes);
                if let Ok(bytes) = &answer {
                    state.cache.put(id, bytes.clone(), bytes.len() as u64 + 128);
                }
                all.insert(id, answer);
            }
            Ok(Arc::new(all))
        });
        let batch: Batch = async move {
            task.await
                .unwrap_or_else(|e| Err(Error::Bug(format!("a read ended: {e}"))))
        }
        .boxed()
        .shared();
        for id in ids {
            state.under_way.insert(id, batch.clone());
        }
        batch
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
