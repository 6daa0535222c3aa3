//! `holdfast trash`: what was forgotten or has expired, and can still be had back.

use clap::{Args, Subcommand};

use crate::args::{InVault, OfSource, SnapshotName, choose_many};
use crate::call::Call;
use crate::commands::snapshots;
use crate::exit::Exit;
use crate::failure::Outcome;

/// What to do with the trash.
#[derive(Debug, Subcommand)]
pub(crate) enum TrashCommand {
    /// List what is in the trash, and until when
    List(ListArgs),
    /// Take snapshots out of the trash
    Restore(RestoreArgs),
}

/// Options of `trash list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
}

/// Options of `trash restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    /// latest, or the beginning of a snapshot's id
    #[arg(required = true)]
    snapshots: Vec<SnapshotName>,
}

/// Lists or restores.
pub(crate) async fn run(call: &Call, command: TrashCommand) -> Outcome {
    let admin = call.admin().await?;
    match command {
        TrashCommand::List(args) => {
            let all = admin.trash(&args.vault.vault, args.source.name()).await?;
            match all.is_empty() && !call.json() {
                true => call.remark("the trash is empty"),
                false => snapshots::show(call, &all)?,
            }
        }
        TrashCommand::Restore(args) => {
            let (vault, source) = (&args.vault.vault, args.source.name());
            let all = admin.trash(vault, source).await?;
            let other = admin.snapshots(vault, source).await?;
            let chosen = choose_many(&all, &other, &args.snapshots, source)?;
            let ids: Vec<_> = chosen.iter().map(|info| info.id).collect();
            let recovered = admin.recover(vault, &ids, &call.who()).await?;
            snapshots::show(call, &recovered)?;
        }
    }
    Ok(Exit::Done)
}
