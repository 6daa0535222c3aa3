//! Tells the story as it goes, and keeps the figures of each step for the table at the end.
//!
//! As text each step is a heading when it begins and what came of it when it ends; as JSON there is one object at the
//! end and nothing before.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::time::Instant;

use super::sites::{OFFSITE, ONSITE, Stored};
use crate::call::Call;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};

/// What stands before the lines below a heading.
const INDENT: &str = "          ";

/// Columns of running text.
const WIDTH: usize = 110;

/// See the module header.
#[derive(Debug)]
pub(super) struct Teller {
    call: Call,
    /// Where it happens.
    folder: PathBuf,
    steps: usize,
    began: Instant,
    step_began: Instant,
    name: &'static str,
    rows: Vec<Row>,
}

/// What a step came to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    number: usize,
    step: &'static str,
    what: String,
    seconds: f64,
    bytes_read: Option<u64>,
    bytes_sent: Option<u64>,
    bytes_onsite: u64,
    bytes_offsite: u64,
}

/// Bytes that a step moved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    /// From files or sites.
    pub(super) read: Option<u64>,
    /// To the coordinator.
    pub(super) sent: Option<u64>,
}

impl Teller {
    /// Begins a story of so many steps.
    pub(super) fn new(call: &Call, folder: &Path, steps: usize) -> Self {
        let now = Instant::now();
        Self {
            call: call.clone(),
            folder: folder.to_owned(),
            steps,
            began: now,
            step_began: now,
            name: "",
            rows: Vec::new(),
        }
    }

    /// A line by itself.
    pub(super) fn line(&self, text: impl Display) -> Outcome<()> {
        match self.call.json() || self.call.quiet() {
            true => Ok(()),
            false => output::line(text),
        }
    }

    /// Begins a step: its name in the table, its heading, the command that does it by hand.
    pub(super) fn begin(
        &mut self,
        name: &'static str,
        heading: &str,
        command: Option<&str>,
    ) -> Outcome<()> {
        if self.call.cancel.is_cancelled() {
            return Err(Failure::interrupted());
        }
        self.name = name;
        let number = self.rows.len() + 1;
        self.line(format_args!("{number:>2} of {:<2}  {heading}", self.steps))?;
        if let Some(command) = command {
            self.line(format_args!("{INDENT}$ {command}"))?;
        }
        self.step_began = Instant::now();
        Ok(())
    }

    /// Tells something of the step.
    pub(super) fn say(&self, text: impl Display) -> Outcome<()> {
        for line in wrapped(&text.to_string(), WIDTH - INDENT.len()) {
            self.line(format_args!("{INDENT}{line}"))?;
        }
        Ok(())
    }

    /// Ends the step.
    pub(super) fn end(&mut self, moved: Moved, what: impl Into<String>) -> Outcome<()> {
        let seconds = self.step_began.elapsed().as_secs_f64();
        let stored = |name| {
            Stored::look(&self.folder, name)
                .map(|stored| stored.bytes)
                .map_err(|error| Failure::file(&self.folder, error))
        };
        let row = Row {
            number: self.rows.len() + 1,
            step: self.name,
            what: what.into(),
            seconds,
            bytes_read: moved.read,
            bytes_sent: moved.sent,
            bytes_onsite: stored(ONSITE)?,
            bytes_offsite: stored(OFFSITE)?,
        };
        self.say(format_args!(
            "{}, in {}",
            row.what,
            output::seconds(seconds)
        ))?;
        self.rows.push(row);
        Ok(())
    }

    /// The step that is being told, for a failure.
    pub(super) fn at(&self) -> String {
        format!("step {}, {}", self.rows.len() + 1, self.name)
    }

    /// How long it took so far, seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// The figures of all steps that ended.
    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The table.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new(&[
            ("", Align::Right),
            ("STEP", Align::Left),
            ("TIME", Align::Right),
            ("READ", Align::Right),
            ("SENT", Align::Right),
            ("ON-SITE", Align::Right),
            ("OFF-SITE", Align::Right),
            ("WHAT IT DID", Align::Left),
        ]);
        let moved = |bytes: Option<u64>| bytes.map_or_else(|| "-".into(), output::bytes);
        for row in &self.rows {
            table.row([
                row.number.to_string(),
                row.step.into(),
                output::seconds(row.seconds),
                moved(row.bytes_read),
                moved(row.bytes_sent),
                output::bytes(row.bytes_onsite),
                output::bytes(row.bytes_offsite),
                row.what.clone(),
            ]);
        }
        table
    }
}

/// Breaks a text at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.into());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("overlong x", 3), ["overlong", "x"]);
        assert_eq!(wrapped("", 3), [""]);
    }
}
