//! What the index costs, and how fast it answers.

use std::hint::black_box;

use crate::filling::{id, scope};
use crate::founded::Founded;
use crate::part::Figures;
use crate::stopwatch::Stopwatch;
use crate::table::{Row, Unit, print};
use holdfast_format::{ChunkId, Ordinal};
use holdfast_vault::State;

/// Look-ups of each kind.
const LOOKUPS: u64 = 1_000_000;

/// Numbers from here on no chunk has.
const NOWHERE: u64 = 1 << 60;

/// An odd number, to visit ordinals in no order.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// How many in a second of processor time.
fn rate(ids: &[ChunkId], look: impl Fn(&ChunkId) -> bool, found: bool) -> f64 {
    let watch = Stopwatch::start();
    for id in ids {
        assert_eq!(look(black_box(id)), found);
    }
    ids.len() as f64 / watch.read().1
}

/// Measures an open vault.
pub(crate) async fn figures(founded: &Founded, state: &State) -> Figures {
    let index = &state.index;
    let chunks = index.next().0;
    let ordinals = (0..LOOKUPS).map(|n| Ordinal(n.wrapping_mul(STEP) % chunks));
    let there: Vec<ChunkId> = ordinals.clone().filter_map(|n| index.id(n)).collect();
    let nowhere: Vec<ChunkId> = (NOWHERE..NOWHERE + LOOKUPS).map(id).collect();
    // Once before, so that what is measured is read from memory.
    rate(&there, |id| index.find(id).next().is_some(), true);
    let finds = |id: &ChunkId| index.find(id).next().is_some();
    let knows = |id: &ChunkId| state.find(&scope(), id).is_some();
    let watch = Stopwatch::start();
    for ordinal in ordinals {
        assert!(black_box(index.entry(ordinal)).is_some());
    }
    let homes = LOOKUPS as f64 / watch.read().1;
    let bytes: usize = index.segments().iter().map(|one| one.bytes().len()).sum();
    Figures::from([
        ("chunks".into(), chunks as f64),
        ("segments".into(), index.segments().len() as f64),
        ("bytes a chunk".into(), bytes as f64 / chunks as f64),
        (
            "bytes at the site a chunk".into(),
            founded.bytes_of("segments").await as f64 / chunks as f64,
        ),
        ("hits".into(), rate(&there, finds, true)),
        ("misses".into(), rate(&nowhere, finds, false)),
        ("hits in a scope".into(), rate(&there, knows, true)),
        ("homes".into(), homes),
    ])
}

/// Prints what was measured.
pub(crate) fn table(rounds: &[Figures]) {
    let mut rounds = rounds.to_vec();
    for round in &mut rounds {
        let a_chunk: Vec<(String, f64)> = [
            ("processor reading", "read a chunk"),
            ("memory open", "memory a chunk"),
            ("bytes of log", "log a chunk"),
        ]
        .iter()
        .map(|(of, to)| ((*to).to_owned(), round[*of] / round["chunks"]))
        .collect();
        round.extend(a_chunk);
    }
    let rows: &[Row] = &[
        ("segments", "segments", Unit::Digits(0)),
        (
            "index on this disk, bytes a chunk",
            "bytes a chunk",
            Unit::Digits(1),
        ),
        (
            "checkpoint at a site, bytes a chunk",
            "bytes at the site a chunk",
            Unit::Digits(1),
        ),
        ("log, bytes a chunk", "log a chunk", Unit::Digits(1)),
        (
            "memory of the open vault, bytes a chunk",
            "memory a chunk",
            Unit::Digits(2),
        ),
        ("memory of the open vault", "memory open", Unit::Mebibytes),
        ("look-ups that hit", "hits", Unit::Thousands),
        (
            "look-ups that hit, with scope",
            "hits in a scope",
            Unit::Thousands,
        ),
        ("look-ups that miss", "misses", Unit::Thousands),
        ("look-ups of homes by ordinal", "homes", Unit::Thousands),
        (
            "the log read from its first record",
            "seconds reading",
            Unit::Seconds,
        ),
        (
            "that, processor time a chunk",
            "read a chunk",
            Unit::Seconds,
        ),
        ("memory for that, at most", "peak reading", Unit::Mebibytes),
        ("appending it", "seconds appending", Unit::Seconds),
        (
            "writing and merging segments meanwhile",
            "seconds settling",
            Unit::Seconds,
        ),
        ("saving a checkpoint", "seconds saving", Unit::Seconds),
        ("memory for that, at most", "peak saving", Unit::Mebibytes),
        (
            "opening from the checkpoint",
            "seconds opening",
            Unit::Seconds,
        ),
        ("memory for that, at most", "peak opening", Unit::Mebibytes),
    ];
    print("The index", "chunks", &rounds, rows);
}
