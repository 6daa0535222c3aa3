//! One measured step, as it is kept; and medians of several.

use serde::Serialize;

use crate::measuring::Cost;
use crate::step::Step;

/// See the module header.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// The data set's letter.
    pub(crate) set: char,
    /// The tool with its setting.
    pub(crate) tool: String,
    /// From 0.
    pub(crate) round: usize,
    pub(crate) step: Step,
    #[serde(flatten)]
    pub(crate) cost: Cost,
    /// The `syncfs` afterwards, for what the tool had left in the page cache.
    pub(crate) sync_seconds: f64,
    /// What the repository took on the disk afterwards; of ours, one site.
    pub(crate) repository_bytes: u64,
}

/// A figure of samples.
pub(crate) type Figure = fn(&Sample) -> f64;

/// Wall seconds.
pub(crate) const WALL: Figure = |sample| sample.cost.wall_seconds;
/// Processor seconds.
pub(crate) const CPU: Figure = |sample| sample.cost.cpu_seconds;
/// Peak memory, MB.
pub(crate) const MEMORY: Figure = |sample| sample.cost.peak_bytes as f64 / 1e6;
/// The repository, MB.
pub(crate) const BYTES: Figure = |sample| sample.repository_bytes as f64 / 1e6;
/// Seconds of the `syncfs` afterwards.
pub(crate) const SYNC: Figure = |sample| sample.sync_seconds;

/// All samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// The median of a figure over the rounds; `None` if there is no sample.
    pub(crate) fn median(&self, set: char, tool: &str, step: Step, figure: Figure) -> Option<f64> {
        let wanted =
            |sample: &&Sample| sample.set == set && sample.tool == tool && sample.step == step;
        let mut figures: Vec<f64> = self.0.iter().filter(wanted).map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied()
    }

    /// What a backup of the next day adds to the repository, MB.
    pub(crate) fn added(&self, set: char, tool: &str) -> Option<f64> {
        let before = self
            .median(set, tool, Step::Unchanged, BYTES)
            .or_else(|| self.median(set, tool, Step::First, BYTES))?;
        Some(self.median(set, tool, Step::DayTwo, BYTES)? - before)
    }
}
