//! Packs: immutable objects of frames with a footer.
//!
//! ```text
//! frame ‖ frame ‖ … ‖ footer ‖ footer length (u64, little-endian) ‖ "hfpack01"
//! ```
//!
//! The footer lists every frame with BLAKE3 of its sealed bytes and every chunk with its id, so that whoever has no key
//! can verify every byte. The record that adds the pack holds the footer's place and BLAKE3.

use bytes::Bytes;

use crate::chunk::{CHUNK_BYTES_MAX, ChunkKind, NODE_REFS_MAX};
use crate::codec::{self, Mark, put_varint, take_bytes, take_varint};
use crate::error::{Error, Result};
use crate::frame::{FRAME_BYTES_MAX, FRAME_CHUNKS_MAX, FRAME_OVERHEAD, Frame, FrameChunk};
use crate::id::{ChunkId, ClaimNonce, Epoch, Hash, KeyId, PackId, PackNumber, Scope, VaultId};
use crate::object::Sealed;

/// A pack is closed once its frames hold this many bytes.
pub const PACK_BYTES_AIM: u64 = 32 << 20;

/// The most chunks in one pack; a pack is closed before it would hold more.
pub const PACK_CHUNKS_MAX: usize = 1 << 16;

/// Length of what follows the footer.
pub const TRAILER_LEN: u64 = 16;

const TRAILER_MARK: &[u8; 8] = b"hfpack01";

/// One frame as the footer lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FooterFrame {
    /// Offset of its first byte in the pack.
    pub offset: u64,
    /// Length of its sealed bytes.
    pub len: u32,
    /// Which of the footer's keys seals it.
    pub key: u32,
    /// BLAKE3 of its sealed bytes.
    pub hash: Hash,
    /// Index of its first chunk in the footer's list.
    pub first_chunk: u32,
    /// How many chunks it has.
    pub chunks: u32,
}

/// A pack's footer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// The vault.
    pub vault: VaultId,
    /// The pack's own name.
    pub pack: PackId,
    /// Data or nodes; never both.
    pub kind: ChunkKind,
    /// The dedup scope of all its chunks.
    pub scope: Scope,
    /// The data keys that its frames use.
    pub keys: Vec<KeyId>,
    /// Its frames.
    pub frames: Vec<FooterFrame>,
    /// Its chunks, frame after frame.
    pub chunks: Vec<FrameChunk>,
}

