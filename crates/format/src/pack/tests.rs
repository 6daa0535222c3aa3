use proptest::prelude::*;

use super::*;

fn pack(frames: usize, kind: ChunkKind) -> Pack {
    let id = PackId {
        epoch: Epoch(7),
        nonce: ClaimNonce([8; 16]),
        number: PackNumber(9),
    };
    let mut builder = PackBuilder::new(VaultId([1; 16]), id, kind, "agent/a".parse().unwrap());
    for n in 0..frames {
        let chunks = (0..=n % 3)
            .map(|c| FrameChunk {
                id: ChunkId([(n * 3 + c) as u8; 32]),
                len: 5,
                refs: match kind {
                    ChunkKind::Data => vec![],
                    ChunkKind::Node => vec![ChunkId([c as u8; 32]); n],
                },
            })
            .collect();
        let sealed = vec![n as u8; 100 + n].into();
        builder
            .add(Frame {
                key: KeyId([(n % 2) as u8; 16]),
                kind,
                chunks,
                sealed,
            })
            .unwrap();
    }
    builder.finish()
}

#[test]
fn a_pack_verifies_without_a_key() {
    for kind in [ChunkKind::Data, ChunkKind::Node] {
        let pack = pack(5, kind);
        let bytes = pack.body.to_bytes();
        let footer = verify_pack(pack.footer.pack, pack.footer_hash, &bytes).unwrap();
        assert_eq!(footer, pack.footer);
        let frame = &footer.frames[3];
        let sealed =
            bytes.slice(frame.offset as usize..(frame.offset + u64::from(frame.len)) as usize);
        assert_eq!(
            footer.frame(3, sealed).unwrap().chunks,
            footer.frame_chunks(frame)
        );
    }
}

proptest! {
    #[test]
    fn any_change_is_found(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let pack = pack(4, ChunkKind::Node);
        let mut bytes = pack.body.to_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
        prop_assert!(verify_pack(pack.footer.pack, pack.footer_hash, &bytes).is_err());
    }

    #[test]
    fn no_footer_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Footer::decode(&bytes);
        let mut marked = Mark::PackFooter.bytes().to_vec();
        marked.append(&mut bytes);
        let _ = Footer::decode(&marked);
    }
}
