//! How a record names packs and chunks: compactly, by ordinals wherever the log already has one.
//!
//! A chunk gets its ordinal from the first record that names it. The fact lists a pack's chunks in their order in the
//! pack: a new chunk by its id, a known one (moved by the collector, or sent twice) by its ordinal, and one that came
//! along in a copied frame and is needed by nobody not at all. A node's references are ordinals too: children come
//! first, so each has one.

use std::collections::{HashMap, HashSet};

use minicbor::{Decode, Encode};

use crate::chunk::{CHUNK_BYTES_MAX, ChunkKind, NODE_REFS_MAX};
use crate::codec::{put_varint, take_bytes, take_varint};
use crate::error::{Error, Result};
use crate::frame::FRAME_CHUNKS_MAX;
use crate::id::{ChunkId, Hash, KeyId, Ordinal, PackNumber, Scope};
use crate::pack::{Footer, Pack};

/// A pack as a record adds it. The record's epoch and nonce complete its name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PackFact {
    /// Its number within the claim.
    #[n(0)]
    pub number: PackNumber,
    /// 0 data, 1 nodes.
    #[n(1)]
    pub kind: u8,
    /// The dedup scope of all its chunks.
    #[n(2)]
    pub scope: Scope,
    /// The data keys that its frames use.
    #[n(3)]
    pub keys: Vec<KeyId>,
    /// Length of the whole object, bytes.
    #[n(4)]
    pub len: u64,
    /// Where the footer starts.
    #[n(5)]
    pub footer_offset: u64,
    /// Length of the footer, bytes.
    #[n(6)]
    pub footer_len: u64,
    /// BLAKE3 of the footer.
    #[n(7)]
    pub footer_hash: Hash,
    /// For each frame two numbers: length of its sealed bytes, how many chunks.
    #[n(8)]
    #[cbor(with = "minicbor::bytes")]
    pub frames: Vec<u8>,
    /// For each chunk: its length × 4 + how it is named (0 new, 1 known, 2 not indexed), then the 32 bytes of its id if
    /// it is new, its ordinal if it is known, nothing if it is not indexed.
    #[n(9)]
    #[cbor(with = "minicbor::bytes")]
    pub chunks: Vec<u8>,
    /// Of a pack of nodes, for each new chunk: how many references, then each reference's ordinal as the
    /// zigzag-coded difference to the one before (the first: to 0).
    #[n(10)]
    #[cbor(with = "minicbor::bytes")]
    pub refs: Vec<u8>,
}

/// How a fact names one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedAs {
    /// For the first time: it gets the next ordinal.
    New(ChunkId),
    /// It has this ordinal already.
    Known(Ordinal),
    /// Not at all: it lies in a frame that was copied for other chunks' sake, and nobody needs it. Only the footer
    /// keeps its id, which the frame's seal covers.
    Unindexed,
}

const NEW: u64 = 0;
const KNOWN: u64 = 1;
const UNINDEXED: u64 = 2;

/// One chunk of a [`PackFact`], unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedChunk {
    /// How it is named.
    pub name: NamedAs,
    /// Length of its plaintext, bytes.
    pub len: u32,
    /// Index of its frame in the pack.
    pub frame: u32,
    /// Of a new node: its references.
    pub refs: Vec<Ordinal>,
}

/// Why a pack cannot be named: a node refers to chunks that are not live, in this scope, and named before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingChildren(pub Vec<ChunkId>);

/// Hands out ordinals for the packs of one record, in order.
#[derive(Debug)]
pub struct Namer<F> {
    known: F,
    fresh: HashMap<Scope, HashMap<ChunkId, Ordinal>>,
    next: Ordinal,
}

impl<F: Fn(&Scope, &ChunkId) -> Option<Ordinal>> Namer<F> {
    /// `known` answers which ordinal a live chunk of a scope has; `next` is the next free ordinal.
    pub fn new(next: Ordinal, known: F) -> Self {
        Self {
            known,
            fresh: HashMap::new(),
            next,
        }
    }

