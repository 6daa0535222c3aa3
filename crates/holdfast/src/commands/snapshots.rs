//! `holdfast snapshots`: what can be restored.

use clap::Args;
use holdfast_agent::client::SnapshotInfo;

use crate::args::{InVault, OfSource};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Align, Table};
use crate::views;

/// Options of `snapshots`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    /// Only snapshots with this tag; several tags must all be there
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

/// Lists snapshots, oldest first.
pub(crate) async fn run(call: &Call, args: SnapshotsArgs) -> Outcome {
    let admin = call.admin().await?;
    let mut all = admin
        .snapshots(&args.vault.vault, args.source.name())
        .await?;
    all.retain(|info| args.tags.iter().all(|tag| info.tags.contains(tag)));
    show(call, &all)?;
    Ok(Exit::Done)
}

/// Shows a list of snapshots.
pub(crate) fn show(call: &Call, all: &[SnapshotInfo]) -> Outcome<()> {
    if call.json() {
        return output::json(&views::snapshots(all));
    }
    if all.is_empty() {
        call.remark("there is no snapshot");
        return Ok(());
    }
    output::line(table(all))
}

fn table(all: &[SnapshotInfo]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("SOURCE", Align::Left),
        ("STATE", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("SENT", Align::Right),
        ("", Align::Left),
    ]);
    let digits = digits(all);
    for info in all {
        table.row([
            info.id.to_string()[..digits].to_owned(),
            output::time(info.time_millis),
            output::name(&info.source),
            info.state.as_str().into(),
            output::count(info.files),
            output::bytes(info.bytes),
            output::bytes(info.bytes_sent),
            remarks(info),
        ]);
    }
    table
}

/// As many digits as tell all of them apart, and at least eight.
fn digits(all: &[SnapshotInfo]) -> usize {
    let mut ids: Vec<String> = all.iter().map(|info| info.id.to_string()).collect();
    ids.sort();
    let shared = |pair: &[String]| {
        let same = |(a, b): &(u8, u8)| a == b;
        pair[0]
            .bytes()
            .zip(pair[1].bytes())
            .take_while(same)
            .count()
    };
    let needed = ids.windows(2).map(shared).max().map_or(0, |n| n + 1);
    needed.clamp(8, 32)
}

fn remarks(info: &SnapshotInfo) -> String {
    let tags: Vec<String> = info.tags.iter().map(|tag| output::name(tag)).collect();
    let mut words = Vec::new();
    if !tags.is_empty() {
        words.push(tags.join(" "));
    }
    if info.held {
        words.push("held".into());
    }
    if info.problems > 0 {
        words.push(output::counted(info.problems, "problem"));
    }
    if let Some(until) = info.trash_until_millis {
        words.push(format!("in the trash until {}", output::time(until)));
    }
    if !info.trash_why.is_empty() {
        words.push(output::name(&info.trash_why));
    }
    words.join(", ")
}
