//! `holdfast gc`: gives up and deletes what no snapshot refers to.

use clap::Args;
use holdfast_agent::client::{CollectOptions, CollectPlan, CollectStep};
use serde::Serialize;

use crate::args::InVault;
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;

/// Options of `gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    vault: InVault,
    /// Only say what would be given up
    #[arg(long)]
    dry_run: bool,
    /// Return only when the bytes are gone at every site
    #[arg(long, env = "HOLDFAST_GC_WAIT")]
    wait: bool,
    /// First end the sessions whose agents are not connected, such as those of agents that died. Should one come back after all,
    /// its backup fails, and the next one sends again what was collected meanwhile
    #[arg(long, conflicts_with = "dry_run", env = "HOLDFAST_GC_END_SESSIONS")]
    end_sessions: bool,
    /// How large a share of dead bytes may be left, such as 5%; the least full packs are copied until no more is. Without it
    /// a pack is copied once less than half of it is in use
    #[arg(long, value_name = "PERCENT", value_parser = percent, env = "HOLDFAST_GC_MAX_UNUSED")]
    max_unused: Option<u8>,
}

/// From 0 to 100, with or without its sign.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    let valid = number.parse().ok().filter(|percent| *percent <= 100);
    valid.ok_or_else(|| "write a whole percentage from 0 to 100, such as 5%".into())
}

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    plan: Option<PlanView>,
    done: bool,
    freed_bytes: u64,
    packs: u64,
    waiting: Vec<WaitingView>,
}

#[derive(Debug, Serialize)]
struct PlanView {
    snapshots: u64,
    chunks: u64,
    packs_condemned: u64,
    packs_rewritten: u64,
    packs_merged: u64,
    dead_bytes: u64,
    copied_bytes: u64,
    freed_bytes: u64,
    live_chunks: u64,
    blocked: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct WaitingView {
    site: String,
    bytes: u64,
    why: String,
}

/// Collects.
pub(crate) async fn run(call: &Call, args: GcArgs) -> Outcome {
    let admin = call.admin().await?;
    let options = CollectOptions {
        dry_run: args.dry_run,
        wait: args.wait,
        unused_percent_max: args.max_unused,
        end_sessions: args.end_sessions,
    };
    let mut steps = admin
        .collect(&args.vault.vault, options, &call.who())
        .await?;
    let mut report = Report {
        dry_run: args.dry_run,
        ..Report::default()
    };
    loop {
        match steps.next().await {
            Ok(Some(step)) => take(call, step, &mut report)?,
            Ok(None) => break,
            Err(error) => {
                // The plan says what stands in the way, also to a script.
                if call.json() && report.plan.is_some() {
                    output::json(&report)?;
                }
                return Err(error.into());
            }
        }
    }
    if call.json() {
        output::json(&report)?;
    } else if report.done && !args.dry_run {
        output::line(format_args!(
            "freed {} at each site, {}",
            output::bytes(report.freed_bytes),
            output::counted(report.packs, "pack")
        ))?;
    }
    Ok(Exit::Done)
}

fn take(call: &Call, step: CollectStep, report: &mut Report) -> Outcome<()> {
    match step {
        CollectStep::Plan(plan) => {
            // What stands in the way of the real thing is told as its error, which follows.
            if !call.json() && (report.dry_run || plan.blocked.is_empty()) {
                show(&plan)?;
            }
            report.plan = Some(view(plan));
        }
        CollectStep::Step(what) => call.remark(what),
        CollectStep::Waiting { site, bytes, why } => {
            let waiting = WaitingView { site, bytes, why };
            if !report.waiting.contains(&waiting) {
                // Data keys are no bytes to speak of.
                let size = match bytes {
                    0 => String::new(),
                    _ => format!("{}: ", output::bytes(bytes)),
                };
                call.remark(format_args!(
                    "waiting for {}: {size}{}",
                    waiting.site, waiting.why
                ));
            }
            report.waiting.retain(|other| other.site != waiting.site);
            report.waiting.push(waiting);
        }
        CollectStep::Done { freed_bytes, packs } => {
            report.done = true;
            (report.freed_bytes, report.packs) = (freed_bytes, packs);
            report.waiting.clear();
        }
    }
    Ok(())
}

fn show(plan: &CollectPlan) -> Outcome<()> {
    output::line(format_args!(
        "leaving the trash: {}; given up: {} and {}",
        output::counted(plan.snapshots, "snapshot"),
        output::counted(plan.chunks, "chunk"),
        output::counted(plan.packs_condemned, "pack"),
    ))?;
    if plan.packs_rewritten > 0 {
        output::line(format_args!(
            "copied first: {} of {} of these packs: {} that hold dead bytes, {} that are small and become fewer",
            output::bytes(plan.copied_bytes),
            output::count(plan.packs_rewritten),
            output::count(plan.packs_rewritten.saturating_sub(plan.packs_merged)),
            output::count(plan.packs_merged),
        ))?;
    }
    output::line(format_args!(
        "freed at each site: {}; staying: {}",
        output::bytes(plan.freed_bytes),
        output::counted(plan.live_chunks, "chunk"),
    ))?;
    if plan.dead_bytes > 0 {
        output::line(format_args!(
            "dead bytes that stay, about: {}, in packs of which enough is needed; a lower --max-unused has more of them copied",
            output::bytes(plan.dead_bytes)
        ))?;
    }
    match plan.blocked.is_empty() {
        true => Ok(()),
        false => output::line(format_args!("blocked: {}", plan.blocked)),
    }
}

fn view(plan: CollectPlan) -> PlanView {
    PlanView {
        snapshots: plan.snapshots,
        chunks: plan.chunks,
        packs_condemned: plan.packs_condemned,
        packs_rewritten: plan.packs_rewritten,
        packs_merged: plan.packs_merged,
        dead_bytes: plan.dead_bytes,
        copied_bytes: plan.copied_bytes,
        freed_bytes: plan.freed_bytes,
        live_chunks: plan.live_chunks,
        blocked: plan.blocked,
    }
}
