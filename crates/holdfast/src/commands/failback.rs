//! `holdfast failback`: brings back a site that was left behind, with everything that only it holds, of one vault or of all.

mod all;

use clap::Args;
use serde::Serialize;

use crate::call::Call;
use crate::commands::vault::describe;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;
use crate::views::VaultView;

/// Options of `failback`.
#[derive(Debug, Args)]
pub(crate) struct FailbackArgs {
    /// The vault's name, or its id
    #[arg(long, value_name = "VAULT", required_unless_present = "all")]
    vault: Option<String>,
    /// Every vault that has the site
    #[arg(long, conflicts_with = "vault", requires = "site")]
    all: bool,
    /// The site; all that were left behind by default
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Make it the primary once it has caught up
    #[arg(long)]
    make_primary: bool,
}

#[derive(Serialize)]
struct View {
    snapshots_salvaged: u64,
    records_salvaged: u64,
    notes: Vec<String>,
    vault: VaultView,
}

/// Brings back.
pub(crate) async fn run(call: &Call, args: FailbackArgs) -> Outcome {
    let admin = call.admin().await?;
    let Some(vault) = &args.vault else {
        let site = args.site.unwrap_or_default();
        return all::run(call, &admin, &site, args.make_primary).await;
    };
    let report = admin
        .failback(vault, args.site.as_deref(), args.make_primary, &call.who())
        .await?;
    if call.json() {
        output::json(&View {
            snapshots_salvaged: report.snapshots_salvaged,
            records_salvaged: report.records_salvaged,
            notes: report.notes,
            vault: VaultView::from(&report.vault),
        })?;
        return Ok(Exit::Done);
    }
    output::line(format_args!(
        "{} came back from {} that had been left behind",
        output::counted(report.snapshots_salvaged, "snapshot"),
        output::counted(report.records_salvaged, "record")
    ))?;
    for note in &report.notes {
        output::line(format_args!("  look at this: {note}"))?;
    }
    describe(&report.vault)?;
    Ok(Exit::Done)
}
