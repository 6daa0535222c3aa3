//! Index segments: immutable runs of the chunk index, on disk and at the sites alike.
//!
//! After the segment's mark, little-endian:
//!
//! ```text
//! first ordinal u64 ‖ chunks n u64 ‖ nodes k u64 ‖ bytes of references r u64 ‖ moves m u64
//! n × id (32), sorted        n × ordinal − first (u32), in the order of the ids
//! n × (pack u32 ‖ frame u32 ‖ length u32 ‖ place among the sorted ids u32), by ordinal
//! k × (ordinal − first u32 ‖ start in the references u64), by ordinal      r bytes of references
//! m × (ordinal u64 ‖ pack u32 ‖ frame u32), by ordinal: homes that changed, of chunks of earlier segments too
//! ```
//!
//! References of a node: how many, then each as a variable-length zigzag difference to the one before.
//! 52 bytes a chunk, and what nodes refer to. Ids are uniform, so a look-up guesses where an id lies and is right
//! within a page or two.

use holdfast_format::checkpoint::{SEGMENT_BODY_AT, SegmentKind, seal_segment};
use holdfast_format::{ChunkId, Hash, Ordinal, PackOrdinal, Sealed};

use super::entry::{Entry, Move};
use super::map::SegmentBytes;
use super::varint;
use crate::error::{Error, Result};

const HEAD: usize = 40;
const ID: usize = 32;
const RANK: usize = 4;
const ENTRY: usize = 16;
const NODE: usize = 12;
const MOVE: usize = 16;

/// One open segment.
#[derive(Debug)]
pub struct Segment {
    bytes: SegmentBytes,
    hash: Hash,
    first: u64,
    chunks: usize,
    nodes: usize,
    moves: usize,
    at: Offsets,
}

#[derive(Debug, Clone, Copy)]
struct Offsets {
    ids: usize,
    ranks: usize,
    entries: usize,
    nodes: usize,
    refs: usize,
    moves: usize,
}

impl Offsets {
    fn of(chunks: usize, nodes: usize, refs: usize) -> Option<(Self, usize)> {
        let ids = SEGMENT_BODY_AT + HEAD;
        let ranks = ids.checked_add(chunks.checked_mul(ID)?)?;
        let entries = ranks.checked_add(chunks.checked_mul(RANK)?)?;
        let node_table = entries.checked_add(chunks.checked_mul(ENTRY)?)?;
        let refs_at = node_table.checked_add(nodes.checked_mul(NODE)?)?;
        let moves = refs_at.checked_add(refs)?;
        Some((
            Self {
                ids,
                ranks,
                entries,
                nodes: node_table,
                refs: refs_at,
                moves,
            },
            moves,
        ))
    }
}

impl Segment {
    /// Opens a segment whose hash and kind were checked.
    pub fn open(bytes: SegmentBytes) -> Result<Self> {
        let bad = || Error::Corrupt("an index segment's lengths do not add up".into());
        if bytes.len() < SEGMENT_BODY_AT + HEAD {
            return Err(bad());
        }
        let number = |n: usize| u64_at(&bytes, SEGMENT_BODY_AT + n * 8);
        let (first, chunks, nodes, refs, moves) =
            (number(0), number(1), number(2), number(3), number(4));
        let sizes = [chunks, nodes, refs, moves].map(|n| usize::try_from(n).ok());
        let [Some(chunks), Some(nodes), Some(refs), Some(moves)] = sizes else {
            return Err(bad());
        };
        let (at, end) = Offsets::of(chunks, nodes, refs).ok_or_else(bad)?;
        let whole = moves
            .checked_mul(MOVE)
            .and_then(|m| end.checked_add(m))
            .ok_or_else(bad)?;
        if whole != bytes.len()
            || u32::try_from(chunks).is_err()
            || first.checked_add(u64::from(u32::MAX)).is_none()
        {
            return Err(bad());
        }
        Ok(Self {
            hash: Hash::of(&bytes),
            bytes,
            first,
            chunks,
            nodes,
            moves,
            at,
        })
    }

    /// First ordinal.
    pub fn first(&self) -> Ordinal {
        Ordinal(self.first)
    }

    /// How many ordinals it spans.
    pub fn count(&self) -> u64 {
        self.chunks as u64
    }

    /// The hash of its whole object, which is its name.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Its whole object.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it holds this ordinal's own entry.
    pub fn holds(&self, ordinal: Ordinal) -> bool {
        ordinal.0 >= self.first && ordinal.0 - self.first < self.chunks as u64
    }

