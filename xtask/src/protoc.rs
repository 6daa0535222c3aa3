//! Finds the protoc that etcd-client compiles its protos with, installs one, or brings one.
//!
//! Every build reaches protoc through the script `tools/protoc` (`.cargo/config.toml` points there),
//! and this module only sees to it that the script finds a real one: so `cargo build` and
//! `cargo xtask build` build the same, and neither makes the other build anew.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::repository::{self, Repository};
use crate::runner::Runner;
use crate::{packages, program};

/// Tells `tools/protoc` which protoc to run.
const HANDED_OVER: &str = "HOLDFAST_PROTOC";
/// Lies in every folder of protobuf's own include files.
const INCLUDED: &str = "google/protobuf/descriptor.proto";

/// Makes sure that a build finds a protoc with its include files.
pub(crate) fn ensure(runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
    if is_chosen_by_user(repository) || on_path().is_some() || brought(repository).is_file() {
        return Ok(());
    }
    if program::is_root() && packages::is_debian() {
        match packages::ensure(runner, packages::PROTOC) {
            Ok(()) if on_path().is_some() => return Ok(()),
            Ok(()) => eprintln!("Debian's protoc is installed but not on PATH"),
            Err(error) => {
                runner.interrupt().check()?;
                eprintln!("{error:#}");
            }
        }
        eprintln!("building with a protoc from a crate instead");
    }
    bring(runner, repository).context("found no protoc and could not bring one")
}

/// Points a cargo command at the protoc that was brought, if none was found.
pub(crate) fn hand_over(repository: &Repository, command: &mut Command) {
    let brought = brought(repository);
    if !is_chosen_by_user(repository) && on_path().is_none() && brought.is_file() {
        command.env(HANDED_OVER, brought);
    }
}

/// Whether PROTOC names something other than our script, which cargo itself sets it to.
fn is_chosen_by_user(repository: &Repository) -> bool {
    let script = repository.root().join("tools/protoc");
    env::var_os("PROTOC").is_some_and(|set| !set.is_empty() && Path::new(&set) != script)
}

/// The protoc on PATH, if its include files are beside it or PROTOC_INCLUDE tells where they are.
fn on_path() -> Option<PathBuf> {
    let protoc = program::find("protoc")?;
    let included = env::var_os("PROTOC_INCLUDE")
        .map(PathBuf::from)
        .or_else(|| include_of(&protoc))?;
    included.join(INCLUDED).is_file().then_some(protoc)
}

/// Where a protoc looks for its include files by itself.
fn include_of(protoc: &Path) -> Option<PathBuf> {
    Some(
        protoc
            .canonicalize()
            .ok()?
            .parent()?
            .parent()?
            .join("include"),
    )
}

fn brought(repository: &Repository) -> PathBuf {
    repository.kept("protoc").join("bin").join("protoc")
}

/// Takes protoc out of the crate protoc-bin-vendored: a package of its own in `xtask/protoc`, built
/// only here, copies it below the target folder.
fn bring(runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
    let folder = repository.kept("protoc");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut command = Command::new(repository::cargo());
    command
        .current_dir(repository.root())
        .args([
            "run",
            "--quiet",
            "--locked",
            "--manifest-path",
            "xtask/protoc/Cargo.toml",
        ])
        .arg("--target-dir")
        .arg(folder.join("build"))
        .arg("--")
        .arg(&folder);
    runner.run(&mut command)?;
    if !brought(repository).is_file() {
        bail!("no protoc at {}", brought(repository).display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::include_of;

    #[test]
    fn include_files_lie_beside_the_real_protoc() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real/bin")).unwrap();
        std::fs::write(root.join("real/bin/protoc"), "").unwrap();
        symlink(root.join("real/bin/protoc"), root.join("protoc")).unwrap();
        assert_eq!(
            include_of(&root.join("protoc")),
            Some(root.join("real/include"))
        );
        assert_eq!(include_of(&root.join("absent")), None);
    }
}
