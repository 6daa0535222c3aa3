//! Installs Debian packages, but only those that are not there, so that a warm run asks nobody.

use std::env;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, bail};

use crate::program;
use crate::runner::Runner;

/// Compiles etcd-client's protos while it builds.
pub(crate) const PROTOC: &[&str] = &["protobuf-compiler", "libprotobuf-dev"];
/// A Python that can make virtual environments.
pub(crate) const PYTHON: &[&str] = &["python3", "python3-venv"];
/// What runs servers that come as npm packages, where no Node.js is there yet.
pub(crate) const NODE: &[&str] = &["nodejs", "npm"];
/// The placement store that tests run against.
pub(crate) const ETCD: &[&str] = &["etcd-server", "etcd-client"];
/// The S3 server that tests run against.
pub(crate) const CEPH: &[&str] = &["ceph-mon", "ceph-osd", "radosgw", "ceph-common"];
/// What tests of file trees use: ACLs, extended attributes, mounts.
pub(crate) const FILE_TREES: &[&str] = &["acl", "attr", "fuse3"];

/// What checks units: `systemd-analyze`.
pub(crate) const SYSTEMD: &[&str] = &["systemd"];
/// What checks metrics and alerts: `promtool`.
pub(crate) const PROMETHEUS: &[&str] = &["prometheus"];

/// What makes database pages for benches, with pgbench.
pub(crate) const POSTGRESQL: &[&str] = &["postgresql"];
/// What bupstash is built with.
pub(crate) const BUPSTASH: &[&str] = &["libsodium-dev", "pkg-config"];
/// What BorgBackup is built with.
pub(crate) const BORG: &[&str] = &[
    "libacl1-dev",
    "liblz4-dev",
    "libssl-dev",
    "libxxhash-dev",
    "libzstd-dev",
    "pkg-config",
    "python3-dev",
];

/// Keeps Debian from starting a server of its own as soon as its package is installed.
const NO_SERVICES: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICES_MARK: &str = "# written by `cargo xtask`";

/// Makes sure that these packages are installed.
///
/// # Errors
/// If one is missing and cannot be installed; the message tells what to run.
pub(crate) fn ensure(runner: &Runner, wanted: &[&str]) -> anyhow::Result<()> {
    if !is_debian() {
        eprintln!(
            "not a Debian machine, so this must be there already: {}",
            wanted.join(" ")
        );
        return Ok(());
    }
    let missing = missing(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !program::is_root() {
        bail!("not root, so cannot install what is missing; run: apt-get install {list}");
    }
    eprintln!("installing {list}");
    install(runner, &missing).with_context(|| format!("cannot install {list}"))
}

/// Whether packages come from apt here.
pub(crate) fn is_debian() -> bool {
    program::find("apt-get").is_some() && program::find("dpkg-query").is_some()
}

fn missing<'a>(wanted: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    // Fails where one of the packages was never heard of; what it prints of the others counts.
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${Package} ${db:Status-Status}\\n",
        ])
        .args(wanted)
        .output()
        .context("cannot run dpkg-query")?;
    Ok(not_installed(
        wanted,
        &String::from_utf8_lossy(&output.stdout),
    ))
}

fn not_installed<'a>(wanted: &[&'a str], told: &str) -> Vec<&'a str> {
    let is_installed = |name: &str| told.lines().any(|line| line == format!("{name} installed"));
    wanted
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect()
}

fn install(runner: &Runner, packages: &[&str]) -> anyhow::Result<()> {
    let _no_services = NoServices::hold()?;
    let log = env::temp_dir().join(format!("holdfast-xtask-apt-{}.log", process::id()));
    runner.run_logged(apt().arg("update"), &log)?;
    let install = ["install", "--yes", "--no-install-recommends"];
    runner.run_logged(apt().args(install).args(packages), &log)?;
    // After a failure the log stays, for who wants more than its end.
    let _ = fs::remove_file(&log);
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args([
            "--quiet=2",
            "--option=DPkg::Lock::Timeout=300",
            "--option=Dpkg::Use-Pty=0",
        ])
        .args(["--option=Acquire::Retries=3"]);
    command
}

/// While this lives, packages that bring a service do not start it.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn hold() -> anyhow::Result<Self> {
        let path = Path::new(NO_SERVICES);
        if path.exists()
            && !fs::read_to_string(path)
                .unwrap_or_default()
                .contains(NO_SERVICES_MARK)
        {
            return Ok(Self { is_ours: false });
        }
        let mut file = fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o755)
            .open(path)
            .with_context(|| format!("cannot write {NO_SERVICES}"))?;
        writeln!(
            file,
            "#!/bin/sh\n{NO_SERVICES_MARK} while it installs; can be deleted\nexit 101"
        )?;
        Ok(Self { is_ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(NO_SERVICES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::not_installed;

    #[test]
    fn only_what_is_installed_now_counts() {
        let told = "acl installed\nattr config-files\nfuse3 not-installed\nacl2 installed\n";
        assert_eq!(
            not_installed(&["acl", "attr", "fuse3", "new"], told),
            ["attr", "fuse3", "new"]
        );
    }
}
