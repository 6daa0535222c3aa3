//! What a file's bytes became: inline bytes, a few pieces, or the top node of its extents.
//!
//! Holes and data come as runs in the file's order; chunks come later, in order too, and are laid over the data runs:
//! a chunk may go on behind a hole. So a file with many small stretches of data between holes becomes few chunks.
//!
//! State of a builder: the runs not yet covered and the pieces so far (then the open extents). Pure, no I/O.

use std::collections::VecDeque;

use holdfast_format::tree::{Content, PIECES_PER_ENTRY_MAX};
use holdfast_format::{Chunk, ChunkId, ScopeKeys};
use minicbor::{Decode, Encode};

use super::extents::{ExtentsBuilder, References};

/// A file's content, with chunks by id. Encoded in the cache only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) enum FileContent {
    /// No bytes.
    #[n(0)]
    Empty,
    /// The bytes themselves.
    #[n(1)]
    Inline(
        #[n(0)]
        #[cbor(with = "minicbor::bytes")]
        Vec<u8>,
    ),
    /// All pieces.
    #[n(2)]
    Pieces(#[n(0)] Vec<NamedPiece>),
    /// A node of extents.
    #[n(3)]
    Extents(#[n(0)] ChunkId),
}

/// A stretch of a file, with its chunk by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(crate) struct NamedPiece {
    /// The chunk; `None` for a hole.
    #[n(0)]
    pub(crate) chunk: Option<ChunkId>,
    /// Offset within the chunk, bytes.
    #[n(1)]
    pub(crate) offset: u64,
    /// Length, bytes.
    #[n(2)]
    pub(crate) len: u64,
}

impl FileContent {
    /// The chunks that it refers to directly.
    pub(crate) fn ids(&self) -> Vec<ChunkId> {
        match self {
            Self::Empty | Self::Inline(_) => Vec::new(),
            Self::Pieces(pieces) => pieces.iter().filter_map(|piece| piece.chunk).collect(),
            Self::Extents(id) => vec![*id],
        }
    }

    /// As an entry holds it, with chunks by number.
    pub(crate) fn numbered(&self, refs: &mut References) -> Content {
        match self {
            Self::Empty => Content::default(),
            Self::Inline(bytes) => Content {
                inline: Some(bytes.clone()),
                ..Content::default()
            },
            Self::Pieces(pieces) => Content {
                pieces: Some(pieces.iter().map(|piece| refs.piece(piece)).collect()),
                ..Content::default()
            },
            Self::Extents(id) => Content {
                extents: Some(refs.number(*id)),
                ..Content::default()
            },
        }
    }
}

/// A stretch of a file as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// This many bytes were read.
    Data(u64),
    /// This many bytes are a hole.
    Hole(u64),
}

/// Lays chunks over runs.
#[derive(Debug, Default)]
pub(crate) struct ContentBuilder {
    runs: VecDeque<Run>,
    pieces: Vec<NamedPiece>,
    extents: Option<ExtentsBuilder>,
    len: u64,
}

impl ContentBuilder {
    /// Adds what follows in the file.
    pub(crate) fn add_run(&mut self, run: Run) {
        let (Run::Data(len) | Run::Hole(len)) = run;
        self.len += len;
        match (self.runs.back_mut(), run) {
            (_, Run::Data(0) | Run::Hole(0)) => {}
            (Some(Run::Data(last)), Run::Data(len)) | (Some(Run::Hole(last)), Run::Hole(len)) => {
                *last += len;
            }
            _ => self.runs.push_back(run),
        }
    }

    /// Bytes of the file so far, holes included.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are holes among the runs not covered yet.
    pub(crate) fn has_holes(&self) -> bool {
        self.runs.iter().any(|run| matches!(run, Run::Hole(_)))
    }

    /// Lays the next chunk over the next data; nodes that are complete are appended to `nodes`.
    pub(crate) fn add_chunk(
        &mut self,
        keys: &ScopeKeys,
        id: ChunkId,
        len: u64,
        nodes: &mut Vec<Chunk>,
    ) {
        let mut offset = 0;
        while offset < len {
            match self.runs.pop_front() {
                Some(Run::Hole(hole)) => self.add_piece(keys, hole_piece(hole), nodes),
                Some(Run::Data(data)) => {
                    let taken = data.min(len - offset);
                    if taken < data {
                        self.runs.push_front(Run::Data(data - taken));
                    }
                    let piece = NamedPiece {
                        chunk: Some(id),
                        offset,
                        len: taken,
                    };
                    self.add_piece(keys, piece, nodes);
                    offset += taken;
                }
                None => {
                    debug_assert!(false, "a chunk has more bytes than were read");
                    return;
                }
            }
        }
    }

