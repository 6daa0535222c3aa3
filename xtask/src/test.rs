//! `cargo xtask test`: installs what the tests need, builds them, starts the servers, runs every
//! test, and stops the servers whatever happens.

use std::path::Path;

use anyhow::bail;

use crate::cli::TestOptions;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::servers::{self, Servers};
use crate::steps::Steps;
use crate::tally::Tally;
use crate::{cargo, node, protoc, python};

/// Tells the tests where the built binary is.
const BINARY: &str = "HOLDFAST_TEST_BINARY";
/// Tells long tests to be short.
const QUICK: &str = "HOLDFAST_TEST_QUICK";

/// Runs the tests; each part is a step.
///
/// # Errors
/// If something else than a test fails: failed tests are in the tally.
pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &TestOptions,
    steps: &mut Steps,
) -> anyhow::Result<Tally> {
    steps.run("packages", || {
        servers::install_packages(runner, options.quick)
    })?;
    steps.run("protoc", || protoc::ensure(runner, repository))?;
    let python = steps.run("python", || python::ensure(runner, repository))?;
    let programs = steps.run("npm packages", || node::ensure(runner, repository))?;
    let binary = steps.run("build", || {
        let binary = match options.needs_binary() {
            true => Some(cargo::build_holdfast(runner, repository)?),
            false => None,
        };
        runner.run(cargo_test(repository, options).arg("--no-run"))?;
        Ok(binary)
    })?;
    let servers = steps.run("start servers", || {
        Servers::start(runner, repository, python, &programs, options.quick)
    })?;
    let tally = steps.run("tests", || {
        run_tests(runner, repository, options, &servers, binary.as_deref())
    });
    steps.run("stop servers", || {
        drop(servers);
        Ok(())
    })?;
    tally
}

fn run_tests(
    runner: &Runner,
    repository: &Repository,
    options: &TestOptions,
    servers: &Servers,
    binary: Option<&Path>,
) -> anyhow::Result<Tally> {
    let mut command = cargo_test(repository, options);
    command.arg("--no-fail-fast");
    if !options.filter.is_empty() {
        command.arg("--").args(&options.filter);
    }
    command.envs(servers.environment());
    if let Some(binary) = binary {
        command.env(BINARY, binary);
    }
    if options.quick {
        command.env(QUICK, "1");
    }
    let mut tally = Tally::default();
    let status = runner.each_line(&mut command, |line| {
        println!("{line}");
        tally.read_line(line);
    })?;
    if !status.success() && !tally.any_failed() {
        bail!("cargo test failed ({status}) though no test did");
    }
    Ok(tally)
}

/// `cargo test` with the packages, features and kinds of target that the options choose.
fn cargo_test(repository: &Repository, options: &TestOptions) -> std::process::Command {
    let mut command = cargo::command(repository, "test");
    command.arg("--all-features");
    if options.package.is_empty() {
        command.arg("--workspace");
    }
    for package in &options.package {
        command.args(["--package", package]);
    }
    if options.locked {
        command.arg("--locked");
    }
    if options.quick {
        // Everything that is a test but for doc tests.
        command.arg("--tests");
    }
    command
}

/// Closes `cargo xtask test`: the table of steps, then the counts on a line of their own.
pub(crate) fn close(outcome: anyhow::Result<Tally>, steps: &Steps) -> anyhow::Result<()> {
    println!("\n{}", steps.table());
    let tally = outcome?;
    println!("{tally}");
    if tally.any_failed() {
        bail!("tests failed");
    }
    Ok(())
}
