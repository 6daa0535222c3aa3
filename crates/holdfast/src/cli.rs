//! The command line: what there is to be asked for.

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::args::Common;
use crate::commands::backup::BackupArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::diff::DiffArgs;
use crate::commands::dump::DumpArgs;
use crate::commands::failback::FailbackArgs;
use crate::commands::failover::FailoverArgs;
use crate::commands::find::FindArgs;
use crate::commands::forget::ForgetArgs;
use crate::commands::gc::GcArgs;
use crate::commands::hold::HoldCommand;
use crate::commands::key::KeyCommand;
use crate::commands::ls::LsArgs;
use crate::commands::man::ManArgs;
use crate::commands::mount::MountArgs;
use crate::commands::placement::PlacementCommand;
use crate::commands::policy::PolicyCommand;
use crate::commands::restore::RestoreArgs;
use crate::commands::site::SiteCommand;
use crate::commands::snapshots::SnapshotsArgs;
use crate::commands::trash::TrashCommand;
use crate::commands::vault::VaultCommand;
use crate::commands::verify::VerifyArgs;
use crate::coordinator::CoordinatorArgs;
use crate::demo::DemoArgs;
use crate::environment;
use crate::rescue::RescueCommand;

/// Backups of databases and file trees: encrypted where they are made, replicated to on-site and off-site stores,
/// restored from whichever is left.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Every option can be set by an environment variable, as its help names it.\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but for what is named, \
                  4 committed and not protected in time, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What there is to be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Back up files, standard input, or what a command writes
    Backup(Box<BackupArgs>),
    /// List snapshots
    Snapshots(SnapshotsArgs),
    /// List what a snapshot holds
    Ls(LsArgs),
    /// Search a snapshot
    Find(Box<FindArgs>),
    /// Compare two snapshots
    Diff(DiffArgs),
    /// Write one file of a snapshot to standard output
    Dump(DumpArgs),
    /// Restore a snapshot, or part of it, into a directory
    Restore(Box<RestoreArgs>),
    /// Show snapshots as a read-only file system
    Mount(MountArgs),
    /// Check that what is stored is there and right
    Verify(VerifyArgs),
    /// Create, take over, list vaults
    #[command(subcommand)]
    Vault(VaultCommand),
    /// The sites that a vault lies at
    #[command(subcommand)]
    Site(SiteCommand),
    /// Recovery kits, bundles, recipients, passphrases
    #[command(subcommand)]
    Key(KeyCommand),
    /// What is kept for how long
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Put snapshots into the trash
    Forget(ForgetArgs),
    /// Snapshots in the trash
    #[command(subcommand)]
    Trash(TrashCommand),
    /// Legal holds
    #[command(subcommand)]
    Hold(HoldCommand),
    /// Give up and delete what no snapshot refers to
    Gc(GcArgs),
    /// Where a vault is and how far each site has come
    #[command(subcommand)]
    Placement(PlacementCommand),
    /// Make another site the primary
    Failover(FailoverArgs),
    /// Bring back a site that was left behind
    Failback(FailbackArgs),
    /// Read a vault from one site, without any coordinator
    #[command(subcommand)]
    Rescue(RescueCommand),
    /// What the coordinator and its vaults are doing
    Status,
    /// Run a coordinator
    Coordinator(Box<CoordinatorArgs>),
    /// Tell the whole story on this machine: back up, replicate, lose a site, restore
    Demo(DemoArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

/// The definition of the command line, environment twins included.
pub(crate) fn definition() -> clap::Command {
    environment::with_twins(Cli::command())
}

impl Cli {
    /// Reads the program's own command line. Ends the program on help, version and wrong usage.
    pub(crate) fn read() -> Self {
        Self::read_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads a command line.
    pub(crate) fn read_from<T>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<std::ffi::OsString> + Clone,
    {
        let mut definition = definition();
        let matches = definition.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))
    }
}
