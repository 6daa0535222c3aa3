//! Frames, footers, packs, and how a record names a pack.

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use holdfast_format::naming::{NamedAs, PackFact};
use holdfast_format::pack::{footer_len, verify_pack};
use holdfast_format::{
    CHUNK_BYTES_MAX, ChunkId, ChunkKind, DataKey, Footer, Frame, FrameChunk, Hash, Ordinal, Scope,
    Suite, open_frame,
};

use super::seeds::{DATA_KEY, KEY, VAULT, scope_keys};
use super::{marked, number, take};

/// What is under the cipher: the bytes tell kind, lengths of chunks, and the plaintext with its codec byte.
pub(super) fn frame(mut bytes: &[u8]) {
    let keys = scope_keys();
    let kind = match number(&mut bytes, 1) & 1 {
        0 => ChunkKind::Data,
        _ => ChunkKind::Node,
    };
    let count = number(&mut bytes, 1) as usize % 9;
    let lens: Vec<u32> = (0..count).map(|_| number(&mut bytes, 3) as u32).collect();
    let plain = bytes;
    // Where nothing is compressed, the chunks get the ids that they should have.
    let mut rest = plain.get(1..).unwrap_or_default();
    let raw = plain.first() == Some(&0);
    let chunks: Vec<FrameChunk> = (lens.into_iter())
        .map(|len| {
            let part = take(&mut rest, len as usize);
            let id = match (raw, kind) {
                (true, ChunkKind::Data) => keys.data_id(part),
                (true, ChunkKind::Node) => keys.node_id(part, &[]),
                (false, _) => ChunkId([0; 32]),
            };
            let refs = Vec::new();
            FrameChunk { id, len, refs }
        })
        .collect();
    let mut aad = [&VAULT.0[..], &KEY.0, &[kind.byte()]].concat();
    aad.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    for chunk in &chunks {
        aad.extend_from_slice(&chunk.id.0);
        aad.extend_from_slice(&chunk.len.to_le_bytes());
    }
    let cipher = XChaCha20Poly1305::new(&DATA_KEY.into());
    let payload = Payload {
        msg: plain,
        aad: &aad,
    };
    let nonce = XNonce::from([8; 24]);
    let sealed = cipher.encrypt(&nonce, payload).expect("it is short");
    let sealed: Bytes = [&nonce[..], &sealed].concat().into();
    let frame = Frame {
        key: KEY,
        kind,
        chunks,
        sealed,
    };
    if let Ok(opened) = open_frame(
        VAULT,
        &DataKey::new(Suite::XChaCha20Poly1305, DATA_KEY),
        &keys,
        &frame,
    ) {
        let lens = frame.chunks.iter().map(|chunk| chunk.len as usize);
        assert!(opened.iter().map(Bytes::len).eq(lens));
        if raw {
            assert_eq!(opened.concat(), plain[1..]);
        }
    }
    // As it would come from a site: no cipher's check can hold.
    let frame = Frame {
        sealed: Bytes::copy_from_slice(plain),
        ..frame
    };
    assert!(
        open_frame(
            VAULT,
            &DataKey::new(Suite::XChaCha20Poly1305, [9; 32]),
            &keys,
            &frame
        )
        .is_err()
    );
}

pub(super) fn footer(bytes: &[u8]) {
    for encoded in [bytes, &marked(4, bytes)] {
        if let Ok(footer) = Footer::decode(encoded) {
            assert_eq!(Footer::decode(&footer.encode()), Ok(footer.clone()));
            let chunks = footer.frames.iter().map(|frame| footer.frame_chunks(frame));
            assert_eq!(chunks.map(<[_]>::len).sum::<usize>(), footer.chunks.len());
        }
    }
}

pub(super) fn pack(bytes: &[u8]) {
    let Some(trailer_at) = bytes.len().checked_sub(16) else {
        return;
    };
    let Ok(len) = footer_len(&bytes[trailer_at..]) else {
        return;
    };
    let at = trailer_at.saturating_sub(len as usize);
    let encoded = &bytes[at..trailer_at];
    let Ok(footer) = Footer::decode(encoded) else {
        return;
    };
    if let Ok(verified) = verify_pack(footer.pack, Hash::of(encoded), bytes) {
        assert_eq!(verified, footer);
        for (n, frame) in footer.frames.iter().enumerate() {
            let sealed = &bytes[frame.offset as usize..][..frame.len as usize];
            let frame = footer.frame(n, Bytes::copy_from_slice(sealed));
            assert!(frame.is_ok());
        }
    }
}

pub(super) fn pack_fact(bytes: &[u8]) {
    if let Ok(fact) = minicbor::decode::<PackFact>(bytes) {
        unpack(&fact, Ordinal(1 << 40));
    }
    let mut rest = bytes;
    let next = Ordinal(number(&mut rest, 3));
    let kind = (number(&mut rest, 1) & 1) as u8;
    let frames_len = number(&mut rest, 1) as usize;
    let frames = take(&mut rest, frames_len).to_vec();
    let chunks_len = number(&mut rest, 2) as usize;
    let chunks = take(&mut rest, chunks_len).to_vec();
    let fact = PackFact {
        number: holdfast_format::PackNumber(0),
        kind,
        scope: Scope::vault(),
        keys: vec![KEY],
        len: 0,
        footer_offset: sum_of_lengths(&frames),
        footer_len: 0,
        footer_hash: Hash([0; 32]),
        frames,
        chunks,
        refs: rest.to_vec(),
    };
    unpack(&fact, next);
}

fn unpack(fact: &PackFact, next: Ordinal) {
    let Ok(chunks) = fact.unpack(next) else {
        return;
    };
    let frames = fact.frame_lens().expect("they were read before").len();
    let mut own = next.0;
    let mut before = 0;
    for chunk in &chunks {
        assert!(chunk.len as usize <= CHUNK_BYTES_MAX);
        assert!(chunk.frame >= before && (chunk.frame as usize) < frames);
        before = chunk.frame;
        assert!(chunk.refs.iter().all(|child| child.0 < own));
        match chunk.name {
            NamedAs::New(_) => own += 1,
            NamedAs::Known(ordinal) => assert!(ordinal.0 < own),
            NamedAs::Unindexed => {}
        }
    }
}

/// The sum of every other number, so that a fact's frames fill its pack.
fn sum_of_lengths(mut bytes: &[u8]) -> u64 {
    let (mut sum, mut is_length) = (0u64, true);
    while !bytes.is_empty() {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = number(&mut bytes, 1);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if is_length {
            sum = sum.saturating_add(value);
        }
        is_length = !is_length;
    }
    sum
}
