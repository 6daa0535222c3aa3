//! The acts of the story, each a few of its steps: what happens, and what is required of it.

mod comeback;
mod daily;
mod disaster;
mod rescue;
mod retention;

use super::client::{BackedUp, Restored};
use super::compare::Comparison;
use crate::output;

/// A backup in a few words.
fn backed_up_words(done: &BackedUp) -> String {
    format!(
        "{} files, {} of them unchanged; {} new chunks",
        output::count(done.info.files),
        output::count(done.unchanged_files),
        output::count(done.chunks_new)
    )
}

/// A restore in a few words.
fn restored_words(done: &Restored) -> String {
    let result = &done.result;
    format!(
        "{} files, {} folders, {} others; {} written",
        output::count(result.files),
        output::count(result.directories),
        output::count(result.others),
        output::bytes(result.bytes_written)
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
