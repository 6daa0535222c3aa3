//! The extents of a large file: pages of pieces, and index nodes above them.
//!
//! A page is cut behind a piece whose chunk id says so (one in [`EXTENTS_AIM`], after at least [`EXTENTS_MIN`]), so an
//! insertion in the middle of a file writes one page anew and an append writes the last one; pages of a fixed number
//! of pieces would all shift. A change costs its page (about 290 pieces, 12 KB) and the index above (for N pages about
//! 40 bytes × N, itself cut): the sum is least near the root of the number of pieces, which for files of 10 GB to
//! 1 TB (10⁴ to 10⁶ pieces) is 100 to 1000.
//!
//! Chunk ids are keyed hashes, so their bits are fair dice; a run of equal chunks is cut by the bounds.
//!
//! State: the open page. Pure, no I/O; pieces must come in the file's order.

use holdfast_format::tree::{ExtentsPage, Node, PIECES_PER_NODE_MAX, Piece};
use holdfast_format::{Chunk, ChunkId, ScopeKeys};

use super::content::NamedPiece;
use super::index::{Child, Covers, IndexBuilder};
use super::limits::{EXTENTS_AIM, EXTENTS_MIN};

/// Builds one file's extents.
#[derive(Debug, Default)]
pub(crate) struct ExtentsBuilder {
    page: Vec<NamedPiece>,
    index: IndexBuilder<Covers>,
}

impl ExtentsBuilder {
    /// Adds a piece; nodes that are complete are appended to `nodes`.
    pub(crate) fn push(&mut self, keys: &ScopeKeys, piece: NamedPiece, nodes: &mut Vec<Chunk>) {
        let number = number_of(&piece);
        self.page.push(piece);
        let cut = number.is_some_and(|number| number.is_multiple_of(EXTENTS_AIM as u64));
        if self.page.len() >= PIECES_PER_NODE_MAX || (cut && self.page.len() >= EXTENTS_MIN) {
            self.close(keys, nodes);
        }
    }

    /// Closes the last page and gives the top node. There must have been a piece.
    pub(crate) fn finish(mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) -> Option<ChunkId> {
        if !self.page.is_empty() {
            self.close(keys, nodes);
        }
        self.index.finish(keys, nodes)
    }

    fn close(&mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) {
        let page = std::mem::take(&mut self.page);
        let mut refs = References::default();
        let pieces: Vec<Piece> = page.iter().map(|piece| refs.piece(piece)).collect();
        let covers = pieces.iter().map(|piece| piece.len).sum();
        let number = page.last().and_then(number_of).unwrap_or(0) >> EXTENTS_AIM.ilog2();
        let node = keys.node(Node::extents(ExtentsPage { pieces }).encode(), refs.ids);
        let child = Child {
            id: node.id,
            label: Covers(covers),
            number,
        };
        nodes.push(node);
        self.index.push(keys, child, nodes);
    }
}

fn number_of(piece: &NamedPiece) -> Option<u64> {
    piece.chunk.map(|id| {
        id.0.iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}

/// The references of a node being built: each chunk once, numbered as they come.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// The chunks.
    pub(crate) ids: Vec<ChunkId>,
    numbers: std::collections::HashMap<ChunkId, u32>,
}

impl References {
    /// The number of a chunk.
    pub(crate) fn number(&mut self, id: ChunkId) -> u32 {
        *self.numbers.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() as u32 - 1
        })
    }

    /// A piece with its chunk by number.
    pub(crate) fn piece(&mut self, piece: &NamedPiece) -> Piece {
        Piece {
            chunk: piece.chunk.map(|id| self.number(id)),
            offset: piece.offset,
            len: piece.len,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::backup::testing::keys;

    fn piece(number: u64) -> NamedPiece {
        NamedPiece {
            chunk: Some(keys("vault").data_id(&number.to_le_bytes())),
            offset: 0,
            len: 1 << 20,
        }
    }

    fn build(pieces: &[NamedPiece]) -> Vec<Chunk> {
        let keys = keys("vault");
        let (mut extents, mut nodes) = (ExtentsBuilder::default(), Vec::new());
        for piece in pieces {
            extents.push(&keys, *piece, &mut nodes);
        }
        assert!(extents.finish(&keys, &mut nodes).is_some());
        nodes
    }

    fn fresh(before: &[NamedPiece], after: &[NamedPiece]) -> (usize, usize) {
        let old: HashSet<_> = build(before).into_iter().map(|node| node.id).collect();
        let new: Vec<_> = build(after)
            .into_iter()
            .filter(|node| !old.contains(&node.id))
            .collect();
        (
            new.len(),
            new.iter()
                .map(|node| node.bytes.len() + 32 * node.refs.len())
                .sum(),
        )
    }

    #[test]
    fn an_insertion_and_an_append_to_a_100_gb_file_write_few_nodes() {
        let before: Vec<_> = (0..100_000).map(piece).collect();
        let mut inserted = before.clone();
        inserted.insert(50_000, piece(1 << 40));
        let mut appended = before.clone();
        appended.extend((0..100).map(|n| piece(1 << 41 | n)));
        for (what, after) in [("insertion", inserted), ("append", appended)] {
            let (nodes, bytes) = fresh(&before, &after);
            println!("{what}: {nodes} nodes, {bytes} bytes");
            assert!(
                nodes <= 5 && bytes < 150 << 10,
                "{what}: {nodes} nodes, {bytes} bytes"
            );
        }
    }

    #[test]
    fn a_file_of_one_repeated_chunk_is_referred_to_once_a_page() {
        let nodes = build(&vec![piece(5); 3 * PIECES_PER_NODE_MAX]);
        for node in &nodes {
            let node = (Node::decode(&node.bytes).unwrap(), node.refs.len());
            if let (Some(page), refs) = (&node.0.extents, node.1) {
                assert!(page.pieces.len() >= EXTENTS_MIN);
                assert_eq!(refs, 1);
            }
        }
    }

    #[test]
    fn holes_only_are_pages_too() {
        let hole = NamedPiece {
            chunk: None,
            offset: 0,
            len: 5,
        };
        let nodes = build(&vec![hole; PIECES_PER_NODE_MAX + 1]);
        assert_eq!(nodes.len(), 3);
        assert!(nodes[0].refs.is_empty());
    }
}
