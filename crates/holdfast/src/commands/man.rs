//! `holdfast man`: the manual pages, one for each command.

use std::path::PathBuf;

use clap::Args;

use crate::cli;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// Options of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder to write them to
    dir: PathBuf,
}

/// Writes them.
pub(crate) fn run(args: ManArgs) -> Outcome {
    let failed = |error| Failure::file(&args.dir, error);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(cli::definition(), &args.dir).map_err(failed)?;
    Ok(Exit::Done)
}
