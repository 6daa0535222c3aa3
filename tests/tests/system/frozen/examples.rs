//! The worked examples of `docs/FORMAT.md`: the library opens them and gives what the page says.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use holdfast_format::chunk::ChunkKind;
use holdfast_format::frame::open_frame;
use holdfast_format::pack::verify_pack;
use holdfast_format::{
    ChunkId, ClaimNonce, DataKey, Epoch, Hash, KeyId, PackId, PackNumber, Scope, ScopeKeys,
    SecretKey, Suite, VaultHeader, VaultId,
};

/// The page's blocks of hexadecimal, by name.
fn examples() -> BTreeMap<String, Vec<u8>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMAT.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut found = BTreeMap::new();
    for block in page.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let digits = rest.split("```").next().unwrap();
        let digits: String = digits.split_whitespace().collect();
        let bytes = HEXLOWER.decode(digits.as_bytes()).unwrap();
        found.insert(name.to_owned(), bytes);
    }
    found
}

#[test]
fn docs_examples() {
    let examples = examples();
    let vault = VaultId([2; 16]);
    let header = VaultHeader::open(vault, &examples["header"]).unwrap();
    let root = SecretKey::new(&[1; 32]);
    assert_eq!((header.name.as_str(), header.root), ("db", root.public()));
    assert_eq!(header.seal(&root).to_bytes(), examples["header"]);
    assert_eq!(header.chain_hash().as_bytes()[..], examples["header-hash"]);

    let keys = ScopeKeys::derive(&[6; 32], &[7; 32], &Scope::vault());
    let id = keys.data_id(b"hello\n");
    assert_eq!(id.as_bytes()[..], examples["chunk-id"]);
    // The id key itself is no one's to see: the page's example is checked by what it gives.
    let key: [u8; 32] = examples["data-id-key"].clone().try_into().unwrap();
    assert_eq!(ChunkId(*blake3_keyed(&key, b"hello\n").as_bytes()), id);

    let pack = PackId {
        epoch: Epoch(1),
        nonce: ClaimNonce([3; 16]),
        number: PackNumber(0),
    };
    let hash = Hash::from_slice(&examples["footer-hash"]).unwrap();
    let bytes = Bytes::from(examples["pack"].clone());
    let footer = verify_pack(pack, hash, &bytes).unwrap();
    assert_eq!(footer.kind, ChunkKind::Data);
    let frame = footer.frame(0, bytes.slice(..47)).unwrap();
    assert_eq!(frame.sealed, examples["frame"]);
    assert_eq!(frame.key, KeyId([4; 16]));
    let chunks = open_frame(
        vault,
        &DataKey::new(Suite::XChaCha20Poly1305, [5; 32]),
        &keys,
        &frame,
    )
    .unwrap();
    assert_eq!(chunks, [Bytes::from_static(b"hello\n")]);
    let aad = &examples["frame-aad"];
    assert_eq!((&aad[..16], &aad[37..69]), (&[2; 16][..], &id.0[..]));
}

fn blake3_keyed(key: &[u8; 32], bytes: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(key, bytes)
}
