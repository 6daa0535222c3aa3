//! One entry of a directory, checked, with its references resolved to chunk ids.
//!
//! Nodes come from agents, and an agent may be hostile or broken: whatever an entry says is checked here once, and
//! nothing after this module sees a name with a slash, a reference out of range or pieces that do not add up.

use bytes::Bytes;
use holdfast_format::tree::{Content, Entry, EntryKind, Piece};
use holdfast_format::{CHUNK_BYTES_MAX, ChunkId};

use super::flaw::Flaw;
use super::path;

/// The longest symlink target that Linux takes, in bytes.
const TARGET_BYTES_MAX: usize = 4095;

/// A directory entry that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was recorded. Its `content` and `directory` are taken out: see the fields beside it.
    pub entry: Entry,
    /// Of a file: its content.
    pub content: FileContent,
    /// Of a directory: the node of its first page or index; absent when it is empty.
    pub directory: Option<ChunkId>,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileContent {
    /// There are none.
    Empty,
    /// Here.
    Inline(Bytes),
    /// In these stretches, in order, without gap.
    Extents(Vec<Extent>),
    /// In stretches that this node lists.
    Node(ChunkId),
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The chunk that holds it; absent for a hole.
    pub chunk: Option<ChunkId>,
    /// Where in the chunk it starts, bytes.
    pub offset: u64,
    /// How long it is, bytes; never 0.
    pub len: u64,
}

impl Extent {
    /// The least length that its chunk must have, bytes.
    pub fn end_in_chunk(&self) -> u64 {
        self.offset + self.len
    }

    /// The extent's bytes within its chunk's plaintext.
    pub(crate) fn slice(&self, chunk: &Bytes) -> Result<Bytes, Flaw> {
        let end = self.end_in_chunk();
        if end > chunk.len() as u64 {
            return Err(Flaw::new(format!(
                "an extent reaches to byte {end} of a chunk of {} bytes",
                chunk.len()
            )));
        }
        Ok(chunk.slice(self.offset as usize..end as usize))
    }
}

impl Item {
    /// Checks an entry and resolves its references against those of its page.
    pub(crate) fn resolve(mut entry: Entry, refs: &[ChunkId]) -> Result<Self, Flaw> {
        path::check_name(&entry.name).map_err(Flaw::new)?;
        let content = entry.content.take();
        let directory = entry.directory.take();
        let is_file = entry.kind == EntryKind::File;
        let is_directory = entry.kind == EntryKind::Directory;
        if content.is_some() && !is_file {
            return Err(Flaw::new("it has content and is no file"));
        }
        if directory.is_some() && !is_directory {
            return Err(Flaw::new("it has entries and is no directory"));
        }
        match (entry.kind, &entry.target, entry.device) {
            (EntryKind::Symlink, None, _) => return Err(Flaw::new("it is a symlink to nowhere")),
            (EntryKind::Symlink, Some(target), _) => check_target(target)?,
            (EntryKind::BlockDevice | EntryKind::CharDevice, _, None) => {
                return Err(Flaw::new("it is a device without a number"));
            }
            _ => {}
        }
        // ORDER of checks is free here; what matters is that an impossible number of nanoseconds never reaches the
        // kernel, where two of them mean "now" and "leave".
        entry.mtime_nanos = entry.mtime_nanos.min(999_999_999);
        entry.mode &= 0o7777;
        let content = match content {
            Some(content) => resolve_content(content, entry.size, refs)?,
            None if is_file && entry.size > 0 => {
                return Err(Flaw::new("it has a size and no content"));
            }
            None => FileContent::Empty,
        };
        let directory = directory.map(|at| reference(refs, at)).transpose()?;
        Ok(Self {
            entry,
            content,
            directory,
        })
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.entry.kind == EntryKind::Directory
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.entry.kind == EntryKind::File
    }
}

fn check_target(target: &[u8]) -> Result<(), Flaw> {
    if target.is_empty() || target.contains(&0) || target.len() > TARGET_BYTES_MAX {
        return Err(Flaw::new("it is a symlink whose target is not possible"));
    }
    Ok(())
}

fn resolve_content(content: Content, size: u64, refs: &[ChunkId]) -> Result<FileContent, Flaw> {
    match (content.inline, content.pieces, content.extents) {
        (None, None, None) if size == 0 => Ok(FileContent::Empty),
        (Some(bytes), None, None) if bytes.len() as u64 == size => Ok(if bytes.is_empty() {
            FileContent::Empty
        } else {
            FileContent::Inline(bytes.into())
        }),
        (None, Some(pieces), None) => {
            let extents = resolve_pieces(&pieces, refs)?;
            check_sum(&extents, size)?;
            Ok(if extents.is_empty() {
                FileContent::Empty
            } else {
                FileContent::Extents(extents)
            })
        }
        (None, None, Some(at)) => Ok(FileContent::Node(reference(refs, at)?)),
        (None | Some(_), None, None) => Err(Flaw::new("its content does not have its size")),
        _ => Err(Flaw::new("its content is told in more than one way")),
    }
}

/// Turns pieces into extents.
pub(crate) fn resolve_pieces(pieces: &[Piece], refs: &[ChunkId]) -> Result<Vec<Extent>, Flaw> {
    pieces
        .iter()
        .map(|piece| {
            let end = piece.offset.checked_add(piece.len);
            let fits = match piece.chunk {
                Some(_) => end.is_some_and(|end| end <= CHUNK_BYTES_MAX as u64),
                None => true,
            };
            if piece.len == 0 || !fits {
                return Err(Flaw::new("a piece of its content has an impossible length"));
            }
            let chunk = piece.chunk.map(|at| reference(refs, at)).transpose()?;
            Ok(Extent {
                chunk,
                offset: if chunk.is_some() { piece.offset } else { 0 },
                len: piece.len,
            })
        })
        .collect()
}

/// Requires that extents are together as long as is said elsewhere.
pub(crate) fn check_sum(extents: &[Extent], size: u64) -> Result<(), Flaw> {
    let sum = extents
        .iter()
        .try_fold(0u64, |sum, extent| sum.checked_add(extent.len));
    if sum == Some(size) {
        Ok(())
    } else {
        Err(Flaw::new(
            "the pieces of its content do not add up to its size",
        ))
    }
}

/// A reference of a node.
pub(crate) fn reference(refs: &[ChunkId], at: u32) -> Result<ChunkId, Flaw> {
    refs.get(at as usize).copied().ok_or_else(|| {
        Flaw::new(format!(
            "it refers to chunk {at} of a node that has {}",
            refs.len()
        ))
    })
}