    /// The ordinal of a chunk that is live or was named by an earlier pack of this record.
    pub fn ordinal(&self, scope: &Scope, id: &ChunkId) -> Option<Ordinal> {
        self.fresh
            .get(scope)
            .and_then(|fresh| fresh.get(id))
            .copied()
            .or_else(|| (self.known)(scope, id))
    }

    /// The next free ordinal.
    pub fn next(&self) -> Ordinal {
        self.next
    }

    /// Names a finished pack: chunks that are live keep their ordinals, of the others those that `takes` wants become
    /// new ones. On [`MissingChildren`] nothing was named.
    pub fn name(
        &mut self,
        pack: &Pack,
        takes: impl Fn(&ChunkId) -> bool,
    ) -> std::result::Result<PackFact, MissingChildren> {
        let footer = &pack.footer;
        let scope = &footer.scope;
        // First look, then name: a refused pack must leave no trace.
        let mut inside: HashSet<ChunkId> = HashSet::new();
        let mut missing = Vec::new();
        for chunk in &footer.chunks {
            // A known node's references are live, else it would not be.
            let known = self.ordinal(scope, &chunk.id).is_some();
            if known || takes(&chunk.id) {
                for child in chunk.refs.iter().filter(|_| !known) {
                    if !inside.contains(child) && self.ordinal(scope, child).is_none() {
                        missing.push(*child);
                    }
                }
                inside.insert(chunk.id);
            }
        }
        if !missing.is_empty() {
            return Err(MissingChildren(missing));
        }
        let (mut chunks, mut refs) = (Vec::new(), Vec::new());
        for chunk in &footer.chunks {
            let head = u64::from(chunk.len) << 2;
            if let Some(ordinal) = self.ordinal(scope, &chunk.id) {
                put_varint(&mut chunks, head | KNOWN);
                put_varint(&mut chunks, ordinal.0);
                continue;
            }
            if !takes(&chunk.id) {
                put_varint(&mut chunks, head | UNINDEXED);
                continue;
            }
            put_varint(&mut chunks, head | NEW);
            chunks.extend_from_slice(&chunk.id.0);
            if footer.kind == ChunkKind::Node {
                put_varint(&mut refs, chunk.refs.len() as u64);
                let mut before = 0u64;
                for child in &chunk.refs {
                    // Present: looked up above, or named earlier in this loop.
                    let child = self.ordinal(scope, child).map_or(0, |ordinal| ordinal.0);
                    put_varint(&mut refs, zigzag(before, child));
                    before = child;
                }
            }
            self.fresh
                .entry(scope.clone())
                .or_default()
                .insert(chunk.id, self.next);
            self.next = self.next.next();
        }
        Ok(PackFact {
            number: footer.pack.number,
            kind: footer.kind.byte(),
            scope: scope.clone(),
            keys: footer.keys.clone(),
            len: pack.body.len(),
            footer_offset: footer.offset(),
            footer_len: pack.footer_len,
            footer_hash: pack.footer_hash,
            frames: pack_frames(footer),
            chunks,
            refs,
        })
    }
}

fn pack_frames(footer: &Footer) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in &footer.frames {
        put_varint(&mut out, u64::from(frame.len));
        put_varint(&mut out, u64::from(frame.chunks));
    }
    out
}

