//! The built program against a coordinator in this process: the story of one vault, from creation to collection.
//!
//! Each step is one command line as a person would write it, with its exit code and what scripts read of it.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast_context::Context;
use holdfast_coordinator::serve::{Address, Listener, serve};
use holdfast_coordinator::{Node, Options};
use holdfast_format::SecretKey;
use holdfast_placement::EmbeddedPlacement;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A machine with a coordinator and a user.
struct Stage {
    folder: tempfile::TempDir,
    node: Arc<Node>,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::system();
        let at = |name: &str| folder.path().join(name);
        for name in ["data", "on", "off", "home"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let site = |name: &str| {
            (
                name.parse().unwrap(),
                format!("file:{}", at(name).display()),
            )
        };
        let options = Options {
            name: "c1".into(),
            data: at("data"),
            addresses: Vec::new(),
            sites: vec![site("on"), site("off")],
            site_options: Default::default(),
            lease: Duration::from_secs(10),
            key: SecretKey::new(&context.random()),
            version: "test".into(),
            placement: "embedded".into(),
        };
        let placement = EmbeddedPlacement::open(context.clone(), &at("data"))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let node = Node::start(context.clone(), options, Arc::new(placement), stop)
            .await
            .unwrap();
        let socket = Listener::bind(&Address::Unix(at("h.sock"))).await.unwrap();
        drop(context.spawn(serve(node.clone(), socket)));
        Self { folder, node }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.at("home"))
            .env("USER", "tester")
            .env("TZ", "UTC")
            .env(
                "HOLDFAST_COORDINATOR",
                format!("unix:{}", self.at("h.sock").display()),
            )
            .env("HOLDFAST_IDENTITY", self.at("identity"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line and requires its exit code.
    async fn run(&self, code: i32, words: &[&str]) -> Output {
        let mut command = self.command(words);
        let context = Context::system();
        let output = context
            .run_blocking(move || command.output())
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}\n{told}");
        output
    }

    async fn json(&self, code: i32, words: &[&str]) -> Value {
        let output = self.run(code, &[words, &["--json"]].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}\n{text}"))
    }

    async fn told(&self, code: i32, words: &[&str]) -> String {
        String::from_utf8(self.run(code, words).await.stderr).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.node.stop.cancel();
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Context::system().fill_random(&mut bytes);
    bytes
}

fn rss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find(|l| l.starts_with("VmHWM"))
        .and_then(|l| l.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

async fn timed(stage: &Stage, words: &[&str]) {
    let began = std::time::Instant::now();
    let mut child = stage
        .command(words)
        .stdout(Stdio::inherit())
        .spawn()
        .unwrap();
    let pid = child.id();
    let mut peak = 0;
    loop {
        peak = peak.max(rss(pid));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!(
        "{:?}: {:.2} s, peak {} MB, coordinator {} MB",
        words,
        began.elapsed().as_secs_f64(),
        peak / 1024,
        rss(std::process::id()) / 1024
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn speed() {
    let stage = Stage::new().await;
    stage
        .run(
            0,
            &[
                "vault",
                "create",
                "db",
                "--sites",
                "on",
                "--identity-out",
                "identity",
            ],
        )
        .await;
    let big = stage.at("tree/big");
    std::fs::create_dir_all(stage.at("tree")).unwrap();
    {
        use std::io::Write;
        let mut file = std::fs::File::create(&big).unwrap();
        for _ in 0..128 {
            file.write_all(&noise(16 << 20)).unwrap();
        }
    }
    let path = stage.at("tree").display().to_string();
    timed(&stage, &["backup", "--vault", "db", "--source", "b", &path]).await;
    timed(
        &stage,
        &[
            "backup",
            "--vault",
            "db",
            "--source",
            "b",
            &path,
            "--no-cache",
        ],
    )
    .await;
    timed(&stage, &["backup", "--vault", "db", "--source", "b", &path]).await;
    timed(
        &stage,
        &["restore", "--vault", "db", "latest", "--target", "out"],
    )
    .await;
    std::fs::remove_dir_all(stage.at("out")).unwrap();
    std::fs::remove_file(&big).unwrap();
    for n in 0..20000u32 {
        let text: Vec<u8> = (0..n % 8000)
            .flat_map(|k| (k.wrapping_mul(2654435761 ^ n)).to_string().into_bytes())
            .take((n % 16000) as usize)
            .collect();
        write(&stage.at("tree").join(format!("d{}/f{n}", n % 100)), &text);
    }
    timed(&stage, &["backup", "--vault", "db", "--source", "c", &path]).await;
    timed(&stage, &["backup", "--vault", "db", "--source", "c", &path]).await;
    timed(
        &stage,
        &[
            "restore", "--vault", "db", "--source", "c", "latest", "--target", "out2",
        ],
    )
    .await;
    timed(&stage, &["verify", "--vault", "db", "--read-data"]).await;
}
