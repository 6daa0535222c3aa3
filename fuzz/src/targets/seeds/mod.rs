//! Bytes that decode, for each target, made from fixed keys and fixed chance.

mod facts;
mod nodes;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
pub(super) use facts::{body, facts, record};
use holdfast_context::{Context, ManualClock};
pub(super) use nodes::node;

use holdfast_format::checkpoint::{Manifest, SEGMENT_BODY_AT, SegmentKind, SegmentRef};
use holdfast_format::codec;
use holdfast_format::fact::*;
use holdfast_format::naming::{Namer, PackFact};
use holdfast_format::{
    AgeIdentity, Bundle, Certificate, Chunk, ChunkId, ChunkKind, ClaimNonce, DataKey, Epoch,
    FrameSealer, Generation, Hash, HoldId, Identity, KeyId, Ordinal, Pack, PackBuilder, PackId,
    PackNumber, PackOrdinal, Position, Recipient, Scope, ScopeKeys, SecretKey, Slot, StateHash,
    Suite, VaultHeader, VaultId,
};
use holdfast_vault::Catalog;
use holdfast_vault::index::{Entry, Index};
use minicbor::Encoder;
use roaring::RoaringTreemap;

pub(super) const VAULT: VaultId = VaultId([2; 16]);
pub(super) const KEY: KeyId = KeyId([4; 16]);
pub(super) const DATA_KEY: [u8; 32] = [5; 32];
pub(super) const POSITION: Position = Position {
    epoch: Epoch(1),
    slot: Slot(3),
};

/// Opens what this module seals, and nothing else anywhere.
const AGE: &str = "AGE-SECRET-KEY-19R24LY7TGA9SCYUYF48ZXVZP8ZUKHLFMUVRSRJFLRGRFUCXVK88SFN30V9";

pub(super) fn root() -> SecretKey {
    SecretKey::new(&[1; 32])
}

pub(super) fn age_identity() -> AgeIdentity {
    AgeIdentity::parse(AGE).expect("it is one")
}

pub(super) fn recipient() -> Recipient {
    Recipient::new("operator", &age_identity().recipient()).expect("it is one")
}

pub(super) fn scope_keys() -> ScopeKeys {
    ScopeKeys::derive(&[6; 32], &[7; 32], &Scope::vault())
}

fn recipients_set() -> RecipientsSet {
    RecipientsSet::sign(
        &root(),
        VAULT,
        Generation(1),
        vec![recipient()],
        Hash([3; 32]),
        4,
    )
}

fn certified() -> Certificate {
    Certificate::make(&root(), VAULT, root().public(), "c1", 5)
}

fn without_mark(object: &[u8]) -> Vec<u8> {
    object[10..].to_vec()
}

pub(super) fn header() -> Vec<Vec<u8>> {
    let name = "db".parse().expect("it is one");
    let header = VaultHeader::new(VAULT, name, root().public(), 7);
    let object = header.seal(&root()).to_bytes();
    vec![object[74..].to_vec(), object.to_vec()]
}

pub(super) fn bundle() -> Vec<Vec<u8>> {
    let bundle = Bundle {
        vault: VAULT,
        name: "db".parse().expect("it is one"),
        root: root().public(),
        recipients: recipients_set(),
        agent: "web1".parse().expect("it is one"),
        scope: Scope::vault(),
        keys: scope_keys(),
    };
    let text = bundle.to_text();
    let letters: String = text.lines().skip(1).collect();
    let object = data_encoding::BASE64
        .decode(letters.as_bytes())
        .expect("it is base64");
    vec![text.into_bytes(), without_mark(&object)]
}

pub(super) fn identity() -> Vec<Vec<u8>> {
    let name = "db".parse().expect("it is one");
    let identity = Identity::new(VAULT, name, age_identity(), root());
    let kit = identity.to_kit(&[("off".into(), "s3://b/p".into())]);
    let file = identity.to_text();
    vec![
        file.as_bytes().to_vec(),
        kit.as_bytes().to_vec(),
        AGE.into(),
    ]
}

pub(super) fn recipients() -> Vec<Vec<u8>> {
    vec![recipients_set().encode()]
}

pub(super) fn certificate() -> Vec<Vec<u8>> {
    vec![certified().encode()]
}

