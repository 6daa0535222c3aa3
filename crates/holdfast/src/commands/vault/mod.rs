//! `holdfast vault`: creates, takes over, lists, shows.

mod attach;
mod create;
mod show;

use clap::Subcommand;

use self::attach::AttachArgs;
use self::create::CreateArgs;
use self::show::ShowArgs;
use crate::call::Call;
use crate::failure::Outcome;

pub(crate) use create::{new_passphrase, recipient};
pub(crate) use show::describe;

/// What to do with vaults.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Create a vault: its keys are made here and the identity stays here
    Create(Box<CreateArgs>),
    /// Take over a vault that lies at a site
    Attach(Box<AttachArgs>),
    /// List vaults
    List,
    /// Show one vault
    Show(ShowArgs),
}

/// Does it.
pub(crate) async fn run(call: &Call, command: VaultCommand) -> Outcome {
    match command {
        VaultCommand::Create(args) => create::run(call, *args).await,
        VaultCommand::Attach(args) => attach::run(call, *args).await,
        VaultCommand::List => show::list(call).await,
        VaultCommand::Show(args) => show::run(call, args).await,
    }
}
