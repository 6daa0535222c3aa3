//! The bytes that the steps are measured on: three kinds that are made, and samples of what `peers` keeps of its data sets.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_agent::backup::Cutter;
use holdfast_agent::backup::limits::{REGION_BYTES, WHOLE_FILE_BYTES_MAX};
use holdfast_benches::for_each_file;
use holdfast_format::{Chunk, FrameSealer, ScopeKeys, frame::FRAME_BYTES_AIM};
use rand::{Rng as _, SeedableRng as _};

/// How much of each kind.
pub(crate) const BYTES: usize = 256 << 20;

/// The length of a database's page.
pub(crate) const PAGE: usize = 8 << 10;

/// See the module header.
pub(crate) struct Kind {
    pub(crate) name: String,
    /// Files as they lie on the disk, one after the other.
    pub(crate) files: Vec<Bytes>,
    /// Their names, if there are any.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether they have pages: such files are not cut by content, and each page has a hash.
    pub(crate) has_pages: bool,
    pub(crate) chunks: Vec<Chunk>,
}

impl Kind {
    /// What is made here.
    pub(crate) fn made(keys: &ScopeKeys) -> Vec<Self> {
        [
            ("incompressible", noise(BYTES), false),
            ("text", text(BYTES), false),
            ("pages", pages(BYTES), true),
        ]
        .into_iter()
        .map(|(name, bytes, has_pages)| Self::of(keys, name, vec![bytes.into()], has_pages))
        .collect()
    }

    /// What lies of the data sets A and C in the folder where `peers` keeps them: of A the first part of each large file, of C every nth file.
    pub(crate) fn sets(keys: &ScopeKeys, data: &Path) -> Vec<Self> {
        let mut kinds = Vec::new();
        for (name, has_pages) in [("A", true), ("C", false)] {
            let source = data.join(format!("{name}-1/source"));
            if !source.exists() {
                continue;
            }
            let mut paths = Vec::new();
            for_each_file(&source, &mut |path| paths.push(path.to_path_buf()));
            let total: u64 = paths.iter().map(|path| len(path)).sum();
            let every = (total as usize).div_ceil(BYTES).max(1);
            if !has_pages {
                paths = paths.into_iter().step_by(every).collect();
            }
            let share = |len: u64| match has_pages && len > WHOLE_FILE_BYTES_MAX {
                true => (len / every as u64).next_multiple_of(REGION_BYTES as u64),
                false => len,
            };
            let files = paths.iter().map(|path| {
                let mut bytes = Vec::new();
                let file = fs::File::open(path).unwrap();
                file.take(share(len(path))).read_to_end(&mut bytes).unwrap();
                bytes.into()
            });
            let mut kind = Self::of(keys, name, files.collect(), has_pages);
            kind.paths = paths;
            kinds.push(kind);
        }
        kinds
    }

    fn of(keys: &ScopeKeys, name: &str, files: Vec<Bytes>, has_pages: bool) -> Self {
        let cutter = Cutter::new(keys);
        let cut = |file: &Bytes| {
            let (mut rest, mut found) = (file.clone(), Vec::new());
            let in_regions = has_pages && file.len() as u64 > WHOLE_FILE_BYTES_MAX;
            let next = |rest: &Bytes| match in_regions {
                true => Some(REGION_BYTES.min(rest.len())).filter(|len| *len > 0),
                false => cutter.cut(rest, true),
            };
            while let Some(len) = next(&rest) {
                found.push(keys.data(rest.split_to(len)));
            }
            found
        };
        let chunks = files.iter().flat_map(cut).collect();
        Self {
            name: name.into(),
            files,
            paths: Vec::new(),
            has_pages,
            chunks,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(Bytes::len).sum()
    }

    /// Its chunks as they share frames: small ones together, large ones alone.
    pub(crate) fn frames(&self) -> Vec<&[Chunk]> {
        let (mut frames, mut rest) = (Vec::new(), self.chunks.as_slice());
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().position(|chunk| {
                bytes += chunk.bytes.len();
                bytes > FRAME_BYTES_AIM
            });
            let (frame, after) = rest.split_at(fits.unwrap_or(rest.len()).max(1));
            frames.push(frame);
            rest = after;
        }
        frames
    }

    /// Its frames, sealed.
    pub(crate) fn sealed(&self, sealer: &mut FrameSealer) -> Vec<holdfast_format::Frame> {
        let mut chance = rand::rngs::StdRng::seed_from_u64(4);
        let seal = |frame: &[Chunk]| sealer.seal(&mut chance, frame).unwrap();
        self.frames().into_iter().map(seal).collect()
    }
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand::rngs::StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

/// Words of a small vocabulary, drawn unevenly, in lines.
fn text(len: usize) -> Vec<u8> {
    let mut chance = rand::rngs::StdRng::seed_from_u64(2);
    let mut bytes = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        let (one, other) = (chance.next_u32() % 4096, chance.next_u32() % 4096);
        let word = (one * other) >> 12;
        bytes.extend_from_slice(format!("{word:x}_{} ", word % 89).as_bytes());
        if one % 9 == 0 {
            bytes.extend_from_slice(b"\n    ");
        }
    }
    bytes.truncate(len);
    bytes
}

/// Pages with a header, rows that count up, and a rest of zeros.
fn pages(len: usize) -> Vec<u8> {
    let mut chance = rand::rngs::StdRng::seed_from_u64(3);
    let mut bytes = Vec::with_capacity(len);
    let mut row = 0u64;
    while bytes.len() < len {
        let mut page = chance.next_u64().to_le_bytes().to_vec();
        while page.len() < PAGE * 7 / 8 {
            row += 1;
            page.extend_from_slice(&row.to_le_bytes());
            page.extend_from_slice(&chance.next_u32().to_le_bytes());
            page.extend_from_slice(&[b' '; 84]);
        }
        page.resize(PAGE, 0);
        bytes.extend_from_slice(&page);
    }
    bytes.truncate(len);
    bytes
}
