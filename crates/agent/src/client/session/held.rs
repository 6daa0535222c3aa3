//! A chunk on its way to be sealed, with its share of the session's memory.

use holdfast_format::Chunk;
use tokio::sync::OwnedSemaphorePermit;

/// A chunk and the memory that it was granted; both go together.
#[derive(Debug)]
pub(super) struct Held {
    /// The chunk.
    pub(super) chunk: Chunk,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// A chunk with its grant.
    pub(super) fn new(chunk: Chunk, memory: OwnedSemaphorePermit) -> Self {
        Self {
            chunk,
            _memory: Some(memory),
        }
    }

    /// A chunk that counts for nothing.
    #[cfg(test)]
    pub(super) fn free(chunk: Chunk) -> Self {
        Self {
            chunk,
            _memory: None,
        }
    }

    /// Bytes of its references in clear.
    pub(super) fn refs_bytes(&self) -> usize {
        self.chunk.refs.len() * holdfast_format::ChunkId::LEN
    }
}
