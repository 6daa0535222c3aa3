//! The chunk index: which ordinal an id has, where a chunk's home is, what a node refers to.
//!
//! State: immutable segments (oldest first, together spanning all ordinals from 0), a table in memory for what came
//! since, the moves since, and the set of ordinals given up. Made for 10⁸ chunks: what is old lies in mapped segments,
//! memory holds the newest [`MEMORY_CHUNKS_MAX`] chunks and one bitmap.
//!
//! It is a fold: it changes only by facts of the log, and never forgets which ordinals were used.

pub mod entry;
mod filter;
pub mod map;
mod merge;
pub mod segment;
mod varint;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use holdfast_format::{ChunkId, Ordinal, PackOrdinal};
use roaring::RoaringTreemap;

pub use entry::{Entry, Move};
use filter::Wanted;
pub use map::SegmentBytes;
pub use segment::Segment;

/// More chunks than this in memory are to be written into a segment by whoever owns the index's folder.
pub const MEMORY_CHUNKS_MAX: usize = 1 << 18;

/// The index of one vault.
#[derive(Debug, Clone, Default)]
pub struct Index {
    segments: Vec<Arc<Segment>>,
    memory: Memory,
    absent: RoaringTreemap,
}

/// What came since the last segment.
#[derive(Debug, Clone, Default)]
struct Memory {
    first: u64,
    chunks: Vec<(ChunkId, Entry, Vec<Ordinal>)>,
    by_id: HashMap<ChunkId, Vec<u32>>,
    moves: BTreeMap<u64, (PackOrdinal, u32)>,
}

impl Index {
    /// An index over segments that together span all ordinals from 0.
    pub fn open(segments: Vec<Arc<Segment>>, absent: RoaringTreemap) -> Option<Self> {
        let mut next = 0;
        for segment in &segments {
            if segment.first().0 != next {
                return None;
            }
            next += segment.count();
        }
        Some(Self {
            segments,
            memory: Memory {
                first: next,
                ..Memory::default()
            },
            absent,
        })
    }

    /// The next free ordinal.
    pub fn next(&self) -> Ordinal {
        Ordinal(self.memory.first + self.memory.chunks.len() as u64)
    }

    /// How many chunks are live.
    pub fn live(&self) -> u64 {
        self.next().0 - self.absent.len()
    }

    /// The ordinals given up.
    pub fn absent(&self) -> &RoaringTreemap {
        &self.absent
    }

    /// Whether a chunk was named and not given up.
    pub fn is_live(&self, ordinal: Ordinal) -> bool {
        ordinal < self.next() && !self.absent.contains(ordinal.0)
    }

    /// Names a chunk.
    pub fn add(&mut self, id: ChunkId, entry: Entry, refs: Vec<Ordinal>) -> Ordinal {
        let ordinal = self.next();
        let place = self.memory.chunks.len() as u32;
        self.memory.by_id.entry(id).or_default().push(place);
        self.memory.chunks.push((id, entry, refs));
        ordinal
    }

    /// Gives a chunk a later home.
    pub fn set_home(&mut self, ordinal: Ordinal, pack: PackOrdinal, frame: u32) {
        if ordinal.0 >= self.memory.first {
            if let Some(chunk) = self
                .memory
                .chunks
                .get_mut((ordinal.0 - self.memory.first) as usize)
            {
                chunk.1.pack = pack;
                chunk.1.frame = frame;
            }
        } else {
            self.memory.moves.insert(ordinal.0, (pack, frame));
        }
    }

    /// Gives chunks up.
    pub fn give_up(&mut self, ordinals: &RoaringTreemap) {
        self.absent |= ordinals;
    }

