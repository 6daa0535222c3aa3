//! `cargo xtask chaos`: builds the binary and the system tests, and runs the chaos test for as long as one likes, seed after seed.

use anyhow::bail;

use crate::cli::ChaosOptions;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::{cargo, packages, protoc, python};

/// The test, by its full name.
const TEST: &str = "chaos::nothing_that_was_told_is_lost";

/// Runs it; each seed leaves its story in a folder.
///
/// # Errors
/// If a run fails; the others are run all the same.
pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &ChaosOptions,
) -> anyhow::Result<()> {
    packages::ensure(runner, &[packages::ETCD, packages::FILE_TREES].concat())?;
    protoc::ensure(runner, repository)?;
    let python = python::ensure(runner, repository)?;
    let binary = cargo::build_holdfast(runner, repository)?;
    let stories = repository.kept("chaos");
    let mut verdicts = Vec::new();
    for number in 0..options.runs {
        let mut command = cargo::command(repository, "test");
        command
            .args([
                "--package",
                "holdfast-tests",
                "--all-features",
                "--test",
                "system",
            ])
            .args(["--", "--exact", TEST, "--nocapture"])
            .env("HOLDFAST_TEST_BINARY", &binary)
            .env("HOLDFAST_TEST_PYTHON", &python)
            .env("HOLDFAST_TEST_CHAOS", &stories)
            .env(
                "HOLDFAST_TEST_CHAOS_SECONDS",
                (options.minutes * 60).to_string(),
            );
        if let Some(seed) = options.seed {
            command.env("HOLDFAST_TEST_SEED", (seed + u64::from(number)).to_string());
        }
        let mut verdict = format!("run {number} did not come to its end");
        let status = runner.each_line(&mut command, |line| {
            println!("{line}");
            if line.contains(" chaos: seed ") {
                line.trim_start().clone_into(&mut verdict);
            }
        })?;
        verdicts.push((status.success(), verdict));
    }
    println!("\nstories: {}", stories.display());
    for (_, verdict) in &verdicts {
        println!("{verdict}");
    }
    let failed = verdicts.iter().filter(|(passed, _)| !passed).count();
    if failed > 0 {
        bail!("{failed} of {} runs failed", verdicts.len());
    }
    Ok(())
}
