//! `holdfast dump`: one file of a snapshot, to standard output.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use clap::Args;
use holdfast_agent::restore::{RestoreProgress, dump};

use crate::args::{IdentityArgs, InVault, OfSource, SnapshotName};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::reading::Reader;

/// Options of `dump`.
#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Read from this site only
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// latest, or the beginning of a snapshot's id
    snapshot: SnapshotName,
    /// The file's path in the snapshot
    path: OsString,
}

/// Writes the file out.
pub(crate) async fn run(call: &Call, args: DumpArgs) -> Outcome {
    let identity = args.identity.read()?;
    let open = async {
        let reader = Reader::open(call, identity, &args.vault.vault, args.site.clone()).await?;
        let info = reader.choose(&args.snapshot, args.source.name())?;
        reader.tell_incomplete(&info);
        reader.tree(&info).await
    };
    let (source, tree) = call.unless_interrupted(open).await?;
    let dumped = dump(
        &call.context,
        &tree,
        args.path.as_bytes(),
        &mut tokio::io::stdout(),
        call.cancel.clone(),
        Arc::new(RestoreProgress::default()),
    )
    .await;
    source.close().await;
    match dumped {
        Ok(_) => Ok(Exit::Done),
        Err(error @ holdfast_agent::Error::Damaged { .. }) => Err(Failure {
            exit: Exit::Partial,
            ..Failure::from(error)
        }),
        Err(error) => Err(error.into()),
    }
}
