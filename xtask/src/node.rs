//! A folder of npm packages below the target folder with what tests need: azurite and s3rver.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};

use crate::repository::Repository;
use crate::runner::Runner;
use crate::{packages, program};

/// Installs the packages, unless they are there as `xtask/node/package.json` wants them, and returns the folder of their
/// programs.
pub(crate) fn ensure(runner: &Runner, repository: &Repository) -> anyhow::Result<PathBuf> {
    let wanted = repository.root().join("xtask/node/package.json");
    let manifest =
        fs::read_to_string(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let folder = repository.kept("node");
    let programs = folder.join("node_modules/.bin");
    let stamp = folder.join("installed.json");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == manifest) && programs.is_dir() {
        return Ok(programs);
    }
    let npm = find_npm(runner)?;
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the old {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let copy = folder.join("package.json");
    fs::write(&copy, &manifest).with_context(|| format!("cannot write {}", copy.display()))?;
    eprintln!("installing npm packages in {}", folder.display());
    let mut install = Command::new(npm);
    // What is printed is for whoever asked for servers.
    install.stdout(std::io::stderr());
    install.current_dir(&folder).args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--loglevel=error",
    ]);
    runner.run(&mut install)?;
    fs::write(&stamp, manifest).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(programs)
}

fn find_npm(runner: &Runner) -> anyhow::Result<PathBuf> {
    let found = || program::find("node").and_then(|_| program::find("npm"));
    if let Some(npm) = found() {
        return Ok(npm);
    }
    packages::ensure(runner, packages::NODE)?;
    match found() {
        Some(npm) => Ok(npm),
        None => bail!("found no node with npm; install Node.js 18 or later"),
    }
}
