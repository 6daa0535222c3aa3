//! `holdfast completions`: a completion script for a shell.

use clap::Args;
use clap_complete::Shell;

use crate::cli;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output;

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "holdfast", &mut script);
    output::written(std::io::Write::write_all(&mut std::io::stdout(), &script))?;
    Ok(Exit::Done)
}