    /// Adds a piece whose place is known already.
    pub(crate) fn add_placed(
        &mut self,
        keys: &ScopeKeys,
        piece: NamedPiece,
        nodes: &mut Vec<Chunk>,
    ) {
        debug_assert!(self.runs.is_empty(), "runs and placed pieces do not mix");
        self.len += piece.len;
        self.add_piece(keys, piece, nodes);
    }

    /// The content. All chunks must have been laid.
    pub(crate) fn finish(mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) -> FileContent {
        while let Some(run) = self.runs.pop_front() {
            match run {
                Run::Hole(len) => self.add_piece(keys, hole_piece(len), nodes),
                Run::Data(_) => debug_assert!(false, "data was read and not chunked"),
            }
        }
        match self.extents.and_then(|extents| extents.finish(keys, nodes)) {
            Some(top) => FileContent::Extents(top),
            None if self.pieces.is_empty() => FileContent::Empty,
            None => FileContent::Pieces(self.pieces),
        }
    }

    fn add_piece(&mut self, keys: &ScopeKeys, piece: NamedPiece, nodes: &mut Vec<Chunk>) {
        if let Some(extents) = &mut self.extents {
            extents.push(keys, piece, nodes);
            return;
        }
        self.pieces.push(piece);
        if self.pieces.len() > PIECES_PER_ENTRY_MAX {
            let extents = self.extents.insert(ExtentsBuilder::default());
            for piece in self.pieces.drain(..) {
                extents.push(keys, piece, nodes);
            }
        }
    }
}

fn hole_piece(len: u64) -> NamedPiece {
    NamedPiece {
        chunk: None,
        offset: 0,
        len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::keys;

    fn build(runs: &[Run], chunks: &[u64]) -> (FileContent, Vec<Chunk>) {
        let keys = keys("vault");
        let (mut content, mut nodes) = (ContentBuilder::default(), Vec::new());
        for run in runs {
            content.add_run(*run);
        }
        for len in chunks {
            content.add_chunk(&keys, id(*len), *len, &mut nodes);
        }
        (content.finish(&keys, &mut nodes), nodes)
    }

    fn id(len: u64) -> ChunkId {
        keys("vault").data_id(&len.to_le_bytes())
    }

    #[test]
    fn a_chunk_goes_on_behind_a_hole() {
        let (content, _) = build(
            &[
                Run::Hole(5),
                Run::Data(10),
                Run::Hole(7),
                Run::Data(4),
                Run::Data(6),
                Run::Hole(1),
            ],
            &[13, 7],
        );
        let piece = |chunk: Option<u64>, offset, len| NamedPiece {
            chunk: chunk.map(id),
            offset,
            len,
        };
        assert_eq!(
            content,
            FileContent::Pieces(vec![
                piece(None, 0, 5),
                piece(Some(13), 0, 10),
                piece(None, 0, 7),
                piece(Some(13), 10, 3),
                piece(Some(7), 0, 7),
                piece(None, 0, 1),
            ])
        );
    }

    #[test]
    fn nothing_is_empty_and_a_hole_alone_is_a_piece() {
        assert_eq!(build(&[], &[]).0, FileContent::Empty);
        assert_eq!(build(&[Run::Data(0)], &[]).0, FileContent::Empty);
        let (content, nodes) = build(&[Run::Hole(100 << 30)], &[]);
        assert_eq!(content, FileContent::Pieces(vec![hole_piece(100 << 30)]));
        assert!(nodes.is_empty());
    }

    #[test]
    fn many_pieces_move_into_a_node() {
        let count = PIECES_PER_ENTRY_MAX as u64;
        let runs = [Run::Data(count * 3)];
        let (content, nodes) = build(&runs, &vec![3; count as usize]);
        assert!(matches!(content, FileContent::Pieces(ref pieces) if pieces.len() as u64 == count));
        assert!(nodes.is_empty());
        let runs = [Run::Data((count + 1) * 3)];
        let (content, nodes) = build(&runs, &vec![3; count as usize + 1]);
        assert_eq!(content, FileContent::Extents(nodes[0].id));
        assert_eq!(nodes.len(), 1);
    }
}
