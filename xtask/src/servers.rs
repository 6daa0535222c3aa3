//! The servers that tests talk to, all on loopback, on free ports, with their data in memory:
//! etcd, Ceph's S3 gateway, moto, azurite, and two S3 servers that are there to be refused. They are told to the tests by environment variables:
//!
//! | variable | what |
//! |---|---|
//! | `HOLDFAST_TEST_ETCD` | URL of a single etcd node |
//! | `HOLDFAST_TEST_ETCD_CLUSTER` | URLs of the three nodes of another, parted by commas |
//! | `HOLDFAST_TEST_S3` | URL of the S3 server (Ceph; moto with `--quick`) |
//! | `HOLDFAST_TEST_S3_ACCESS_KEY`, `…_SECRET_KEY` | credentials for it |
//! | `HOLDFAST_TEST_S3_BUCKET_A`, `…_BUCKET_B`, `…_REGION` | two empty buckets, on moto too |
//! | `HOLDFAST_TEST_MOTO` | URL of moto: no signatures, faster |
//! | `HOLDFAST_TEST_AZURE` | URL of an account at azurite |
//! | `HOLDFAST_TEST_AZURE_ACCOUNT`, `…_KEY`, `…_CONTAINER` | the account, its key, and an empty container |
//! | `HOLDFAST_TEST_RCLONE`, `HOLDFAST_TEST_S3RVER` | URLs of S3 servers without a create-only put |
//! | `HOLDFAST_TEST_CARELESS_BUCKET`, `…_KEY` | a bucket at both, and the key and secret of it |
//! | `HOLDFAST_TEST_PYTHON` | a Python with boto3, grpcio and grpcio-reflection |
//!
//! The buckets are shared by all tests of a run: a test keeps to a prefix of its own.

mod azurite;
mod careless;
mod ceph;
pub(crate) mod dev_cluster;
mod etcd;
mod http;
mod moto;
mod ports;
mod scratch;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cli::ServersOptions;
use crate::repository::Repository;
use crate::runner::Runner;
use crate::servers::azurite::Azurite;
use crate::servers::careless::Careless;
use crate::servers::ceph::Ceph;
use crate::servers::etcd::Etcd;
use crate::servers::moto::Moto;
use crate::servers::scratch::Scratch;
use crate::{node, packages, python};

const ACCESS_KEY: &str = "holdfast-test";
const SECRET_KEY: &str = "holdfast-test-secret";
const REGION: &str = "us-east-1";
const BUCKET_A: &str = "holdfast-test-a";
const BUCKET_B: &str = "holdfast-test-b";

/// Running servers; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Servers {
    // ORDER: the servers before the folder that they write to, or files appear while it is removed.
    etcd: Etcd,
    etcd_cluster: [Etcd; 3],
    moto: Moto,
    azurite: Azurite,
    careless: Careless,
    /// None where moto stands in for it.
    ceph: Option<Ceph>,
    python: PathBuf,
    _scratch: Scratch,
}

impl Servers {
    /// Starts them and waits until each answers. `programs` has those that come as npm packages.
    pub(crate) fn start(
        runner: &Runner,
        repository: &Repository,
        python: PathBuf,
        programs: &Path,
        quick: bool,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::create()?;
        // The slow one comes up while the others do so by themselves.
        let mut etcd = Etcd::start(scratch.path())?;
        let mut etcd_cluster = Etcd::start_three(scratch.path())?;
        let mut moto = Moto::start(repository, scratch.path(), &python)?;
        let mut azurite = Azurite::start(scratch.path(), programs)?;
        let scripts = python.parent().context("python lies in no folder")?;
        let mut careless = Careless::start(scratch.path(), scripts, programs)?;
        let ceph = if quick {
            None
        } else {
            Some(Ceph::start(runner, scratch.path())?)
        };
        etcd.wait(runner)?;
        for node in &mut etcd_cluster {
            node.wait(runner)?;
        }
        moto.wait(runner)?;
        azurite.wait(runner)?;
        careless.wait(runner)?;
        let servers = Self {
            etcd,
            etcd_cluster,
            moto,
            azurite,
            careless,
            ceph,
            python,
            _scratch: scratch,
        };
        servers.make_buckets(runner, repository)?;
        servers
            .azurite
            .make_container(runner, repository, &servers.python)?;
        Ok(servers)
    }

