//! `holdfast restore`: a snapshot, or part of it, into a directory.

use std::sync::Arc;

use clap::Args;

use crate::args::{IdentityArgs, InVault, OfSource, SnapshotName};
use crate::call::Call;
use crate::failure::Outcome;
use crate::reading::Reader;
use crate::restoring::{self, RestoringArgs, Wanted};

/// Options of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    restoring: RestoringArgs,
    /// Read from this site only
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// latest, or the beginning of a snapshot's id
    snapshot: SnapshotName,
}

/// Restores.
pub(crate) async fn run(call: &Call, args: RestoreArgs) -> Outcome {
    let identity = args.identity.read()?;
    let open = async {
        let reader = Reader::open(call, identity, &args.vault.vault, args.site.clone()).await?;
        let info = reader.choose(&args.snapshot, args.source.name())?;
        reader.tell_incomplete(&info);
        Ok((reader.source(&info).await?, info))
    };
    let (source, info) = call.unless_interrupted(open).await?;
    let wanted = Wanted {
        id: info.id.to_string(),
        root: info.root,
        bytes: info.bytes,
        keys: source.scope_keys().clone(),
    };
    let restored = restoring::run(call, Arc::clone(&source) as _, wanted, &args.restoring).await;
    source.close().await;
    restored
}
