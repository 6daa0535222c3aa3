//! The steps of a task: announced as they start, and told as a table with their seconds at the end.

use std::fmt::Write as _;
use std::time::Duration;

use crate::stopwatch::Stopwatch;

#[derive(Debug, Default)]
pub(crate) struct Steps {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    took: Duration,
    failed: bool,
}

impl Steps {
    /// Runs a step and notes how long it took and whether it failed.
    pub(crate) fn run<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("==> {name}");
        let stopwatch = Stopwatch::start();
        let outcome = step();
        self.rows.push(Row {
            name: name.to_owned(),
            took: stopwatch.elapsed(),
            failed: outcome.is_err(),
        });
        outcome
    }

    /// The table: a line for each step, then their sum.
    pub(crate) fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        let mut table = String::new();
        for row in &self.rows {
            let mark = if row.failed { "  FAILED" } else { "" };
            let seconds = row.took.as_secs_f64();
            let _ = writeln!(table, "{:<width$}  {seconds:>8.1} s{mark}", row.name);
        }
        let sum: Duration = self.rows.iter().map(|row| row.took).sum();
        let _ = writeln!(table, "{:<width$}  {:>8.1} s", "total", sum.as_secs_f64());
        table
    }
}

#[cfg(test)]
mod tests {
    use super::Steps;

    #[test]
    fn table_names_every_step_and_marks_the_failed_one() {
        let mut steps = Steps::default();
        steps.run("one", || Ok(())).unwrap();
        steps
            .run("another", || -> anyhow::Result<()> { anyhow::bail!("no") })
            .unwrap_err();
        let table = steps.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("one      ") && !lines[0].contains("FAILED"));
        assert!(lines[1].starts_with("another  ") && lines[1].ends_with("FAILED"));
        assert!(lines[2].starts_with("total"));
    }
}
