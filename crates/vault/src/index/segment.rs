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

use std::io::{self, Write};

use holdfast_format::checkpoint::{SEGMENT_BODY_AT, SegmentKind, seal_segment};
use holdfast_format::{ChunkId, Hash, Ordinal, PackOrdinal, Sealed};

use super::entry::{Entry, Move};
use super::filter::{Filter, Wanted};
use super::map::SegmentBytes;
use super::varint;
use crate::error::{Error, Result};

const HEAD: usize = 40;
const ID: usize = 32;
const RANK: usize = 4;
const ENTRY: usize = 16;
const NODE: usize = 12;
const MOVE: usize = 16;

/// How often a look-up guesses anew from what it finds: the first guess is off by the square root of the number of ids, each
/// further one by the square root of that.
const GUESSES: usize = 2;

/// How far around the last guess is looked first.
const STRIDE: usize = 8;

/// One open segment.
pub struct Segment {
    bytes: SegmentBytes,
    hash: Hash,
    first: u64,
    chunks: usize,
    nodes: usize,
    moves: usize,
    at: Offsets,
    /// A bit for each chunk: whether it refers to anything.
    has_refs: Vec<u64>,
    filter: Filter,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} from {})", self.chunks, self.first)
    }
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
        let mut segment = Self {
            hash: Hash::of(&bytes),
            bytes,
            first,
            chunks,
            nodes,
            moves,
            at,
            has_refs: vec![0; chunks.div_ceil(64)],
            filter: Filter::default(),
        };
        segment.filter = Filter::of((0..chunks).filter_map(|place| Some(segment.sorted(place)?.0)));
        let mut has_refs = std::mem::take(&mut segment.has_refs);
        for (n, _) in segment.nodes() {
            if let Some(word) = has_refs.get_mut(n as usize / 64) {
                *word |= 1 << (n % 64);
            }
        }
        segment.has_refs = has_refs;
        Ok(segment)
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

    /// False: the id is not here.
    pub(super) fn may_hold(&self, wanted: &Wanted) -> bool {
        self.filter.may_hold(wanted)
    }

    /// All ordinals that the id has here; several if scopes share it or it was sent again after it was given up. It costs some reads of
    /// the segment: an index asks its filters first.
    pub fn find(&self, id: &ChunkId) -> impl Iterator<Item = Ordinal> + use<'_> {
        let id = *id;
        (self.lower_bound(&id)..self.chunks)
            .take_while(move |&rank| self.id_at(rank) == id.0)
            .map(|rank| {
                Ordinal(self.first + u64::from(u32_at(&self.bytes, self.at.ranks + rank * RANK)))
            })
    }

    /// The first rank whose id is not below `id`: interpolation, from where the id should lie and from what lies there, then a
    /// gallop and binary search.
    fn lower_bound(&self, id: &ChunkId) -> usize {
        if self.chunks == 0 {
            return 0;
        }
        let wanted = prefix(&id.0);
        let mut guess = self.ranks_in(wanted);
        for _ in 0..GUESSES {
            let there = prefix(self.id_at(guess));
            guess = match there <= wanted {
                true => (guess + self.ranks_in(wanted - there)).min(self.chunks - 1),
                false => guess.saturating_sub(self.ranks_in(there - wanted)),
            };
        }
        let (mut low, mut high) = (guess, guess);
        let mut stride = STRIDE;
        while low > 0 && self.id_at(low) >= &id.0[..] {
            low = low.saturating_sub(stride);
            stride *= 2;
        }
        stride = STRIDE;
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

    /// How many ids lie in so large a part of all that there could be, where they lie evenly.
    fn ranks_in(&self, prefix: u64) -> usize {
        ((u128::from(prefix) * self.chunks as u128) >> 64) as usize
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

    /// Whether a chunk refers to anything.
    fn has_refs(&self, ordinal: Ordinal) -> bool {
        self.holds(ordinal) && {
            let n = (ordinal.0 - self.first) as usize;
            self.has_refs[n / 64] >> (n % 64) & 1 == 1
        }
    }

    /// Those of the ordinals from `from` to before `to` that refer to anything and lie here.
    pub(super) fn referring(&self, from: u64, to: u64) -> impl Iterator<Item = Ordinal> + '_ {
        let count = self.chunks as u64;
        let from = from.saturating_sub(self.first).min(count);
        let to = to.saturating_sub(self.first).min(count).max(from);
        let words = from / 64..to.div_ceil(64);
        words.flat_map(move |at| {
            let mut word = self.has_refs[at as usize];
            std::iter::from_fn(move || {
                let bit = u64::from(word.trailing_zeros());
                word &= word.wrapping_sub(1);
                (bit < 64).then(|| at * 64 + bit)
            })
            .filter(move |n| (from..to).contains(n))
            .map(|n| Ordinal(self.first + n))
        })
    }

    /// A node's references; nothing for a data chunk.
    pub fn refs(&self, ordinal: Ordinal) -> Vec<Ordinal> {
        if !self.has_refs(ordinal) {
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

    /// Whether any move is recorded here.
    pub(super) fn has_moves(&self) -> bool {
        self.moves > 0
    }

    /// All moves recorded here, by ordinal.
    pub fn moves(&self) -> impl Iterator<Item = Move> + '_ {
        (0..self.moves).map(|n| self.move_at(n))
    }

    /// The id at a place among the sorted ones, and whose it is.
    pub(super) fn sorted(&self, place: usize) -> Option<(&[u8; ID], Ordinal)> {
        if place >= self.chunks {
            return None;
        }
        let n = u32_at(&self.bytes, self.at.ranks + place * RANK);
        let id = self.id_at(place).first_chunk()?;
        Some((id, Ordinal(self.first + u64::from(n))))
    }

    /// Each node's place behind the first ordinal, and where its references start in [`Self::ref_bytes`].
    pub(super) fn nodes(&self) -> impl ExactSizeIterator<Item = (u32, u64)> + '_ {
        (0..self.nodes).map(|n| {
            let at = self.at.nodes + n * NODE;
            (u32_at(&self.bytes, at), u64_at(&self.bytes, at + 4))
        })
    }

    /// The references of all nodes, as they lie there.
    pub(super) fn ref_bytes(&self) -> &[u8] {
        &self.bytes[self.at.refs..self.at.moves]
    }
}

