//! A single etcd node.

use std::path::Path;

use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

#[derive(Debug)]
pub(crate) struct Etcd {
    server: Server,
    port: u16,
}

impl Etcd {
    pub(crate) fn start(scratch: &Path) -> anyhow::Result<Self> {
        let [port, peer_port] = ports::free()?;
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let data = scratch.join("etcd");
        let arguments = [
            "--name=test".to_owned(),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=test={peer}"),
        ];
        let server = Server::start("etcd", scratch, "etcd", &arguments)?;
        Ok(Self { server, port })
    }

    pub(crate) fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        self.server
            .wait(runner, || http::answers(self.port, "/health"))
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.server.check()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
