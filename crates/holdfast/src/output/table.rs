//! Aligned columns.

use std::fmt;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn widths(&self) -> Vec<usize> {
        let heads = self.columns.iter().map(|(head, _)| head.chars().count());
        let mut widths: Vec<usize> = heads.collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, widths: &[usize], cells: &[String]) -> fmt::Result {
        let mut text = String::new();
        for (n, cell) in cells.iter().enumerate() {
            let width = widths.get(n).copied().unwrap_or(0);
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            let right = self
                .columns
                .get(n)
                .is_some_and(|(_, align)| *align == Align::Right);
            if n > 0 {
                text.push_str("  ");
            }
            if right {
                text.push_str(&space);
            }
            text.push_str(cell);
            if !right {
                text.push_str(&space);
            }
        }
        f.write_str(text.trim_end())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let heads: Vec<String> = self
            .columns
            .iter()
            .map(|(head, _)| (*head).into())
            .collect();
        self.write(f, &widths, &heads)?;
        for row in &self.rows {
            f.write_str("\n")?;
            self.write(f, &widths, row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let mut table = Table::new(&[
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("", Align::Left),
        ]);
        assert!(table.is_empty());
        table.row(["größe".into(), "1".into(), String::new()]);
        table.row(["x".into(), "12345".into(), "note".into()]);
        let shown = table.to_string();
        assert_eq!(shown, "NAME    SIZE\ngröße      1\nx      12345  note");
    }
}