    /// Live ordinals of an id, the newest first. Several only if scopes share the id.
    pub fn find(&self, id: &ChunkId) -> impl Iterator<Item = Ordinal> + use<'_> {
        let id = *id;
        let fresh = self.memory.by_id.get(&id).into_iter().flatten().rev();
        let fresh = fresh.map(|&place| Ordinal(self.memory.first + u64::from(place)));
        fresh
            .chain(self.find_old(id))
            .filter(|ordinal| !self.absent.contains(ordinal.0))
    }

    /// Ordinals of an id in segments, the newest first, those given up too.
    fn find_old(&self, id: ChunkId) -> impl Iterator<Item = Ordinal> + use<'_> {
        let wanted = Wanted::of(&id.0);
        self.segments
            .rchunks(u64::BITS as usize)
            .flat_map(move |group| {
                // All filters are asked before any answer is looked at: each lies in memory of its own, and the processor waits for
                // many at once as long as nothing depends on what they say.
                let mut may = group.iter().enumerate().fold(0, |may, (at, segment)| {
                    may | u64::from(segment.may_hold(&wanted)) << at
                });
                std::iter::from_fn(move || {
                    let at = may.checked_ilog2()?;
                    may ^= 1 << at;
                    group.get(at as usize)
                })
            })
            .flat_map(move |segment| segment.find(&id))
    }

    /// The newest ordinal of an id that was given up.
    pub(crate) fn find_given_up(&self, id: &ChunkId) -> Option<Ordinal> {
        let fresh = self.memory.by_id.get(id).into_iter().flatten().rev();
        let fresh = fresh.map(|&place| Ordinal(self.memory.first + u64::from(place)));
        fresh.chain(self.find_old(*id)).next()
    }

    fn segment_of(&self, ordinal: Ordinal) -> Option<usize> {
        let at = self
            .segments
            .partition_point(|segment| segment.first() <= ordinal);
        at.checked_sub(1)
            .filter(|&at| self.segments[at].holds(ordinal))
    }

    /// Where a chunk's home is now.
    pub fn entry(&self, ordinal: Ordinal) -> Option<Entry> {
        if let Some(place) = ordinal.0.checked_sub(self.memory.first) {
            return self.memory.chunks.get(place as usize).map(|chunk| chunk.1);
        }
        let own = self.segment_of(ordinal)?;
        let mut entry = self.segments[own].entry(ordinal)?;
        let moved = self.memory.moves.get(&ordinal.0).copied().or_else(|| {
            let newest_first = self.segments[own..].iter().rev();
            newest_first
                .flat_map(|s| s.moved(ordinal))
                .next()
                .map(|m| (m.pack, m.frame))
        });
        if let Some((pack, frame)) = moved {
            entry.pack = pack;
            entry.frame = frame;
        }
        Some(entry)
    }

    /// Where the chunks of a run of ordinals have their homes now.
    pub fn entries(
        &self,
        run: std::ops::Range<u64>,
    ) -> impl Iterator<Item = (Ordinal, Entry)> + '_ {
        let own = self.segment_of(Ordinal(run.start));
        // The usual case: all in one segment, and none was moved since.
        let still = own.filter(|&at| {
            self.segments[at].holds(Ordinal(run.end.saturating_sub(1)))
                && self.memory.moves.range(run.clone()).next().is_none()
                && !self.segments[at..].iter().any(|newer| newer.has_moves())
        });
        run.map(Ordinal).filter_map(move |ordinal| {
            let entry = match still {
                Some(at) => self.segments[at].entry(ordinal),
                None => self.entry(ordinal),
            };
            Some((ordinal, entry?))
        })
    }

    /// A chunk's id.
    pub fn id(&self, ordinal: Ordinal) -> Option<ChunkId> {
        match ordinal.0.checked_sub(self.memory.first) {
            Some(place) => self.memory.chunks.get(place as usize).map(|chunk| chunk.0),
            None => self.segments[self.segment_of(ordinal)?].id(ordinal),
        }
    }

    /// What a node refers to; nothing for a data chunk.
    pub fn refs(&self, ordinal: Ordinal) -> Vec<Ordinal> {
        match ordinal.0.checked_sub(self.memory.first) {
            Some(place) => self
                .memory
                .chunks
                .get(place as usize)
                .map(|chunk| chunk.2.clone())
                .unwrap_or_default(),
            None => self
                .segment_of(ordinal)
                .map(|at| self.segments[at].refs(ordinal))
                .unwrap_or_default(),
        }
    }

    /// Adds everything that `roots` reach to `reached`, which must be closed under references already.
    pub fn close(&self, reached: &mut RoaringTreemap, roots: impl IntoIterator<Item = Ordinal>) {
        let mut open: Vec<Ordinal> = Vec::new();
        for root in roots {
            if reached.insert(root.0) {
                open.push(root);
            }
            while let Some(ordinal) = open.pop() {
                let refs = self.refs(ordinal);
                // What was sent together has ordinals that follow each other.
                for run in refs.chunk_by(|one, next| next.0 == one.0.wrapping_add(1)) {
                    self.reach(reached, run, &mut open);
                }
            }
        }
    }

    /// Adds a run of ordinals to `reached`, and to `open` those that are new there and refer to anything.
    fn reach(&self, reached: &mut RoaringTreemap, run: &[Ordinal], open: &mut Vec<Ordinal>) {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else {
            return;
        };
        let segments = &self.segments[self.segment_of(first).unwrap_or(self.segments.len())..];
        let old = segments
            .iter()
            .take_while(|segment| segment.first() <= last)
            .flat_map(|segment| segment.referring(first.0, last.0.saturating_add(1)));
        let fresh = run.iter().filter(|ordinal| {
            let place = ordinal.0.checked_sub(self.memory.first);
            let chunk = place.and_then(|place| self.memory.chunks.get(place as usize));
            chunk.is_some_and(|(_, _, refs)| !refs.is_empty())
        });
        let nodes = old.chain(fresh.copied());
        open.extend(nodes.filter(|node| !reached.contains(node.0)));
        reached.insert_range(first.0..=last.0);
    }

    /// Every live node that reaches one of these, and these: children have lower ordinals than what refers to them, so
    /// that one pass upward finds all.
    pub fn reaching(&self, chunks: impl IntoIterator<Item = Ordinal>) -> RoaringTreemap {
        let mut found: RoaringTreemap = chunks.into_iter().map(|ordinal| ordinal.0).collect();
        let from = found.min().map_or(self.next().0, |lowest| lowest + 1);
        for ordinal in (from..self.next().0).map(Ordinal) {
            if !self.absent.contains(ordinal.0)
                && self
                    .refs(ordinal)
                    .iter()
                    .any(|child| found.contains(child.0))
            {
                found.insert(ordinal.0);
            }
        }
        found
    }

    /// How many chunks and moves are in memory.
    pub fn in_memory(&self) -> usize {
        self.memory.chunks.len() + self.memory.moves.len()
    }

    /// Whether anything is in memory that no segment holds.
    pub fn has_unwritten(&self) -> bool {
        !self.memory.chunks.is_empty() || !self.memory.moves.is_empty()
    }

    /// How many chunks are in memory, and in no segment.
    pub fn unwritten(&self) -> usize {
        self.memory.chunks.len()
    }

    /// What is in memory, as a segment's object; [`Self::take_segment`] puts it in the memory's place.
    pub fn memory_segment(&self) -> holdfast_format::Sealed {
        let moves: Vec<Move> = (self.memory.moves.iter())
            .map(|(&ordinal, &(pack, frame))| Move {
                ordinal: Ordinal(ordinal),
                pack,
                frame,
            })
            .collect();
        segment::write(Ordinal(self.memory.first), &self.memory.chunks, &moves)
    }

    /// Puts the segment that [`Self::memory_segment`] made in the memory's place. False, and nothing changes, if the
    /// memory has changed since.
    pub fn take_segment(&mut self, segment: Arc<Segment>) -> bool {
        let fits = segment.first().0 == self.memory.first
            && segment.count() == self.memory.chunks.len() as u64
            && segment.moves().count() == self.memory.moves.len();
        if fits {
            self.memory = Memory {
                first: self.next().0,
                ..Memory::default()
            };
            self.segments.push(segment);
        }
        fits
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// Writes the object of a segment that takes the place of a run of segments: it holds all that they held, homes as they are
    /// now, and the moves of chunks before the run.
    pub fn merge(
        &self,
        run: std::ops::Range<usize>,
        out: &mut dyn std::io::Write,
    ) -> std::io::Result<()> {
        merge::write(&self.segments[run], out)
    }

    /// Puts the outcome of [`Self::merge`] in the run's place.
    pub fn take_merged(&mut self, run: std::ops::Range<usize>, merged: Arc<Segment>) {
        self.segments.splice(run, [merged]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> ChunkId {
        ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn entry(pack: u32) -> Entry {
        Entry {
            pack: PackOrdinal(pack),
            frame: pack + 1,
            len: 5,
        }
    }

    fn flush(index: &mut Index) {
        let bytes = SegmentBytes::Held(index.memory_segment().to_bytes());
        assert!(index.take_segment(Arc::new(Segment::open(bytes).unwrap())));
    }

    /// A run of segments, written anew from what they say of each chunk.
    fn rewritten(index: &Index, run: std::ops::Range<usize>) -> holdfast_format::Sealed {
        let first = index.segments[run.start].first();
        let (mut chunks, mut moves) = (Vec::new(), BTreeMap::new());
        for segment in &index.segments[run] {
            for n in segment.first().0..segment.first().0 + segment.count() {
                let n = Ordinal(n);
                let (id, entry) = (segment.id(n).unwrap(), segment.entry(n).unwrap());
                chunks.push((id, entry, segment.refs(n)));
            }
            for one in segment.moves() {
                match one.ordinal.0.checked_sub(first.0) {
                    None => drop(moves.insert(one.ordinal.0, one)),
                    Some(n) => {
                        chunks[n as usize].1.pack = one.pack;
                        chunks[n as usize].1.frame = one.frame;
                    }
                }
            }
        }
        let moves: Vec<Move> = moves.into_values().collect();
        segment::write(first, &chunks, &moves)
    }

    fn merge(index: &mut Index, run: std::ops::Range<usize>) {
        let mut bytes = Vec::new();
        index.merge(run.clone(), &mut bytes).unwrap();
        assert_eq!(bytes, rewritten(index, run.clone()).to_bytes());
        index.take_merged(
            run,
            Arc::new(Segment::open(SegmentBytes::Held(bytes.into())).unwrap()),
        );
    }

    #[test]
    fn any_number_of_segments_is_asked_newest_first() {
        let mut index = Index::default();
        for n in 0..150 {
            index.add(id(n % 3), entry(0), Vec::new());
            flush(&mut index);
        }
        let found: Vec<u64> = index.find(&id(1)).map(|at| at.0).collect();
        let wanted: Vec<u64> = (0..150).rev().filter(|n| n % 3 == 1).collect();
        assert_eq!(found, wanted);
    }

    proptest! {
        /// Segments are a matter of layout: however the index is flushed and merged, it answers as one that never was.
        #[test]
        fn layout_does_not_matter(steps in prop::collection::vec((0..10u8, 0..60u64), 1..200)) {
            let (mut plain, mut laid) = (Index::default(), Index::default());
            for (n, (what, arg)) in steps.into_iter().enumerate() {
                match what {
                    0..=4 => for index in [&mut plain, &mut laid] {
                        let next = index.next().0;
                        // Some to the first ones, some to the last ones and one more.
                        let refs = match arg % 8 {
                            0 => (0..next.min(3)).map(Ordinal).collect(),
                            4 => [next.saturating_sub(4)..next, 0..next.min(1)].into_iter().flatten().map(Ordinal).collect(),
                            _ => vec![],
                        };
                        index.add(id(arg), entry(n as u32), refs);
                    },
                    5 | 6 => for index in [&mut plain, &mut laid] {
                        if arg < index.next().0 { index.set_home(Ordinal(arg), PackOrdinal(n as u32), 7); }
                    },
                    7 => for index in [&mut plain, &mut laid] {
                        if arg < index.next().0 { index.give_up(&RoaringTreemap::from_iter([arg])); }
                    },
                    8 => flush(&mut laid),
                    _ => {
                        let count = laid.segments().len();
                        if count >= 2 { merge(&mut laid, count - 2..count); }
                    }
                }
            }
            prop_assert_eq!(plain.next(), laid.next());
            for n in 0..plain.next().0 {
                let n = Ordinal(n);
                prop_assert_eq!(plain.entry(n), laid.entry(n));
                prop_assert_eq!(plain.id(n), laid.id(n));
                prop_assert_eq!(plain.refs(n), laid.refs(n));
                prop_assert_eq!(plain.is_live(n), laid.is_live(n));
            }
            let next = plain.next().0;
            for from in 0..next {
                for index in [&plain, &laid] {
                    let one_by_one = (from..next).map(|n| (Ordinal(n), index.entry(Ordinal(n)).unwrap()));
                    prop_assert!(index.entries(from..next).eq(one_by_one));
                    let mut reached = RoaringTreemap::new();
                    index.close(&mut reached, [Ordinal(from)]);
                    let (mut found, mut open) = (BTreeMap::new(), vec![Ordinal(from)]);
                    while let Some(one) = open.pop() {
                        if found.insert(one.0, ()).is_none() {
                            open.extend(index.refs(one));
                        }
                    }
                    prop_assert!(reached.iter().eq(found.into_keys()));
                }
            }
            for n in 0..60 {
                prop_assert_eq!(plain.find(&id(n)).collect::<Vec<_>>(), laid.find(&id(n)).collect::<Vec<_>>());
            }
        }
    }
}
