//! What stands above the tables: the machine, the versions, the commands, the day.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_tests::surroundings;

use crate::holdfast;
use crate::peer::{Peer, Setting};
use crate::peers::PEERS;
use crate::settings::Settings;
use crate::step::Step;
use crate::tool::Tool;

/// Prints it, of the tools that were chosen. A peer that is not there is named with the reason.
pub(crate) fn print(settings: &Settings, tools: &[Tool]) {
    println!("# Holdfast and its peers\n");
    if settings.part > 1 {
        println!(
            "**Sizes are one in {} of the whole: no figure below says anything about speed.**\n",
            settings.part
        );
    }
    println!(
        "- {}; medians of {} rounds",
        said(Command::new("date").args(["--utc", "+%F %R UTC"])),
        settings.rounds
    );
    println!("- {}", hardware());
    println!(
        "- other work on the machine as it began: load {}",
        line("/proc/loadavg")
    );
    println!("- data and repositories on {}", file_system(&settings.data));
    let binary = surroundings::binary();
    let commit = said(Command::new("git").args(["describe", "--always", "--dirty"]));
    println!(
        "- {} ({commit}), two `file:` sites",
        said(Command::new(&binary).arg("--version"))
    );
    let is_chosen = |name: &str| tools.iter().any(|tool| tool.name() == name);
    let chosen: Vec<(&Peer, Vec<&Setting>)> = PEERS
        .into_iter()
        .map(|peer| {
            let settings = peer.settings.iter();
            (
                peer,
                settings.filter(|one| is_chosen(&one.of(peer))).collect(),
            )
        })
        .filter(|(_, settings): &(_, Vec<_>)| !settings.is_empty())
        .collect();
    for (peer, _) in &chosen {
        match missing(&settings.peers, peer.name) {
            None => {
                let program = settings.peers.join(peer.name);
                println!("- {}", said(Command::new(program).args(peer.version)));
            }
            Some(why) => println!("- **{} IS MISSING**: {why}", peer.name),
        }
    }
    let ours: Vec<String> = tools
        .iter()
        .filter(|tool| tool.is_ours())
        .map(|tool| tool.name())
        .collect();
    commands(&ours, &chosen);
}

/// Why a peer is not there; `None` if it is.
pub(crate) fn missing(peers: &Path, name: &str) -> Option<String> {
    if peers.join(name).exists() {
        return None;
    }
    let why = fs::read_to_string(peers.join(format!("{name}.missing")));
    let why = why.unwrap_or_else(|_| "nobody installed it".to_owned());
    Some(why.trim().replace('\n', " "))
}

fn hardware() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<f64>().ok());
    format!(
        "{model}, {cores} cores, {:.0} GiB, Linux {}",
        kib.unwrap_or(0.0) / f64::from(1 << 20),
        line("/proc/sys/kernel/osrelease")
    )
}

fn file_system(folder: &Path) -> String {
    let mut command = Command::new("findmnt");
    let what = ["--noheadings", "--output", "FSTYPE,OPTIONS", "--target"];
    said(command.args(what).arg(folder))
}

fn commands(our_settings: &[String], peers: &[(&Peer, Vec<&Setting>)]) {
    println!(
        "\n## Commands\n\n| tool | setting | {} |",
        Step::ASKED.map(Step::title).join(" | ")
    );
    println!("|---|---|{}", "---|".repeat(Step::ASKED.len()));
    if !our_settings.is_empty() {
        let ours = Step::ASKED.map(|step| format!("`{}`", holdfast::commands(step)));
        println!(
            "| holdfast | {} | {} |",
            our_settings.join(", "),
            ours.join(" | ")
        );
    }
    for (peer, chosen) in peers {
        let steps = Step::ASKED.map(|step| {
            let commands = peer.commands(step).iter();
            let commands = commands.map(|words| format!("{} {}", peer.name, words.join(" ")));
            match commands.collect::<Vec<_>>().join("; ") {
                none if none.is_empty() => "none".to_owned(),
                commands => format!("`{commands}`"),
            }
        });
        let settings: Vec<String> = chosen
            .iter()
            .map(|setting| {
                let (of, sets) = (setting.of(peer), setting.sets);
                format!("{of} ({sets}): `{}{}`", peer.name, words(setting))
            })
            .collect();
        println!(
            "| {} | {} | {} |",
            peer.name,
            settings.join("; "),
            steps.join(" | ")
        );
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The first line that a command prints.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().unwrap_or("says nothing").to_owned()
}

/// What is added to its commands.
fn words(setting: &Setting) -> String {
    let words = setting.words.iter();
    words.map(|word| format!(" {word}")).collect()
}
