//! `holdfast key`: recovery kits, agents' bundles, recipients, the identity's passphrase.

mod bundle;
mod cluster;
mod kit;
mod passphrase;
mod recipients;

use clap::Subcommand;

use self::bundle::BundleArgs;
use self::cluster::ClusterArgs;
use self::kit::KitArgs;
use self::passphrase::PassphraseArgs;
use self::recipients::{AddArgs, ListArgs, RemoveArgs};
use crate::call::Call;
use crate::failure::Outcome;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Write the recovery kit: one page to print and lock away
    Kit(KitArgs),
    /// Make a bundle, which lets an agent write, and read nothing
    Bundle(Box<BundleArgs>),
    /// List who may read the vault
    Recipients(ListArgs),
    /// Let someone else read the vault
    AddRecipient(AddArgs),
    /// Let someone read it no more, from now on
    RemoveRecipient(RemoveArgs),
    /// Set, change or remove the identity's passphrase
    Passphrase(PassphraseArgs),
    /// Make the key that all coordinators of a cluster sign with
    Cluster(ClusterArgs),
}

/// Does it.
pub(crate) async fn run(call: &Call, command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Kit(args) => kit::run(call, args).await,
        KeyCommand::Bundle(args) => bundle::run(call, *args).await,
        KeyCommand::Recipients(args) => recipients::list(call, args).await,
        KeyCommand::AddRecipient(args) => recipients::add(call, args).await,
        KeyCommand::RemoveRecipient(args) => recipients::remove(call, args).await,
        KeyCommand::Cluster(args) => cluster::run(call, &args),
        KeyCommand::Passphrase(args) => passphrase::run(call, args),
    }
}
