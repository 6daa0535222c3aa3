//! Chunks that came along in frames that were fetched for others: small files lie side by side, and so they are read.
//!
//! State: whole frames, since a chunk's bytes are a slice of its frame's; the oldest is dropped first. Bounded by the
//! frames' plaintext.

use std::collections::{HashMap, VecDeque};

use holdfast_format::ChunkId;

use crate::source::Fetched;

/// See the module header.
#[derive(Debug)]
pub(super) struct Neighbours {
    chunks: HashMap<ChunkId, Fetched>,
    frames: VecDeque<(Vec<ChunkId>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl Neighbours {
    /// An empty cache of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            chunks: HashMap::new(),
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// A chunk, if it is there.
    pub(super) fn get(&self, id: &ChunkId) -> Option<Fetched> {
        self.chunks.get(id).cloned()
    }

    /// Takes a frame's chunks.
    pub(super) fn add(&mut self, frame: &[(ChunkId, Fetched)]) {
        let cost = |(_, fetched): &(ChunkId, Fetched)| {
            fetched.bytes.len() + fetched.refs.len() * ChunkId::LEN + 128
        };
        let bytes: usize = frame.iter().map(cost).sum();
        if frame.len() < 2 || bytes > self.bytes_max || self.chunks.contains_key(&frame[0].0) {
            return;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some((ids, bytes)) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= bytes;
            for id in ids {
                self.chunks.remove(&id);
            }
        }
        self.bytes += bytes;
        self.frames
            .push_back((frame.iter().map(|(id, _)| *id).collect(), bytes));
        self.chunks.extend(frame.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u8, len: usize) -> Vec<(ChunkId, Fetched)> {
        let fetched = Fetched {
            bytes: vec![n; len / 2 - 128].into(),
            refs: Vec::new(),
        };
        [1, 2]
            .map(|k| {
                let mut id = [n; 32];
                id[0] = k;
                (ChunkId(id), fetched.clone())
            })
            .to_vec()
    }

    #[test]
    fn the_oldest_frame_goes_first_and_the_bound_holds() {
        let mut cache = Neighbours::new(2500);
        for n in 1..=3 {
            cache.add(&frame(n, 1000));
        }
        assert!(cache.get(&frame(1, 1000)[0].0).is_none());
        assert!(cache.get(&frame(3, 1000)[1].0).is_some());
        assert_eq!((cache.bytes, cache.chunks.len()), (2000, 4));
        cache.add(&frame(9, 3000));
        cache.add(&frame(8, 1000)[..1]);
        cache.add(&frame(3, 1000));
        assert_eq!((cache.bytes, cache.chunks.len()), (2000, 4));
    }
}
