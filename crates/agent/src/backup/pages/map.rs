//! The page map's bytes.
//!
//! ```text
//! mark (16) · nonce (16) · block of the head · block of each region, in order
//! block = length (u32) · BLAKE3 of nonce, the block's place in the file (u64) and payload, keyed (32) · payload
//! ```
//!
//! Numbers are little-endian; payloads are CBOR. The key is of the scope, so that a map of another one is none. Nothing of a
//! block is used before its checksum was compared; the first bad one ends the use of the map. Blocking.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};

use holdfast_format::{Hash, PageHash};
use minicbor::{Decode, Encode};

use super::region::MappedRegion;
use crate::backup::content::NamedPiece;
use crate::backup::limits::REGION_BYTES;

/// First bytes of a map; the last of them is the version of this layout.
const MARK: [u8; 16] = *b"holdfast pages\n\x01";

/// No block is longer: a region has 256 pages of 16 bytes at most, and fewer pieces than pages.
const BLOCK_BYTES_MAX: usize = 256 << 10;

/// Where the first block lies.
const BLOCKS_AT: u64 = 32;

/// What keys the checksums of one scope's maps.
#[derive(Clone, Copy)]
pub(crate) struct MapKey(pub(crate) [u8; 32]);

impl std::fmt::Debug for MapKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MapKey(secret)")
    }
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Head {
    #[n(0)]
    page_bytes: u64,
    #[n(1)]
    region_bytes: u64,
}

#[derive(Debug, Encode, Decode)]
#[cbor(array)]
struct Stored {
    /// Sixteen bytes a page.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pages: Vec<u8>,
    #[n(1)]
    pieces: Vec<NamedPiece>,
}

/// Why a map is not used (any further), for a warning.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged, or of another vault, scope or release")]
    Damaged,
}

/// Writes a map.
#[derive(Debug)]
pub(crate) struct MapWriter {
    file: BufWriter<File>,
    sums: Sums,
}

impl MapWriter {
    /// Begins a map in an empty file.
    pub(crate) fn begin(
        file: File,
        key: MapKey,
        nonce: [u8; 16],
        page_bytes: usize,
    ) -> io::Result<Self> {
        let mut file = BufWriter::new(file);
        file.write_all(&MARK)?;
        file.write_all(&nonce)?;
        let mut writer = Self {
            file,
            sums: Sums::new(key, nonce),
        };
        writer.block(&Head {
            page_bytes: page_bytes as u64,
            region_bytes: REGION_BYTES as u64,
        })?;
        Ok(writer)
    }

    /// Adds the next region.
    pub(crate) fn add(&mut self, region: &MappedRegion) -> io::Result<()> {
        self.block(&Stored {
            pages: region.pages.iter().flat_map(|page| page.0).collect(),
            pieces: region.pieces.clone(),
        })
    }

    /// Hands what is buffered to the system.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn block<T: Encode<()>>(&mut self, payload: &T) -> io::Result<()> {
        let payload = minicbor::to_vec(payload).map_err(io::Error::other)?;
        let sum = self.sums.next(&payload);
        self.file.write_all(&(payload.len() as u32).to_le_bytes())?;
        self.file.write_all(sum.as_bytes())?;
        self.file.write_all(&payload)
    }
}

/// Reads a map, region after region.
#[derive(Debug)]
pub(crate) struct MapReader {
    file: BufReader<File>,
    sums: Sums,
}

impl MapReader {
    /// Opens the map of a file with such pages.
    pub(crate) fn open(file: File, key: MapKey, page_bytes: usize) -> Result<Self, Unusable> {
        let mut file = BufReader::new(file);
        let (mut mark, mut nonce) = ([0; 16], [0; 16]);
        file.read_exact(&mut mark)?;
        file.read_exact(&mut nonce)?;
        let mut reader = Self {
            file,
            sums: Sums::new(key, nonce),
        };
        let head: Head = reader.block()?.ok_or(Unusable::Damaged)?;
        let fits = (head.page_bytes, head.region_bytes) == (page_bytes as u64, REGION_BYTES as u64);
        match fits && mark == MARK {
            true => Ok(reader),
            false => Err(Unusable::Damaged),
        }
    }

