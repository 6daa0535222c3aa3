//! `holdfast key cluster`: the key that all coordinators of one placement store sign their records with.
//!
//! Each of them may have to take any vault, and a vault's certificate is for one key. Whoever has the file can write to every vault
//! of the cluster, and read none.

use std::path::PathBuf;

use clap::Args;

use crate::call::Call;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::{output, private_file};

/// Options of `key cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Where to write it; a file that is there is never overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Writes it.
pub(crate) fn run(call: &Call, args: &ClusterArgs) -> Outcome {
    let secret: [u8; 32] = call.context.random();
    private_file::create(&args.file, &secret)?;
    output::remark(
        call.quiet(),
        format_args!(
            "give every coordinator a copy of {} and name it with --cluster-key; keep it from everybody else",
            args.file.display()
        ),
    );
    Ok(Exit::Done)
}
