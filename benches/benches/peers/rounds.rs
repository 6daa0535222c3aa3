//! The runs: for each set and round every tool in turn, each on a fresh repository, so that what else the machine does hits all
//! alike.

use std::fs;
use std::path::PathBuf;

use crate::contents::compare;
use crate::sample::{Sample, Samples};
use crate::sets::{Day, LETTERS, Set};
use crate::settings::Settings;
use crate::step::Step;
use crate::tool::Tool;
use crate::work::{Work, cool, disk_bytes};

/// What a run gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) samples: Samples,
    pub(crate) failures: Vec<Failure>,
    /// Each set that was measured, its files and bytes.
    pub(crate) sets: Vec<(char, u64, u64)>,
}

/// A tool that did not come to its end on a set, or that is not there.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) tool: String,
    /// `None`: on all of them.
    pub(crate) set: Option<char>,
    pub(crate) why: String,
}

impl Outcome {
    /// Notes a failure, and says it at once.
    pub(crate) fn fail(&mut self, tool: String, set: Option<char>, why: String) {
        eprintln!("FAILED: {tool}: {why}");
        self.failures.push(Failure { tool, set, why });
    }

    /// Whether a tool failed on a set.
    pub(crate) fn has_failed(&self, tool: &str, letter: char) -> bool {
        let is_it =
            |failure: &Failure| failure.tool == tool && failure.set.is_none_or(|set| set == letter);
        self.failures.iter().any(is_it)
    }
}

/// Runs everything that is chosen.
pub(crate) fn run(settings: &Settings, tools: &[Tool]) -> Outcome {
    let mut outcome = Outcome::default();
    let (tools, absent): (Vec<Tool>, Vec<Tool>) = tools
        .iter()
        .partition(|tool| tool.is_there(&settings.peers));
    for tool in absent {
        outcome.fail(
            tool.name(),
            None,
            "it is not there, and was not measured".into(),
        );
    }
    for letter in LETTERS
        .into_iter()
        .filter(|letter| settings.has_set(*letter))
    {
        let mut set = Set::ensure(&settings.data, letter, settings.part);
        let (files, bytes) = set.size();
        outcome.sets.push((letter, files, bytes));
        for round in 0..settings.rounds {
            let mut turns: Vec<&Tool> = tools.iter().filter(|tool| tool.is_for(letter)).collect();
            // Each round begins with another tool: whoever comes after the same one always has the same disk and memory to start with.
            let first = round * turns.len() / settings.rounds;
            turns.rotate_left(first);
            for tool in turns {
                let mut samples = Vec::new();
                let ran = run_one(settings, *tool, &mut set, round, &mut samples);
                if let Err(why) = ran {
                    let why = format!("round {round}: {why}");
                    outcome.fail(tool.name(), Some(letter), why);
                }
                outcome.samples.0.append(&mut samples);
                let raw = serde_json::to_vec_pretty(&outcome.samples.0).unwrap();
                fs::write(&settings.results, raw).unwrap();
            }
        }
        let _ = fs::remove_dir_all(kept());
    }
    outcome
}

/// Where restored trees of many files wait until all tools have had their turns.
fn kept() -> PathBuf {
    std::env::temp_dir().join("restored")
}

/// Takes a restored tree out of the way. ext4 looks at each inode that was deleted in the last minutes again whenever it makes a new
/// one: of 100,000 that one tool's tree had, the next tool would pay half a minute.
fn put_away(work: &Work, letter: char, name: &str) {
    match letter {
        'C' => {
            fs::create_dir_all(kept()).unwrap();
            fs::rename(&work.target, kept().join(name)).unwrap();
        }
        _ => fs::remove_dir_all(&work.target).unwrap(),
    }
    fs::create_dir(&work.target).unwrap();
}

/// All steps of one tool on one set.
fn run_one(
    settings: &Settings,
    tool: Tool,
    set: &mut Set,
    round: usize,
    samples: &mut Vec<Sample>,
) -> Result<(), String> {
    set.turn_to(Day::One);
    let work = Work::new(settings, set);
    let running = tool.start(&work)?;
    let mut stored_before = 0;
    for step in Step::ASKED
        .into_iter()
        .filter(|step| settings.has_step(*step))
    {
        if step == Step::DayTwo {
            set.turn_to(Day::Two);
        }
        set.warm();
        work.sync();
        if step.reads_repository() {
            cool(&running.repository(&work));
        }
        let costs = running.run(step, &work)?;
        let sync_seconds = work.sync();
        let repository_bytes = disk_bytes(&running.repository(&work));
        for (step, cost) in costs {
            eprintln!(
                "{} {round} {:<16} {:<20} {:>8.2} s, {:>8.2} s of processor, {:>5} MB of memory, {:>6} MB stored, {sync_seconds:.2} s of sync",
                set.letter,
                tool.name(),
                step.title(),
                cost.wall_seconds,
                cost.cpu_seconds,
                cost.peak_bytes / 1_000_000,
                repository_bytes / 1_000_000,
            );
            samples.push(Sample {
                set: set.letter,
                tool: tool.name(),
                round,
                step,
                cost,
                sync_seconds,
                repository_bytes,
            });
        }
        if step == Step::Expire && set.letter == 'B' && repository_bytes > stored_before / 4 * 3 {
            return Err("it deleted nothing, though the days have no bytes in common".into());
        }
        stored_before = repository_bytes;
        if step == Step::Restore {
            if round == 0 {
                compare(&set.source, &running.restored(&work))?;
            }
            put_away(&work, set.letter, &format!("{}-{round}", tool.name()));
        }
    }
    Ok(())
}
