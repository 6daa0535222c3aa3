//! moto: an S3 server in Python. It checks no signatures. Its create-only put is a true one only since
//! `xtask/python/moto_server.py` orders creates.

use std::path::Path;

use crate::repository::Repository;
use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

#[derive(Debug)]
pub(crate) struct Moto {
    server: Server,
    port: u16,
}

impl Moto {
    pub(crate) fn start(
        repository: &Repository,
        scratch: &Path,
        python: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_as("moto", repository, scratch, python)
    }

    /// Starts one under a name of its own, beside others.
    pub(crate) fn start_as(
        name: &'static str,
        repository: &Repository,
        scratch: &Path,
        python: &Path,
    ) -> anyhow::Result<Self> {
        let [port] = ports::free()?;
        let script = repository.root().join("xtask/python/moto_server.py");
        let arguments = [
            script.display().to_string(),
            "127.0.0.1".to_owned(),
            port.to_string(),
        ];
        let program = python.display().to_string();
        let server = Server::start(name, scratch, &program, &arguments)?;
        Ok(Self { server, port })
    }

    pub(crate) fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        self.server
            .wait(runner, || http::answers(self.port, "/moto-api/"))
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.server.check()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
