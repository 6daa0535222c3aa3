//! etcd: a single node, or three that are one cluster.

use std::path::Path;

use crate::runner::Runner;
use crate::servers::server::Server;
use crate::servers::{http, ports};

const NAMES: [&str; 3] = ["etcd-1", "etcd-2", "etcd-3"];

#[derive(Debug)]
pub(crate) struct Etcd {
    server: Server,
    port: u16,
    name: &'static str,
    arguments: Vec<String>,
}

impl Etcd {
    pub(crate) fn start(scratch: &Path) -> anyhow::Result<Self> {
        let [port, peer_port] = ports::free()?;
        Self::node(scratch, "etcd", port, &[("etcd", peer_port)])
    }

    /// Starts three nodes of one cluster. None answers before two are up.
    pub(crate) fn start_three(scratch: &Path) -> anyhow::Result<[Self; 3]> {
        let [one, two, three, peer_one, peer_two, peer_three] = ports::free()?;
        let peers = [
            (NAMES[0], peer_one),
            (NAMES[1], peer_two),
            (NAMES[2], peer_three),
        ];
        Ok([
            Self::node(scratch, NAMES[0], one, &peers)?,
            Self::node(scratch, NAMES[1], two, &peers)?,
            Self::node(scratch, NAMES[2], three, &peers)?,
        ])
    }

    /// One of the nodes that are named, each with the port on which it speaks to the others.
    fn node(
        scratch: &Path,
        name: &'static str,
        port: u16,
        peers: &[(&str, u16)],
    ) -> anyhow::Result<Self> {
        let client = format!("http://127.0.0.1:{port}");
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let own = peers.iter().find(|(peer, _)| *peer == name);
        let peer = at(own.map_or(0, |(_, port)| *port));
        let cluster: Vec<String> = peers
            .iter()
            .map(|(peer, port)| format!("{peer}={}", at(*port)))
            .collect();
        let arguments = [
            format!("--name={name}"),
            format!("--data-dir={}", scratch.join(name).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", cluster.join(",")),
        ];
        let server = Server::start(name, scratch, "etcd", &arguments)?;
        Ok(Self {
            server,
            port,
            name,
            arguments: arguments.to_vec(),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// What it was started with.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn wait(&mut self, runner: &Runner) -> anyhow::Result<()> {
        self.server
            .wait(runner, || http::answers(self.port, "/health"))
    }

    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.server.check()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    /// `HOST:PORT`, as a placement URL has it.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}
