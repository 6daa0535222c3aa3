//! `holdfast policy apply`: expiry now, or a look at what it would do.

use clap::Args;
use holdfast_agent::client::Expiring;
use serde::Serialize;

use crate::args::InVault;
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Align, Table};

/// Options of `policy apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    vault: InVault,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do also what waits for an operator: a plan over its share, a clock that has jumped
    #[arg(long)]
    confirm: bool,
}

#[derive(Serialize)]
struct View {
    waiting: String,
    expired: u64,
    kept: u64,
    decisions: Vec<DecisionView>,
}

#[derive(Serialize)]
struct DecisionView {
    snapshot: String,
    source: String,
    time: String,
    time_millis: i64,
    keep: bool,
    reasons: Vec<String>,
}

/// Applies.
pub(crate) async fn run(call: &Call, args: ApplyArgs) -> Outcome {
    let expiring = call
        .admin()
        .await?
        .expire(&args.vault.vault, !args.dry_run, args.confirm, &call.who())
        .await?;
    match call.json() {
        true => output::json(&view(&expiring))?,
        false => show(call, &expiring)?,
    }
    if expiring.waiting.is_empty() || args.dry_run {
        return Ok(Exit::Done);
    }
    let failure = Failure::new(format_args!("nothing is expired now: {}", expiring.waiting));
    Err(failure.or_advise("if this is as it should be, confirm it with --confirm"))
}

fn view(expiring: &Expiring) -> View {
    let kept = expiring
        .decisions
        .iter()
        .filter(|decision| decision.keep)
        .count() as u64;
    View {
        waiting: expiring.waiting.clone(),
        expired: expiring.decisions.len() as u64 - kept,
        kept,
        decisions: expiring
            .decisions
            .iter()
            .map(|decision| DecisionView {
                snapshot: decision.snapshot.to_string(),
                source: decision.source.clone(),
                time: output::time_utc(decision.time_millis),
                time_millis: decision.time_millis,
                keep: decision.keep,
                reasons: decision.reasons.clone(),
            })
            .collect(),
    }
}

fn show(call: &Call, expiring: &Expiring) -> Outcome<()> {
    let mut table = Table::new(&[
        ("SNAPSHOT", Align::Left),
        ("TIME", Align::Left),
        ("SOURCE", Align::Left),
        ("", Align::Left),
        ("WHY", Align::Left),
    ]);
    for decision in &expiring.decisions {
        table.row([
            decision.snapshot.to_string()[..8].to_owned(),
            output::time(decision.time_millis),
            output::name(&decision.source),
            if decision.keep { "keep" } else { "expire" }.into(),
            decision.reasons.join(", "),
        ]);
    }
    if table.is_empty() {
        call.remark("there is no snapshot to decide on");
    } else {
        output::line(table)?;
    }
    if !expiring.waiting.is_empty() {
        call.remark(format_args!("waiting: {}", expiring.waiting));
    }
    Ok(())
}
