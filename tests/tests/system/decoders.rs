//! Every fuzz target of `fuzz/`, run over its seeds and some thousands of mutations with a fixed seed: what any
//! machine can afford, so that decoders are exercised by every run of the tests. The long hunt is
//! `cargo +nightly fuzz run NAME`.

#[path = "../../../fuzz/src/targets/mod.rs"]
#[expect(unreachable_pub, reason = "it is a library's module, too")]
mod targets;

use std::sync::Arc;

use data_encoding::HEXLOWER;
use holdfast_context::{Context, ManualClock};

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

/// Chance that is the same on every machine.
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

fn check(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        run(target, seed);
        for at in 0..seed.len().min(64) {
            run(target, &seed[..at]);
        }
    }
    let chance = Chance(Context::seeded(1, Arc::new(ManualClock::at(0))));
    for _ in 0..target.rounds {
        run(target, &chance.mutate(&seeds));
    }
}

#[test]
fn every_fuzz_target_survives_mutations() {
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || check(target));
        }
    });
}

/// `cargo fuzz` finds a program for each target, and none that has no target.
#[test]
fn every_target_has_its_fuzz_program() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
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
