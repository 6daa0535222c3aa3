//! What the program says: results on standard output, remarks and progress on standard error.
//!
//! Text is for people (units, local time, aligned columns), JSON for programs (plain numbers, UTC). A reader that goes
//! away ends the command and is no error to tell of.

mod figures;
mod fleeting;
mod records;
mod table;

use std::io::{self, Write};

use serde::Serialize;

pub(crate) use figures::{bytes, count, counted, duration, seconds, time, time_utc};
pub(crate) use fleeting::{Progress, Reading, remark, stderr_above_progress};
pub(crate) use records::Records;
pub(crate) use table::{Align, Table};

use crate::failure::{Failure, Outcome};

/// A line of a result.
pub(crate) fn line(text: impl std::fmt::Display) -> Outcome<()> {
    written(writeln!(io::stdout().lock(), "{text}"))
}

/// A result as JSON, on one line.
pub(crate) fn json(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::new(format_args!("the result cannot be written: {error}")))?;
    line(text)
}

/// Tells why writing to standard output failed.
pub(crate) fn written(result: io::Result<()>) -> Outcome<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::unread()),
        Err(error) => Err(Failure::new(format_args!("standard output: {error}"))),
    }
}

/// A name from a snapshot or a vault, fit for a terminal: no control characters, no forged lines.
pub(crate) fn name(text: &str) -> String {
    holdfast_agent::restore::shown(text.as_bytes())
}
