//! `cargo xtask dev-cluster`: three etcd nodes, two S3 servers, three coordinators on this machine, to play with and to break.
//!
//! What is started is written as scripts into one folder first, so that whoever killed a coordinator or cut off a site starts it again
//! with the same words. All of it, data included, is gone at the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::etcd::Etcd;
use super::moto::Moto;
use super::scratch::Scratch;
use super::server::Server;
use super::{ACCESS_KEY, BUCKET_A, BUCKET_B, REGION, SECRET_KEY, http, ports, quoted};
use crate::repository::Repository;
use crate::runner::Runner;
use crate::{cargo, packages, python};

const NAMES: [&str; 3] = ["c1", "c2", "c3"];

/// A coordinator whose lease is so short is replaced before one loses patience.
const LEASE: &str = "3s";

/// How files end that name the process of a script.
const PID: &str = ".pid";

/// Runs it until Ctrl-C.
pub(crate) fn run(runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
    packages::ensure(runner, packages::ETCD)?;
    let python = python::ensure(runner, repository)?;
    let binary = cargo::build_holdfast(runner, repository)?;
    let scratch = Scratch::create()?;
    let _again = StartedAgain(scratch.path());
    let mut etcds = Etcd::start_three(scratch.path())?;
    let mut motos = [
        Moto::start_as("s3-onsite", repository, scratch.path(), &python)?,
        Moto::start_as("s3-offsite", repository, scratch.path(), &python)?,
    ];
    for etcd in &mut etcds {
        etcd.wait(runner)?;
    }
    for moto in &mut motos {
        moto.wait(runner)?;
        let mut command = Command::new(&python);
        let script = repository.root().join("xtask/python/make_buckets.py");
        command.arg(script);
        runner.run(command.args([
            &moto.url(),
            ACCESS_KEY,
            SECRET_KEY,
            REGION,
            BUCKET_A,
            BUCKET_B,
        ]))?;
    }
    let hosts: Vec<String> = etcds.iter().map(Etcd::host).collect();
    let key = scratch.path().join("cluster.key");
    runner.run(Command::new(&binary).args(["key", "cluster"]).arg(&key))?;
    let plan = Plan {
        folder: scratch.path(),
        binary: &binary,
        placement: format!("etcd://{}/dev", hosts.join(",")),
        key: &key,
        sites: [
            format!("onsite={}", site(&motos[0].url(), BUCKET_A)),
            format!("offsite={}", site(&motos[1].url(), BUCKET_B)),
        ],
    };
    let ports = ports::free::<3>()?;
    let mut coordinators = Vec::new();
    for (name, port) in NAMES.into_iter().zip(ports) {
        let script = plan.write(name, port)?;
        let script = script.display().to_string();
        let mut coordinator = Server::start(name, scratch.path(), &script, &[])?;
        coordinator.wait(runner, || http::accepts(port))?;
        coordinators.push(coordinator);
    }
    let urls = ports.map(|port| format!("http://127.0.0.1:{port}"));
    println!("export HOLDFAST_COORDINATOR={}", quoted(&urls.join(",")));
    println!("export PATH={}:$PATH", quoted(&folder_of(&binary)));
    // Bundles of vaults made here must not take the place of this user's own.
    for (variable, folder) in [("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache")] {
        let folder = scratch.path().join(folder).display().to_string();
        println!("export {variable}={}", quoted(&folder));
    }
    for etcd in &etcds {
        plan.write_etcd(etcd)?;
    }
    eprintln!("{}", plan.told(&etcds, &motos, &coordinators));
    // Whatever is killed is meant to be.
    runner.wait_for_interrupt(|| Ok(()))
}

/// What a person started again with the scripts in a folder: it ends with the cluster.
struct StartedAgain<'f>(&'f Path);

