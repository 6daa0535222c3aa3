//! Seals frames on all cores, in order.
//!
//! State: one [`FrameSealer`] for each core, and a queue of frames being sealed, in the order in which they will be
//! sent. Bounded: as many frames are sealed at once as there are sealers, and few wait for their turn to be sent.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_context::Context;
use holdfast_format::{Bundle, Chunk, ChunkId, Frame, FrameSealer};
use holdfast_proto::v1::FrameUpload;
use rand::rngs::StdRng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::held::Held;
use super::opening::Opening;
use crate::error::{Error, Result};

/// A frame that is being sealed.
pub(super) type Job = JoinHandle<Result<Frame>>;

/// See the module header.
#[derive(Clone)]
pub(super) struct Sealing {
    context: Context,
    /// Idle sealers, each with its source of nonces.
    idle: Arc<Mutex<Vec<(FrameSealer, StdRng)>>>,
    /// One permit for each sealer.
    turns: Arc<Semaphore>,
}

impl Sealing {
    /// Makes sealers for one session.
    pub(super) fn new(
        context: &Context,
        bundle: &Bundle,
        opening: &Opening,
        zstd_level: i32,
        sealers: usize,
    ) -> Result<Self> {
        let make = |_| {
            let sealer = FrameSealer::new(bundle.vault, opening.key, &opening.secret, zstd_level)?;
            Ok((sealer, context.fork_random()))
        };
        let idle = (0..sealers).map(make).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            context: context.clone(),
            idle: Arc::new(Mutex::new(idle)),
            turns: Arc::new(Semaphore::new(sealers)),
        })
    }

    /// Begins to seal a frame as soon as a sealer is idle.
    pub(super) async fn begin(&self, chunks: Vec<Held>) -> Job {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let this = self.clone();
        self.context
            .clone()
            .spawn(async move { this.seal(turn.ok(), chunks).await })
    }

    async fn seal(self, turn: Option<OwnedSemaphorePermit>, held: Vec<Held>) -> Result<Frame> {
        let idle = Arc::clone(&self.idle);
        self.context
            .run_blocking(move || {
                let take = || idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let (mut sealer, mut rng) =
                    take().ok_or_else(|| Error::Bug("there are more turns than sealers".into()))?;
                // Chunks are handles on shared bytes: cloning them copies none.
                let chunks: Vec<Chunk> = held.iter().map(|held| held.chunk.clone()).collect();
                let frame = sealer.seal(&mut rng, &chunks);
                idle.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((sealer, rng));
                drop(turn);
                Ok(frame?)
            })
            .await
    }
}

/// The frame as it is sent; its number comes later.
pub(super) fn upload(frame: Frame) -> FrameUpload {
    let chunks = &frame.chunks;
    FrameUpload {
        number: 0,
        kind: u32::from(frame.kind.byte()),
        ids: join(chunks.iter().map(|chunk| &chunk.id)),
        lens: chunks.iter().map(|chunk| chunk.len).collect(),
        ref_counts: match frame.kind {
            holdfast_format::ChunkKind::Data => Vec::new(),
            holdfast_format::ChunkKind::Node => {
                chunks.iter().map(|chunk| chunk.refs.len() as u32).collect()
            }
        },
        refs: join(chunks.iter().flat_map(|chunk| &chunk.refs)),
        sealed: frame.sealed,
    }
}

/// Ids one after the other.
pub(super) fn join<'a>(ids: impl Iterator<Item = &'a ChunkId>) -> bytes::Bytes {
    let mut joined = Vec::with_capacity(ids.size_hint().0 * ChunkId::LEN);
    ids.for_each(|id| joined.extend_from_slice(&id.0));
    joined.into()
}
