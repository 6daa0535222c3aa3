//! `holdfast placement`: who owns a vault and how far each site has come.

use clap::{Args, Subcommand};

use crate::args::InVault;
use crate::call::Call;
use crate::commands::vault::describe;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;
use crate::views::VaultView;

/// What to do with the placement.
#[derive(Debug, Subcommand)]
pub(crate) enum PlacementCommand {
    /// Show it
    Show(ShowArgs),
}

/// Options of `placement show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    vault: InVault,
}

/// Shows it.
pub(crate) async fn run(call: &Call, command: PlacementCommand) -> Outcome {
    let PlacementCommand::Show(args) = command;
    let vault = call.admin().await?.vault(&args.vault.vault).await?;
    match call.json() {
        true => output::json(&VaultView::from(&vault))?,
        false => describe(&vault)?,
    }
    Ok(Exit::Done)
}
