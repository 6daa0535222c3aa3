//! What is known of chunks while snapshots are verified one after the other.
//!
//! State: half of the id of every data chunk met so far with what is known of its length, at most [`SEEN_MAX`] of them, and half of
//! the ids of as many nodes. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use holdfast_format::ChunkId;

use super::flaw::Flaw;
use super::item::Extent;

/// The most chunks that are remembered: what fits into a table of 2²² places.
pub(super) const SEEN_MAX: usize = (1 << 22) / 8 * 7;

/// Halves of ids of nodes.
pub(crate) type NodeKeys = HashSet<[u8; 16]>;

/// What is known of chunks: handed from one snapshot's verification to the next of the same depth, which reads only what is
/// new to it.
#[derive(Debug, Default)]
pub struct ChunksRead {
    /// Nodes below which nothing is wrong.
    pub(super) whole: Arc<NodeKeys>,
    /// Data chunks.
    pub(super) seen: HashMap<[u8; 16], Seen>,
    /// Those that are damaged, and how.
    pub(super) bad: HashMap<ChunkId, Bad>,
}

impl ChunksRead {
    /// Notes a chunk that was read and opened elsewhere, and is right.
    pub fn add(&mut self, id: &ChunkId, len: u32) {
        if self.seen.len() < SEEN_MAX {
            self.seen.insert(key(id), Seen::read(u64::from(len)));
        }
    }

    /// How many data chunks are known.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Nothing was found wrong in a snapshot: what lies below its nodes need not be looked at again for the next.
    pub(super) fn note_whole(&mut self, nodes: NodeKeys) {
        let room = SEEN_MAX.saturating_sub(self.whole.len());
        Arc::make_mut(&mut self.whole).extend(nodes.into_iter().take(room));
    }
}

/// What is known of a chunk: a length, and whether that is its real one or the least that extents met so far ask for
/// while it is being read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen(u32);

impl Seen {
    pub(super) const UNDER_WAY: u32 = 1 << 31;

    pub(super) fn asked(bytes: u64) -> Self {
        Self(bytes as u32 | Self::UNDER_WAY)
    }

    pub(super) fn read(bytes: u64) -> Self {
        Self(bytes as u32)
    }

    pub(super) fn under_way(self) -> bool {
        self.0 & Self::UNDER_WAY != 0
    }

    pub(super) fn bytes(self) -> u64 {
        u64::from(self.0 & !Self::UNDER_WAY)
    }
}

/// What is wrong with a data chunk.
#[derive(Debug)]
pub(super) enum Bad {
    Lost(Flaw),
    /// It has only that many bytes, which is fine for extents that need no more.
    Short(u64),
}

impl Bad {
    pub(super) fn flaw_for(&self, extent: &Extent) -> Option<Flaw> {
        let end = extent.end_in_chunk();
        match self {
            Self::Lost(flaw) => Some(flaw.clone()),
            Self::Short(len) if end > *len => Some(Flaw::new(format!(
                "an extent reaches to byte {end} of a chunk of {len} bytes"
            ))),
            Self::Short(_) => None,
        }
    }
}

pub(super) fn key(id: &ChunkId) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&id.0[..16]);
    key
}
