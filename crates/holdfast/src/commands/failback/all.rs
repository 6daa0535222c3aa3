//! `holdfast failback --all`: a site comes back in every vault that has it.
//!
//! Each vault by itself, at its own owner and to its end. A vault where the site was never left behind has nothing to bring back; run
//! again, it does nothing again.

use futures::StreamExt as _;
use holdfast_agent::client::{Admin, VaultInfo};
use serde::Serialize;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output;

/// How many vaults at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Serialize)]
struct Line {
    vault: String,
    id: String,
    primary: String,
    snapshots_salvaged: u64,
    records_salvaged: u64,
    notes: Vec<String>,
    error: String,
}

/// See the module header.
pub(super) async fn run(call: &Call, admin: &Admin, site: &str, make_primary: bool) -> Outcome {
    let vaults = admin.vaults().await?;
    let who = call.who();
    let mut back = futures::stream::iter(&vaults)
        .map(|vault| bring_back(admin, vault, site, make_primary, &who))
        .buffer_unordered(AT_ONCE);
    let mut lines = Vec::new();
    while let Some(line) = back.next().await {
        let Some(line) = line else { continue };
        if !call.json() {
            tell(&line, site)?;
        }
        lines.push(line);
    }
    lines.sort_by(|one, other| one.vault.cmp(&other.vault));
    if call.json() {
        output::json(&lines)?;
    }
    let failed = lines.iter().filter(|line| !line.error.is_empty()).count();
    match (lines.len(), failed) {
        (0, _) => Err(Failure::with_advice(
            format!("no vault has a site {site}"),
            "`holdfast vault list` shows which sites each vault has",
        )),
        (_, 0) => Ok(Exit::Done),
        (all, failed) => Err(Failure::with_advice(
            format!("site {site} did not come back in {failed} of {all} vaults"),
            "see what is said of each, then run the same again: what came back does not come twice",
        )),
    }
}

/// None if the vault has no such site.
async fn bring_back(
    admin: &Admin,
    vault: &VaultInfo,
    site: &str,
    make_primary: bool,
    who: &str,
) -> Option<Line> {
    let id = vault.id.to_string();
    let now = admin.vault(&id).await;
    let shown = now.as_ref().unwrap_or(vault);
    // One that nobody has open shows no sites itself.
    let sites = match shown.sites.is_empty() {
        true => &vault.sites,
        false => &shown.sites,
    };
    if !sites.is_empty() && sites.iter().all(|one| one.site != site) {
        return None;
    }
    let mut line = Line {
        vault: vault.name.clone(),
        id: id.clone(),
        primary: shown.primary.clone(),
        snapshots_salvaged: 0,
        records_salvaged: 0,
        notes: Vec::new(),
        error: String::new(),
    };
    // A primary was not left behind; what its log may hold of its own is for the one vault's own failback.
    if shown.primary == site && shown.state == "open" {
        return Some(line);
    }
    match admin.failback(&id, Some(site), make_primary, who).await {
        Ok(report) => {
            line.primary = report.vault.primary;
            line.snapshots_salvaged = report.snapshots_salvaged;
            line.records_salvaged = report.records_salvaged;
            line.notes = report.notes;
        }
        Err(error) => line.error = error.to_string(),
    }
    Some(line)
}

fn tell(line: &Line, site: &str) -> Outcome<()> {
    let vault = output::name(&line.vault);
    if !line.error.is_empty() {
        return output::line(format_args!(
            "vault {vault}: FAILED: {}",
            output::name(&line.error)
        ));
    }
    output::line(format_args!(
        "vault {vault}: site {site} is back, {} with it; {} is the primary",
        output::counted(line.snapshots_salvaged, "snapshot"),
        line.primary
    ))?;
    for note in &line.notes {
        output::line(format_args!("  look at this: {}", output::name(note)))?;
    }
    Ok(())
}