    fn id_at(&self, rank: usize) -> &[u8] {
        let at = self.at.ids + rank * ID;
        &self.bytes[at..at + ID]
    }

    /// All ordinals that the id has here; several if scopes share it or it was sent again after it was given up.
    pub fn find(&self, id: &ChunkId) -> impl Iterator<Item = Ordinal> + use<'_> {
        let id = *id;
        let start = self.lower_bound(&id);
        (start..self.chunks)
            .take_while(move |&rank| self.id_at(rank) == id.0)
            .map(|rank| {
                Ordinal(self.first + u64::from(u32_at(&self.bytes, self.at.ranks + rank * RANK)))
            })
    }

    /// The first rank whose id is not below `id`: interpolation, then a gallop and binary search.
    fn lower_bound(&self, id: &ChunkId) -> usize {
        if self.chunks == 0 {
            return 0;
        }
        let prefix = u64::from_be_bytes([
            id.0[0], id.0[1], id.0[2], id.0[3], id.0[4], id.0[5], id.0[6], id.0[7],
        ]);
        let guess = ((u128::from(prefix) * self.chunks as u128) >> 64) as usize;
        let (mut low, mut high) = (guess, guess);
        let mut stride = 32;
        while low > 0 && self.id_at(low) >= &id.0[..] {
            low = low.saturating_sub(stride);
            stride *= 2;
        }
        stride = 32;
        while high < self.chunks && self.id_at(high) < &id.0[..] {
            high = (high + stride).min(self.chunks);
            stride *= 2;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.id_at(middle) < &id.0[..] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The entry as it was when the chunk was named.
    pub fn entry(&self, ordinal: Ordinal) -> Option<Entry> {
        if !self.holds(ordinal) {
            return None;
        }
        let at = self.at.entries + (ordinal.0 - self.first) as usize * ENTRY;
        Some(Entry {
            pack: PackOrdinal(u32_at(&self.bytes, at)),
            frame: u32_at(&self.bytes, at + 4),
            len: u32_at(&self.bytes, at + 8),
        })
    }

    /// The chunk's id.
    pub fn id(&self, ordinal: Ordinal) -> Option<ChunkId> {
        if !self.holds(ordinal) {
            return None;
        }
        let at = self.at.entries + (ordinal.0 - self.first) as usize * ENTRY;
        let rank = u32_at(&self.bytes, at + 12) as usize;
        if rank >= self.chunks {
            return None;
        }
        ChunkId::from_slice(self.id_at(rank)).ok()
    }

    /// A node's references; nothing for a data chunk.
    pub fn refs(&self, ordinal: Ordinal) -> Vec<Ordinal> {
        if !self.holds(ordinal) {
            return Vec::new();
        }
        let wanted = (ordinal.0 - self.first) as u32;
        let (mut low, mut high) = (0, self.nodes);
        while low < high {
            let middle = low + (high - low) / 2;
            if u32_at(&self.bytes, self.at.nodes + middle * NODE) < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let at = self.at.nodes + low * NODE;
        if low == self.nodes || u32_at(&self.bytes, at) != wanted {
            return Vec::new();
        }
        let start = usize::try_from(u64_at(&self.bytes, at + 4))
            .ok()
            .and_then(|start| start.checked_add(self.at.refs));
        let refs = start.and_then(|start| self.bytes.get(start..self.at.moves));
        varint::take_refs(refs.unwrap_or_default())
    }

    /// The home that a move recorded here gave to a chunk.
    pub fn moved(&self, ordinal: Ordinal) -> Option<Move> {
        let (mut low, mut high) = (0, self.moves);
        while low < high {
            let middle = low + (high - low) / 2;
            if u64_at(&self.bytes, self.at.moves + middle * MOVE) < ordinal.0 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < self.moves)
            .then(|| self.move_at(low))
            .filter(|one| one.ordinal == ordinal)
    }

    fn move_at(&self, n: usize) -> Move {
        let at = self.at.moves + n * MOVE;
        Move {
            ordinal: Ordinal(u64_at(&self.bytes, at)),
            pack: PackOrdinal(u32_at(&self.bytes, at + 8)),
            frame: u32_at(&self.bytes, at + 12),
        }
    }

    /// All moves recorded here, by ordinal.
    pub fn moves(&self) -> impl Iterator<Item = Move> + '_ {
        (0..self.moves).map(|n| self.move_at(n))
    }

    /// All chunks by ordinal, with their references.
    pub fn chunks(&self) -> impl Iterator<Item = (Ordinal, ChunkId, Entry, Vec<Ordinal>)> + '_ {
        (0..self.chunks as u64).filter_map(|n| {
            let ordinal = Ordinal(self.first + n);
            Some((
                ordinal,
                self.id(ordinal)?,
                self.entry(ordinal)?,
                self.refs(ordinal),
            ))
        })
    }
}

