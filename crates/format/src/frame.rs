//! Frames: the unit of sealing. One or more chunks of one kind, compressed together where that pays, under one AEAD.
//!
//! Sealed bytes are `nonce (24) ‖ ciphertext ‖ tag (16)`. The plaintext under the cipher is one codec byte (0 = as it
//! is, 1 = zstd) and the chunks' bytes one after the other. The associated data names the vault, the key and every
//! chunk, so a frame moved elsewhere does not open.

use std::cell::RefCell;

use bytes::Bytes;
use rand::Rng;

use crate::chunk::{CHUNK_BYTES_MAX, Chunk, ChunkKind, ScopeKeys};
use crate::cipher::{DataKey, NONCE, TAG};
use crate::error::{Error, Result};
use crate::id::{ChunkId, KeyId, VaultId};

/// Small chunks are gathered into one frame up to about this many bytes of plaintext.
pub const FRAME_BYTES_AIM: usize = 256 << 10;

/// The most plaintext that a frame may hold.
pub const FRAME_BYTES_MAX: usize = CHUNK_BYTES_MAX + FRAME_BYTES_AIM;

/// The most chunks that a frame may hold.
pub const FRAME_CHUNKS_MAX: usize = 4096;

/// What sealing adds to the plaintext: nonce, codec byte, tag.
pub const FRAME_OVERHEAD: usize = NONCE + 1 + TAG;

/// A frame of at least so many bytes is looked at in a few places before it is compressed: …
const SAMPLED_BYTES_MIN: usize = 128 << 10;

/// … in so many …
const SAMPLES: usize = 8;

/// … for so many bytes each.
const SAMPLE_BYTES: usize = 2 << 10;

const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// One chunk's place in a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameChunk {
    /// Its id.
    pub id: ChunkId,
    /// Its plaintext's length in bytes.
    pub len: u32,
    /// Of a node: its references, in clear.
    pub refs: Vec<ChunkId>,
}

/// A sealed frame with what stands in clear beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The data key that seals it.
    pub key: KeyId,
    /// Whether it holds data chunks or nodes.
    pub kind: ChunkKind,
    /// Its chunks, in order.
    pub chunks: Vec<FrameChunk>,
    /// The sealed bytes.
    pub sealed: Bytes,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Frame({:?}, {} chunks, {} bytes)",
            self.kind,
            self.chunks.len(),
            self.sealed.len()
        )
    }
}

/// Seals chunks of one session. One for each thread: it keeps a compressor and its buffers.
pub struct FrameSealer {
    vault: VaultId,
    key: KeyId,
    secret: DataKey,
    compressor: zstd::bulk::Compressor<'static>,
    /// Chunks behind each other, before and after they are compressed; kept for the next frame.
    joined: Vec<u8>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameSealer(key {})", self.key)
    }
}

