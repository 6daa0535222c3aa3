//! `holdfast ls`: what a snapshot holds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use futures::TryStreamExt;
use holdfast_agent::restore::{Listed, Listing, list, mode_text, shown};
use holdfast_format::tree::EntryKind;

use crate::args::{IdentityArgs, InVault, OfSource, SnapshotName};
use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Records};
use crate::reading::Reader;

/// Options of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Everything below, not only what lies in the directory itself
    #[arg(long, short = 'R')]
    recursive: bool,
    /// Mode, owner, size and time too
    #[arg(long, short)]
    long: bool,
    /// latest, or the beginning of a snapshot's id
    #[arg(default_value = "latest")]
    snapshot: SnapshotName,
    /// A path in the snapshot
    #[arg(default_value = "/")]
    path: OsString,
}

/// Lists.
pub(crate) async fn run(call: &Call, args: LsArgs) -> Outcome {
    let identity = args.identity.read()?;
    let reader = Reader::open(call, identity, &args.vault.vault, None).await?;
    let info = reader.choose(&args.snapshot, args.source.name())?;
    reader.tell_incomplete(&info);
    let (source, tree) = reader.tree(&info).await?;
    let listed = async {
        let listing = list(&tree, args.path.as_bytes(), args.recursive).await?;
        show(call, listing, args.long).await
    };
    let listed = listed.await;
    source.close().await;
    listed
}

/// Shows entries as they come; damage makes the result a partial one.
pub(crate) async fn show(
    call: &Call,
    listing: impl futures::Stream<Item = holdfast_agent::Result<Listing>>,
    long: bool,
) -> Outcome {
    let mut listing = std::pin::pin!(listing);
    let mut records = Records::begin(call.json());
    let mut exit = Exit::Done;
    while let Some(next) = listing.try_next().await? {
        match &next {
            Listing::Entry(listed) => records.write(&next, || text(listed, long))?,
            Listing::Damaged { path, flaw } => {
                exit = Exit::Partial;
                call.remark(format_args!("{}: {}", shown(path), flaw.what));
                if call.json() {
                    records.write(&next, String::new)?;
                }
            }
        }
    }
    records.end()?;
    Ok(exit)
}

/// An entry as a line.
pub(crate) fn text(listed: &Listed, long: bool) -> String {
    let entry = &listed.entry;
    let mut path = shown(&listed.path);
    if let Some(target) = &entry.target
        && long
    {
        path = format!("{path} -> {}", shown(target));
    }
    if !long {
        return path;
    }
    let user = entry.user.clone().unwrap_or_else(|| entry.uid.to_string());
    let group = entry.group.clone().unwrap_or_else(|| entry.gid.to_string());
    let size = match entry.kind {
        EntryKind::File => entry.size.to_string(),
        _ => "-".into(),
    };
    format!(
        "{} {:>12} {:>12} {} {path}",
        mode_text(entry),
        output::name(&format!("{user}:{group}")),
        size,
        output::time(entry.mtime_seconds.saturating_mul(1000)),
    )
}