impl Footer {
    /// Encodes it, without the trailer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Mark::PackFooter.bytes().to_vec();
        out.extend_from_slice(&self.vault.0);
        out.extend_from_slice(&self.pack.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.pack.nonce.0);
        out.extend_from_slice(&self.pack.number.0.to_le_bytes());
        out.push(self.kind.byte());
        put_varint(&mut out, self.scope.as_str().len() as u64);
        out.extend_from_slice(self.scope.as_str().as_bytes());
        put_varint(&mut out, self.keys.len() as u64);
        self.keys
            .iter()
            .for_each(|key| out.extend_from_slice(&key.0));
        put_varint(&mut out, self.frames.len() as u64);
        for frame in &self.frames {
            put_varint(&mut out, u64::from(frame.len));
            put_varint(&mut out, u64::from(frame.key));
            put_varint(&mut out, u64::from(frame.chunks));
            out.extend_from_slice(&frame.hash.0);
        }
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.id.0);
            put_varint(&mut out, u64::from(chunk.len));
        }
        if self.kind == ChunkKind::Node {
            for chunk in &self.chunks {
                put_varint(&mut out, chunk.refs.len() as u64);
                chunk
                    .refs
                    .iter()
                    .for_each(|id| out.extend_from_slice(&id.0));
            }
        }
        out
    }

    /// Decodes it and checks that its numbers add up.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let what = "a pack's footer";
        let mut rest = Mark::PackFooter.strip(what, bytes)?;
        let rest = &mut rest;
        let vault = VaultId::from_slice(take_bytes(what, rest, 16)?)?;
        let epoch = Epoch(take_u64(rest)?);
        let nonce = ClaimNonce::from_slice(take_bytes(what, rest, 16)?)?;
        let number = PackNumber(take_u64(rest)?);
        let kind = ChunkKind::from_byte(take_bytes(what, rest, 1)?[0])?;
        let scope_len = take_count(rest, 1)?;
        let scope = std::str::from_utf8(take_bytes(what, rest, scope_len)?)
            .map_err(|_| Error::corrupt(what, "its scope is not text"))?
            .parse()
            .map_err(|_| Error::corrupt(what, "its scope is not valid"))?;
        let key_count = take_count(rest, 16)?;
        let mut keys = Vec::with_capacity(key_count);
        for _ in 0..key_count {
            keys.push(KeyId::from_slice(take_bytes(what, rest, 16)?)?);
        }
        let frame_count = take_count(rest, 35)?;
        let mut frames = Vec::with_capacity(frame_count);
        let (mut offset, mut first_chunk) = (0u64, 0u32);
        for _ in 0..frame_count {
            let len = take_u32(rest, (FRAME_BYTES_MAX + FRAME_OVERHEAD) as u64)?;
            let key = take_u32(rest, keys.len().saturating_sub(1) as u64)?;
            let chunks = take_u32(rest, FRAME_CHUNKS_MAX as u64)?;
            if (len as usize) < FRAME_OVERHEAD || chunks == 0 || keys.is_empty() {
                return Err(Error::corrupt(what, "a frame is impossibly small"));
            }
            let hash = Hash::from_slice(take_bytes(what, rest, 32)?)?;
            frames.push(FooterFrame {
                offset,
                len,
                key,
                hash,
                first_chunk,
                chunks,
            });
            offset += u64::from(len);
            first_chunk = first_chunk
                .checked_add(chunks)
                .filter(|&count| count as usize <= PACK_CHUNKS_MAX + FRAME_CHUNKS_MAX)
                .ok_or_else(|| Error::corrupt(what, "it has too many chunks"))?;
        }
        let mut chunks = Vec::with_capacity((first_chunk as usize).min(rest.len() / 33 + 1));
        for _ in 0..first_chunk {
            let id = ChunkId::from_slice(take_bytes(what, rest, 32)?)?;
            let len = take_u32(rest, CHUNK_BYTES_MAX as u64)?;
            chunks.push(FrameChunk {
                id,
                len,
                refs: Vec::new(),
            });
        }
        if kind == ChunkKind::Node {
            for chunk in &mut chunks {
                let count = take_count(rest, 32)?;
                if count > NODE_REFS_MAX {
                    return Err(Error::corrupt(what, "a node has too many references"));
                }
                for _ in 0..count {
                    chunk
                        .refs
                        .push(ChunkId::from_slice(take_bytes(what, rest, 32)?)?);
                }
            }
        }
        if !rest.is_empty() {
            return Err(Error::corrupt(what, "bytes follow its end"));
        }
        let pack = PackId {
            epoch,
            nonce,
            number,
        };
        Ok(Self {
            vault,
            pack,
            kind,
            scope,
            keys,
            frames,
            chunks,
        })
    }

    /// Offset of the footer in the pack: the end of the last frame.
    pub fn offset(&self) -> u64 {
        self.frames
            .last()
            .map_or(0, |frame| frame.offset + u64::from(frame.len))
    }

    /// The chunks of one frame.
    pub fn frame_chunks(&self, frame: &FooterFrame) -> &[FrameChunk] {
        let first = frame.first_chunk as usize;
        &self.chunks[first..first + frame.chunks as usize]
    }

    /// Checks the hash of a frame's sealed bytes.
    pub fn verify_frame(&self, index: usize, sealed: &[u8]) -> Result<()> {
        let entry = &self.frames[index];
        if sealed.len() != entry.len as usize || Hash::of(sealed) != entry.hash {
            return Err(Error::corrupt(
                format!("frame {index} of pack {}", self.pack),
                "its bytes do not have the hash that the footer gives",
            ));
        }
        Ok(())
    }

    /// Puts a frame's sealed bytes, as read from a site, together with its description, after checking their hash.
    pub fn frame(&self, index: usize, sealed: Bytes) -> Result<Frame> {
        self.verify_frame(index, &sealed)?;
        let entry = &self.frames[index];
        Ok(Frame {
            key: self.keys[entry.key as usize],
            kind: self.kind,
            chunks: self.frame_chunks(entry).to_vec(),
            sealed,
        })
    }
}

