//! A package of Debian's unstable suite, unpacked into a folder and not installed: this release's own may be years old, and a
//! comparison with that would flatter us. Apt works on lists in that folder, so the machine's own stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::packages;
use crate::runner::Runner;

/// Who signs Debian's suites.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Unpacks a package's newest version; the folder that has it.
///
/// # Errors
/// If this is no Debian, or the package cannot be had.
pub(super) fn unpack(runner: &Runner, folder: &Path, package: &str) -> anyhow::Result<PathBuf> {
    if !packages::is_debian() {
        bail!("this is no Debian");
    }
    let archive = archive(runner)?;
    for below in ["sources", "lists/partial", "cache/archives/partial", "root"] {
        let path = folder.join(below);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let source = format!(
        "Types: deb\nURIs: {archive}\nSuites: unstable\nComponents: main\nTargets: Packages\nSigned-By: {KEYS}\n"
    );
    fs::write(folder.join("sources/unstable.sources"), source)?;
    let log = folder.join("apt.log");
    runner.run_logged(apt(folder).arg("update"), &log)?;
    runner.run_logged(apt(folder).args(["download", package]), &log)?;
    let prefix = format!("{package}_");
    let file = fs::read_dir(folder)?
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .context("apt brought no package")?;
    let root = folder.join("root");
    runner.run(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(file.path())
            .arg(&root),
    )?;
    Ok(root)
}

/// Where this machine has Debian's packages from.
fn archive(runner: &Runner) -> anyhow::Result<String> {
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(RELEASE) $(REPO_URI)",
    ]);
    let told = runner.read(command.arg("Created-By: Packages"))?;
    let main = told.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (origin, release, uri) = (words.next()?, words.next()?, words.next()?);
        // Updates and security fixes are archives of their own.
        (origin == "Debian" && !release.contains('-')).then(|| uri.to_owned())
    });
    main.context("apt knows no archive of Debian; run: apt-get update")
}

/// Apt with lists of its own.
fn apt(folder: &Path) -> Command {
    let mut command = Command::new("apt-get");
    let option = |name: &str, value: &Path| format!("--option={name}={}", value.display());
    command.current_dir(folder).args([
        "--quiet=2".to_owned(),
        option("Dir::Etc::SourceList", Path::new("/dev/null")),
        option("Dir::Etc::SourceParts", &folder.join("sources")),
        option("Dir::State::Lists", &folder.join("lists")),
        option("Dir::Cache", &folder.join("cache")),
        // What it would become otherwise may not enter every folder.
        "--option=APT::Sandbox::User=root".to_owned(),
    ]);
    command
}
