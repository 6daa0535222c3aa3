//! A sealed frame as it comes over the wire.

use bytes::Bytes;
use holdfast_format::{ChunkId, ChunkKind, Frame, FrameChunk, Generation, Hash, KeyId, KeyRef};
use holdfast_proto::v1;

use crate::client::status::nonsense;
use crate::error::Result;

/// Reads a frame and which key object opens it. Nothing in it is believed before the frame is opened.
pub(super) fn read(wire: v1::SealedFrame) -> Result<(Frame, KeyRef)> {
    let kind = u8::try_from(wire.kind).map_err(|_| nonsense("a frame's kind is impossible"))?;
    let kind = ChunkKind::from_byte(kind)?;
    let key = KeyId::from_slice(&wire.key).map_err(nonsense)?;
    let reference = KeyRef {
        key,
        generation: Generation(wire.key_generation),
        hash: Hash::from_slice(&wire.key_hash).map_err(nonsense)?,
    };
    let ids = ids(&wire.ids)?;
    if ids.len() != wire.lens.len() {
        return Err(nonsense("a frame has not as many lengths as chunks"));
    }
    let refs = references(kind, ids.len(), &wire)?;
    let chunks = ids.into_iter().zip(&wire.lens).zip(refs);
    let frame = Frame {
        key,
        kind,
        chunks: chunks
            .map(|((id, len), refs)| FrameChunk {
                id,
                len: *len,
                refs,
            })
            .collect(),
        sealed: Bytes::clone(&wire.sealed),
    };
    Ok((frame, reference))
}

fn references(kind: ChunkKind, chunks: usize, wire: &v1::SealedFrame) -> Result<Vec<Vec<ChunkId>>> {
    if kind == ChunkKind::Data {
        return Ok(vec![Vec::new(); chunks]);
    }
    let mut rest = ids(&wire.refs)?.into_iter();
    let wrong = || nonsense("a frame has not as many references as its nodes say");
    if wire.ref_counts.len() != chunks {
        return Err(wrong());
    }
    let mut all = Vec::with_capacity(chunks);
    for count in &wire.ref_counts {
        let refs: Vec<ChunkId> = rest.by_ref().take(*count as usize).collect();
        if refs.len() != *count as usize {
            return Err(wrong());
        }
        all.push(refs);
    }
    rest.next().map_or(Ok(all), |_| Err(wrong()))
}

fn ids(bytes: &[u8]) -> Result<Vec<ChunkId>> {
    bytes
        .chunks(ChunkId::LEN)
        .map(|id| ChunkId::from_slice(id).map_err(nonsense))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::SealedFrame {
        v1::SealedFrame {
            key: vec![1; 16].into(),
            key_generation: 1,
            key_hash: vec![2; 32].into(),
            kind: 1,
            ids: vec![3; 64].into(),
            lens: vec![5, 6],
            ref_counts: vec![0, 2],
            refs: vec![4; 64].into(),
            sealed: Bytes::from_static(b"sealed"),
        }
    }

    #[test]
    fn references_go_to_their_nodes() {
        let (frame, reference) = read(wire()).unwrap();
        let counts: Vec<usize> = frame.chunks.iter().map(|chunk| chunk.refs.len()).collect();
        assert_eq!((counts, frame.chunks[1].len), (vec![0, 2], 6));
        assert_eq!((frame.key, reference.hash), (KeyId([1; 16]), Hash([2; 32])));
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        fn check(spoil: impl FnOnce(&mut v1::SealedFrame)) {
            let mut frame = wire();
            spoil(&mut frame);
            assert!(read(frame).is_err());
        }
        check(|frame| frame.kind = 7);
        check(|frame| frame.kind = 256);
        check(|frame| frame.ids = vec![3; 65].into());
        check(|frame| frame.lens = vec![1]);
        check(|frame| frame.ref_counts = vec![2]);
        check(|frame| frame.ref_counts = vec![0, 3]);
        check(|frame| frame.ref_counts = vec![0, 1]);
        check(|frame| frame.ref_counts = vec![0, u32::MAX]);
        check(|frame| frame.key_hash = vec![2; 31].into());
    }
}
