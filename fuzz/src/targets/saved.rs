//! Checkpoints: manifest, segments, what stands in them.

use holdfast_format::checkpoint::{Manifest, SegmentKind, SegmentRef, open_segment, seal_segment};
use holdfast_format::codec;
use holdfast_format::{ChunkId, Hash, Ordinal};
use holdfast_vault::Catalog;
use holdfast_vault::index::{Segment, SegmentBytes};
use roaring::RoaringTreemap;

use super::marked;
use super::seeds::{POSITION, VAULT};

pub(super) fn manifest(bytes: &[u8]) {
    for object in [bytes, &marked(7, bytes)] {
        let _ = Manifest::open(VAULT, POSITION, Hash::of(object), object);
    }
    if let Ok(manifest) = codec::decode::<Manifest>(bytes) {
        let object = manifest.seal().to_bytes();
        let again = Manifest::open(manifest.vault, manifest.covers, Hash::of(&object), &object);
        assert_eq!(again, Ok(manifest));
    }
}

fn reference(object: &[u8]) -> SegmentRef {
    SegmentRef {
        kind: SegmentKind::Bitmap,
        hash: Hash::of(object),
        len: object.len() as u64,
        first: None,
        count: None,
        name: None,
    }
}

pub(super) fn segment(bytes: &[u8]) {
    let _ = open_segment(&reference(bytes), bytes);
    let object = seal_segment(SegmentKind::Bitmap, bytes).to_bytes();
    assert_eq!(open_segment(&reference(&object), &object), Ok(bytes));
}

pub(super) fn index_segment(bytes: &[u8]) {
    let object = seal_segment(SegmentKind::Index, bytes).to_bytes();
    let Ok(segment) = Segment::open(SegmentBytes::Held(object)) else {
        return;
    };
    let first = segment.first().0;
    // As many as the length of the file allows, which is checked before this.
    for ordinal in (first..first.saturating_add(segment.count())).map(Ordinal) {
        let _ = (segment.entry(ordinal), segment.refs(ordinal));
        if let Some(id) = segment.id(ordinal) {
            assert!(segment.holds(ordinal));
            let _ = segment.find(&id).count();
        }
    }
    for one in segment.moves() {
        let _ = segment.moved(one.ordinal);
    }
    for id in [[0; 32], [0x55; 32], [0xff; 32]] {
        let _ = segment.find(&ChunkId(id)).count();
    }
    for ordinal in [0, segment.first().0, u64::MAX] {
        let _ = segment.id(Ordinal(ordinal));
    }
}

pub(super) fn bitmap(bytes: &[u8]) {
    if let Ok(set) = RoaringTreemap::deserialize_from(bytes) {
        let mut encoded = Vec::new();
        set.serialize_into(&mut encoded).expect("memory takes it");
        let again = RoaringTreemap::deserialize_from(&encoded[..]).expect("it reads what it wrote");
        assert_eq!(again, set);
    }
}

pub(super) fn catalog(bytes: &[u8]) {
    if let Ok(catalog) = minicbor::decode::<Catalog>(bytes) {
        let again = codec::encode(&catalog);
        let again: Catalog = minicbor::decode(&again).expect("it reads what it wrote");
        assert_eq!(again, catalog);
    }
}