pub(super) fn object_name() -> Vec<Vec<u8>> {
    use holdfast_format::ObjectName;
    let pack = PackId {
        epoch: Epoch(1),
        nonce: ClaimNonce([3; 16]),
        number: PackNumber(7),
    };
    let names = [
        ObjectName::header(VAULT),
        ObjectName::vault_key(VAULT, Generation(1)),
        ObjectName::session_key(VAULT, KEY, Generation(1)),
        ObjectName::pack(VAULT, pack),
        ObjectName::record(VAULT, POSITION),
        ObjectName::segment(VAULT, Hash([9; 32])),
        ObjectName::checkpoint(VAULT, POSITION),
    ];
    names.map(|name| name.as_str().as_bytes().to_vec()).to_vec()
}

pub(super) fn vault_key() -> Vec<Vec<u8>> {
    let mut e = Encoder::new(Vec::new());
    let made = e.map(4).and_then(|e| {
        e.u8(0)?
            .bytes(&VAULT.0)?
            .u8(1)?
            .u8(1)?
            .u8(2)?
            .bytes(&[6; 32])?
            .u8(3)?
            .bytes(&[7; 32])
    });
    made.expect("memory takes it");
    let secrets = holdfast_format::VaultSecrets::new([6; 32], [7; 32]);
    let object = secrets
        .seal(VAULT, Generation(1), &[recipient()])
        .expect("there is a recipient");
    vec![e.into_writer(), object.to_bytes().to_vec()]
}

pub(super) fn session_key() -> Vec<Vec<u8>> {
    let mut e = Encoder::new(Vec::new());
    let made = e.map(4).and_then(|e| {
        e.u8(0)?
            .bytes(&VAULT.0)?
            .u8(1)?
            .bytes(&KEY.0)?
            .u8(2)?
            .str("vault")?
            .u8(3)?
            .bytes(&[5; 32])
    });
    made.expect("memory takes it");
    let key = holdfast_format::SessionKey::seal(
        VAULT,
        KEY,
        Generation(1),
        &Scope::vault(),
        &DataKey::new(Suite::XChaCha20Poly1305, DATA_KEY),
        &[recipient()],
    );
    let object = key.expect("there is a recipient").object;
    vec![e.into_writer(), object.to_bytes().to_vec()]
}

/// As `packs::frame` takes it: kind, count, lengths, codec byte, plaintext.
pub(super) fn frame() -> Vec<Vec<u8>> {
    let text = b"hello hello hello hello hello hello hello hello hello hello ".repeat(9);
    let len = (text.len() as u32).to_le_bytes();
    let lens = [&[0, 2][..], &len[..3], &[0, 0, 0]].concat();
    // A zstd frame of the same text, as a sealer makes it, comes out of a sealed frame only; this is what zstd writes for
    // a block that is stored: magic, single segment with a size of one byte, last raw block.
    let stored = [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 5, 0x29, 0, 0][..], b"hello"].concat();
    vec![
        [&lens[..], &[0], &text].concat(),
        [&[1, 1, 5, 0, 0, 0][..], b"hello"].concat(),
        [&[1, 1, 5, 0, 0, 1][..], &stored].concat(),
        vec![0, 0, 0],
    ]
}

fn made_pack(kind: ChunkKind) -> Pack {
    let context = Context::seeded(1, Arc::new(ManualClock::at(5)));
    let keys = scope_keys();
    let chunk = |n: u8| -> Chunk {
        let bytes = Bytes::from(vec![n; 100]);
        match kind {
            ChunkKind::Data => keys.data(bytes),
            ChunkKind::Node => keys.node(bytes, vec![ChunkId([n; 32]); usize::from(n)]),
        }
    };
    let mut sealer = FrameSealer::new(
        VAULT,
        KEY,
        &DataKey::new(Suite::XChaCha20Poly1305, DATA_KEY),
        1,
    )
    .expect("1 is a level");
    let pack = PackId {
        epoch: Epoch(1),
        nonce: ClaimNonce([3; 16]),
        number: PackNumber(0),
    };
    let mut builder = PackBuilder::new(VAULT, pack, kind, Scope::vault());
    for chunks in [vec![chunk(0)], vec![chunk(1), chunk(2), chunk(3)]] {
        let frame = sealer.seal(&mut context.fork_random(), &chunks);
        builder
            .add(frame.expect("it is small"))
            .expect("it is small");
    }
    builder.finish()
}

const KINDS: [ChunkKind; 2] = [ChunkKind::Data, ChunkKind::Node];

