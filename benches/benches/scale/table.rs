//! Tables in markdown: a row for each figure, a column for each size, and by how much each grows from one to the next.

use crate::part::Figures;

/// How a figure is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// As it is, with so many digits behind the point.
    Digits(usize),
    /// Seconds, or milliseconds, microseconds and nanoseconds where it is less; processor time in brackets, by which growth is told.
    Seconds,
    /// Bytes, as MiB.
    Mebibytes,
    /// Thousands in a second.
    Thousands,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Digits(digits) => format!("{figure:.digits$}"),
            Self::Seconds if figure >= 1.0 => format!("{figure:.1} s"),
            Self::Seconds if figure >= 1e-3 => format!("{:.1} ms", figure * 1e3),
            Self::Seconds if figure >= 1e-6 => format!("{:.1} µs", figure * 1e6),
            Self::Seconds => format!("{:.0} ns", figure * 1e9),
            Self::Mebibytes => format!("{:.1} MiB", figure / f64::from(1 << 20)),
            Self::Thousands => format!("{:.0} k/s", figure / 1e3),
        }
    }
}

/// A row: what it says, which figure, how it is shown.
pub(crate) type Row = (&'static str, &'static str, Unit);

/// Prints a table. `by` is the figure that grows from column to column.
pub(crate) fn print(title: &str, by: &str, rounds: &[Figures], rows: &[Row]) {
    println!("\n**{title}**\n");
    let heads: Vec<String> = rounds
        .iter()
        .map(|round| format!("{:.3e}", round[by]))
        .collect();
    let growth: String = rounds
        .windows(2)
        .map(|two| format!(" ×{:.1} |", two[1][by] / two[0][by]))
        .collect();
    println!("| {by} | {} |{growth}", heads.join(" | "));
    println!("|---|{}", "---|".repeat(2 * rounds.len() - 1));
    for (what, name, unit) in rows {
        let processor = name.replace("seconds ", "processor ");
        let told = |round: &Figures| match round.get(&processor) {
            Some(&spent) if processor != *name => {
                format!("{} ({})", unit.show(round[*name]), unit.show(spent))
            }
            _ => round.get(*name).map_or("–".into(), |&f| unit.show(f)),
        };
        let shown: Vec<String> = rounds.iter().map(told).collect();
        let growth: String = rounds
            .windows(2)
            .map(|two| grown(two, name, &processor))
            .collect();
        println!("| {what} | {} |{growth}", shown.join(" | "));
    }
}

/// By how much a figure grows: its processor time, where both have it.
fn grown(two: &[Figures], name: &str, processor: &str) -> String {
    let both = |name: &str| Some((*two[0].get(name)?, *two[1].get(name)?));
    match both(processor).or(both(name)) {
        Some((one, next)) if one != 0.0 => format!(" ×{:.2} |", next / one),
        _ => " – |".into(),
    }
}
