//! An etcd of a test's own.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use holdfast_placement::EtcdOptions;
use tempfile::TempDir;

/// One server on loopback; killed when dropped.
pub(crate) struct Server {
    folder: TempDir,
    child: Option<Child>,
    client_port: u16,
    peer_port: u16,
    scheme: &'static str,
    arguments: Vec<String>,
}

impl Server {
    /// A running server that speaks plain HTTP.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::in_folder(
            memory_folder(),
            "http",
            arguments.iter().map(ToString::to_string).collect(),
        )
    }

    /// A running server with `folder` for its files.
    pub(crate) fn in_folder(folder: TempDir, scheme: &'static str, arguments: Vec<String>) -> Self {
        let mut server = Self {
            folder,
            child: None,
            client_port: free_port(),
            peer_port: free_port(),
            scheme,
            arguments,
        };
        server.restart();
        server
    }

    /// Starts it (again) on the same ports and data.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let client = self.url();
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let child = Command::new("etcd")
            .args(["--name", "test", "--data-dir"])
            .arg(self.data())
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .arg(format!("--initial-cluster=test={peer}"))
            .args(&self.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("etcd is installed (Debian: etcd-server)");
        self.child = Some(child);
    }

    /// kill -9, and its end awaited.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Removes all its data; it must not run.
    pub(crate) fn wipe(&mut self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client_port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Options with time for the server to come up.
    pub(crate) fn options(&self) -> EtcdOptions {
        let mut options = EtcdOptions::new([self.url()]);
        options.deadline = Duration::from_secs(20);
        options
    }

    /// A client of the raw kind, without TLS; waits for the server.
    pub(crate) async fn client(&self) -> etcd_client::Client {
        let options = etcd_client::ConnectOptions::new().with_timeout(Duration::from_secs(20));
        let mut client = etcd_client::Client::connect([self.url()], Some(options))
            .await
            .unwrap();
        while client.get("up", None).await.is_err() {}
        client
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let mut log = String::new();
            let read = File::open(self.log()).and_then(|mut file| file.read_to_string(&mut log));
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("etcd's log ends ({read:?}):");
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A folder in memory where there is one: a server that syncs to a disk which a build keeps busy can take longer
/// than any deadline.
pub(crate) fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
