//! `cargo xtask sim`: builds the simulator as the tests do and lets it run histories.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::cli::SimOptions;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::{cargo, protoc};

pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &SimOptions,
) -> anyhow::Result<()> {
    protoc::ensure(runner, repository)?;
    let mut build = cargo::command(repository, "build");
    runner.run(build.args(["--package", "holdfast-sim", "--all-features"]))?;
    let program = repository.target().join("debug").join("holdfast-sim");
    // Takes this process's place, so that the terminal and its signals are the simulator's own.
    let error = Command::new(&program).args(&options.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
