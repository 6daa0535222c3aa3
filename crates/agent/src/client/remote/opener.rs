//! Opens frames on blocking threads and checks every chunk in them.
//!
//! State: the keys, the cache of neighbours, and how many bytes are being opened. It never gives out a byte that did
//! not hash to its id.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ChunkId, Frame, KeyRef, ScopeKeys, open_frame};
use tokio::sync::Semaphore;

use super::keyring::KeyRing;
use super::neighbours::Neighbours;
use crate::error::{Error, Result};
use crate::source::{Fetched, Loss};

/// What the cache of neighbours may take.
const NEIGHBOURS_BYTES_MAX: usize = 32 << 20;

/// Sealed bytes that are being opened at once; beyond that the stream is not read on.
const OPENING_BYTES_MAX: usize = 16 << 20;

/// Bytes are counted in units of this size.
const UNIT: usize = 1 << 10;

/// A chunk that takes less than this share of its frame is copied out of it, so that it does not keep the rest.
const COPY_SHARE: usize = 4;

/// See the module header.
pub(super) struct Opener {
    context: Context,
    keys: KeyRing,
    scope: Arc<ScopeKeys>,
    neighbours: Mutex<Neighbours>,
    room: Semaphore,
}

impl Opener {
    /// An opener for frames of one scope.
    pub(super) fn new(context: &Context, keys: KeyRing, scope: ScopeKeys) -> Self {
        Self {
            context: context.clone(),
            keys,
            scope: Arc::new(scope),
            neighbours: Mutex::new(Neighbours::new(NEIGHBOURS_BYTES_MAX)),
            room: Semaphore::new(OPENING_BYTES_MAX / UNIT),
        }
    }

    /// A chunk that came along with another.
    pub(super) fn neighbour(&self, id: &ChunkId) -> Option<Fetched> {
        self.lock().get(id)
    }

    /// Waits until there is room to open more.
    pub(super) async fn has_room(&self) {
        // Closed never; and a permit is for the look only.
        drop(self.room.acquire().await);
    }

    /// Opens a frame; gives those of its chunks that are wanted, or why they are lost. An error means that nothing
    /// more can be had.
    pub(super) async fn open(
        &self,
        frame: Frame,
        key: KeyRef,
        wanted: &HashSet<ChunkId>,
    ) -> Result<Vec<(ChunkId, std::result::Result<Fetched, Loss>)>> {
        let mine: Vec<ChunkId> = frame.chunks.iter().map(|chunk| chunk.id).collect();
        Ok(match self.unseal(frame, key).await? {
            Ok((frame, opened)) => self.hand_out(frame, opened, wanted),
            Err(why) => {
                let mine = mine.into_iter().filter(|id| wanted.contains(id));
                let lost = mine.map(|id| {
                    let why = why.clone();
                    (id, Err(Loss { id, why }))
                });
                lost.collect()
            }
        })
    }

    /// Opens a frame and keeps nothing of it; gives the chunks that it has, with their lengths: none if it does not open.
    pub(super) async fn prove(&self, frame: Frame, key: KeyRef) -> Result<Vec<(ChunkId, u32)>> {
        Ok(match self.unseal(frame, key).await? {
            Ok((frame, _)) => {
                let chunks = frame.chunks.into_iter();
                chunks.map(|chunk| (chunk.id, chunk.len)).collect()
            }
            Err(why) => {
                tracing::warn!(%why, "a frame does not open; its chunks are read one by one");
                Vec::new()
            }
        })
    }

    /// Opens a frame. The inner error says why it cannot be opened, the outer one that nothing more can be had.
    async fn unseal(
        &self,
        frame: Frame,
        key: KeyRef,
    ) -> Result<std::result::Result<(Frame, Vec<Bytes>), String>> {
        // ORDER: first the key, then room. A frame that waits for its key must not keep the stream from being read: the
        // key comes over the same connection, whose window the unread frames may have filled.
        let secret = match self.keys.get(&key).await {
            Ok(secret) => secret,
            Err(error @ (Error::Unavailable { .. } | Error::Interrupted)) => return Err(error),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let units = (frame.sealed.len() / UNIT).clamp(1, OPENING_BYTES_MAX / UNIT) as u32;
        let room = self.room.acquire_many(units).await;
        let (vault, scope) = (self.keys.vault(), Arc::clone(&self.scope));
        let opened = self.context.run_blocking(move || {
            let opened = open_frame(vault, &secret, &scope, &frame);
            opened.map(|opened| (frame, opened))
        });
        let opened = opened.await;
        drop(room);
        Ok(opened.map_err(|error| error.to_string()))
    }

    fn hand_out(
        &self,
        frame: Frame,
        opened: Vec<Bytes>,
        wanted: &HashSet<ChunkId>,
    ) -> Vec<(ChunkId, std::result::Result<Fetched, Loss>)> {
        let total: usize = opened.iter().map(Bytes::len).sum();
        let chunks: Vec<(ChunkId, Fetched)> = frame
            .chunks
            .into_iter()
            .zip(opened)
            .map(|(chunk, bytes)| {
                let refs = chunk.refs;
                (chunk.id, Fetched { bytes, refs })
            })
            .collect();
        self.lock().add(&chunks);
        chunks
            .into_iter()
            .filter(|(id, _)| wanted.contains(id))
            .map(|(id, mut fetched)| {
                if fetched.bytes.len() < total / COPY_SHARE {
                    fetched.bytes = Bytes::copy_from_slice(&fetched.bytes);
                }
                (id, Ok(fetched))
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Neighbours> {
        self.neighbours
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