/// Writes a segment from chunks in order of ordinals (without gaps, from `first`) and moves in order of ordinals.
pub fn write(first: Ordinal, chunks: &[(ChunkId, Entry, Vec<Ordinal>)], moves: &[Move]) -> Sealed {
    let mut order: Vec<u32> = (0..chunks.len() as u32).collect();
    // Of equal ids (two scopes, or sent again) the newest comes first.
    order.sort_unstable_by_key(|&n| (chunks[n as usize].0, std::cmp::Reverse(n)));
    let mut places = vec![0u32; chunks.len()];
    for (place, &n) in order.iter().enumerate() {
        places[n as usize] = place as u32;
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
    let counts = [chunks.len(), nodes.len(), refs.len(), moves.len()].map(|n| n as u64);
    let whole = put_head(&mut out, first, counts).and_then(|()| {
        for &n in &order {
            out.write_all(&chunks[n as usize].0.0)?;
        }
        for n in &order {
            out.write_all(&n.to_le_bytes())?;
        }
        for ((_, entry, _), &place) in chunks.iter().zip(&places) {
            put_entry(&mut out, entry, place)?;
        }
        for (n, start) in nodes {
            put_node(&mut out, n, start)?;
        }
        out.write_all(&refs)?;
        moves.iter().try_for_each(|one| put_move(&mut out, one))
    });
    whole.expect("memory takes what is written to it");
    seal_segment(SegmentKind::Index, &out)
}

/// Writes the first ordinal, and the numbers of chunks, nodes, bytes of references and moves.
pub(super) fn put_head(out: &mut dyn Write, first: Ordinal, counts: [u64; 4]) -> io::Result<()> {
    out.write_all(&first.0.to_le_bytes())?;
    counts
        .iter()
        .try_for_each(|number| out.write_all(&number.to_le_bytes()))
}

pub(super) fn put_entry(out: &mut dyn Write, entry: &Entry, place: u32) -> io::Result<()> {
    let mut bytes = [0; ENTRY];
    bytes[..4].copy_from_slice(&entry.pack.0.to_le_bytes());
    bytes[4..8].copy_from_slice(&entry.frame.to_le_bytes());
    bytes[8..12].copy_from_slice(&entry.len.to_le_bytes());
    bytes[12..].copy_from_slice(&place.to_le_bytes());
    out.write_all(&bytes)
}

pub(super) fn put_node(out: &mut dyn Write, n: u32, start: u64) -> io::Result<()> {
    out.write_all(&n.to_le_bytes())?;
    out.write_all(&start.to_le_bytes())
}

pub(super) fn put_move(out: &mut dyn Write, one: &Move) -> io::Result<()> {
    out.write_all(&one.ordinal.0.to_le_bytes())?;
    out.write_all(&one.pack.0.to_le_bytes())?;
    out.write_all(&one.frame.to_le_bytes())
}

/// The first 64 bits of an id, as a number that is sorted as ids are.
fn prefix(id: &[u8]) -> u64 {
    id.first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
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
                prop_assert!(segment.may_hold(&Wanted::of(&id.0)));
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
                for n in 0..segment.count() {
                    let ordinal = Ordinal(segment.first().0 + n);
                    let _ = (segment.id(ordinal), segment.entry(ordinal), segment.refs(ordinal));
                }
                let mut merged = Vec::new();
                super::super::merge::write(&[std::sync::Arc::new(segment)], &mut merged).unwrap();
                let segment = Segment::open(SegmentBytes::Held(merged.into())).unwrap();
                let _ = segment.moves().count();
                let _ = segment.find(&id(1)).count();
            }
        }
    }
}