fn zigzag(before: u64, after: u64) -> u64 {
    let difference = after.wrapping_sub(before) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

fn unzigzag(before: u64, coded: u64) -> u64 {
    let difference = (coded >> 1) as i64 ^ -((coded & 1) as i64);
    before.wrapping_add(difference as u64)
}

impl PackFact {
    /// Data or nodes.
    pub fn chunk_kind(&self) -> Result<ChunkKind> {
        ChunkKind::from_byte(self.kind)
    }

    /// Lengths of the frames' sealed bytes.
    pub fn frame_lens(&self) -> Result<Vec<u32>> {
        Ok(self.frame_list()?.into_iter().map(|(len, _)| len).collect())
    }

    fn frame_list(&self) -> Result<Vec<(u32, u32)>> {
        let what = "a pack in a record";
        let mut rest = self.frames.as_slice();
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let len = u32::try_from(take_varint(what, &mut rest)?);
            let count = take_varint(what, &mut rest)?;
            match len {
                Ok(len) if count >= 1 && count <= FRAME_CHUNKS_MAX as u64 => {
                    frames.push((len, count as u32))
                }
                _ => return Err(Error::corrupt(what, "a frame's numbers are impossible")),
            }
        }
        if frames.iter().map(|&(len, _)| u64::from(len)).sum::<u64>() != self.footer_offset {
            return Err(Error::corrupt(what, "its frames do not fill it"));
        }
        Ok(frames)
    }

    /// Unpacks the chunks. `next` is the ordinal that the first new chunk gets; a reference must be below the
    /// ordinal of the node that has it.
    pub fn unpack(&self, next: Ordinal) -> Result<Vec<NamedChunk>> {
        let what = "a pack in a record";
        let kind = self.chunk_kind()?;
        let (mut chunks, mut refs) = (self.chunks.as_slice(), self.refs.as_slice());
        let mut next = next.0;
        let mut out = Vec::new();
        for (frame, (_, count)) in self.frame_list()?.into_iter().enumerate() {
            for _ in 0..count {
                let head = take_varint(what, &mut chunks)?;
                let len = head >> 2;
                if len > CHUNK_BYTES_MAX as u64 {
                    return Err(Error::corrupt(what, "a chunk is impossibly long"));
                }
                let mut named = NamedChunk {
                    name: NamedAs::Unindexed,
                    len: len as u32,
                    frame: frame as u32,
                    refs: Vec::new(),
                };
                match head & 3 {
                    NEW => {
                        let id = take_bytes(what, &mut chunks, 32)?;
                        named.name = NamedAs::New(ChunkId::from_slice(id)?);
                        if kind == ChunkKind::Node {
                            named.refs = take_refs(&mut refs, next)?;
                        }
                        next += 1;
                    }
                    KNOWN => {
                        let ordinal = take_varint(what, &mut chunks)?;
                        if ordinal >= next {
                            return Err(Error::corrupt(what, "a known chunk was never named"));
                        }
                        named.name = NamedAs::Known(Ordinal(ordinal));
                    }
                    UNINDEXED => {}
                    _ => return Err(Error::corrupt(what, "a chunk is named in no known way")),
                }
                out.push(named);
            }
        }
        if !chunks.is_empty() || !refs.is_empty() {
            return Err(Error::corrupt(what, "bytes follow its chunks"));
        }
        Ok(out)
    }
}

