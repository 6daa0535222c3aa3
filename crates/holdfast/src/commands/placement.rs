//! `holdfast placement`: who owns a vault and how far each site has come; and all of it made again from the sites.

use clap::{Args, Subcommand};
use holdfast_agent::client::RebuiltVault;
use serde::Serialize;

use crate::args::InVault;
use crate::call::Call;
use crate::commands::vault::describe;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::views::VaultView;

/// What to do with the placement.
#[derive(Debug, Subcommand)]
pub(crate) enum PlacementCommand {
    /// Show it
    Show(ShowArgs),
    /// Make it again from the sites alone, after the placement store was lost or brought back from an old backup
    Rebuild,
}

/// Options of `placement show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    vault: InVault,
}

/// Shows it.
pub(crate) async fn run(call: &Call, command: PlacementCommand) -> Outcome {
    let args = match command {
        PlacementCommand::Show(args) => args,
        PlacementCommand::Rebuild => return rebuild(call).await,
    };
    let vault = call.admin().await?.vault(&args.vault.vault).await?;
    match call.json() {
        true => output::json(&VaultView::from(&vault))?,
        false => describe(&vault)?,
    }
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct RebuiltView {
    id: String,
    name: String,
    sites: Vec<String>,
    epoch: u64,
    unread: Vec<String>,
    trouble: String,
}

async fn rebuild(call: &Call) -> Outcome {
    let vaults = call.admin().await?.rebuild_placement(&call.who()).await?;
    if call.json() {
        let views = vaults.iter().map(|vault| RebuiltView {
            id: vault.id.to_string(),
            name: vault.name.clone(),
            sites: vault.sites.clone(),
            epoch: vault.epoch,
            unread: vault.unread.clone(),
            trouble: vault.trouble.clone(),
        });
        output::json(&views.collect::<Vec<_>>())?;
    } else {
        for vault in &vaults {
            show(vault)?;
        }
        if vaults.is_empty() {
            call.remark("no site shows a vault; `holdfast vault attach` makes other sites known");
        }
    }
    let troubled = vaults.iter().filter(|vault| !vault.trouble.is_empty());
    match troubled.count() {
        0 => Ok(Exit::Done),
        count => Err(Failure::with_advice(
            format!(
                "of {count} of {} vaults not everything was made again",
                vaults.len()
            ),
            "see what is said of each, then run the same again",
        )),
    }
}

fn show(vault: &RebuiltVault) -> Outcome<()> {
    output::line(format_args!(
        "vault {} ({}): sites {}; epochs from {} on",
        output::name(&vault.name),
        vault.id,
        vault.sites.join(", "),
        vault.epoch + 1
    ))?;
    for unread in &vault.unread {
        output::line(format_args!(
            "  not read, and numbers were skipped for it: {}",
            output::name(unread)
        ))?;
    }
    match vault.trouble.is_empty() {
        true => Ok(()),
        false => output::line(format_args!("  TROUBLE: {}", output::name(&vault.trouble))),
    }
}
