//! What grows with a vault, and how fast: the index, the mark and the commit at 10⁶ to 10⁸ chunks, many snapshots, one file out
//! of a large tree.
//!
//! Vaults are made through the format's own writers and the vault's own writer; chunks have ids, lengths and frames, but nobody
//! stores their bytes. Each measurement is taken in a process of its own, over a vault that another one made: its memory is what
//! the vault takes, not what making it left behind.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

mod collection;
mod filling;
mod forest;
mod founded;
mod index;
mod part;
mod picked;
mod resident;
mod snapshots;
mod stopwatch;
mod table;

use part::Part;

/// How many chunks, unless `HOLDFAST_BENCH_CHUNKS` says otherwise: numbers with commas between.
const CHUNKS: &str = "1000000,10000000";

/// Chunks of the vault with many snapshots.
const CHUNKS_OF_SNAPSHOTS: u64 = 1_000_000;

/// How many snapshots.
const SNAPSHOTS: [u64; 3] = [1_000, 10_000, 100_000];

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    if let Some(part) = Part::asked() {
        return part.run();
    }
    let sizes = std::env::var("HOLDFAST_BENCH_CHUNKS").unwrap_or_else(|_| CHUNKS.into());
    let sizes: Vec<u64> = sizes
        .split(',')
        .map(|size| size.trim().parse().unwrap())
        .collect();
    let only = std::env::var("HOLDFAST_BENCH_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|one| one == name);
    if wanted("index") {
        let rounds: Vec<_> = sizes.iter().map(|&size| forest::measured(size)).collect();
        index::table(&rounds);
        collection::table(&rounds);
    }
    if wanted("snapshots") {
        let rounds: Vec<_> = SNAPSHOTS
            .iter()
            .map(|&count| snapshots::measured(CHUNKS_OF_SNAPSHOTS, count))
            .collect();
        snapshots::table(&rounds);
    }
    if wanted("picked") {
        let rounds: Vec<_> = sizes
            .iter()
            .filter(|&&size| size <= picked::FILES_MAX)
            .map(|&size| picked::measured(size))
            .collect();
        picked::table(&rounds);
    }
}
