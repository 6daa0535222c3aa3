//! etcds of a test's own, one or three that are a cluster: to be killed, stopped, emptied and started again. The one that all
//! tests share stays up.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use crate::ground::Ground;
use crate::server::Server;

/// One node. See the module header.
#[derive(Debug)]
pub struct Etcd {
    data: PathBuf,
    port: u16,
    server: Server,
}

impl Etcd {
    /// Starts one with its data in the ground, and waits until it answers.
    #[track_caller]
    pub fn start(ground: &Ground) -> Self {
        let [etcd] = Self::start_cluster(ground, ["etcd"]);
        etcd
    }

    /// Starts the nodes of one cluster, and waits until all answer.
    #[track_caller]
    pub fn start_cluster<const COUNT: usize>(
        ground: &Ground,
        names: [&str; COUNT],
    ) -> [Self; COUNT] {
        // All at once, so that they differ.
        let listen = |_: &str| [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let listeners = names.map(listen);
        let ports = listeners.map(|two| two.map(|one| one.local_addr().unwrap().port()));
        let peers = names.iter().zip(ports);
        let peers = peers.map(|(name, [_, port])| format!("{name}=http://127.0.0.1:{port}"));
        let peers = peers.collect::<Vec<_>>().join(",");
        let mut number = 0..COUNT;
        let nodes = names.map(|name| {
            let ports = ports[number.next().expect("one for each name")];
            Self::node(ground, name, ports, &peers)
        });
        for node in &nodes {
            node.wait();
        }
        nodes
    }

    fn node(ground: &Ground, name: &str, [port, peer_port]: [u16; 2], peers: &str) -> Self {
        let data = ground.at(name);
        let client = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let words = vec![
            "etcd".to_owned(),
            format!("--name={name}"),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={peers}"),
            "--unsafe-no-fsync".to_owned(),
        ];
        let server = Server::start(words, ground.at(format!("{name}.log")));
        Self { data, port, server }
    }

    /// Where it answers, as a placement URL.
    pub fn placement(&self) -> String {
        format!("etcd://127.0.0.1:{}/holdfast", self.port)
    }

    /// Where it answers, as `HOST:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it after it was killed, and waits until it answers.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.start_unheard();
        self.wait();
    }

    /// Starts it after it was killed. Of a cluster none answers before most of it is up.
    #[track_caller]
    pub fn start_unheard(&mut self) {
        self.server.start_again();
    }

    /// Waits until it answers.
    #[track_caller]
    pub fn wait(&self) {
        self.server.wait(|| self.answers());
    }

    fn answers(&self) -> bool {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer.contains(" 200 "))
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.server.thaw();
    }

    /// Takes its data away, once it was killed.
    pub fn empty(&self) {
        assert!(!self.server.is_started(), "it runs");
        fs::remove_dir_all(&self.data).unwrap();
    }
}
