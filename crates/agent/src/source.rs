//! Where a restore's chunks come from: a coordinator, a site read directly, a map in tests.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::{ChunkId, ChunkKind};

use crate::error::Result;

/// A chunk that was checked: its plaintext (and, of a node, its references) hash to its id.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The plaintext.
    pub bytes: Bytes,
    /// Of a node: the chunks that it refers to, as its plaintext numbers them.
    pub refs: Vec<ChunkId>,
}

/// Why one chunk cannot be had, for a report to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The chunk.
    pub id: ChunkId,
    /// What is wrong with it, at which sites.
    pub why: String,
}

/// Gives verified chunks.
#[async_trait]
pub trait ChunkSource: Send + Sync {
    /// Fetches chunks, any number at once; implementations sort them by where they lie and read ahead. One answer
    /// for each wanted chunk, in the order asked. A chunk that is bad or missing at every site is a [`Loss`], not an
    /// error; an error means that nothing more can be had (no connection, wrong identity).
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>>;
}
