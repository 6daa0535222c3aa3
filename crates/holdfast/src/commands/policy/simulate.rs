//! `holdfast policy simulate`: what a policy will do to a catalog, or to a schedule of backups to come.
//!
//! The very code that the coordinator expires with runs here, on the catalog as the coordinator shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;
use holdfast_agent::client::SnapshotInfo;
use holdfast_policy::{
    Policy, Schedule, ScheduleEvery, Simulation, SimulationOptions, SnapshotFacts,
    SnapshotForecast, simulate,
};
use serde::Serialize;

use super::show::parse;
use crate::args::{InVault, Moment, OfSource};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};

/// Options of `policy simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    /// Try this policy file instead of the vault's own
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Until when: 2027-01-01, or 365d from now
    #[arg(long, value_name = "TIME", default_value = "365d")]
    until: Moment,
    /// Show what is kept at this time, instead of at the end
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Backups to come: "every 1h" or "daily at 02:00"
    #[arg(long, value_name = "WHEN")]
    schedule: Option<ScheduleEvery>,
    /// Leave the vault's snapshots out: only the schedule's
    #[arg(long, requires = "schedule")]
    empty: bool,
    /// Hours between runs of retention
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    run_every_hours: u32,
}

#[derive(Serialize)]
struct View {
    from_millis: i64,
    until_millis: i64,
    at_millis: i64,
    not_enforced: Vec<String>,
    sources: BTreeMap<String, SourceView>,
}

#[derive(Serialize)]
struct SourceView {
    kept_at: Vec<String>,
    in_trash_at: Vec<String>,
    #[serde(flatten)]
    simulation: Simulation,
}

/// Simulates.
pub(crate) async fn run(call: &Call, args: SimulateArgs) -> Outcome {
    let admin = call.admin().await?;
    let vault = &args.vault.vault;
    let info = admin.vault(vault).await?;
    let policy = match &args.policy {
        Some(path) => read(path)?,
        None => parse(&info.policy)?,
    };
    let all = match args.empty {
        true => Vec::new(),
        false => admin.snapshots(vault, args.source.name()).await?,
    };
    let from_millis = call.context.now_millis();
    let until_millis = args.until.after_millis(from_millis);
    let at_millis = args
        .at
        .map_or(until_millis, |at| at.after_millis(from_millis));
    let options = SimulationOptions {
        from_millis,
        until_millis,
        run_every_hours: args.run_every_hours,
    };
    let mut sources = BTreeMap::new();
    for source in names(&args, &all)? {
        let retention = policy.effective(&source);
        let of_source = all.iter().filter(|info| info.source == source);
        let mut forecasts: Vec<SnapshotForecast> = of_source.map(forecast).collect();
        if let Some(every) = args.schedule {
            let schedule = Schedule {
                every,
                from_millis,
                until_millis,
            };
            forecasts.extend(
                schedule
                    .snapshots(&retention.calendar)?
                    .into_iter()
                    .map(planned),
            );
        }
        let simulation = simulate(&retention, &forecasts, &options);
        sources.insert(source, view(simulation, at_millis));
    }
    let view = View {
        from_millis,
        until_millis,
        at_millis,
        not_enforced: policy.reserved(),
        sources,
    };
    match call.json() {
        true => output::json(&view)?,
        false => show(call, &view)?,
    }
    Ok(Exit::Done)
}

fn read(path: &PathBuf) -> Outcome<Policy> {
    let failed = |error: &dyn std::fmt::Display| Failure::file(path, error);
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    Policy::parse(&text).map_err(|error| Failure::content(path, error))
}

/// The sources to simulate: the one that is named, else all that there are.
fn names(args: &SimulateArgs, all: &[SnapshotInfo]) -> Outcome<BTreeSet<String>> {
    let mut names: BTreeSet<String> = all.iter().map(|info| info.source.clone()).collect();
    names.extend(args.source.source.clone());
    if names.is_empty() {
        return Err(Failure::with_advice(
            "there is no snapshot to simulate with",
            "name a source with --source and its backups with --schedule",
        ));
    }
    Ok(names)
}

fn forecast(info: &SnapshotInfo) -> SnapshotForecast {
    let facts = SnapshotFacts {
        id: info.id.0,
        opened_millis: info.time_millis,
        committed_millis: info.committed_millis,
        held: info.held,
        partial: info.problems > 0,
    };
    SnapshotForecast {
        facts,
        bytes_unique: None,
    }
}

fn planned(facts: SnapshotFacts) -> SnapshotForecast {
    SnapshotForecast {
        facts,
        bytes_unique: None,
    }
}

fn view(simulation: Simulation, at_millis: i64) -> SourceView {
    let hex = |id: [u8; 16]| holdfast_format::SessionId(id).to_string();
    SourceView {
        kept_at: simulation
            .catalog_at(at_millis)
            .map(|fate| hex(fate.id))
            .collect(),
        in_trash_at: simulation
            .trash_at(at_millis)
            .map(|fate| hex(fate.id))
            .collect(),
        simulation,
    }
}

fn show(call: &Call, view: &View) -> Outcome<()> {
    for (name, source) in &view.sources {
        output::line(format_args!(
            "source {}: {} kept and {} in the trash at {}",
            output::name(name),
            source.kept_at.len(),
            source.in_trash_at.len(),
            output::time(view.at_millis)
        ))?;
        let table = fates(source, view.at_millis).to_string();
        for line in table.lines() {
            output::line(format_args!("  {line}"))?;
        }
        for asked in &source.simulation.confirmations {
            output::line(format_args!(
                "  an operator is asked at {}: {} of {} would expire, {} may",
                output::time(asked.at_millis),
                asked.expire,
                asked.snapshots,
                asked.expire_max
            ))?;
        }
        for day in &source.simulation.freed {
            output::line(format_args!(
                "  on {} the trash ends for {}",
                day.day,
                output::counted(day.snapshots as u64, "snapshot")
            ))?;
        }
    }
    for key in &view.not_enforced {
        call.remark(format_args!("{key} is noted and not enforced yet"));
    }
    Ok(())
}

fn fates(source: &SourceView, at_millis: i64) -> Table {
    let mut table = Table::new(&[
        ("SNAPSHOT", Align::Left),
        ("TIME", Align::Left),
        ("", Align::Left),
        ("EXPIRES", Align::Left),
        ("WHY", Align::Left),
    ]);
    for fate in &source.simulation.snapshots {
        let id = holdfast_format::SessionId(fate.id).to_string();
        let (state, expires, why) = match &fate.expires {
            Some(expiry) => {
                let gone = expiry.expired_millis <= at_millis;
                (
                    if gone { "expired" } else { "kept" },
                    output::time(expiry.expired_millis),
                    expiry.why.to_string(),
                )
            }
            None => {
                let why: Vec<String> = fate.kept.iter().map(ToString::to_string).collect();
                ("kept", "-".into(), why.join(", "))
            }
        };
        let id = match id.starts_with("ffffffffffffffff") {
            true => "planned".into(),
            false => id[..8].to_owned(),
        };
        table.row([
            id,
            output::time(fate.opened_millis),
            state.into(),
            expires,
            why,
        ]);
    }
    table
}
