//! `holdfast forget`: snapshots into the trash.

use clap::Args;

use crate::args::{InVault, OfSource, SnapshotName, choose_many};
use crate::call::Call;
use crate::commands::snapshots;
use crate::exit::Exit;
use crate::failure::Outcome;

/// Options of `forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// Leave the trash at once: once it is collected there is no way back
    #[arg(long)]
    purge: bool,
    /// latest, or the beginning of a snapshot's id; with --purge also of one in the trash
    #[arg(required = true)]
    snapshots: Vec<SnapshotName>,
}

/// Forgets.
pub(crate) async fn run(call: &Call, args: ForgetArgs) -> Outcome {
    let admin = call.admin().await?;
    let vault = &args.vault.vault;
    let source = args.source.name();
    let mut all = admin.snapshots(vault, source).await?;
    let mut trash = admin.trash(vault, source).await?;
    if args.purge {
        all.append(&mut trash);
    }
    let chosen = choose_many(&all, &trash, &args.snapshots, source)?;
    let ids: Vec<_> = chosen.iter().map(|info| info.id).collect();
    let forgotten = admin
        .forget(vault, &ids, &args.why, args.purge, &call.who())
        .await?;
    snapshots::show(call, &forgotten)?;
    Ok(Exit::Done)
}