fn take_refs(refs: &mut &[u8], own: u64) -> Result<Vec<Ordinal>> {
    let what = "a node in a record";
    let count = take_varint(what, refs)? as usize;
    if count > NODE_REFS_MAX || count > refs.len() {
        return Err(Error::corrupt(what, "it has too many references"));
    }
    let mut list = Vec::with_capacity(count);
    let mut before = 0u64;
    for _ in 0..count {
        before = unzigzag(before, take_varint(what, refs)?);
        if before >= own {
            return Err(Error::corrupt(
                what,
                "it refers to what was not named before it",
            ));
        }
        list.push(Ordinal(before));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, FrameChunk};
    use crate::id::{ClaimNonce, Epoch, PackId, VaultId};
    use crate::pack::PackBuilder;

    fn id(n: u64) -> ChunkId {
        ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn pack(kind: ChunkKind, chunks: &[(u64, Vec<u64>)]) -> Pack {
        let name = PackId {
            epoch: Epoch(1),
            nonce: ClaimNonce([0; 16]),
            number: PackNumber(0),
        };
        let mut builder = PackBuilder::new(VaultId([0; 16]), name, kind, Scope::vault());
        for pair in chunks.chunks(2) {
            let chunks = pair
                .iter()
                .map(|(n, refs)| FrameChunk {
                    id: id(*n),
                    len: 7,
                    refs: refs.iter().map(|&r| id(r)).collect(),
                })
                .collect();
            builder
                .add(Frame {
                    key: KeyId([1; 16]),
                    kind,
                    chunks,
                    sealed: Bytes::from(vec![0; 50]),
                })
                .unwrap();
        }
        builder.finish()
    }

    #[test]
    fn new_chunks_get_ordinals_in_order_and_known_ones_keep_theirs() {
        let mut namer = Namer::new(Ordinal(10), |_: &Scope, c: &ChunkId| {
            (*c == id(3)).then_some(Ordinal(4))
        });
        let data = namer
            .name(
                &pack(ChunkKind::Data, &[(1, vec![]), (3, vec![]), (2, vec![])]),
                |_| true,
            )
            .unwrap();
        let named = data.unpack(Ordinal(10)).unwrap();
        assert_eq!(named[0].name, NamedAs::New(id(1)));
        assert_eq!(named[1].name, NamedAs::Known(Ordinal(4)));
        assert_eq!((named[2].name, named[2].frame), (NamedAs::New(id(2)), 1));
        let nodes = namer
            .name(
                &pack(ChunkKind::Node, &[(5, vec![2, 1, 3, 2]), (6, vec![5])]),
                |_| true,
            )
            .unwrap();
        let named = nodes.unpack(Ordinal(12)).unwrap();
        assert_eq!(named[0].refs, [11, 10, 4, 11].map(Ordinal));
        assert_eq!(named[1].refs, [Ordinal(12)]);
        assert_eq!(namer.next(), Ordinal(14));
    }

    #[test]
    fn a_node_before_its_children_is_refused_and_leaves_no_trace() {
        let mut namer = Namer::new(Ordinal(0), |_: &Scope, _: &ChunkId| None);
        let refused = namer.name(&pack(ChunkKind::Node, &[(5, vec![6]), (6, vec![])]), |_| {
            true
        });
        assert_eq!(refused, Err(MissingChildren(vec![id(6)])));
        assert_eq!(namer.next(), Ordinal(0));
        assert_eq!(namer.ordinal(&Scope::vault(), &id(6)), None);
    }

    /// A copied frame may hold dead nodes whose children are gone: they are carried along and not named.
    #[test]
    fn what_nobody_needs_is_carried_along_unnamed() {
        let known = |_: &Scope, c: &ChunkId| (*c == id(3)).then_some(Ordinal(4));
        let mut namer = Namer::new(Ordinal(10), known);
        let copied = pack(ChunkKind::Node, &[(3, vec![8]), (5, vec![9]), (6, vec![3])]);
        let fact = namer.name(&copied, |c| *c == id(6)).unwrap();
        let named = fact.unpack(Ordinal(10)).unwrap();
        let names: Vec<NamedAs> = named.iter().map(|chunk| chunk.name).collect();
        assert_eq!(
            names,
            [
                NamedAs::Known(Ordinal(4)),
                NamedAs::Unindexed,
                NamedAs::New(id(6))
            ]
        );
        assert_eq!(named[2].refs, [Ordinal(4)]);
        assert_eq!(namer.next(), Ordinal(11));
    }

    proptest! {
        #[test]
        fn zigzag_round_trips(a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(unzigzag(a, zigzag(a, b)), b);
        }

        #[test]
        fn no_bytes_panic(frames in prop::collection::vec(any::<u8>(), 0..20), chunks in prop::collection::vec(any::<u8>(), 0..200), refs in prop::collection::vec(any::<u8>(), 0..50), kind in 0..2u8) {
            let mut fact = Namer::new(Ordinal(0), |_: &Scope, _: &ChunkId| None).name(&pack(ChunkKind::Data, &[(1, vec![])]), |_| true).unwrap();
            fact.chunks = chunks;
            fact.refs = refs;
            fact.kind = kind;
            let _ = fact.unpack(Ordinal(100));
            fact.frames = frames;
            let _ = fact.unpack(Ordinal(100));
        }
    }
}
