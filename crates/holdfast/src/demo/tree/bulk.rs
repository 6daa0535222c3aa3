//! What is large or many: incompressible, like a database, like a log, twice the same, thousands of small ones, sparse.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use super::{Attempt, Maker, attempt};

/// Bytes of a page of the file that looks like a database's.
pub(in crate::demo) const PAGE: u64 = 8192;

/// Files in one folder of small ones.
pub(in crate::demo) const PER_FOLDER: u64 = 250;

/// Size of the huge sparse file, and where the few bytes that it has lie.
pub(in crate::demo) const HUGE: u64 = 100 << 30;
const ISLANDS: [u64; 3] = [0, 33 << 30, HUGE - 5];

/// How much of it.
#[derive(Debug, Clone)]
pub(in crate::demo) struct Scale {
    /// Bytes that nothing can compress.
    pub(in crate::demo) incompressible: u64,
    /// The same, of the file that is deleted on day two.
    pub(in crate::demo) doomed: u64,
    /// Bytes of the file that looks like a database's.
    pub(in crate::demo) pages: u64,
    /// Bytes of the log.
    pub(in crate::demo) log: u64,
    /// Bytes of each of the two files that are the same.
    pub(in crate::demo) twin: u64,
    /// Small files.
    pub(in crate::demo) small_files: u64,
}

impl Scale {
    /// A few hundred megabytes.
    pub(in crate::demo) const USUAL: Self = Self {
        incompressible: 48 << 20,
        doomed: 144 << 20,
        pages: 64 << 20,
        log: 48 << 20,
        twin: 8 << 20,
        small_files: 4_000,
    };

    /// A few megabytes.
    pub(in crate::demo) const SMALL: Self = Self {
        incompressible: 1 << 20,
        doomed: 5 << 20,
        pages: 1 << 20,
        log: 1 << 20,
        twin: 256 << 10,
        small_files: 500,
    };

    /// Bytes that the tree takes, roughly.
    pub(in crate::demo) fn bytes(&self) -> u64 {
        let small = self.small_files * 4096;
        self.incompressible + self.doomed + self.pages + self.log + 2 * self.twin + small
    }
}

pub(super) fn make(maker: &mut Maker, scale: &Scale) -> io::Result<()> {
    let big = maker.folder("big")?;
    maker.noise_file(&big.join("incompressible"), scale.incompressible)?;
    maker.noise_file(&big.join("doomed"), scale.doomed)?;
    pages(maker, &big.join("pages.db"), scale.pages)?;
    log(maker, &big.join("events.log"), 0, scale.log)?;
    maker.noise_file(&big.join("twin"), scale.twin)?;
    fs::copy(big.join("twin"), big.join("the same as twin"))?;
    maker.count(scale.twin);
    small(maker, scale.small_files)?;
    sparse(maker)
}

/// Pages of which a part is noise and the rest compresses, each unlike the others.
fn pages(maker: &Maker, path: &Path, size: u64) -> io::Result<()> {
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    for number in 0..size / PAGE {
        if number % 1024 == 0 {
            maker.go_on()?;
        }
        file.write_all(&page(maker, number, 0))?;
        maker.count(PAGE);
    }
    file.flush()
}

/// One page, in its `version`th form.
pub(in crate::demo) fn page(maker: &Maker, number: u64, version: u64) -> Vec<u8> {
    let mut page = Vec::with_capacity(PAGE as usize);
    page.extend_from_slice(format!("page {number} version {version} ").as_bytes());
    page.extend_from_slice(&maker.noise(2048));
    page.resize(PAGE as usize, b'.');
    page
}

/// Lines of a log from the `from`th byte on, up to about `to` bytes.
pub(in crate::demo) fn log(maker: &Maker, path: &Path, from: u64, to: u64) -> io::Result<()> {
    let mut options = File::options();
    let file = options.append(true).create(true).open(path)?;
    let mut file = io::BufWriter::with_capacity(1 << 20, file);
    let (mut at, mut line) = (from, from);
    while at < to {
        let [a, b, c, d] = maker.chance.random::<4>();
        let text = format!(
            "2026-11-22T07:{:02}:{:02}Z web{} GET /articles/{line}?page={c} 200 {}\n",
            a % 60,
            b % 60,
            c % 4,
            u32::from(d) * 37,
        );
        file.write_all(text.as_bytes())?;
        at += text.len() as u64;
        line += 1;
        if line.is_multiple_of(4096) {
            maker.go_on()?;
        }
        maker.count(text.len() as u64);
    }
    file.flush()
}

/// Where the `n`th small file is.
pub(in crate::demo) fn small_path(n: u64) -> String {
    format!("many/{:03}/{n}.txt", n / PER_FOLDER)
}

/// What the `n`th small file holds.
pub(in crate::demo) fn small_text(maker: &Maker, n: u64) -> Vec<u8> {
    let [length, word] = maker.chance.random::<2>();
    let line = format!("file {n} says {word} and again {word}\n");
    line.repeat(usize::from(length) / 2 + 1).into_bytes()
}

fn small(maker: &Maker, count: u64) -> io::Result<()> {
    for n in 0..count {
        if n % PER_FOLDER == 0 {
            maker.folder(&format!("many/{:03}", n / PER_FOLDER))?;
        }
        maker.file(&maker.at(&small_path(n)), &small_text(maker, n))?;
    }
    Ok(())
}

fn sparse(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("sparse")?;
    let huge = attempt(islands(&folder.join("huge"), &ISLANDS, HUGE));
    maker.try_to("a sparse file of 100 GiB", huge)?;
    let hole: Attempt = attempt(islands(
        &folder.join("a hole and nothing else"),
        &[],
        1 << 30,
    ));
    maker.try_to("a file that is one hole", hole)?;
    let every: Vec<u64> = (0..64).map(|n| n * (256 << 10)).collect();
    islands(&folder.join("a byte in every 256 KiB"), &every, 16 << 20)?;
    // Zeros that are no hole, and a hole behind the last byte.
    let mut file = File::create(folder.join("zeros and a tail"))?;
    file.write_all(&vec![0; 128 << 10])?;
    file.write_all(b"end of data")?;
    file.set_len(8 << 20)
}

/// A file of holes with a few bytes at some places.
fn islands(path: &Path, places: &[u64], size: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.set_len(size)?;
    for place in places {
        file.seek(SeekFrom::Start(*place))?;
        file.write_all(format!("{:05}", place % 100_000).as_bytes())?;
    }
    Ok(())
}
