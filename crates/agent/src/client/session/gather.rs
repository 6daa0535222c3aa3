//! Which chunks share a frame. Small data chunks are gathered, large ones go alone, nodes have frames of their own.
//!
//! State: the open data frame and the open node frame. Pure.

use holdfast_format::ChunkKind;
use holdfast_format::frame::{FRAME_BYTES_AIM, FRAME_CHUNKS_MAX};

use super::held::Held;

/// References stand in clear beside a node frame; one frame carries about this many bytes of them, or one node.
const FRAME_REFS_BYTES_AIM: usize = 1 << 20;

/// See the module header.
#[derive(Debug)]
pub(super) struct Gather {
    data: OpenFrame,
    nodes: OpenFrame,
    bytes_aim: usize,
}

#[derive(Debug, Default)]
struct OpenFrame {
    chunks: Vec<Held>,
    bytes: usize,
    refs_bytes: usize,
}

impl Gather {
    /// `frame_bytes_max` is what the coordinator takes.
    pub(super) fn new(frame_bytes_max: usize) -> Self {
        Self {
            data: OpenFrame::default(),
            nodes: OpenFrame::default(),
            bytes_aim: FRAME_BYTES_AIM.min(frame_bytes_max),
        }
    }

    /// Takes the next wanted chunk. Gives the frames that are complete, in the order in which they must be sent.
    pub(super) fn add(&mut self, held: Held) -> Vec<Vec<Held>> {
        let mut out = Vec::new();
        match held.chunk.kind {
            ChunkKind::Data if held.chunk.bytes.len() >= self.bytes_aim => out.push(vec![held]),
            ChunkKind::Data => {
                if !self.data.has_room(&held, self.bytes_aim) {
                    self.data.close(&mut out);
                }
                self.data.push(held);
            }
            ChunkKind::Node => {
                if !self.nodes.has_room(&held, self.bytes_aim) {
                    self.close_into(&mut out);
                }
                self.nodes.push(held);
            }
        }
        out
    }

    /// Closes both frames.
    pub(super) fn close(&mut self) -> Vec<Vec<Held>> {
        let mut out = Vec::new();
        self.close_into(&mut out);
        out
    }

    fn close_into(&mut self, out: &mut Vec<Vec<Held>>) {
        // ORDER: data before nodes. The coordinator takes a node only when each of its references is named earlier or
        // by the same record. A node put after a chunk that still waits in the open data frame would otherwise be
        // named first, be refused, and with it the session.
        self.data.close(out);
        self.nodes.close(out);
    }
}

impl OpenFrame {
    fn has_room(&self, held: &Held, bytes_aim: usize) -> bool {
        let refs = self.refs_bytes + held.refs_bytes();
        self.chunks.is_empty()
            || (self.bytes + held.chunk.bytes.len() <= bytes_aim
                && refs <= FRAME_REFS_BYTES_AIM
                && self.chunks.len() < FRAME_CHUNKS_MAX)
    }

    fn push(&mut self, held: Held) {
        self.bytes += held.chunk.bytes.len();
        self.refs_bytes += held.refs_bytes();
        self.chunks.push(held);
    }

    fn close(&mut self, out: &mut Vec<Vec<Held>>) {
        let frame = std::mem::take(self);
        if !frame.chunks.is_empty() {
            out.push(frame.chunks);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use holdfast_format::{ChunkId, ScopeKeys};

    use super::*;

    fn keys() -> ScopeKeys {
        ScopeKeys::derive(&[1; 32], &[2; 32], &"vault".parse().unwrap())
    }

    fn data(len: usize) -> Held {
        Held::free(keys().data(vec![7; len].into()))
    }

    fn node(refs: Vec<ChunkId>) -> Held {
        Held::free(keys().node(Bytes::from(vec![8; 1000]), refs))
    }

    fn lens(frames: &[Vec<Held>]) -> Vec<usize> {
        frames.iter().map(Vec::len).collect()
    }

    #[test]
    fn small_ones_share_and_large_ones_do_not() {
        let mut gather = Gather::new(usize::MAX);
        assert!(gather.add(data(100 << 10)).is_empty());
        assert!(gather.add(data(100 << 10)).is_empty());
        assert_eq!(lens(&gather.add(data(100 << 10))), [2]);
        assert_eq!(lens(&gather.add(data(256 << 10))), [1]);
        assert_eq!(lens(&gather.close()), [1]);
        assert!(gather.close().is_empty());
    }

    #[test]
    fn data_goes_before_the_nodes_that_were_put_after_it() {
        let mut gather = Gather::new(usize::MAX);
        let chunk = data(10);
        let id = chunk.chunk.id;
        assert!(gather.add(chunk).is_empty());
        assert!(gather.add(node(vec![id])).is_empty());
        let frames = gather.add(node(vec![id; 40_000]));
        let kinds: Vec<ChunkKind> = frames.iter().map(|frame| frame[0].chunk.kind).collect();
        assert_eq!(kinds, [ChunkKind::Data, ChunkKind::Node]);
        assert_eq!(lens(&gather.close()), [1]);
    }

    #[test]
    fn a_frame_holds_so_many_chunks_and_no_more() {
        let mut gather = Gather::new(usize::MAX);
        let mut closed = Vec::new();
        for _ in 0..=FRAME_CHUNKS_MAX {
            closed.extend(gather.add(data(1)));
        }
        assert_eq!(lens(&closed), [FRAME_CHUNKS_MAX]);
    }
}