impl FrameSealer {
    /// A sealer for one key; `zstd_level` as zstd counts it.
    pub fn new(vault: VaultId, key: KeyId, secret: &DataKey, zstd_level: i32) -> Result<Self> {
        let compressor = zstd::bulk::Compressor::new(zstd_level).map_err(|e| {
            Error::invalid(format!("compression level {zstd_level}"), e.to_string())
        })?;
        Ok(Self {
            vault,
            key,
            secret: secret.clone(),
            compressor,
            joined: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Seals chunks of one kind into a frame. They are together no more than [`FRAME_BYTES_MAX`] bytes.
    pub fn seal(&mut self, rng: &mut dyn Rng, chunks: &[Chunk]) -> Result<Frame> {
        let kind = chunks.first().map_or(ChunkKind::Data, |chunk| chunk.kind);
        let plain: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        if chunks.is_empty()
            || chunks.len() > FRAME_CHUNKS_MAX
            || plain > FRAME_BYTES_MAX
            || chunks
                .iter()
                .any(|chunk| chunk.kind != kind || chunk.bytes.len() > CHUNK_BYTES_MAX)
        {
            return Err(Error::invalid(
                "a frame",
                "its chunks are too many, too large or of two kinds",
            ));
        }
        let described: Vec<FrameChunk> = chunks
            .iter()
            .map(|chunk| FrameChunk {
                id: chunk.id,
                len: chunk.bytes.len() as u32,
                refs: chunk.refs.clone(),
            })
            .collect();
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let joined: &[u8] = match chunks {
            [one] => &one.bytes,
            many => {
                self.joined.clear();
                many.iter()
                    .for_each(|chunk| self.joined.extend_from_slice(&chunk.bytes));
                &self.joined
            }
        };
        let (codec, body) = match compress(&mut self.compressor, &mut self.packed, joined) {
            Some(packed) => (CODEC_ZSTD, packed),
            None => (CODEC_RAW, joined),
        };
        // Just as long as it will be: many frames wait for a slow network.
        let mut out = Vec::with_capacity(body.len() + FRAME_OVERHEAD);
        out.extend_from_slice(&nonce);
        out.push(codec);
        out.extend_from_slice(body);
        let aad = associated_data(self.vault, self.key, kind, &described);
        let tag = self.secret.seal(&nonce, &aad, &mut out[NONCE..])?;
        out.extend_from_slice(&tag);
        Ok(Frame {
            key: self.key,
            kind,
            chunks: described,
            sealed: out.into(),
        })
    }
}

/// The bytes compressed, where that saves at least a thirty-second. They lie in `room`, which is kept for the next ones.
fn compress<'r>(
    compressor: &mut zstd::bulk::Compressor<'static>,
    room: &'r mut Vec<u8>,
    joined: &[u8],
) -> Option<&'r [u8]> {
    if joined.len() >= SAMPLED_BYTES_MIN && !may_pay(compressor, joined) {
        return None;
    }
    // Room for the gain that we insist on, and no more: zstd stops as soon as it does not fit.
    let most = joined.len() - joined.len() / 32;
    if room.len() < most {
        room.resize(most, 0);
    }
    match compressor.compress_to_buffer(joined, &mut room[..most]) {
        Ok(len) if len < most => Some(&room[..len]),
        Ok(_) | Err(_) => None,
    }
}

/// Whether a few pieces, spread over it all, get smaller. To try all of what does not costs as much as to hash it.
fn may_pay(compressor: &mut zstd::bulk::Compressor<'static>, joined: &[u8]) -> bool {
    let mut sample = [0; SAMPLES * SAMPLE_BYTES];
    let (pieces, stride) = (sample.chunks_mut(SAMPLE_BYTES), joined.len() / SAMPLES);
    for (n, piece) in pieces.enumerate() {
        piece.copy_from_slice(&joined[n * stride..][..SAMPLE_BYTES]);
    }
    let mut room = [0; SAMPLES * SAMPLE_BYTES * 31 / 32];
    compressor.compress_to_buffer(&sample, &mut room).is_ok()
}

thread_local! {
    /// To make one costs as much as to decompress some kilobytes.
    static DECOMPRESSOR: RefCell<zstd::bulk::Decompressor<'static>> = RefCell::default();
}

fn decompress(packed: &[u8], len: usize) -> std::io::Result<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.decompress(packed, len))
}

/// Opens a frame and checks every chunk in it against its id. Gives the chunks' plaintext, in order.
pub fn open_frame(
    vault: VaultId,
    secret: &DataKey,
    keys: &ScopeKeys,
    frame: &Frame,
) -> Result<Vec<Bytes>> {
    let what = || match frame.chunks.first() {
        Some(first) => format!("the frame of chunk {}", first.id),
        None => "a frame without chunks".into(),
    };
    let sealed = &frame.sealed;
    let total: usize = frame.chunks.iter().map(|chunk| chunk.len as usize).sum();
    if sealed.len() < FRAME_OVERHEAD || total > FRAME_BYTES_MAX {
        return Err(Error::corrupt(what(), "its length is impossible"));
    }
    let mut nonce = [0; NONCE];
    nonce.copy_from_slice(&sealed[..NONCE]);
    let mut plain = sealed[NONCE..].to_vec();
    let aad = associated_data(vault, frame.key, frame.kind, &frame.chunks);
    let len = secret
        .open(&nonce, &aad, &mut plain)
        .ok_or_else(|| Error::corrupt(what(), "its cipher's check fails"))?;
    plain.truncate(len);
    let joined: Bytes = match plain.first() {
        Some(&CODEC_RAW) => Bytes::from(plain).slice(1..),
        Some(&CODEC_ZSTD) => decompress(&plain[1..], total)
            .map_err(|e| Error::corrupt(what(), format!("it does not decompress: {e}")))?
            .into(),
        Some(other) => {
            return Err(Error::too_new(
                what(),
                format!("its codec {other} is unknown"),
            ));
        }
        None => return Err(Error::corrupt(what(), "it is empty")),
    };
    if joined.len() != total {
        return Err(Error::corrupt(
            what(),
            "its length is not the sum of its chunks'",
        ));
    }
    let mut at = 0;
    let mut chunks = Vec::with_capacity(frame.chunks.len());
    for chunk in &frame.chunks {
        let bytes = joined.slice(at..at + chunk.len as usize);
        at += chunk.len as usize;
        let id = match frame.kind {
            ChunkKind::Data => keys.data_id(&bytes),
            ChunkKind::Node => keys.node_id(&bytes, &chunk.refs),
        };
        if id != chunk.id {
            return Err(Error::corrupt(
                format!("chunk {}", chunk.id),
                "its bytes hash to another id",
            ));
        }
        chunks.push(bytes);
    }
    Ok(chunks)
}

