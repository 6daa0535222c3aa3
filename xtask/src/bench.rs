//! `cargo xtask bench`: builds the release binary, brings what a bench needs, runs it, keeps what it prints.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cli::{BenchKind, BenchOptions, PeersOptions};
use crate::repository::Repository;
use crate::runner::Runner;
use crate::{cargo, packages, peers, protoc};

/// A variable that a bench is told.
type Variable = (&'static str, OsString);

/// Runs a bench.
///
/// # Errors
/// If something cannot be built, or the bench fails.
pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &BenchOptions,
) -> anyhow::Result<()> {
    match &options.kind {
        BenchKind::Peers(options) => run_peers(runner, repository, options),
        BenchKind::Parts => run_parts(runner, repository),
        BenchKind::Scale => {
            let kept = kept_file(runner, repository, "scale")?;
            run_bench(runner, repository, "scale", &[], &kept)
        }
    }
}

/// Each step by itself, also over what `peers` has made, if it has.
fn run_parts(runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
    let kept = kept_file(runner, repository, "parts")?;
    let data = std::env::var_os("HOLDFAST_BENCH_DATA")
        .unwrap_or_else(|| repository.kept("bench-data").into());
    let environment = [("HOLDFAST_BENCH_DATA", data)];
    run_bench(runner, repository, "parts", &environment, &kept)
}

/// Holdfast beside other tools.
fn run_peers(
    runner: &Runner,
    repository: &Repository,
    options: &PeersOptions,
) -> anyhow::Result<()> {
    packages::ensure(runner, packages::POSTGRESQL)?;
    let programs = peers::ensure(runner, repository)?;
    let data = options
        .data
        .clone()
        .unwrap_or_else(|| repository.kept("bench-data"));
    let work = fresh_work(&data)?;
    let kept = kept_file(runner, repository, "peers")?;
    let results = kept.with_extension("json");
    println!("raw samples: {}", results.display());
    let environment = [
        ("HOLDFAST_BENCH_PEERS", programs.into()),
        ("HOLDFAST_BENCH_DATA", data.into()),
        ("HOLDFAST_BENCH_RESULTS", results.into()),
        ("HOLDFAST_BENCH_PART", options.smaller.to_string().into()),
        ("HOLDFAST_BENCH_ROUNDS", options.rounds.to_string().into()),
        ("HOLDFAST_BENCH_TOOLS", options.tools.join(",").into()),
        ("HOLDFAST_BENCH_SETS", options.sets.join(",").into()),
        ("HOLDFAST_BENCH_STEPS", options.steps.join(",").into()),
        // Repositories lie beside the data, on the same disk.
        ("TMPDIR", work.into()),
    ];
    run_bench(runner, repository, "peers", &environment, &kept)
}

/// Builds the release binary and runs one bench with it; what it prints is kept in a file too.
fn run_bench(
    runner: &Runner,
    repository: &Repository,
    name: &str,
    environment: &[Variable],
    kept: &Path,
) -> anyhow::Result<()> {
    protoc::ensure(runner, repository)?;
    let mut build = cargo::command(repository, "build");
    runner.run(build.args(["--release", "--package", "holdfast"]))?;
    let binary = repository.target().join("release").join("holdfast");
    let mut bench = cargo::command(repository, "bench");
    bench
        .args(["--package", "holdfast-benches", "--bench", name])
        .env("HOLDFAST_TEST_BINARY", binary)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let mut printed = String::new();
    let status = runner.each_line(&mut bench, |line| {
        println!("{line}");
        printed.push_str(line);
        printed.push('\n');
    })?;
    fs::write(kept, printed).with_context(|| format!("cannot write {}", kept.display()))?;
    println!("kept: {}", kept.display());
    if !status.success() {
        bail!("the bench {name} failed ({status})");
    }
    Ok(())
}

/// A file for what a bench prints, named after it and now.
fn kept_file(runner: &Runner, repository: &Repository, name: &str) -> anyhow::Result<PathBuf> {
    let folder = repository.kept("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let now = runner.read(Command::new("date").args(["--utc", "+%Y-%m-%dT%H-%M-%S"]))?;
    Ok(folder.join(format!("{name}-{}.md", now.trim())))
}

/// An empty folder for repositories; what a killed run left in it goes.
fn fresh_work(data: &Path) -> anyhow::Result<PathBuf> {
    let work = data.join("repositories");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot empty {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    Ok(work)
}
