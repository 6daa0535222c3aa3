//! The cache file's bytes.
//!
//! ```text
//! mark (16) · nonce (16) · header block · record blocks … · slot blocks … · trailer block · its place (u64)
//! block = length (u32) · BLAKE3 of nonce, the block's place in the file (u64) and payload (32) · payload
//! ```
//!
//! Numbers are little-endian; payloads are CBOR, but for slot blocks. A record block holds records in walk order; a
//! key is the path's names with a zero byte before each, so that keys in byte order are paths in walk order, and
//! shares its start with the key before it in the block. The slots hold each directory's top node (32 bytes; zeros
//! where it has none), in the order of the directories' records: they are known only after the records below.

use holdfast_format::tree::Xattr;
use holdfast_format::{ChunkId, Hash, Scope, SourceName, VaultId};
use minicbor::{Decode, Encode};

use crate::backup::content::FileContent;
use crate::backup::metadata::StatKey;
use crate::backup::pages::maps::MapName;

/// First bytes of a cache file; the last of them is the version of this layout.
pub(crate) const MARK: [u8; 16] = *b"holdfast cache\n\x01";

/// Bytes of a block before its payload.
pub(crate) const BLOCK_HEAD: usize = 4 + Hash::LEN;

/// No block is larger: a bound on what damage makes us allocate.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 << 20;

/// Slots in a block.
pub(crate) const SLOTS_PER_BLOCK: usize = 2048;

/// Whose cache it is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Identity {
    #[n(0)]
    pub(crate) rules: u32,
    #[n(1)]
    pub(crate) vault: VaultId,
    #[n(2)]
    pub(crate) scope: Scope,
    #[n(3)]
    pub(crate) source: SourceName,
    /// An id that only the scope's keys give.
    #[n(4)]
    pub(crate) keys: ChunkId,
}

/// One record as written.
#[derive(Debug, Encode, Decode)]
#[cbor(array)]
pub(crate) struct StoredRecord {
    /// Bytes of the key shared with the record before it in the block.
    #[n(0)]
    pub(crate) shared: u32,
    /// The rest of the key.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) rest: Vec<u8>,
    /// Of a file: what is known of it. Absent for a directory.
    #[n(2)]
    pub(crate) file: Option<CachedFile>,
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct CachedFile {
    #[n(0)]
    pub(crate) key: StatKey,
    #[n(1)]
    pub(crate) content: FileContent,
    #[n(2)]
    pub(crate) xattrs: Option<Vec<Xattr>>,
    /// Its page map, if it is a page source.
    #[n(3)]
    pub(crate) pages: Option<MapName>,
}

/// What the whole is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Trailer {
    /// Where the slot blocks begin, and so the record blocks end.
    #[n(0)]
    pub(crate) slots_at: u64,
    /// How many directories there are.
    #[n(1)]
    pub(crate) directories: u64,
    /// How many files the snapshot had, recorded here or not.
    #[n(2)]
    pub(crate) files: u64,
    /// How many bytes these had.
    #[n(3)]
    pub(crate) bytes: u64,
    /// The snapshot's top directory.
    #[n(4)]
    pub(crate) top: ChunkId,
}

/// The checksum of a block. `bytes` is nonce, place and payload, one after the other.
pub(crate) fn checksum(bytes: &[u8]) -> Hash {
    Hash::of(bytes)
}

/// The start of the bytes that a block's checksum covers.
pub(crate) fn checked_head(nonce: &[u8; 16], place: u64) -> Vec<u8> {
    [&nonce[..], &place.to_le_bytes()].concat()
}

/// Bytes of [`checked_head`].
pub(crate) const CHECKED_HEAD: usize = 24;