impl Drop for StartedAgain<'_> {
    fn drop(&mut self) {
        let files = fs::read_dir(self.0).into_iter().flatten();
        for path in files.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.to_str().is_some_and(|path| path.ends_with(PID)) {
                kill_noted(&path, self.0);
            }
        }
    }
}

/// Kills the process that a file names, if it is one that was started with this folder.
fn kill_noted(file: &Path, folder: &Path) {
    let noted = fs::read_to_string(file).unwrap_or_default();
    let Some(pid) = noted.trim().parse().ok().and_then(Pid::from_raw) else {
        return;
    };
    // The number may be another's by now.
    let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    if String::from_utf8_lossy(&words).contains(&folder.display().to_string()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// What a coordinator is started with.
struct Plan<'p> {
    folder: &'p Path,
    binary: &'p Path,
    placement: String,
    key: &'p Path,
    sites: [String; 2],
}

impl Plan<'_> {
    /// A script that starts a coordinator.
    fn write(&self, name: &str, port: u16) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(format!("start-{name}"));
        let text = format!(
            "#!/bin/sh\n{}export AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY}\nexec {} coordinator --name {name} --data {} \
             --listen 127.0.0.1:{port} --placement {} --cluster-key {} --lease {LEASE} --site {} --site {}\n",
            self.noting(name),
            quoted(&self.binary.display().to_string()),
            quoted(&self.folder.join(name).display().to_string()),
            quoted(&self.placement),
            quoted(&self.key.display().to_string()),
            quoted(&self.sites[0]),
            quoted(&self.sites[1]),
        );
        write_script(&path, &text)?;
        Ok(path)
    }

    /// Notes which process a script becomes.
    fn noting(&self, name: &str) -> String {
        let file = self.folder.join(format!("{name}{PID}"));
        format!("echo $$ > {}\n", quoted(&file.display().to_string()))
    }

    /// A script that starts an etcd node again.
    fn write_etcd(&self, etcd: &Etcd) -> anyhow::Result<()> {
        let words: Vec<String> = etcd.arguments().iter().map(|word| quoted(word)).collect();
        let text = format!(
            "#!/bin/sh\n{}exec etcd {} 2> {}\n",
            self.noting(etcd.name()),
            words.join(" "),
            quoted(
                &self
                    .folder
                    .join(format!("{}.again.log", etcd.name()))
                    .display()
                    .to_string()
            )
        );
        write_script(&self.folder.join(format!("start-{}", etcd.name())), &text)
    }

    fn told(&self, etcds: &[Etcd; 3], motos: &[Moto; 2], coordinators: &[Server]) -> String {
        let mut text = format!(
            "data and logs lie in {} (what S3 servers hold: in files without names below the folder for temporary files); all of it is gone \
             after Ctrl-C. Processes:\n",
            self.folder.display()
        );
        for (name, coordinator) in NAMES.iter().zip(coordinators) {
            text += &format!(
                "  coordinator {name}: {}; after a kill start it again with {}/start-{name} &\n",
                coordinator.pid(),
                self.folder.display()
            );
        }
        for etcd in etcds {
            text += &format!(
                "  {name}: {}; its data lies in {folder}/{name}; after a kill start it again with {folder}/start-{name} &\n",
                etcd.pid(),
                name = etcd.name(),
                folder = self.folder.display()
            );
        }
        for (site, moto) in ["onsite", "offsite"].iter().zip(motos) {
            text += &format!(
                "  S3 server of {site}: {}; kill -STOP cuts it off, kill -CONT brings it back\n",
                moto.pid()
            );
        }
        text + "paste the export lines into another shell, then: holdfast vault create db --sites onsite,offsite --identity-out identity"
    }
}

fn write_script(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    Ok(())
}

fn site(endpoint: &str, bucket: &str) -> String {
    format!("s3://{bucket}?endpoint={endpoint}&region={REGION}")
}

fn folder_of(binary: &Path) -> String {
    let folder = binary.parent().unwrap_or(Path::new("."));
    folder.display().to_string()
}