fn take_u64(rest: &mut &[u8]) -> Result<u64> {
    let bytes = take_bytes("a pack's footer", rest, 8)?;
    Ok(u64::from_le_bytes(bytes.try_into().map_err(|_| {
        Error::corrupt("a pack's footer", "it ends early")
    })?))
}

fn take_u32(rest: &mut &[u8], max: u64) -> Result<u32> {
    let value = take_varint("a pack's footer", rest)?;
    u32::try_from(value)
        .ok()
        .filter(|_| value <= max)
        .ok_or_else(|| Error::corrupt("a pack's footer", "a number is too large"))
}

/// A count of things of at least `each` bytes, which must fit into what is left.
fn take_count(rest: &mut &[u8], each: usize) -> Result<usize> {
    let count = take_varint("a pack's footer", rest)? as usize;
    if count.saturating_mul(each) > rest.len() {
        return Err(Error::corrupt(
            "a pack's footer",
            "a count is larger than what follows",
        ));
    }
    Ok(count)
}

/// A pack that is being filled, in memory: frames are kept as they came, without a copy.
#[derive(Debug)]
pub struct PackBuilder {
    footer: Footer,
    parts: Vec<Bytes>,
    bytes: u64,
}

/// A finished pack.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Its footer.
    pub footer: Footer,
    /// BLAKE3 of the encoded footer.
    pub footer_hash: Hash,
    /// Length of the encoded footer.
    pub footer_len: u64,
    /// The whole object.
    pub body: Sealed,
}

impl Pack {
    /// The same pack without its bytes, once they are where they belong: what a record needs of it.
    pub fn without_body(self) -> Self {
        let len = self.body.len();
        Self {
            body: Sealed::described(len),
            ..self
        }
    }
}

impl PackBuilder {
    /// An empty pack.
    pub fn new(vault: VaultId, pack: PackId, kind: ChunkKind, scope: Scope) -> Self {
        let footer = Footer {
            vault,
            pack,
            kind,
            scope,
            keys: vec![],
            frames: vec![],
            chunks: vec![],
        };
        Self {
            footer,
            parts: vec![],
            bytes: 0,
        }
    }

    /// Adds a frame.
    pub fn add(&mut self, frame: Frame) -> Result<()> {
        let hash = Hash::of(&frame.sealed);
        self.add_hashed(frame, hash)
    }

    /// Adds a frame whose hash was computed elsewhere, on another core.
    pub fn add_hashed(&mut self, frame: Frame, hash: Hash) -> Result<()> {
        let too_large = frame.sealed.len() > FRAME_BYTES_MAX + FRAME_OVERHEAD;
        let too_small = frame.sealed.len() < FRAME_OVERHEAD;
        let too_many = frame.chunks.len() > FRAME_CHUNKS_MAX;
        if frame.kind != self.footer.kind
            || frame.chunks.is_empty()
            || too_large
            || too_small
            || too_many
        {
            return Err(Error::invalid(
                "a frame",
                "it does not belong into this pack",
            ));
        }
        let key = match self.footer.keys.iter().position(|&key| key == frame.key) {
            Some(index) => index,
            None => {
                self.footer.keys.push(frame.key);
                self.footer.keys.len() - 1
            }
        };
        self.footer.frames.push(FooterFrame {
            offset: self.bytes,
            len: frame.sealed.len() as u32,
            key: key as u32,
            hash,
            first_chunk: self.footer.chunks.len() as u32,
            chunks: frame.chunks.len() as u32,
        });
        self.bytes += frame.sealed.len() as u64;
        self.footer.chunks.extend(frame.chunks);
        self.parts.push(frame.sealed);
        Ok(())
    }

