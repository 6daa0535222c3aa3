//! Installs the tools that `cargo xtask bench peers` compares with, each once, below the target folder.
//!
//! State: `bin` has a link to each program, or a file `NAME.missing` that says why there is none: the bench names it in its tables.

mod unstable;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::repository::{self, Repository};
use crate::runner::Runner;
use crate::{packages, program, python};

/// How much of an error, its end, is kept for the tables.
const WHY_MAX: usize = 300;

/// Where things are put and who runs what.
struct Installer<'a> {
    runner: &'a Runner,
    folder: PathBuf,
}

/// Makes sure that all peers are there, and returns the folder of their programs.
///
/// # Errors
/// After an interrupt, or if the folder cannot be written. A peer that cannot be installed is no error here.
pub(crate) fn ensure(runner: &Runner, repository: &Repository) -> anyhow::Result<PathBuf> {
    let installer = Installer {
        runner,
        folder: repository.kept("peers"),
    };
    let bin = installer.folder.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    installer.ensure(&bin, "restic", Installer::restic)?;
    installer.ensure(&bin, "bupstash", Installer::bupstash)?;
    installer.ensure(&bin, "borg", Installer::borg)?;
    installer.ensure(&bin, "rustic", Installer::rustic)?;
    Ok(bin)
}

impl Installer<'_> {
    fn ensure(
        &self,
        bin: &Path,
        name: &str,
        install: impl FnOnce(&Self) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<()> {
        let (link, missing) = (bin.join(name), bin.join(format!("{name}.missing")));
        if link.exists() {
            return Ok(());
        }
        eprintln!("installing {name} to compare with");
        let installed = install(self);
        self.runner.interrupt().check()?;
        match installed {
            Ok(program) => {
                let _ = fs::remove_file(&missing);
                // One that led to a program that is gone.
                let _ = fs::remove_file(&link);
                symlink(program, &link)?;
            }
            Err(error) => {
                eprintln!("{name} CANNOT BE INSTALLED: {error:#}");
                fs::write(missing, end(&format!("{error:#}")))?;
            }
        }
        Ok(())
    }

    /// Debian's newest, or else this release's.
    fn restic(&self) -> anyhow::Result<PathBuf> {
        match unstable::unpack(self.runner, &self.folder.join("unstable"), "restic") {
            Ok(folder) => Ok(folder.join("usr/bin/restic")),
            Err(error) => {
                self.runner.interrupt().check()?;
                eprintln!("no newer restic than this release's, which is old: {error:#}");
                packages::ensure(self.runner, &["restic"])?;
                program::find("restic").context("restic is not there")
            }
        }
    }

    fn bupstash(&self) -> anyhow::Result<PathBuf> {
        packages::ensure(self.runner, packages::BUPSTASH)?;
        self.cargo("bupstash", &["bupstash", "--version", "~0.12.0"])
    }

    /// Without what a local repository does not use.
    fn rustic(&self) -> anyhow::Result<PathBuf> {
        let words = ["rustic-rs", "--version", "~0.11.0", "--no-default-features"];
        self.cargo("rustic", &words)
    }

    fn borg(&self) -> anyhow::Result<PathBuf> {
        packages::ensure(self.runner, packages::BORG)?;
        let folder = self.folder.join("borg");
        let base = python::find_base(self.runner)?;
        self.logged("borg", Command::new(base).args(["-m", "venv"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--no-input", "borgbackup~=1.4.0"];
        self.logged("borg", Command::new(folder.join("bin/python")).args(pip))?;
        self.program(folder.join("bin/borg"))
    }

    /// Builds a program from its package.
    fn cargo(&self, name: &str, words: &[&str]) -> anyhow::Result<PathBuf> {
        let (root, build) = (self.folder.join(name), self.folder.join("build"));
        let mut command = Command::new(repository::cargo());
        command.args(["install", "--locked"]).args(words);
        command
            .arg("--root")
            .arg(&root)
            .arg("--target-dir")
            .arg(&build);
        self.logged(name, &mut command)?;
        // Some hundred MB that nobody needs again.
        let _ = fs::remove_dir_all(build);
        self.program(root.join("bin").join(name))
    }

    fn logged(&self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let log = self.folder.join(format!("{name}.log"));
        self.runner.run_logged(command, &log)
    }

    fn program(&self, path: PathBuf) -> anyhow::Result<PathBuf> {
        if !path.exists() {
            bail!("{} was not installed", path.display());
        }
        Ok(path)
    }
}

/// The end of an error: with a log in it, the reason stands there.
fn end(error: &str) -> &str {
    match error.char_indices().rev().nth(WHY_MAX) {
        Some((at, _)) => &error[at..],
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::end;

    #[test]
    fn of_a_long_error_the_end_is_kept() {
        assert_eq!(end("why"), "why");
        let long = format!("{}why", "é".repeat(1000));
        assert!(end(&long).ends_with("éwhy") && end(&long).chars().count() < 310);
    }
}
