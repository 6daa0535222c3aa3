//! What the index knows of one chunk.

use holdfast_format::{Ordinal, PackOrdinal};

/// Where a chunk's home is, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its home: the latest live pack that names it.
    pub pack: PackOrdinal,
    /// Its frame in that pack.
    pub frame: u32,
    /// Length of its plaintext, bytes.
    pub len: u32,
}

/// A chunk's change of home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The chunk.
    pub ordinal: Ordinal,
    /// Its new home.
    pub pack: PackOrdinal,
    /// Its frame there.
    pub frame: u32,
}
