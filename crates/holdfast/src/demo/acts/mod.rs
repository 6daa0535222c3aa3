//! The acts of the story, each a few of its steps: what happens, and what is required of it.

mod comeback;
mod daily;
mod disaster;
mod rescue;
mod retention;

use holdfast_agent::restore::RestoreResult;

use super::client::{BackedUp, Restored};
use super::compare::Comparison;
use crate::output;

/// Backups in a few words.
fn backed_up_words(done: &[BackedUp]) -> String {
    let sum = |figure: fn(&BackedUp) -> u64| output::count(done.iter().map(figure).sum());
    format!(
        "{} files, {} of them unchanged; {} new chunks",
        sum(|one| one.info.files),
        sum(|one| one.unchanged_files),
        sum(|one| one.chunks_new)
    )
}

/// Restores in a few words.
fn restored_words(done: &[Restored]) -> String {
    let sum = |figure: fn(&RestoreResult) -> u64| -> u64 {
        done.iter().map(|one| figure(&one.result)).sum()
    };
    format!(
        "{} files, {} folders, {} others; {} written",
        output::count(sum(|result| result.files)),
        output::count(sum(|result| result.directories)),
        output::count(sum(|result| result.others)),
        output::bytes(sum(|result| result.bytes_written))
    )
}

/// A comparison in a few words.
fn compared_words(done: &Comparison) -> String {
    format!(
        "{} paths and {} compared: nothing differs",
        output::count(done.paths),
        output::bytes(done.bytes)
    )
}
