//! Runs cargo-deny, and installs it once where it is missing: licences, sources, duplicate versions,
//! and on request advisories.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::program;
use crate::repository::{self, Repository};
use crate::runner::Runner;
use crate::stopwatch::Stopwatch;

const VERSION: &str = "0.20.2";
/// Where CI keeps programs that it built, beside the target folder that it keeps.
const TOOLS: &str = "HOLDFAST_CI_TOOLS";

/// Checks the dependencies by `deny.toml`. The database of advisories has to be fetched and is not
/// in reach everywhere, so it is asked only on request.
pub(crate) fn check(
    runner: &Runner,
    repository: &Repository,
    advisories: bool,
) -> anyhow::Result<()> {
    let program = ensure(runner)?;
    let mut command = Command::new(program);
    command
        .current_dir(repository.root())
        .args([
            "--workspace",
            "--all-features",
            "--locked",
            "check",
            "--hide-inclusion-graph",
        ])
        .args(["licenses", "bans", "sources"]);
    if advisories {
        command.arg("advisories");
    } else {
        println!(
            "advisories are not checked: their database is not in reach everywhere (--advisories)"
        );
    }
    runner.run(&mut command)
}

fn ensure(runner: &Runner) -> anyhow::Result<PathBuf> {
    if let Some(found) = program::find("cargo-deny") {
        return Ok(found);
    }
    let tools = tools()?;
    let installed = tools.join("bin").join("cargo-deny");
    if installed.is_file() {
        return Ok(installed);
    }
    println!(
        "installing cargo-deny {VERSION} into {}; this is done once",
        tools.display()
    );
    let stopwatch = Stopwatch::start();
    let build = tools.join("build");
    let mut command = Command::new(repository::cargo());
    command
        .args([
            "install",
            "--quiet",
            "--locked",
            "--version",
            VERSION,
            "cargo-deny",
            "--root",
        ])
        .arg(&tools)
        // It runs for seconds: made to be built fast, not to be fast.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_TARGET_DIR", &build);
    runner.run(&mut command)?;
    let _ = fs::remove_dir_all(&build);
    println!(
        "installing cargo-deny took {:.0} s",
        stopwatch.elapsed().as_secs_f64()
    );
    if !installed.is_file() {
        bail!("cargo install left no {}", installed.display());
    }
    Ok(installed)
}

fn tools() -> anyhow::Result<PathBuf> {
    if let Some(tools) = env::var_os(TOOLS) {
        return Ok(tools.into());
    }
    let home = env::var_os("HOME").context("HOME is not set, so there is no place for tools")?;
    Ok(PathBuf::from(home).join(".cache/holdfast-ci/tools"))
}
