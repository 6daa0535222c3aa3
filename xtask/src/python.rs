//! A Python environment below the target folder with what tests need: moto, boto3, a gRPC client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::repository::Repository;
use crate::runner::Runner;
use crate::{packages, program};

/// Makes the environment, unless it is there as `xtask/python/requirements.txt` wants it, and
/// returns its Python.
pub(crate) fn ensure(runner: &Runner, repository: &Repository) -> anyhow::Result<PathBuf> {
    let wanted = repository.root().join("xtask/python/requirements.txt");
    let requirements =
        fs::read_to_string(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    let folder = repository.kept("python");
    let python = folder.join("bin/python");
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|had| had == requirements) && runs(&python, "sys") {
        return Ok(python);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the old {}", folder.display()))?;
    }
    let base = find_base(runner)?;
    eprintln!("making a Python environment in {}", folder.display());
    runner.run(Command::new(base).args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&python);
    install.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    runner.run(install.arg("--requirement").arg(&wanted))?;
    fs::write(&stamp, requirements).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(python)
}

/// A Python that can make environments; on Debian that is a package of its own.
pub(crate) fn find_base(runner: &Runner) -> anyhow::Result<PathBuf> {
    let candidates = || {
        program::find("python3")
            .into_iter()
            .chain([PathBuf::from("/usr/bin/python3")])
    };
    let able = |python: &PathBuf| runs(python, "ensurepip, venv");
    if let Some(python) = candidates().find(able) {
        return Ok(python);
    }
    packages::ensure(runner, packages::PYTHON)?;
    match candidates().find(able) {
        Some(python) => Ok(python),
        None => bail!("found no python3 that can make virtual environments"),
    }
}

/// Whether this Python starts and has these modules.
fn runs(python: &Path, modules: &str) -> bool {
    Command::new(python)
        .args(["-c", &format!("import {modules}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
