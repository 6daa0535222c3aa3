//! azurite: Azure Blob Storage in Node.js. It checks signatures, and its create-only put is a true one.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::repository::Repository;
use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

/// The account that it is started with.
pub(crate) const ACCOUNT: &str = "holdfasttest";
/// Its key: what signatures are made with, in base64.
pub(crate) const KEY: &str = "aG9sZGZhc3QtdGVzdC1zZWNyZXQ=";
/// The container that is made in it.
pub(crate) const CONTAINER: &str = "holdfast-test";

#[derive(Debug)]
pub(crate) struct Azurite {
    server: Server,
    port: u16,
}

impl Azurite {
    pub(crate) fn start(scratch: &Path, programs: &Path) -> anyhow::Result<Self> {
        let [port] = ports::free()?;
        let arguments = [
            format!("AZURITE_ACCOUNTS={ACCOUNT}:{KEY}"),
            programs.join("azurite-blob").display().to_string(),
            "--blobHost".into(),
            "127.0.0.1".into(),
            "--blobPort".into(),
            port.to_string(),
            "--inMemoryPersistence".into(),
            "--disableTelemetry".into(),
            "--silent".into(),
        ];
        let server = Server::start("azurite", scratch, "env", &arguments)?;
        Ok(Self { server, port })
    }

    pub(crate) fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        self.server.wait(runner, || http::accepts(self.port))
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.server.check()
    }

    /// Where the account is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.port)
    }

    /// Makes the container.
    pub(crate) fn make_container(
        &self,
        runner: &Runner,
        repository: &Repository,
        python: &Path,
    ) -> anyhow::Result<()> {
        let script = repository.root().join("xtask/python/make_container.py");
        let mut command = Command::new(python);
        command
            .arg(script)
            .args([&self.url(), ACCOUNT, KEY, CONTAINER]);
        runner
            .run(&mut command)
            .context("azurite makes no container")
    }
}
