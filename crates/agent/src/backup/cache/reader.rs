//! Reads the cache, block by block, each checked before anything in it is used. Blocking.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use holdfast_format::ChunkId;
use minicbor::Decoder;

use super::format::{
    BLOCK_BYTES_MAX, BLOCK_HEAD, CHECKED_HEAD, CachedFile, Identity, MARK, StoredRecord, Trailer,
    checked_head, checksum,
};

/// An open cache.
#[derive(Debug)]
pub(crate) struct CacheReader {
    file: File,
    nonce: [u8; 16],
    /// What it says of itself.
    pub(crate) trailer: Trailer,
    records_at: u64,
    slots_at: u64,
    /// Slots read and not yet given to a record, last one first.
    slots: Vec<ChunkId>,
    slots_end: u64,
}

/// One path of the last snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheRecord {
    /// The path: each name with a zero byte before it.
    pub(crate) key: Vec<u8>,
    /// What it was.
    pub(crate) what: Cached,
}

/// What a path was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cached {
    /// A directory, with its top node unless it was empty.
    Directory(Option<ChunkId>),
    /// A file.
    File(CachedFile),
}

/// Why a cache is not used, for a warning.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error("it belongs to another vault, scope or source, or to another release")]
    Foreign,
}

impl CacheReader {
    /// Opens the cache of `identity`; `None` when there is no file.
    pub(crate) fn open(path: &Path, identity: &Identity) -> Result<Option<Self>, Unusable> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let len = file.metadata()?.len();
        let mut start = [0; 32];
        read_exact(&file, &mut start, 0)?;
        if start[..16] != MARK {
            return Err(Unusable::Foreign);
        }
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&start[16..]);
        let mut place = [0; 8];
        read_exact(&file, &mut place, len.saturating_sub(8))?;
        let trailer_at = u64::from_le_bytes(place);
        let (header, records_at) = read_block(&file, &nonce, 32)?;
        if decode::<Identity>(&header)? != *identity {
            return Err(Unusable::Foreign);
        }
        let (trailer, end) = read_block(&file, &nonce, trailer_at)?;
        let trailer: Trailer = decode(&trailer)?;
        if end.checked_add(8) != Some(len) || !(records_at..=trailer_at).contains(&trailer.slots_at)
        {
            return Err(Unusable::Damaged("its parts do not fit"));
        }
        Ok(Some(Self {
            file,
            nonce,
            records_at,
            slots_at: trailer.slots_at,
            slots: Vec::new(),
            slots_end: trailer_at,
            trailer,
        }))
    }

    /// The next records, at least `wanted` of them unless it ends; none at the end.
    pub(crate) fn next(&mut self, wanted: usize) -> Result<Vec<CacheRecord>, Unusable> {
        let mut records = Vec::new();
        while records.len() < wanted && self.records_at < self.trailer.slots_at {
            let (payload, next) = read_block(&self.file, &self.nonce, self.records_at)?;
            self.records_at = next;
            let mut decoder = Decoder::new(&payload);
            let mut key = Vec::new();
            while decoder.position() < payload.len() {
                let stored: StoredRecord = decoder
                    .decode()
                    .map_err(|_| Unusable::Damaged("a record makes no sense"))?;
                key.truncate(stored.shared as usize);
                key.extend_from_slice(&stored.rest);
                let what = match stored.file {
                    Some(file) => Cached::File(file),
                    None => Cached::Directory(self.next_slot()?),
                };
                records.push(CacheRecord {
                    key: key.clone(),
                    what,
                });
            }
        }
        Ok(records)
    }

    fn next_slot(&mut self) -> Result<Option<ChunkId>, Unusable> {
        if self.slots.is_empty() {
            if self.slots_at >= self.slots_end {
                return Err(Unusable::Damaged("it has fewer slots than directories"));
            }
            let (payload, next) = read_block(&self.file, &self.nonce, self.slots_at)?;
            self.slots_at = next;
            let ids = payload.chunks(ChunkId::LEN).map(ChunkId::from_slice);
            self.slots = ids
                .collect::<holdfast_format::Result<_>>()
                .map_err(|_| Unusable::Damaged("a slot is cut off"))?;
            self.slots.reverse();
        }
        Ok(self.slots.pop().filter(|id| id.0 != [0; ChunkId::LEN]))
    }
}

/// Reads and checks the block at `place`; gives its payload and where the next one is.
fn read_block(file: &File, nonce: &[u8; 16], place: u64) -> Result<(Vec<u8>, u64), Unusable> {
    let mut head = [0; BLOCK_HEAD];
    read_exact(file, &mut head, place)?;
    let (len, hash) = head.split_at(4);
    let len = len
        .try_into()
        .map_or(usize::MAX, |len| u32::from_le_bytes(len) as usize);
    if len > BLOCK_BYTES_MAX {
        return Err(Unusable::Damaged("a block is longer than any"));
    }
    let mut checked = checked_head(nonce, place);
    checked.resize(CHECKED_HEAD + len, 0);
    let payload_at = place.saturating_add(BLOCK_HEAD as u64);
    read_exact(file, &mut checked[CHECKED_HEAD..], payload_at)?;
    if checksum(&checked).as_bytes() != hash {
        return Err(Unusable::Damaged("a checksum does not match"));
    }
    checked.drain(..CHECKED_HEAD);
    Ok((checked, payload_at.saturating_add(len as u64)))
}

fn read_exact(file: &File, buffer: &mut [u8], place: u64) -> Result<(), Unusable> {
    file.read_exact_at(buffer, place)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
                Unusable::Damaged("it ends early")
            }
            _ => Unusable::Io(error),
        })
}

fn decode<T: for<'b> minicbor::Decode<'b, ()>>(payload: &[u8]) -> Result<T, Unusable> {
    minicbor::decode(payload).map_err(|_| Unusable::Damaged("a block makes no sense"))
}
