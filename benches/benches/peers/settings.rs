//! What `cargo xtask bench peers` hands over in environment variables.

use std::path::PathBuf;

use crate::step::Step;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the peers' programs are, or texts that say why one is not.
    pub(crate) peers: PathBuf,
    /// Where data sets are kept.
    pub(crate) data: PathBuf,
    /// Where the raw samples go.
    pub(crate) results: PathBuf,
    /// Sizes are divided by this.
    pub(crate) part: u64,
    /// How often each tool is run on each set.
    pub(crate) rounds: usize,
    /// Names of tools, or how they begin; all if empty.
    tools: Vec<String>,
    /// Letters of sets; all if empty.
    sets: Vec<String>,
    /// Words of steps; all if empty.
    steps: Vec<String>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Panics
    /// If one is missing or wrong.
    pub(crate) fn read() -> Self {
        let settings = Self {
            peers: required("HOLDFAST_BENCH_PEERS").into(),
            data: required("HOLDFAST_BENCH_DATA").into(),
            results: required("HOLDFAST_BENCH_RESULTS").into(),
            part: number("HOLDFAST_BENCH_PART", 1),
            rounds: number("HOLDFAST_BENCH_ROUNDS", 3) as usize,
            tools: list("HOLDFAST_BENCH_TOOLS"),
            sets: list("HOLDFAST_BENCH_SETS"),
            steps: list("HOLDFAST_BENCH_STEPS"),
        };
        let known = |word: &String| Step::ASKED.iter().any(|step| step.word() == word);
        if let Some(word) = settings.steps.iter().find(|word| !known(word)) {
            panic!(
                "{word} is no step: {}",
                Step::ASKED.map(Step::word).join(", ")
            );
        }
        settings
    }

    /// A tool that was asked for, and that none of these names begins with.
    pub(crate) fn unknown_tool(&self, names: &[String]) -> Option<&str> {
        let is_known = |tool: &str| {
            names
                .iter()
                .any(|name| name == tool || name.split(' ').next() == Some(tool))
        };
        let mut tools = self.tools.iter().map(String::as_str);
        tools.find(|tool| !is_known(tool))
    }

    /// Whether a tool is chosen: by its whole name, or by its first word with all its settings.
    pub(crate) fn has_tool(&self, name: &str) -> bool {
        let first = name.split(' ').next().unwrap_or(name);
        self.tools.is_empty() || self.tools.iter().any(|tool| tool == name || tool == first)
    }

    /// Whether a set is chosen.
    pub(crate) fn has_set(&self, letter: char) -> bool {
        let chosen = |set: &String| set.eq_ignore_ascii_case(&letter.to_string());
        self.sets.is_empty() || self.sets.iter().any(chosen)
    }

    /// Whether a step is chosen, or needed by others.
    pub(crate) fn has_step(&self, step: Step) -> bool {
        step.is_needed()
            || self.steps.is_empty()
            || self.steps.iter().any(|word| word == step.word())
    }
}

fn required(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `cargo xtask bench peers`"))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) if number > 0 => number,
            _ => panic!("{variable} has to be a number above 0"),
        },
        Err(_) => otherwise,
    }
}

fn list(variable: &str) -> Vec<String> {
    let text = std::env::var(variable).unwrap_or_default();
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}
