//! Sets B and D: one incompressible file from a seed.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use holdfast_tests::Noise;

use super::change::{BLOCK, Change, Day, Differences, Rewritten};

/// The file's length, whole.
const BYTES: u64 = 2 << 30;
/// The same for both sets: their files are alike.
const SEED: u64 = 0xb10b;
const SEED_GROWN: u64 = 0x960e;
const SEED_REWRITTEN: u64 = 0xd15c;
/// What is put in front on day two of B, whole.
const GROWTH: u64 = 1 << 20;
/// The pages of B that are rewritten.
const SMALL_PAGE: u64 = 4096;
const NAME: &str = "image";

/// Set B: on day two all bytes stand elsewhere.
pub(super) fn make_grown(folder: &Path, part: u64) {
    let (first, second) = (
        folder.join("source").join(NAME),
        folder.join("other").join(NAME),
    );
    let length = write_noise(&first, part);
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    let mut noise = Noise::new(SEED_GROWN);
    let growth = GROWTH / part / SMALL_PAGE * SMALL_PAGE;
    let mut from = File::open(&first).unwrap();
    let mut to = File::create(&second).unwrap();
    to.write_all(&noise.bytes(growth as usize)).unwrap();
    std::io::copy(&mut Read::by_ref(&mut from), &mut to).unwrap();
    for page in some_pages(&mut noise, (growth + length) / SMALL_PAGE) {
        let bytes = noise.bytes(SMALL_PAGE as usize);
        to.write_all_at(&bytes, page * SMALL_PAGE).unwrap();
    }
    to.set_modified(Day::Two.time()).unwrap();
    let replaced = vec![PathBuf::from(NAME)];
    Change::keep(
        folder,
        &Differences {
            replaced,
            ..Differences::default()
        },
    );
}

/// Set D: on day two some pages hold other bytes, and all others stand where they stood.
pub(super) fn make_rewritten(folder: &Path, part: u64) {
    let length = write_noise(&folder.join("source").join(NAME), part);
    let mut noise = Noise::new(SEED_REWRITTEN);
    let blocks = some_pages(&mut noise, length / BLOCK);
    let other = folder.join("other");
    fs::create_dir_all(&other).unwrap();
    let other = File::create(other.join(NAME)).unwrap();
    for block in &blocks {
        other
            .write_all_at(&noise.bytes(BLOCK as usize), block * BLOCK)
            .unwrap();
    }
    let rewritten = vec![Rewritten {
        path: NAME.into(),
        lengths: [length; 2],
        blocks,
    }];
    Change::keep(
        folder,
        &Differences {
            rewritten,
            ..Differences::default()
        },
    );
}

/// Writes the file of day one; its length.
fn write_noise(path: &Path, part: u64) -> u64 {
    let length = BYTES / part / BLOCK * BLOCK;
    let mut noise = Noise::new(SEED);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    for _ in 0..length / BLOCK {
        file.write_all(&noise.bytes(BLOCK as usize)).unwrap();
    }
    let file = file.into_inner().unwrap();
    file.set_modified(Day::One.time()).unwrap();
    length
}

/// One page of a hundred, at random places.
fn some_pages(noise: &mut Noise, count: u64) -> Vec<u64> {
    let mut pages: Vec<u64> = (0..count / 100).map(|_| noise.below(count)).collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}
