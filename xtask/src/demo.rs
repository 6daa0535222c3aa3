//! `cargo xtask demo`: builds the release binary and lets it tell its story.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::cli::DemoOptions;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::{cargo, protoc};

pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &DemoOptions,
) -> anyhow::Result<()> {
    protoc::ensure(runner, repository)?;
    let mut build = cargo::command(repository, "build");
    runner.run(build.args(["--release", "--package", "holdfast"]))?;
    let program = repository.target().join("release").join("holdfast");
    // Takes this process's place, so that the terminal and its signals are the demo's own.
    let error = Command::new(&program)
        .arg("demo")
        .args(&options.arguments)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
