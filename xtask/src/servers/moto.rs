//! moto: an S3 server in Python. It checks no signatures. It refuses a create-only put over what is there, but looks first and
//! writes then: of two at the same moment both may win, so a vault there is for one coordinator at a time.

use std::path::Path;

use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

#[derive(Debug)]
pub(crate) struct Moto {
    server: Server,
    port: u16,
}

impl Moto {
    pub(crate) fn start(scratch: &Path, python: &Path) -> anyhow::Result<Self> {
        Self::start_as("moto", scratch, python)
    }

    /// Starts one under a name of its own, beside others.
    pub(crate) fn start_as(
        name: &'static str,
        scratch: &Path,
        python: &Path,
    ) -> anyhow::Result<Self> {
        let [port] = ports::free()?;
        let arguments = [
            "-m",
            "moto.server",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ];
        let program = python.display().to_string();
        let server = Server::start(name, scratch, &program, &arguments.map(str::to_owned))?;
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
