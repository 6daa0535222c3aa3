//! `holdfast backup`: files, standard input, or what a command writes, into a vault.

mod dry_run;
mod report;
mod shell;
mod upload;
mod what;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use holdfast_format::{Bundle, SourceName};

pub(crate) use self::report::show_progress;
use self::what::What;
use crate::args::{InVault, Size, TimeSpan};
use crate::call::Call;
use crate::failure::{Failure, Outcome};
use crate::{bundles, names};

/// Options of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    vault: InVault,
    /// The source's name; by default made up of this machine's name and the path
    #[arg(long, value_name = "NAME")]
    source: Option<SourceName>,
    /// The agent's bundle; this user's own copy by default
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Leave out what matches, as in .gitignore; several may be given
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what matches a line of this file
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Leave out what lies beside a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
    /// Don't enter other file systems
    #[arg(long)]
    one_file_system: bool,
    /// Read every file, also those that look unchanged
    #[arg(long)]
    no_cache: bool,
    /// Store only changed pages of large files, which are made of pages of this size, 4KiB to 64KiB; PostgreSQL's and InnoDB's
    /// files are recognised without
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["stdin", "command"])]
    page_size: Option<Size>,
    /// Back up standard input, as one file
    #[arg(long, conflicts_with_all = ["command", "paths"])]
    stdin: bool,
    /// The path that the file gets in the snapshot, with --stdin or --command
    #[arg(long, value_name = "PATH")]
    stdin_filename: Option<String>,
    /// Back up what a command writes, as one file: --command -- pg_dump db. A text for a shell (--command -- sh -c 'a | b') is
    /// run by bash where there is one, with pipefail, so that it fails when any part of the pipe does
    #[arg(long, requires = "words", conflicts_with = "paths")]
    command: bool,
    /// A tag; several may be given; they stand in clear
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only count what would be sent at most; the coordinator is not asked
    #[arg(long)]
    dry_run: bool,
    /// Send at most so much a second, such as 10MiB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    limit_rate: Option<Size>,
    /// Return when the snapshot stands on the primary, or on every site
    #[arg(long, value_enum, default_value_t, value_name = "STATE")]
    wait: WaitFor,
    /// With --wait protected: how long, such as 10min; then the exit code is 4
    #[arg(long, value_name = "TIME")]
    wait_timeout: Option<TimeSpan>,
    /// What to back up
    paths: Vec<PathBuf>,
    /// The command and its arguments; without --command more paths
    #[arg(last = true, value_name = "ARGV")]
    words: Vec<OsString>,
}

/// How much a second: more than nothing.
fn rate(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(0) => {
            Err("at 0 nothing would ever be sent; leave it out to send without a limit".into())
        }
        size => Ok(size),
    }
}

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum WaitFor {
    /// It stands on the primary
    #[default]
    Committed,
    /// It stands on every site
    Protected,
}

/// What one backup is about.
struct Job {
    bundle: bundles::Kept,
    source: SourceName,
    what: What,
}

/// Backs up.
pub(crate) async fn run(call: &Call, args: BackupArgs) -> Outcome {
    let job = Job::new(&args)?;
    match args.dry_run {
        true => dry_run::run(call, job).await,
        false => upload::run(call, &args, job).await,
    }
}

impl Job {
    fn new(args: &BackupArgs) -> Outcome<Self> {
        if args.wait_timeout.is_some() && args.wait != WaitFor::Protected {
            return Err(Failure::usage(
                "--wait-timeout says how long --wait protected may take, and nothing without it",
                "add --wait protected, or leave out --wait-timeout",
            ));
        }
        let bundle = bundles::find(&args.vault.vault, args.bundle.as_deref())?;
        let source = source(args, &bundle.bundle)?;
        let what = What::new(args, &bundle.bundle, &source)?;
        Ok(Self {
            bundle,
            source,
            what,
        })
    }
}

/// The source's name: as given, or as the bundle's scope says, or made up.
fn source(args: &BackupArgs, bundle: &Bundle) -> Outcome<SourceName> {
    let scoped = bundle.scope.as_str().strip_prefix("source/");
    if let Some(scoped) = scoped {
        if let Some(given) = &args.source
            && given.as_str() != scoped
        {
            return Err(Failure::with_advice(
                format!("the bundle is for source {scoped} only, not for {given}"),
                "use that source's own bundle; `holdfast key bundle --dedup source` makes one",
            ));
        }
        return Ok(SourceName::new(scoped)?);
    }
    if let Some(given) = &args.source {
        return Ok(given.clone());
    }
    if args.stdin || args.command {
        return Err(Failure::usage(
            "a stream has no path to be named after",
            "name the source with --source",
        ));
    }
    names::source(&bundle.agent, &what::paths(args))
}
