//! `holdfast diff`: what is different between two snapshots.

use clap::Args;
use futures::TryStreamExt;
use holdfast_agent::restore::{Change, Difference, Tree, diff, shown};

use crate::args::{IdentityArgs, InVault, OfSource, SnapshotName};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::Records;
use crate::reading::Reader;

/// Options of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// The snapshot to compare with: latest, or the beginning of its id
    before: SnapshotName,
    /// The snapshot to compare
    #[arg(default_value = "latest")]
    after: SnapshotName,
}

/// Compares.
pub(crate) async fn run(call: &Call, args: DiffArgs) -> Outcome {
    let identity = args.identity.read()?;
    let reader = Reader::open(call, identity, &args.vault.vault, None).await?;
    let before = reader.choose(&args.before, args.source.name())?;
    let after = reader.choose(&args.after, args.source.name())?;
    if before.scope != after.scope {
        call.remark("the snapshots are of two dedup scopes: every file counts as changed");
    }
    let (one, before) = reader.tree(&before).await?;
    let (two, after) = reader.tree(&after).await?;
    let shown = show(call, &before, &after).await;
    one.close().await;
    two.close().await;
    shown
}

async fn show(call: &Call, before: &Tree, after: &Tree) -> Outcome {
    let mut differences = std::pin::pin!(diff(before, after));
    let mut records = Records::begin(call.json());
    let mut exit = Exit::Done;
    while let Some(next) = differences.try_next().await? {
        if matches!(next.change, Change::Damaged { .. }) {
            exit = Exit::Partial;
        }
        records.write(&next, || text(&next))?;
    }
    records.end()?;
    Ok(exit)
}

fn text(difference: &Difference) -> String {
    let sign = match &difference.change {
        Change::Added => "+",
        Change::Removed => "-",
        Change::Kind => "T",
        Change::Content => "M",
        Change::Metadata => "U",
        Change::Damaged { .. } => "!",
    };
    let path = shown(&difference.path);
    match &difference.change {
        Change::Damaged { flaw, .. } => format!("{sign} {path}: {}", flaw.what),
        _ => format!("{sign} {path}"),
    }
}