    /// What the tests are told.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut told = vec![
            ("HOLDFAST_TEST_ETCD", self.etcd.url()),
            (
                "HOLDFAST_TEST_ETCD_CLUSTER",
                self.etcd_cluster.each_ref().map(Etcd::url).join(","),
            ),
            ("HOLDFAST_TEST_S3", self.s3_url()),
            ("HOLDFAST_TEST_S3_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("HOLDFAST_TEST_S3_SECRET_KEY", SECRET_KEY.to_owned()),
            ("HOLDFAST_TEST_S3_BUCKET_A", BUCKET_A.to_owned()),
            ("HOLDFAST_TEST_S3_BUCKET_B", BUCKET_B.to_owned()),
            ("HOLDFAST_TEST_S3_REGION", REGION.to_owned()),
            ("HOLDFAST_TEST_MOTO", self.moto.url()),
            ("HOLDFAST_TEST_AZURE", self.azurite.url()),
            ("HOLDFAST_TEST_AZURE_ACCOUNT", azurite::ACCOUNT.to_owned()),
            ("HOLDFAST_TEST_AZURE_KEY", azurite::KEY.to_owned()),
            (
                "HOLDFAST_TEST_AZURE_CONTAINER",
                azurite::CONTAINER.to_owned(),
            ),
            ("HOLDFAST_TEST_CARELESS_BUCKET", careless::BUCKET.to_owned()),
            ("HOLDFAST_TEST_CARELESS_KEY", careless::KEY.to_owned()),
            ("HOLDFAST_TEST_PYTHON", self.python.display().to_string()),
        ];
        told.extend(self.careless.urls());
        told
    }

    fn s3_url(&self) -> String {
        self.ceph
            .as_ref()
            .map_or_else(|| self.moto.url(), Ceph::url)
    }

    /// Makes the buckets on both S3 servers, and tries them.
    fn make_buckets(&self, runner: &Runner, repository: &Repository) -> anyhow::Result<()> {
        let script = repository.root().join("xtask/python/make_buckets.py");
        for url in [Some(self.moto.url()), self.ceph.as_ref().map(Ceph::url)]
            .into_iter()
            .flatten()
        {
            let mut command = Command::new(&self.python);
            command
                .arg(&script)
                .args([&url, ACCESS_KEY, SECRET_KEY, REGION, BUCKET_A, BUCKET_B]);
            runner
                .run(&mut command)
                .with_context(|| format!("the S3 server at {url} fails"))?;
        }
        Ok(())
    }

    /// An error that names the server which ended by itself, if one did.
    fn check(&mut self) -> anyhow::Result<()> {
        self.etcd.check()?;
        for node in &mut self.etcd_cluster {
            node.check()?;
        }
        self.moto.check()?;
        self.azurite.check()?;
        self.careless.check()?;
        self.ceph.as_mut().map_or(Ok(()), Ceph::check)
    }
}

/// Installs the packages that the servers and the tests need.
pub(crate) fn install_packages(runner: &Runner, quick: bool) -> anyhow::Result<()> {
    let ceph = if quick { &[][..] } else { packages::CEPH };
    packages::ensure(
        runner,
        &[
            packages::ETCD,
            packages::FILE_TREES,
            packages::SYSTEMD,
            packages::PROMETHEUS,
            ceph,
        ]
        .concat(),
    )
}

/// `cargo xtask servers`
pub(crate) fn serve(
    runner: &Runner,
    repository: &Repository,
    options: &ServersOptions,
) -> anyhow::Result<()> {
    install_packages(runner, options.quick)?;
    let python = python::ensure(runner, repository)?;
    let programs = node::ensure(runner, repository)?;
    let mut servers = Servers::start(runner, repository, python, &programs, options.quick)?;
    for (name, value) in servers.environment() {
        println!("export {name}={}", quoted(&value));
    }
    eprintln!("the servers run until Ctrl-C");
    runner.wait_for_interrupt(|| servers.check())
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// The log of a server in the scratch folder.
fn log_of(scratch: &Path, name: &str) -> PathBuf {
    scratch.join(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn values_survive_a_shell() {
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
