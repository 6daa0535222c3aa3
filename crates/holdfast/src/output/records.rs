//! Results that come one by one, as text lines or as the elements of one JSON array, without being gathered first.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use super::written;
use crate::failure::Outcome;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Records {
    out: BufWriter<Stdout>,
    json: bool,
    any: bool,
}

impl Records {
    /// Begins; `json` chooses the form.
    pub(crate) fn begin(json: bool) -> Self {
        Self {
            out: BufWriter::new(io::stdout()),
            json,
            any: false,
        }
    }

    /// Writes one; `text` is asked for only if it is shown.
    pub(crate) fn write(
        &mut self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Outcome<()> {
        if !self.json {
            return written(writeln!(self.out, "{}", text()));
        }
        let before = if self.any { ",\n" } else { "[\n" };
        self.any = true;
        let result = self
            .out
            .write_all(before.as_bytes())
            .and_then(|()| serde_json::to_writer(&mut self.out, value).map_err(io::Error::from));
        written(result)
    }

    /// Ends; what was written is out.
    pub(crate) fn end(mut self) -> Outcome<()> {
        let end = match (self.json, self.any) {
            (false, _) => "",
            (true, true) => "\n]\n",
            (true, false) => "[]\n",
        };
        let result = self
            .out
            .write_all(end.as_bytes())
            .and_then(|()| self.out.flush());
        written(result)
    }
}
