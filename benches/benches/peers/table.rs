//! The outcome as markdown tables.

use crate::rounds::Outcome;
use crate::sample::{BYTES, CPU, MEMORY, SYNC, WALL};
use crate::sets;
use crate::step::Step;
use crate::target::{Against, MEMORY_MAX, TARGETS, Target};
use crate::tool::Tool;

/// Prints all tables; targets only if the data are `whole`.
pub(crate) fn print(outcome: &Outcome, tools: &[Tool], whole: bool) {
    println!("\n## Data\n\n| set | what | files | MB |\n|---|---|---:|---:|");
    for (letter, files, bytes) in &outcome.sets {
        let mb = *bytes as f64 / 1e6;
        println!(
            "| {letter} | {} | {files} | {mb:.1} |",
            sets::describe(*letter)
        );
    }
    for (letter, ..) in &outcome.sets {
        println!("\n## {letter}: {}", sets::describe(*letter));
        costs(outcome, tools, *letter);
        repository(outcome, tools, *letter);
    }
    let (ours, peers): (Vec<Tool>, Vec<Tool>) = tools.iter().partition(|tool| tool.is_ours());
    for tool in ours {
        if whole {
            targets(outcome, &tool.name(), &peers);
        }
        against_restic(outcome, &tool.name());
    }
    if !outcome.failures.is_empty() {
        println!("\n## FAILED\n");
    }
    for failure in &outcome.failures {
        let set = failure
            .set
            .map_or_else(|| "all sets".to_owned(), String::from);
        println!(
            "- {} on {set}:\n\n```text\n{}\n```\n",
            failure.tool, failure.why
        );
    }
}

/// What each step took.
fn costs(outcome: &Outcome, tools: &[Tool], letter: char) {
    let titles = Step::ALL.map(Step::title);
    table_head(
        "Wall seconds / processor seconds of all processes / MB of memory at most (ours: agent and coordinator added; a peer: its \
         largest process)",
        letter,
        &titles,
    );
    each_tool(outcome, tools, letter, |tool| {
        let cell = |step| {
            let median = |figure| outcome.samples.median(letter, tool, step, figure);
            let (wall, cpu, memory) = (median(WALL)?, median(CPU)?, median(MEMORY)?);
            Some(format!("{wall:.2} / {cpu:.2} / {memory:.0}"))
        };
        Step::ALL.map(cell).to_vec()
    });
}

/// What each tool keeps.
fn repository(outcome: &Outcome, tools: &[Tool], letter: char) {
    table_head(
        "MB of the repository (ours: one of two sites); and seconds that a sync takes after the restore",
        letter,
        &[
            "after day one",
            "day two adds",
            "after expire + collect",
            "sync, s",
        ],
    );
    each_tool(outcome, tools, letter, |tool| {
        let samples = &outcome.samples;
        let of = |step, figure| samples.median(letter, tool, step, figure);
        let bytes = [
            of(Step::First, BYTES),
            samples.added(letter, tool),
            of(Step::Expire, BYTES),
        ];
        let sync = of(Step::Restore, SYNC).map(|sync| format!("{sync:.2}"));
        let bytes = bytes.map(|mb| mb.map(|mb| format!("{mb:.1}")));
        bytes.into_iter().chain([sync]).collect()
    });
}

fn table_head(what: &str, letter: char, titles: &[&str]) {
    println!(
        "\n{what}:\n\n| {letter} | {} |\n|---|{}",
        titles.join(" | "),
        "---:|".repeat(titles.len())
    );
}

/// A line for each tool that is used on a set.
fn each_tool(
    outcome: &Outcome,
    tools: &[Tool],
    letter: char,
    cells: impl Fn(&str) -> Vec<Option<String>>,
) {
    for tool in tools.iter().filter(|tool| tool.is_for(letter)) {
        let name = tool.name();
        let absent = match outcome.has_failed(&name, letter) {
            true => "**failed**",
            false => "–",
        };
        let cells = cells(&name);
        let cells = cells.into_iter().map(|cell| cell.unwrap_or(absent.into()));
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// One of ours beside what it is meant to reach.
fn targets(outcome: &Outcome, ours: &str, peers: &[Tool]) {
    println!("\n## {ours}, as a share of the peer that the target names (target)\n");
    println!(
        "The fastest peer, or the smallest, is one that compresses alike: with zstd, or not at all. Where one that compresses with lz4 \
         takes less, the share of it follows.\n"
    );
    heading(outcome);
    for target in &TARGETS {
        let cells = outcome
            .sets
            .iter()
            .map(|(letter, ..)| target_cell(outcome, ours, peers, target, *letter));
        println!(
            "| {} | {} |",
            target.title,
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    let cells = outcome.sets.iter().map(|(letter, ..)| {
        let peak = Step::ALL
            .iter()
            .filter_map(|step| outcome.samples.median(*letter, ours, *step, MEMORY))
            .reduce(f64::max);
        peak.map_or_else(
            || "–".to_owned(),
            |peak| format!("{peak:.0} MB ({MEMORY_MAX:.0}){}", missed(peak, MEMORY_MAX)),
        )
    });
    println!(
        "| most memory of a step | {} |",
        cells.collect::<Vec<_>>().join(" | ")
    );
}

fn target_cell(
    outcome: &Outcome,
    ours: &str,
    peers: &[Tool],
    target: &Target,
    letter: char,
) -> String {
    let (at_most, against) = target.on(letter);
    let samples = &outcome.samples;
    let figure = target.what.of(samples, letter, ours);
    let peer = target.what.peer(samples, letter, peers, against);
    match (figure, peer) {
        (Some(figure), Some((peer, other))) => {
            let share = figure / other;
            let named = format!("{share:.2} of {peer} ({at_most}){}", missed(share, at_most));
            let least = target.what.least(samples, letter, peers.iter());
            match least.filter(|(_, least)| against == Against::Least && *least < other) {
                Some((peer, least)) => format!("{named}; {:.2} of {peer}", figure / least),
                None => named,
            }
        }
        _ => format!("– ({at_most})"),
    }
}

fn missed(figure: f64, at_most: f64) -> &'static str {
    if figure > at_most { " **missed**" } else { "" }
}

/// One of ours as a share of restic at its default.
fn against_restic(outcome: &Outcome, ours: &str) {
    println!("\n## {ours}, as a share of restic at its default\n");
    heading(outcome);
    for target in &TARGETS {
        let cells = outcome.sets.iter().map(|(letter, ..)| {
            let samples = &outcome.samples;
            let figure = target.what.of(samples, *letter, ours);
            let peer = target.what.peer(samples, *letter, &[], Against::Restic);
            match (figure, peer) {
                (Some(figure), Some((_, other))) => format!("{:.2}", figure / other),
                _ => "–".to_owned(),
            }
        });
        println!(
            "| {} | {} |",
            target.title,
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
}

fn heading(outcome: &Outcome) {
    let letters: Vec<String> = outcome
        .sets
        .iter()
        .map(|(letter, ..)| letter.to_string())
        .collect();
    println!(
        "| | {} |\n|---|{}",
        letters.join(" | "),
        "---|".repeat(letters.len())
    );
}
