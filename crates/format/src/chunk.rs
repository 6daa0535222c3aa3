//! Chunks and the keys that name them.
//!
//! A chunk's id is BLAKE3 keyed with its scope's id key, over its plaintext; a node's id covers its plaintext and its
//! references, under a key of its own, so that no data chunk can pass for a node.

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, Result};
use crate::id::{ChunkId, Scope};

/// The largest chunk, in bytes of plaintext.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;

/// The most references that one node may have.
pub const NODE_REFS_MAX: usize = 1 << 16;

/// Whether a chunk holds data or lists other chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChunkKind {
    /// Bytes of a source.
    Data,
    /// A directory, a list of extents, a snapshot's root: it has references.
    Node,
}

/// A chunk in clear, at the agent only.
#[derive(Clone)]
pub struct Chunk {
    /// Its name.
    pub id: ChunkId,
    /// Data or node.
    pub kind: ChunkKind,
    /// Its plaintext.
    pub bytes: Bytes,
    /// The chunks that a node refers to, in the order in which its plaintext numbers them. Empty for data.
    pub refs: Vec<ChunkId>,
}

impl std::fmt::Debug for Chunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Chunk({:?} {} {} bytes {} refs)",
            self.kind,
            self.id,
            self.bytes.len(),
            self.refs.len()
        )
    }
}

/// The secrets of one dedup scope: what an agent needs to name and cut chunks, and nothing that opens any.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ScopeKeys {
    data_id: [u8; 32],
    node_id: [u8; 32],
    chunker: [u8; 32],
}

impl std::fmt::Debug for ScopeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScopeKeys(secret)")
    }
}

impl ScopeKeys {
    /// Derives a scope's keys from the vault's id secret and chunker secret.
    pub fn derive(id_secret: &[u8; 32], chunker_secret: &[u8; 32], scope: &Scope) -> Self {
        let with = |context: &str, secret: &[u8; 32]| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(secret);
            hasher.update(scope.as_str().as_bytes());
            *hasher.finalize().as_bytes()
        };
        Self {
            data_id: with("holdfast 2026-11 data chunk id key", id_secret),
            node_id: with("holdfast 2026-11 node id key", id_secret),
            chunker: with("holdfast 2026-11 chunker secret", chunker_secret),
        }
    }

    /// The keys as 96 bytes, for the agent bundle.
    pub(crate) fn to_bytes(&self) -> [u8; 96] {
        let mut all = [0; 96];
        all[..32].copy_from_slice(&self.data_id);
        all[32..64].copy_from_slice(&self.node_id);
        all[64..].copy_from_slice(&self.chunker);
        all
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let take = |at: usize| -> Option<[u8; 32]> { bytes.get(at..at + 32)?.try_into().ok() };
        match (bytes.len(), take(0), take(32), take(64)) {
            (96, Some(data_id), Some(node_id), Some(chunker)) => Ok(Self {
                data_id,
                node_id,
                chunker,
            }),
            _ => Err(Error::corrupt(
                "the scope's keys",
                "they have the wrong length",
            )),
        }
    }

    /// What keys the ids of data chunks.
    pub(crate) fn data_id_key(&self) -> &[u8; 32] {
        &self.data_id
    }

    /// The id of a data chunk.
    pub fn data_id(&self, bytes: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.data_id, bytes).as_bytes())
    }

    /// The id of a node: over the number of references, the references, and the plaintext.
    pub fn node_id(&self, bytes: &[u8], refs: &[ChunkId]) -> ChunkId {
        let mut hasher = blake3::Hasher::new_keyed(&self.node_id);
        hasher.update(&(refs.len() as u64).to_le_bytes());
        for one in refs {
            hasher.update(&one.0);
        }
        hasher.update(bytes);
        ChunkId(*hasher.finalize().as_bytes())
    }

    /// Names a data chunk.
    pub fn data(&self, bytes: Bytes) -> Chunk {
        Chunk {
            id: self.data_id(&bytes),
            kind: ChunkKind::Data,
            bytes,
            refs: Vec::new(),
        }
    }

    /// Names a node.
    pub fn node(&self, bytes: Bytes, refs: Vec<ChunkId>) -> Chunk {
        Chunk {
            id: self.node_id(&bytes, &refs),
            kind: ChunkKind::Node,
            bytes,
            refs,
        }
    }

    /// Keys the checksums of an agent's page maps.
    pub fn page_map_key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("holdfast 2026-11 page map key");
        hasher.update(&self.data_id);
        *hasher.finalize().as_bytes()
    }

    /// What decides where content is cut, so that cut points tell nothing about content to whoever lacks the secret.
    /// Expanded from the chunker secret by BLAKE3's output stream.
    pub fn cut_keys(&self) -> CutKeys {
        let mut stream = blake3::Hasher::new_keyed(&self.chunker).finalize_xof();
        let mut decision = [0; 32];
        stream.fill(&mut decision);
        let mut number = || {
            let mut bytes = [0; 4];
            stream.fill(&mut bytes);
            u32::from_le_bytes(bytes)
        };
        CutKeys {
            decision,
            blind: number(),
            factor: number() | 1,
            pattern: number(),
        }
    }

    /// A keyed number for a directory entry's name, which decides where pages of large directories are cut.
    pub fn name_hash(&self, name: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.chunker, name);
        let mut first = [0u8; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// The secrets of cutting; see [`ScopeKeys::cut_keys`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct CutKeys {
    /// Keys the hash that decides.
    pub decision: [u8; 32],
    /// Is mixed into what the filter looks at, …
    pub blind: u32,
    /// … which is then multiplied by this odd number …
    pub factor: u32,
    /// … and has to begin like this one.
    pub pattern: u32,
}

impl std::fmt::Debug for CutKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CutKeys(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(scope: &str) -> ScopeKeys {
        ScopeKeys::derive(&[1; 32], &[2; 32], &scope.parse().unwrap())
    }

    #[test]
    fn scopes_share_no_names() {
        assert_eq!(keys("vault").data_id(b"x"), keys("vault").data_id(b"x"));
        assert_ne!(keys("vault").data_id(b"x"), keys("agent/a").data_id(b"x"));
        assert_ne!(
            keys("agent/b").cut_keys().decision,
            keys("agent/a").cut_keys().decision
        );
    }

    #[test]
    fn a_nodes_id_covers_its_references_and_is_no_data_id() {
        let keys = keys("vault");
        let a = keys.data_id(b"a");
        assert_ne!(keys.node_id(b"x", &[a]), keys.node_id(b"x", &[]));
        assert_ne!(keys.node_id(b"x", &[]), keys.data_id(b"x"));
    }

    #[test]
    fn keys_survive_the_bundle() {
        let keys = keys("source/db");
        let again = ScopeKeys::from_bytes(&keys.to_bytes()).unwrap();
        assert_eq!(again.data_id(b"x"), keys.data_id(b"x"));
        assert!(ScopeKeys::from_bytes(&[0; 95]).is_err());
    }
}
