//! Where a backup's chunks go: a coordinator's session in production, a map in tests.

use async_trait::async_trait;
use holdfast_format::{Chunk, ChunkId};

use crate::error::Result;

/// Takes chunks, children before the nodes that refer to them.
#[async_trait]
pub trait ChunkSink: Send + Sync {
    /// Asks which of `ids` the vault has and promises to keep until the session ends. `true` for a node means that
    /// its whole closure is there. One answer for each id, in order.
    async fn known(&self, ids: Vec<ChunkId>) -> Result<Vec<bool>>;

    /// Takes one chunk; waits while the session's windows are full. The sink finds out by itself whether the vault
    /// has it already. A node may be put only after everything it refers to was put, or answered as known.
    async fn put(&self, chunk: Chunk) -> Result<()>;
}
