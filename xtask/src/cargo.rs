//! Runs cargo on this workspace, with a protoc that etcd-client can build with.

use std::path::PathBuf;
use std::process::Command;

use crate::cli::BuildOptions;
use crate::protoc;
use crate::repository::{self, Repository};
use crate::runner::Runner;

/// A cargo command in the workspace's folder.
pub(crate) fn command(repository: &Repository, subcommand: &str) -> Command {
    let mut command = Command::new(repository::cargo());
    command.current_dir(repository.root()).arg(subcommand);
    protoc::hand_over(repository, &mut command);
    command
}

/// `cargo xtask build`
pub(crate) fn build_workspace(
    runner: &Runner,
    repository: &Repository,
    options: &BuildOptions,
) -> anyhow::Result<()> {
    protoc::ensure(runner, repository)?;
    let mut command = command(repository, "build");
    command.arg("--workspace");
    if options.release {
        command.arg("--release");
    }
    runner.run(command.args(&options.arguments))
}

/// Builds the binary for tests and tidy, with the features that the tests use, and tells where it is.
pub(crate) fn build_holdfast(runner: &Runner, repository: &Repository) -> anyhow::Result<PathBuf> {
    protoc::ensure(runner, repository)?;
    let mut command = command(repository, "build");
    runner.run(command.args(["--workspace", "--bins", "--all-features"]))?;
    Ok(repository.target().join("debug").join("holdfast"))
}
