//! Every fuzz target of `fuzz/`, run over its seeds, over the corpus of `fuzz/seeds` and over some thousands of
//! mutations of both: what any machine can afford, so that decoders are exercised by every run of the tests. The
//! mutations are others each time; `HOLDFAST_TEST_SEED` has the same again, `HOLDFAST_TEST_MUTATIONS` has so many times as
//! many as a target's rounds. The long hunt is `cargo +nightly fuzz run NAME` (see `fuzz/README.md`).

#[path = "../../../fuzz/src/targets/mod.rs"]
#[expect(unreachable_pub, reason = "it is a library's module, too")]
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use holdfast_context::{Context, ManualClock};
use holdfast_tests::Noise;

use targets::{TARGETS, Target};

/// Tells which input a target failed on.
struct Trying<'a>(&'a Target, &'a [u8]);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "target {} fails on {}",
                self.0.name,
                HEXLOWER.encode(self.1)
            );
        }
    }
}

fn run(target: &Target, bytes: &[u8]) {
    let trying = Trying(target, bytes);
    (target.run)(bytes);
    drop(trying);
}

/// Chance from a seed.
struct Chance(Context);

impl Chance {
    fn below(&self, bound: usize) -> usize {
        (u64::from_le_bytes(self.0.random()) % bound.max(1) as u64) as usize
    }

    fn mutate(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(9) {
                0 => bytes.truncate(at),
                1 | 2 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                3 if !bytes.is_empty() => bytes[at] = self.0.random::<1>()[0],
                4 if !bytes.is_empty() => {
                    // A number near the largest of its width: what overflows.
                    let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                    bytes[at..at + width].fill(0xff);
                }
                5 => {
                    let more: [u8; 9] = self.0.random();
                    let count = self.below(9);
                    bytes.splice(at..at, more[..count].iter().copied());
                }
                6 => {
                    let end = (at + self.below(20)).min(bytes.len());
                    bytes.drain(at.min(end)..end);
                }
                7 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => bytes.extend_from_slice(&self.0.random::<16>()[..self.below(16)]),
            }
        }
        bytes
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// What is kept for a target: bytes that former releases wrote, and inputs that were worth keeping.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder().join("seeds").join(target.name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // In the same order on every machine, so that a seed gives the same mutations.
    paths.sort();
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    paths.iter().map(read).collect()
}

/// Runs a target over its seeds, their beginnings, and mutations; how many inputs that were.
fn check(target: &Target, seed: u64, times: usize) -> usize {
    let seeds = [(target.seeds)(), corpus(target)].concat();
    let mut inputs = 0;
    for seed in &seeds {
        run(target, seed);
        let beginnings = seed.len().min(64);
        for at in 0..beginnings {
            run(target, &seed[..at]);
        }
        inputs += 1 + beginnings;
    }
    let chance = Chance(Context::seeded(seed, Arc::new(ManualClock::at(0))));
    for _ in 0..target.rounds * times {
        run(target, &chance.mutate(&seeds));
    }
    inputs + target.rounds * times
}

#[test]
fn every_fuzz_target_survives_mutations() {
    let seed = Noise::seeded("decoders").number();
    let times = std::env::var("HOLDFAST_TEST_MUTATIONS").map_or(5, |text| text.parse().unwrap());
    let inputs: usize = std::thread::scope(|scope| {
        let running: Vec<_> = TARGETS
            .iter()
            .map(|target| scope.spawn(move || check(target, seed, times)))
            .collect();
        running
            .into_iter()
            .map(|one| one.join().expect("the input that fails is printed above"))
            .sum()
    });
    println!("{} targets survive {inputs} inputs", TARGETS.len());
}

/// The corpus is small, and has something for each target and for nothing else.
#[test]
fn the_corpus_is_small_and_has_every_target() {
    let mut bytes = 0;
    for target in TARGETS {
        let corpus = corpus(target);
        assert!(!corpus.is_empty(), "{}", target.name);
        bytes += corpus.iter().map(Vec::len).sum::<usize>();
    }
    assert!(bytes < 200_000, "{bytes} bytes are too much to carry along");
    let folders = std::fs::read_dir(folder().join("seeds")).unwrap();
    assert_eq!(folders.count(), TARGETS.len());
}

/// `cargo fuzz` finds a program for each target, and none that has no target.
#[test]
fn every_target_has_its_fuzz_program() {
    let fuzz = folder();
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let path = format!("fuzz_targets/{}.rs", target.name);
        let program = std::fs::read_to_string(fuzz.join(&path)).unwrap();
        assert!(program.contains(&format!("run(\"{}\"", target.name)));
        assert!(manifest.contains(&format!("path = \"{path}\"")));
    }
    let programs = std::fs::read_dir(fuzz.join("fuzz_targets"))
        .unwrap()
        .count();
    assert_eq!(programs, TARGETS.len());
}
