//! Checkpoints: a small manifest that names the immutable segments of a saved fold. One counts only if a record on
//! the chain names its hash.

use minicbor::{Decode, Encode};

use crate::codec::{self, Body, Mark};
use crate::error::{Error, Result};
use crate::id::{Hash, Ordinal, Position, VaultId};
use crate::object::Sealed;
use crate::state_hash::StateHash;

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum SegmentKind {
    /// A run of the chunk index.
    #[n(0)]
    Index,
    /// Everything else: snapshots, sessions, packs, members, holds.
    #[n(1)]
    Catalog,
    /// A set of ordinals.
    #[n(2)]
    Bitmap,
}

/// One segment as a manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SegmentRef {
    /// What it holds.
    #[n(0)]
    pub kind: SegmentKind,
    /// BLAKE3 of the object: its name.
    #[n(1)]
    pub hash: Hash,
    /// Its length, bytes.
    #[n(2)]
    pub len: u64,
    /// Of an index segment: its first ordinal.
    #[n(3)]
    pub first: Option<Ordinal>,
    /// Of an index segment: how many ordinals it spans.
    #[n(4)]
    pub count: Option<u64>,
    /// Of a bitmap: its name, `absent` or `stale`.
    #[n(5)]
    pub name: Option<String>,
}

/// A checkpoint's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// The vault.
    #[n(0)]
    pub vault: VaultId,
    /// The last record that it covers.
    #[n(1)]
    pub covers: Position,
    /// That record's hash.
    #[n(2)]
    pub record: Hash,
    /// Hash of the folded state.
    #[n(3)]
    pub state: StateHash,
    /// The segments.
    #[n(4)]
    pub segments: Vec<SegmentRef>,
    /// The next free ordinal.
    #[n(5)]
    pub next_ordinal: Ordinal,
}

impl Body for Manifest {
    const KEYS: u64 = 6;
    const WHAT: &'static str = "a checkpoint";
}

impl Manifest {
    /// The object.
    pub fn seal(&self) -> Sealed {
        let mut out = Mark::Checkpoint.bytes().to_vec();
        out.extend_from_slice(&codec::encode(self));
        Sealed::from_bytes(out)
    }

    /// Reads the object; `hash` is what the chain says it is.
    pub fn open(vault: VaultId, covers: Position, hash: Hash, object: &[u8]) -> Result<Self> {
        let what = format!("checkpoint {covers}");
        if Hash::of(object) != hash {
            return Err(Error::corrupt(
                what,
                "it does not have the hash that the log gives",
            ));
        }
        let manifest: Self = codec::decode(Mark::Checkpoint.strip(&what, object)?)?;
        if (manifest.vault, manifest.covers) != (vault, covers) {
            return Err(Error::Misplaced {
                object: what,
                belongs_to: format!("vault {} at {}", manifest.vault, manifest.covers),
            });
        }
        Ok(manifest)
    }
}

/// A segment's object: `mark ‖ kind ‖ body`. Its name is its hash, so it needs no other check.
pub fn seal_segment(kind: SegmentKind, body: &[u8]) -> Sealed {
    let mut out = Vec::with_capacity(body.len() + 11);
    out.extend_from_slice(&Mark::Segment.bytes());
    out.push(kind as u8);
    out.extend_from_slice(body);
    Sealed::from_bytes(out)
}

/// How many bytes stand before a segment's body.
pub const SEGMENT_BODY_AT: usize = codec::MARK_LEN + 1;

/// Checks a segment's hash and kind, and gives its body.
pub fn open_segment<'b>(reference: &SegmentRef, object: &'b [u8]) -> Result<&'b [u8]> {
    let what = format!("segment {}", reference.hash);
    if object.len() as u64 != reference.len || Hash::of(object) != reference.hash {
        return Err(Error::corrupt(
            what,
            "its bytes do not have the hash that is its name",
        ));
    }
    let rest = Mark::Segment.strip(&what, object)?;
    match rest.split_first() {
        Some((&kind, body)) if kind == reference.kind as u8 => Ok(body),
        _ => Err(Error::corrupt(what, "it is of another kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Epoch, Slot};

    #[test]
    fn manifest_and_segment_are_found_out_when_changed() {
        let body = b"entries";
        let object = seal_segment(SegmentKind::Catalog, body).to_bytes();
        let reference = SegmentRef {
            kind: SegmentKind::Catalog,
            hash: Hash::of(&object),
            len: object.len() as u64,
            first: None,
            count: None,
            name: None,
        };
        assert_eq!(open_segment(&reference, &object).unwrap(), body);
        assert!(open_segment(&reference, &object[1..]).is_err());
        let wrong = SegmentRef {
            kind: SegmentKind::Bitmap,
            ..reference.clone()
        };
        assert!(open_segment(&wrong, &object).is_err());

        let covers = Position {
            epoch: Epoch(1),
            slot: Slot(2),
        };
        let manifest = Manifest {
            vault: VaultId([1; 16]),
            covers,
            record: Hash([2; 32]),
            state: StateHash::default(),
            segments: vec![reference],
            next_ordinal: Ordinal(9),
        };
        let object = manifest.seal().to_bytes();
        let hash = Hash::of(&object);
        assert_eq!(
            Manifest::open(manifest.vault, covers, hash, &object).unwrap(),
            manifest
        );
        assert!(Manifest::open(VaultId([9; 16]), covers, hash, &object).is_err());
        assert!(Manifest::open(manifest.vault, covers, Hash([0; 32]), &object).is_err());
    }
}