pub(super) fn footer() -> Vec<Vec<u8>> {
    let encoded = KINDS.map(|kind| made_pack(kind).footer.encode());
    encoded.iter().map(|footer| without_mark(footer)).collect()
}

pub(super) fn pack() -> Vec<Vec<u8>> {
    KINDS
        .map(|kind| made_pack(kind).body.to_bytes().to_vec())
        .to_vec()
}

fn named(kind: ChunkKind) -> PackFact {
    let known: BTreeSet<ChunkId> = (0..4).map(|n| ChunkId([n; 32])).collect();
    let known = |_: &Scope, id: &ChunkId| known.contains(id).then(|| Ordinal(u64::from(id.0[0])));
    let mut namer = Namer::new(Ordinal(10), known);
    let pack = made_pack(kind);
    // One chunk is carried along and not named.
    let last = pack.footer.chunks.last().map(|chunk| chunk.id);
    let fact = namer.name(&pack, |id| Some(*id) != last);
    fact.expect("its children are known")
}

pub(super) fn pack_fact() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (n, kind) in KINDS.into_iter().enumerate() {
        let fact = named(kind);
        seeds.push(codec::encode(&fact));
        let mut split = vec![10, 0, 0, n as u8, fact.frames.len() as u8];
        split.extend_from_slice(&fact.frames);
        split.extend_from_slice(&(fact.chunks.len() as u16).to_le_bytes());
        split.extend_from_slice(&fact.chunks);
        split.extend_from_slice(&fact.refs);
        seeds.push(split);
    }
    seeds
}

pub(super) fn manifest() -> Vec<Vec<u8>> {
    let segment = SegmentRef {
        kind: SegmentKind::Index,
        hash: Hash([1; 32]),
        len: 100,
        first: Some(Ordinal(0)),
        count: Some(9),
        name: Some("absent".into()),
    };
    let manifest = Manifest {
        vault: VAULT,
        covers: POSITION,
        record: Hash([2; 32]),
        state: StateHash::default(),
        segments: vec![segment],
        next_ordinal: Ordinal(9),
    };
    vec![codec::encode(&manifest)]
}

pub(super) fn segment() -> Vec<Vec<u8>> {
    let object = holdfast_format::checkpoint::seal_segment(SegmentKind::Bitmap, b"body");
    vec![object.to_bytes().to_vec()]
}

pub(super) fn index_segment() -> Vec<Vec<u8>> {
    let mut index = Index::default();
    for n in 0..20u8 {
        let refs = (0..u64::from(n % 4)).map(Ordinal).collect();
        let entry = Entry {
            pack: PackOrdinal(1),
            frame: u32::from(n),
            len: 5,
        };
        index.add(ChunkId([n.wrapping_mul(37); 32]), entry, refs);
    }
    let first = index.memory_segment().to_bytes();
    let moved = [&1u64.to_le_bytes()[..], &[1, 0, 0, 0, 2, 0, 0, 0]].concat();
    let mut second = first[SEGMENT_BODY_AT..].to_vec();
    second[32] = 1;
    second.extend_from_slice(&moved);
    vec![first[SEGMENT_BODY_AT..].to_vec(), second]
}

pub(super) fn bitmap() -> Vec<Vec<u8>> {
    let sets = [
        RoaringTreemap::new(),
        RoaringTreemap::from_iter([1, 5, 70_000, 1 << 40]),
        RoaringTreemap::from_iter((0..9000).map(|n| n * 2)),
        RoaringTreemap::from_iter(0..200_000),
    ];
    let encoded = sets.map(|set| {
        let mut out = Vec::new();
        set.serialize_into(&mut out).expect("memory takes it");
        out
    });
    encoded.to_vec()
}

pub(super) fn catalog() -> Vec<Vec<u8>> {
    let mut catalog = Catalog {
        primary: Some("on".parse().expect("it is one")),
        recipients: Some(recipients_set()),
        policy: "version = 1".into(),
        next_pack: 3,
        stale: vec![Ordinal(4)],
        ..Catalog::default()
    };
    let hold = holdfast_vault::fold::catalog::Hold {
        cover: Cover::Vault,
        why: "why".into(),
        who: "who".into(),
        until_millis: None,
        by_restore: false,
        placed_millis: 4,
    };
    catalog.holds.insert(HoldId([1; 16]), hold);
    vec![codec::encode(&catalog)]
}
