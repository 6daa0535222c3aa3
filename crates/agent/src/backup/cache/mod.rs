//! The cache of unchanged files: what each file was when it was last read, and which chunks it became.
//!
//! A file that has the same size, times, inode and device as then is not read again, provided that the vault still has
//! its chunks. The cache may be lost, damaged, or another's: then files are read, which costs time and nothing else.
//!
//! - It lies in one flat file in walk order and is merged with the walk, so that it takes no memory to speak of.
//! - It is written anew beside the old one in each run, and takes its place only once the snapshot is committed: so
//!   everything in it hangs below the top node that it names. That node is asked about first; if the vault has it, it
//!   has all the rest. If not, directories are asked about, and below those that are gone each file's chunks: see
//!   [`answers`].
//! - Every block carries a keyless BLAKE3 checksum and its place, and nothing of a block is used before that was
//!   checked; the first bad block ends the use of the cache.
//! - A file whose times are not older than the run that read it is not written down: it may have changed again
//!   within the same tick of the clock. (This compares the file server's clock with ours. Where ours is ahead by more
//!   than the margin, a file that changed twice within one tick, once before and once after it was read, and kept its
//!   size, is taken for unchanged. Where ours is behind, more is read than need be.)
//! - Nor is a file without content, or with another size than it says: those of `/proc` are so, and their times tell
//!   nothing. Empty files are opened each time.
//!
//! It holds names, owners' attributes and tiny files in clear, and is readable by its owner only.

pub(crate) mod answers;
pub(crate) mod format;
pub(crate) mod reader;
pub(crate) mod writer;

use std::path::PathBuf;

use holdfast_format::{Scope, ScopeKeys, SourceName, VaultId};

pub use writer::PendingCache;

/// Where the cache lies, and whose it is.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// The file. Its folder is made if need be.
    pub file: PathBuf,
    /// The vault that the chunks are in.
    pub vault: VaultId,
    /// The scope that names them.
    pub scope: Scope,
    /// The source. Two sources may not share a file (they would take turns at throwing it away).
    pub source: SourceName,
}

impl CacheOptions {
    /// What must be the same for a cache to be used: vault, scope and its secrets, source, and the rules by which
    /// content was cut. Paths and patterns need not: what a file was does not depend on what else was backed up.
    pub(crate) fn identity(&self, keys: &ScopeKeys) -> format::Identity {
        format::Identity {
            rules: super::limits::CONTENT_RULES,
            vault: self.vault,
            scope: self.scope.clone(),
            source: self.source.clone(),
            keys: keys.data_id(b"holdfast cache"),
        }
    }
}

#[cfg(test)]
mod tests;
