//! An etcd of a test's own, to be killed, emptied and started again. The one that all tests share stays up.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::ground::Ground;

/// How long it may take until it answers.
const LIMIT: Duration = Duration::from_secs(60);

/// See the module header.
#[derive(Debug)]
pub struct Etcd {
    data: PathBuf,
    port: u16,
    peer_port: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts one with its data in the ground, and waits until it answers.
    #[track_caller]
    pub fn start(ground: &Ground) -> Self {
        // Both at once, so that they differ.
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, peer_port] = listeners.map(|listener| listener.local_addr().unwrap().port());
        let mut etcd = Self {
            data: ground.at("etcd"),
            port,
            peer_port,
            child: None,
        };
        etcd.start_again();
        etcd
    }

    /// Where it answers, as a placement URL.
    pub fn placement(&self) -> String {
        format!("etcd://127.0.0.1:{}/holdfast", self.port)
    }

    /// Starts it after it was killed.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let client = format!("http://127.0.0.1:{}", self.port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let child = Command::new("etcd")
            .arg("--name=test")
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=test={peer}"))
            .arg("--unsafe-no-fsync")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        let since = Instant::now();
        while !self.answers() {
            assert!(since.elapsed() < LIMIT, "etcd does not come up");
            std::thread::yield_now();
        }
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
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Takes its data away, once it was killed.
    pub fn empty(&self) {
        assert!(self.child.is_none(), "it runs");
        fs::remove_dir_all(&self.data).unwrap();
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
