//! `holdfast find`: which paths of a snapshot meet some conditions.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{Args, ValueEnum};
use holdfast_agent::restore::{FindOptions, find};
use holdfast_format::tree::EntryKind;

use crate::args::{IdentityArgs, InVault, Moment, OfSource, Size, SnapshotName};
use crate::call::Call;
use crate::commands::ls;
use crate::failure::Outcome;
use crate::reading::Reader;

/// Options of `find`.
#[derive(Debug, Args)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    source: OfSource,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Only below this path
    #[arg(long, value_name = "PATH", default_value = "/")]
    path: OsString,
    /// Only entries of this kind; several may be given
    #[arg(long = "type", value_name = "KIND", value_enum)]
    kinds: Vec<Kind>,
    /// Only files of at least this size
    #[arg(long, value_name = "SIZE")]
    size_min: Option<Size>,
    /// Only files of at most this size
    #[arg(long, value_name = "SIZE")]
    size_max: Option<Size>,
    /// Only what was modified at or after this time: 2026-11-22, 2026-11-22T08:00, or 3d for three days ago
    #[arg(long, value_name = "TIME")]
    newer: Option<Moment>,
    /// Only what was modified before this time
    #[arg(long, value_name = "TIME")]
    older: Option<Moment>,
    /// Letters match in either case
    #[arg(long, short)]
    ignore_case: bool,
    /// Mode, owner, size and time too
    #[arg(long, short)]
    long: bool,
    /// latest, or the beginning of a snapshot's id
    snapshot: SnapshotName,
    /// Names to find, as globs; with a slash, whole paths
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    BlockDevice,
    CharDevice,
    Socket,
}

impl From<Kind> for EntryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink => Self::Symlink,
            Kind::Fifo => Self::Fifo,
            Kind::BlockDevice => Self::BlockDevice,
            Kind::CharDevice => Self::CharDevice,
            Kind::Socket => Self::Socket,
        }
    }
}

/// Searches.
pub(crate) async fn run(call: &Call, args: FindArgs) -> Outcome {
    let identity = args.identity.read()?;
    let now_millis = call.context.now_millis();
    let options = FindOptions {
        names: args.patterns,
        ignore_case: args.ignore_case,
        kinds: args.kinds.into_iter().map(EntryKind::from).collect(),
        size_min: args.size_min.map(|size| size.0),
        size_max: args.size_max.map(|size| size.0),
        mtime_from_millis: args.newer.map(|time| time.before_millis(now_millis)),
        mtime_before_millis: args.older.map(|time| time.before_millis(now_millis)),
    };
    let reader = Reader::open(call, identity, &args.vault.vault, None).await?;
    let info = reader.choose(&args.snapshot, args.source.name())?;
    reader.tell_incomplete(&info);
    let (source, tree) = reader.tree(&info).await?;
    let found = async {
        let listing = find(&tree, args.path.as_bytes(), &options).await?;
        ls::show(call, listing, args.long).await
    };
    let found = found.await;
    source.close().await;
    found
}
