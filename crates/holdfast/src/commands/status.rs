//! `holdfast status`: what the coordinator and its vaults are doing.

use std::time::Duration;

use holdfast_agent::client::StatusInfo;
use serde::Serialize;

use crate::call::Call;
use crate::commands::vault::describe;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;
use crate::views::VaultView;

/// Clocks that differ by more than this are told.
const SKEW_MAX: Duration = Duration::from_secs(300);

#[derive(Serialize)]
struct View {
    coordinator: String,
    version: String,
    started_millis: i64,
    now_millis: i64,
    placement: String,
    placement_trouble: String,
    vaults: Vec<VaultView>,
    invariants_broken: u64,
    coordinators: Vec<CoordinatorView>,
}

#[derive(Serialize)]
struct CoordinatorView {
    name: String,
    addresses: Vec<String>,
    started_millis: i64,
}

/// Shows it.
pub(crate) async fn run(call: &Call) -> Outcome {
    let status = call.admin().await?.status().await?;
    let skew = status.now_millis.abs_diff(call.context.now_millis());
    if Duration::from_millis(skew) > SKEW_MAX {
        let skew = output::duration(Duration::from_millis(skew));
        call.remark(format_args!(
            "the coordinator's clock and this machine's differ by {skew}"
        ));
    }
    if call.json() {
        output::json(&view(&status))?;
        return Ok(Exit::Done);
    }
    let up = status.now_millis.saturating_sub(status.started_millis);
    let up = Duration::from_millis(u64::try_from(up).unwrap_or(0));
    output::line(format_args!(
        "coordinator {} ({}), up {}, placement {}, {}",
        output::name(&status.coordinator),
        status.version,
        output::duration(up),
        status.placement,
        output::counted(status.vaults.len() as u64, "vault")
    ))?;
    if !status.placement_trouble.is_empty() {
        output::line(format_args!(
            "placement cannot be asked: {}. Vaults that are open go on; nothing is opened or changes hands meanwhile",
            output::name(&status.placement_trouble)
        ))?;
    }
    let others = status.coordinators.iter();
    for other in others.filter(|one| one.name != status.coordinator) {
        output::line(format_args!(
            "  beside it: {} at {}",
            output::name(&other.name),
            other.addresses.join(", ")
        ))?;
    }
    if status.invariants_broken > 0 {
        output::line(format_args!(
            "{} checks of its own failed, and it stopped writing to the vaults concerned: keep the sites as they are, read its log, run `holdfast verify`",
            status.invariants_broken
        ))?;
    }
    for vault in &status.vaults {
        output::line("")?;
        describe(vault)?;
    }
    Ok(Exit::Done)
}

fn view(status: &StatusInfo) -> View {
    View {
        coordinator: status.coordinator.clone(),
        version: status.version.clone(),
        started_millis: status.started_millis,
        now_millis: status.now_millis,
        placement: status.placement.clone(),
        placement_trouble: status.placement_trouble.clone(),
        vaults: status.vaults.iter().map(VaultView::from).collect(),
        invariants_broken: status.invariants_broken,
        coordinators: status
            .coordinators
            .iter()
            .map(|one| CoordinatorView {
                name: one.name.clone(),
                addresses: one.addresses.clone(),
                started_millis: one.started_millis,
            })
            .collect(),
    }
}