/// `vault ‖ key ‖ kind ‖ count ‖ (id ‖ length)…`, numbers little-endian.
fn associated_data(vault: VaultId, key: KeyId, kind: ChunkKind, chunks: &[FrameChunk]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(37 + chunks.len() * 36);
    aad.extend_from_slice(&vault.0);
    aad.extend_from_slice(&key.0);
    aad.push(kind.byte());
    aad.extend_from_slice(&(chunks.len() as u32).to_le_bytes());
    for chunk in chunks {
        aad.extend_from_slice(&chunk.id.0);
        aad.extend_from_slice(&chunk.len.to_le_bytes());
    }
    aad
}

impl ChunkKind {
    /// The byte that stands for it: 0 data, 1 node.
    pub fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Node => 1,
        }
    }

    /// Reads the byte.
    pub fn from_byte(byte: u8) -> Result<Self> {
        match byte {
            0 => Ok(Self::Data),
            1 => Ok(Self::Node),
            other => Err(Error::too_new(
                "a pack",
                format!("chunk kind {other} is unknown"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::cipher::Suite;

    fn keys() -> ScopeKeys {
        ScopeKeys::derive(&[1; 32], &[2; 32], &"vault".parse().unwrap())
    }

    fn secret(number: u8) -> DataKey {
        DataKey::new(Suite::XChaCha20Poly1305, [number; 32])
    }

    fn seal(chunks: &[Chunk]) -> Frame {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let mut sealer = FrameSealer::new(VaultId([3; 16]), KeyId([4; 16]), &secret(5), 1).unwrap();
        sealer.seal(&mut rng, chunks).unwrap()
    }

    fn open(frame: &Frame) -> Result<Vec<Bytes>> {
        open_frame(VaultId([3; 16]), &secret(5), &keys(), frame)
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..20)) {
            let keys = keys();
            let chunks: Vec<Chunk> = bodies.iter().map(|b| keys.data(b.clone().into())).collect();
            let opened = open(&seal(&chunks)).unwrap();
            let plain: Vec<Bytes> = chunks.into_iter().map(|c| c.bytes).collect();
            prop_assert_eq!(opened, plain);
        }

        #[test]
        fn a_flipped_bit_is_found(body in prop::collection::vec(any::<u8>(), 0..500), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut frame = seal(&[keys().data(body.into())]);
            let mut sealed = frame.sealed.to_vec();
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            frame.sealed = sealed.into();
            prop_assert!(open(&frame).is_err());
        }
    }

    #[test]
    fn zeros_are_compressed_and_noise_is_not() {
        let noise: Vec<u8> = (0..100_000u32)
            .flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec())
            .collect();
        assert!(seal(&[keys().data(vec![0; 100_000].into())]).sealed.len() < 1000);
        assert_eq!(
            seal(&[keys().data(noise.into())]).sealed.len(),
            100_000 + FRAME_OVERHEAD
        );
    }

    #[test]
    fn what_gets_smaller_in_one_place_is_compressed() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(9);
        let mut bytes = vec![0; 1 << 20];
        rand::Rng::fill_bytes(&mut rng, &mut bytes);
        let all = bytes.len();
        for (zeros, is_smaller) in [(0, false), (1000, false), (all / 4, true), (all, true)] {
            bytes[all - zeros..].fill(0);
            let frame = seal(&[keys().data(bytes.clone().into())]);
            assert_eq!(frame.sealed.len() < all, is_smaller, "{zeros} zeros");
            assert_eq!(open(&frame).unwrap(), [Bytes::from(bytes.clone())]);
        }
    }

    #[test]
    fn a_frame_opens_only_as_what_it_is() {
        let keys = keys();
        let node = keys.node(Bytes::from_static(b"n"), vec![keys.data_id(b"a")]);
        let frame = seal(&[node]);
        assert!(open(&frame).is_ok());
        let mut other = frame.clone();
        other.chunks[0].refs.clear();
        assert!(open(&other).is_err());
        let mut other = frame.clone();
        other.key = KeyId([9; 16]);
        assert!(open(&other).is_err());
        assert!(open_frame(VaultId([0; 16]), &secret(5), &keys, &frame).is_err());
        assert!(open_frame(VaultId([3; 16]), &secret(6), &keys, &frame).is_err());
    }
}
