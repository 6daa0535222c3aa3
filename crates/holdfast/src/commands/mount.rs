//! `holdfast mount`: snapshots as a read-only file system.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use holdfast_agent::client::{RemoteSource, ScopedSources, SnapshotInfo};
use holdfast_agent::restore::{MountOptions, MountSnapshot, MountWhat, mount};

use crate::args::{IdentityArgs, InVault, OfSource, SnapshotName};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::reading::Reader;

/// Options of `mount`.
#[derive(Debug, Args)]
pub(crate) struct MountArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Only this snapshot, as it is; without it all of them, each in a folder of its own
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<SnapshotName>,
    /// Read from this site only
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Let other users look, as the recorded permissions allow
    #[arg(long)]
    allow_other: bool,
    /// The directory to mount on
    dir: PathBuf,
}

/// Mounts, and stays until it is unmounted or interrupted.
pub(crate) async fn run(call: &Call, args: MountArgs) -> Outcome {
    let identity = args.identity.read()?;
    let open = async {
        let reader = Reader::open(call, identity, &args.vault.vault, args.site.clone()).await?;
        let chosen = match &args.snapshot {
            Some(name) => vec![reader.choose(name, args.source.name())?],
            None => {
                let live = reader.live().iter();
                let wanted = |info: &&SnapshotInfo| {
                    args.source
                        .name()
                        .is_none_or(|source| info.source == source)
                };
                live.filter(wanted).cloned().collect()
            }
        };
        let sources = sources(&reader, &chosen).await?;
        Ok((Arc::new(ScopedSources::new(sources)), chosen))
    };
    let (sources, chosen) = call.unless_interrupted(open).await?;
    let mounted = look(call, &args, Arc::clone(&sources), &chosen).await;
    sources.close().await;
    mounted
}

/// A source for each scope, with a hold on every snapshot of it.
async fn sources(reader: &Reader<'_>, chosen: &[SnapshotInfo]) -> Outcome<Vec<Arc<RemoteSource>>> {
    let mut scopes: BTreeMap<&str, Arc<RemoteSource>> = BTreeMap::new();
    for info in chosen {
        match scopes.get(info.scope.as_str()) {
            Some(source) => source.also_hold(info.id).await?,
            None => {
                scopes.insert(info.scope.as_str(), reader.source(info).await?);
            }
        }
    }
    if scopes.is_empty() {
        return Err(Failure::with_advice(
            "there is no snapshot to mount",
            "see `holdfast snapshots`",
        ));
    }
    Ok(scopes.into_values().collect())
}

async fn look(
    call: &Call,
    args: &MountArgs,
    source: Arc<ScopedSources>,
    chosen: &[SnapshotInfo],
) -> Outcome {
    let mut all = chosen.iter().map(|info| MountSnapshot {
        id: info.id,
        time_millis: info.time_millis,
        root: info.root,
    });
    let what = match (&args.snapshot, all.next()) {
        (Some(_), Some(one)) => MountWhat::One(one),
        (_, first) => MountWhat::Folder(first.into_iter().chain(all).collect()),
    };
    let options = MountOptions {
        allow_other: args.allow_other,
        ..MountOptions::new(&args.dir)
    };
    let mounted = mount(&call.context, source, what, &options).await?;
    output::line(format_args!(
        "mounted on {}: {}; unmount it or press Ctrl-C to end",
        args.dir.display(),
        output::counted(chosen.len() as u64, "snapshot")
    ))?;
    mounted.wait(call.cancel.clone()).await?;
    Ok(Exit::Done)
}
