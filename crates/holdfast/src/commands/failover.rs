//! `holdfast failover`: makes another site the primary, of one vault or of all.

mod all;

use clap::Args;
use holdfast_agent::client::{FailoverPlan, FailoverReport};
use serde::Serialize;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::views::VaultView;

/// Options of `failover`.
#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    /// The vault's name, or its id
    #[arg(long, value_name = "VAULT", required_unless_present = "all")]
    vault: Option<String>,
    /// Every vault that has the site: those that lose nothing by it, or all of them with --accept-loss
    #[arg(long, conflicts_with = "vault")]
    all: bool,
    /// The site that becomes the primary
    #[arg(long, value_name = "SITE")]
    to: String,
    /// Go on although something is, or may be, left behind at the old primary
    #[arg(long)]
    accept_loss: bool,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct View {
    from: String,
    to: String,
    drained: bool,
    left_behind: String,
    loss_known_none: bool,
    target_lacks: String,
    done: bool,
    vault: Option<VaultView>,
}

/// Fails over.
pub(crate) async fn run(call: &Call, args: FailoverArgs) -> Outcome {
    let Some(vault) = args.vault else {
        let admin = call.admin().await?;
        return all::run(call, &admin, &args.to, args.accept_loss, args.dry_run).await;
    };
    let plan = FailoverPlan {
        vault,
        to: args.to.clone(),
        accept_loss: args.accept_loss,
        plan_only: args.dry_run,
    };
    let report = call.admin().await?.failover(plan, &call.who()).await?;
    if call.json() {
        output::json(&view(&report))?;
    } else {
        show(&report)?;
    }
    if report.done || args.dry_run {
        return Ok(Exit::Done);
    }
    Err(Failure::with_advice(
        format!(
            "nothing was done: left behind at {} would be: {}",
            report.from, report.left_behind
        ),
        format!(
            "bring {} back if you can; if not, run it again with --accept-loss",
            report.from
        ),
    ))
}

fn show(report: &FailoverReport) -> Outcome<()> {
    let (from, to) = (&report.from, &report.to);
    let left = match report.left_behind.is_empty() {
        true => "nothing",
        false => &report.left_behind,
    };
    if report.done {
        output::line(format_args!("{to} is the primary now, {from} was"))?;
    } else {
        output::line(format_args!("{to} would become the primary, {from} is"))?;
    }
    let how = match report.drained {
        true if !report.loss_known_none => "it answered, and has lost records",
        true => "it answered, and everything came along",
        false => "it did not answer, or its log did not read",
    };
    output::line(format_args!("  {from}: {how}; left behind: {left}"))?;
    match report.target_lacks.is_empty() {
        true => Ok(()),
        false => output::line(format_args!(
            "  {to}: its copy is not whole: {}",
            report.target_lacks
        )),
    }
}

fn view(report: &FailoverReport) -> View {
    View {
        from: report.from.clone(),
        to: report.to.clone(),
        drained: report.drained,
        left_behind: report.left_behind.clone(),
        loss_known_none: report.loss_known_none,
        target_lacks: report.target_lacks.clone(),
        done: report.done,
        vault: report.vault.as_ref().map(VaultView::from),
    }
}
