//! The vault's format: ids, chunks, packs, records, keys, checkpoints. Bytes in, bytes out; no I/O.
//!
//! `docs/FORMAT.md` describes the same thing for someone who writes a reader.

pub mod bundle;
pub mod checkpoint;
pub mod chunk;
pub mod cipher;
pub mod codec;
pub mod error;
pub mod fact;
pub mod frame;
pub mod header;
pub mod id;
pub mod identity;
pub mod key;
pub mod naming;
pub mod object;
pub mod pack;
pub mod page;
pub mod recipients;
pub mod record;
pub mod sign;
pub mod state_hash;
pub mod tree;

pub use bundle::Bundle;
pub use chunk::{CHUNK_BYTES_MAX, Chunk, ChunkKind, NODE_REFS_MAX, ScopeKeys};
pub use cipher::{DataKey, Suite};
pub use error::{Error, Result};
pub use fact::Fact;
pub use frame::{Frame, FrameChunk, FrameSealer, open_frame};
pub use header::VaultHeader;
pub use id::{
    ChunkId, ClaimNonce, Epoch, Generation, Hash, HoldId, KeyId, Ordinal, PackId, PackNumber,
    PackOrdinal, Position, Scope, SessionId, SiteName, Slot, SnapshotId, SourceName, VaultId,
    VaultName,
};
pub use identity::Identity;
pub use key::{AgeIdentity, KeyRef, Recipient, SessionKey, VaultSecrets};
pub use object::{ObjectKind, ObjectName, Sealed};
pub use pack::{Footer, Pack, PackBuilder};
pub use page::PageHash;
pub use record::{Record, RecordBody};
pub use sign::{Certificate, PublicKey, SecretKey, Signature};
pub use state_hash::StateHash;