    /// The next region; none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<MappedRegion>, Unusable> {
        let Some(stored) = self.block::<Stored>()? else {
            return Ok(None);
        };
        let (pages, rest) = stored.pages.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(Unusable::Damaged);
        }
        Ok(Some(MappedRegion {
            pages: pages.iter().copied().map(PageHash).collect(),
            pieces: stored.pieces,
        }))
    }

    fn block<T: for<'b> Decode<'b, ()>>(&mut self) -> Result<Option<T>, Unusable> {
        let mut len = [0; 4];
        match self.file.read(&mut len[..1])? {
            0 => return Ok(None),
            _ => self.file.read_exact(&mut len[1..])?,
        }
        let len = u32::from_le_bytes(len) as usize;
        if len > BLOCK_BYTES_MAX {
            return Err(Unusable::Damaged);
        }
        let (mut sum, mut payload) = ([0; Hash::LEN], vec![0; len]);
        self.file.read_exact(&mut sum)?;
        self.file.read_exact(&mut payload)?;
        if *self.sums.next(&payload).as_bytes() != sum {
            return Err(Unusable::Damaged);
        }
        minicbor::decode(&payload)
            .map(Some)
            .map_err(|_| Unusable::Damaged)
    }
}

/// The checksums of a map's blocks, in order.
#[derive(Debug)]
struct Sums {
    key: MapKey,
    nonce: [u8; 16],
    place: u64,
}

impl Sums {
    fn new(key: MapKey, nonce: [u8; 16]) -> Self {
        Self {
            key,
            nonce,
            place: BLOCKS_AT,
        }
    }

    fn next(&mut self, payload: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key.0);
        hasher.update(&self.nonce);
        hasher.update(&self.place.to_le_bytes());
        hasher.update(payload);
        self.place += (4 + Hash::LEN + payload.len()) as u64;
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use holdfast_format::ChunkId;

    use super::*;

    const KEY: MapKey = MapKey([1; 32]);

    fn region(number: u8) -> MappedRegion {
        let piece = |chunk| NamedPiece {
            chunk,
            offset: u64::from(number),
            len: 100,
        };
        MappedRegion {
            pages: vec![PageHash([number; 16]); usize::from(number)],
            pieces: vec![piece(Some(ChunkId([number; 32]))), piece(None)],
        }
    }

    fn written(regions: u8) -> Vec<u8> {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = MapWriter::begin(file.try_clone().unwrap(), KEY, [2; 16], 8192).unwrap();
        (0..regions).for_each(|number| writer.add(&region(number)).unwrap());
        writer.finish().unwrap();
        file.rewind().unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8], key: MapKey, page_bytes: usize) -> (Vec<MappedRegion>, bool) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut regions = Vec::new();
        let Ok(mut reader) = MapReader::open(file, key, page_bytes) else {
            return (regions, false);
        };
        loop {
            match reader.next() {
                Ok(Some(region)) => regions.push(region),
                Ok(None) => return (regions, true),
                Err(_) => return (regions, false),
            }
        }
    }

    #[test]
    fn a_map_reads_back() {
        let want: Vec<_> = (0..5).map(region).collect();
        assert_eq!(read(&written(5), KEY, 8192), (want, true));
        assert_eq!(read(&written(0), KEY, 8192), (Vec::new(), true));
    }

    #[test]
    fn another_scopes_map_is_none() {
        assert_eq!(
            read(&written(5), MapKey([9; 32]), 8192),
            (Vec::new(), false)
        );
        assert_eq!(read(&written(5), KEY, 4096), (Vec::new(), false));
    }

    #[test]
    fn what_is_read_of_a_damaged_one_is_a_true_beginning() {
        let good = written(5);
        let want: Vec<_> = (0..5).map(region).collect();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            for bytes in [&bad[..], &good[..at]] {
                let (regions, is_whole) = read(bytes, KEY, 8192);
                assert!(want.starts_with(&regions), "byte {at}");
                assert!(!is_whole || regions.len() < 5, "byte {at}");
            }
        }
    }
}