    /// Bytes of frames so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it should be finished: large enough, or full of chunks.
    pub fn is_full(&self) -> bool {
        self.bytes >= PACK_BYTES_AIM
            || self.footer.chunks.len() >= PACK_CHUNKS_MAX - FRAME_CHUNKS_MAX
    }

    /// The ids of the chunks added so far.
    pub fn chunks(&self) -> impl Iterator<Item = &FrameChunk> {
        self.footer.chunks.iter()
    }

    /// Closes it.
    pub fn finish(mut self) -> Pack {
        let encoded: Bytes = self.footer.encode().into();
        let footer_hash = Hash::of(&encoded);
        let footer_len = encoded.len() as u64;
        let mut trailer = Vec::with_capacity(TRAILER_LEN as usize);
        trailer.extend_from_slice(&footer_len.to_le_bytes());
        trailer.extend_from_slice(TRAILER_MARK);
        self.parts.push(encoded);
        self.parts.push(trailer.into());
        Pack {
            footer: self.footer,
            footer_hash,
            footer_len,
            body: Sealed::from_parts(self.parts),
        }
    }
}

/// Reads a pack's trailer (its last [`TRAILER_LEN`] bytes): the length of the footer before it.
pub fn footer_len(trailer: &[u8]) -> Result<u64> {
    let what = "a pack's trailer";
    if trailer.len() != TRAILER_LEN as usize || &trailer[8..] != TRAILER_MARK {
        return Err(Error::corrupt(
            what,
            "it does not carry the mark of a holdfast pack",
        ));
    }
    let len = u64::from_le_bytes(
        trailer[..8]
            .try_into()
            .map_err(|_| Error::corrupt(what, "it ends early"))?,
    );
    if len > codec::BODY_BYTES_MAX as u64 {
        return Err(Error::corrupt(what, "the footer's length is impossible"));
    }
    Ok(len)
}

/// Verifies a whole pack without any key: its trailer, footer and the hash of each frame.
pub fn verify_pack(expected: PackId, footer_hash: Hash, bytes: &[u8]) -> Result<Footer> {
    let what = || format!("pack {expected}");
    let trailer_at = (bytes.len() as u64)
        .checked_sub(TRAILER_LEN)
        .ok_or_else(|| Error::corrupt(what(), "it is too short"))?;
    let len = footer_len(&bytes[trailer_at as usize..])?;
    let footer_at = trailer_at
        .checked_sub(len)
        .ok_or_else(|| Error::corrupt(what(), "its footer is longer than itself"))?;
    let end = &bytes[footer_at as usize..];
    let footer = verify_pack_end(expected, footer_hash, footer_at, end)?;
    for index in 0..footer.frames.len() {
        let start = footer.frames[index].offset as usize;
        footer.verify_frame(
            index,
            &bytes[start..start + footer.frames[index].len as usize],
        )?;
    }
    Ok(footer)
}

/// Verifies what follows a pack's frames: its footer, which begins at byte `footer_at`, and its trailer. With the hash of each
/// frame that is all of the pack.
pub fn verify_pack_end(
    expected: PackId,
    footer_hash: Hash,
    footer_at: u64,
    end: &[u8],
) -> Result<Footer> {
    let what = || format!("pack {expected}");
    let (encoded, trailer) = end
        .split_last_chunk::<{ TRAILER_LEN as usize }>()
        .ok_or_else(|| Error::corrupt(what(), "it is too short"))?;
    if footer_len(trailer)? != encoded.len() as u64 {
        return Err(Error::corrupt(
            what(),
            "its footer is not as long as its trailer says",
        ));
    }
    if Hash::of(encoded) != footer_hash {
        return Err(Error::corrupt(
            what(),
            "its footer does not have the hash that the record gives",
        ));
    }
    let footer = Footer::decode(encoded)?;
    if footer.pack != expected {
        return Err(Error::Misplaced {
            object: what(),
            belongs_to: format!("pack {}", footer.pack),
        });
    }
    if footer.offset() != footer_at {
        return Err(Error::corrupt(what(), "its frames do not fill it"));
    }
    Ok(footer)
}

#[cfg(test)]
mod tests;