/// Writes a segment from chunks in order of ordinals (without gaps, from `first`) and moves in order of ordinals.
pub fn write(first: Ordinal, chunks: &[(ChunkId, Entry, Vec<Ordinal>)], moves: &[Move]) -> Sealed {
    let mut order: Vec<u32> = (0..chunks.len() as u32).collect();
    // Of equal ids (two scopes, or sent again) the newest comes first.
    order.sort_unstable_by_key(|&n| (chunks[n as usize].0, std::cmp::Reverse(n)));
    let mut ranks = vec![0u32; chunks.len()];
    for (rank, &n) in order.iter().enumerate() {
        ranks[n as usize] = rank as u32;
    }
    let mut nodes = Vec::new();
    let mut refs = Vec::new();
    for (n, (_, _, list)) in chunks.iter().enumerate() {
        if !list.is_empty() {
            nodes.push((n as u32, refs.len() as u64));
            varint::put_refs(&mut refs, list);
        }
    }
    let len = HEAD
        + chunks.len() * (ID + RANK + ENTRY)
        + nodes.len() * NODE
        + refs.len()
        + moves.len() * MOVE;
    let mut out = Vec::with_capacity(len);
    for number in [
        first.0,
        chunks.len() as u64,
        nodes.len() as u64,
        refs.len() as u64,
        moves.len() as u64,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    order
        .iter()
        .for_each(|&n| out.extend_from_slice(&chunks[n as usize].0.0));
    order
        .iter()
        .for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
    for ((_, entry, _), rank) in chunks.iter().zip(&ranks) {
        for number in [entry.pack.0, entry.frame, entry.len, *rank] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    for (n, start) in nodes {
        out.extend_from_slice(&n.to_le_bytes());
        out.extend_from_slice(&start.to_le_bytes());
    }
    out.extend_from_slice(&refs);
    for one in moves {
        out.extend_from_slice(&one.ordinal.0.to_le_bytes());
        out.extend_from_slice(&one.pack.0.to_le_bytes());
        out.extend_from_slice(&one.frame.to_le_bytes());
    }
    seal_segment(SegmentKind::Index, &out)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> ChunkId {
        ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    proptest! {
        #[test]
        fn a_segment_answers_as_its_list(count in 0usize..400, first in 0u64..1000, same in 0u64..50) {
            let chunks: Vec<_> = (0..count as u64)
                .map(|n| {
                    let refs = if n % 3 == 1 { (0..n % 7).map(|k| Ordinal(first + n - 1 - k.min(n - 1))).collect() } else { vec![] };
                    // Some ids come twice, as with two scopes.
                    (id(if n < same { n % 5 } else { n }), Entry { pack: PackOrdinal(n as u32 / 9), frame: n as u32, len: 7 }, refs)
                })
                .collect();
            let moves = vec![Move { ordinal: Ordinal(3), pack: PackOrdinal(8), frame: 9 }, Move { ordinal: Ordinal(first + 5), pack: PackOrdinal(1), frame: 2 }];
            let segment = Segment::open(SegmentBytes::Held(write(Ordinal(first), &chunks, &moves).to_bytes())).unwrap();
            for (n, (id, entry, refs)) in chunks.iter().enumerate() {
                let ordinal = Ordinal(first + n as u64);
                prop_assert!(segment.find(id).any(|found| found == ordinal));
                prop_assert!(segment.find(id).all(|found| chunks[(found.0 - first) as usize].0 == *id));
                prop_assert_eq!(segment.entry(ordinal), Some(*entry));
                prop_assert_eq!(segment.id(ordinal), Some(*id));
                prop_assert_eq!(&segment.refs(ordinal), refs);
            }
            prop_assert_eq!(segment.find(&id(99_999)).count(), 0);
            prop_assert_eq!(segment.moved(Ordinal(3)), Some(moves[0]));
            prop_assert_eq!(segment.moved(Ordinal(4)), None);
            prop_assert_eq!(segment.moves().collect::<Vec<_>>(), moves);
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = seal_segment(SegmentKind::Index, &body).to_bytes();
            if let Ok(segment) = Segment::open(SegmentBytes::Held(bytes)) {
                let _ = segment.chunks().count();
                let _ = segment.moves().count();
                let _ = segment.find(&id(1)).count();
            }
        }
    }
}
