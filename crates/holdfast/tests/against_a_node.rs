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
use holdfast_store::ByUrl;
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
            opener: Arc::new(ByUrl {
                context: context.clone(),
                options: Default::default(),
            }),
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

#[tokio::test(flavor = "multi_thread")]
async fn the_story_of_a_vault() {
    let stage = Stage::new().await;
    let create = [
        "vault",
        "create",
        "db",
        "--sites",
        "on,off",
        "--identity-out",
        "identity",
    ];
    let made = stage.json(0, &create).await;
    assert_eq!(made["primary"], "on");
    assert!(stage.at("home/.config/holdfast/bundles/db.bundle").exists());
    let again = stage.told(1, &create).await;
    assert!(
        again.contains("never overwritten") && again.contains("\n  try: "),
        "{again}"
    );

    let tree = stage.at("tree");
    write(&tree.join("large"), &noise(20 << 20));
    for n in 0..300 {
        write(
            &tree.join(format!("dir{}/file{n}", n % 7)),
            format!("content {n}").repeat(n).as_bytes(),
        );
    }
    write(&tree.join("odd\nname"), b"x");
    let path = tree.to_str().unwrap();
    let first = stage
        .json(
            0,
            &[
                "backup",
                "--vault",
                "db",
                "--source",
                "web",
                path,
                "--wait",
                "protected",
                "--tag",
                "t",
            ],
        )
        .await;
    assert_eq!(first["state"], "protected");
    for field in [
        "files",
        "bytes_read",
        "bytes_sent",
        "chunks_new",
        "chunks_reused",
        "errors",
        "seconds",
    ] {
        assert!(first[field].is_number(), "{field}: {first}");
    }
    assert_eq!(
        (&first["files"], &first["errors"]),
        (&302.into(), &0.into())
    );

    write(&tree.join("dir1/new"), b"new");
    let second = stage
        .json(0, &["backup", "--vault", "db", "--source", "web", path])
        .await;
    assert!(second["bytes_sent"].as_u64().unwrap() < 100_000, "{second}");
    assert_eq!(second["files"], 303);

    let command = [
        "backup",
        "--vault",
        "db",
        "--source",
        "dump",
        "--command",
        "--",
        "echo hello | cat",
    ];
    stage.run(0, &command).await;
    let failing = [
        "backup",
        "--vault",
        "db",
        "--source",
        "dump",
        "--command",
        "--",
        "false | cat",
    ];
    stage.run(1, &failing).await;

    let all = stage.json(0, &["snapshots", "--vault", "db"]).await;
    assert_eq!(all.as_array().unwrap().len(), 3);
    assert_eq!(all[0]["tags"][0], "t");
    let ambiguous = stage.told(1, &["ls", "--vault", "db", "latest"]).await;
    assert!(ambiguous.contains("dump, web"), "{ambiguous}");
    let dumped = stage
        .run(
            0,
            &[
                "dump", "--vault", "db", "--source", "dump", "latest", "stdout",
            ],
        )
        .await;
    assert_eq!(dumped.stdout, b"hello\n");
    let listed = stage
        .run(
            0,
            &["ls", "--vault", "db", "--source", "web", "latest", path],
        )
        .await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains("odd\\nname") && !listed.contains("odd\nname"),
        "{listed}"
    );
    let found = stage
        .json(
            0,
            &[
                "find", "--vault", "db", "--source", "web", "latest", "file29*",
            ],
        )
        .await;
    assert_eq!(found.as_array().unwrap().len(), 11);
    let id = first["snapshot"].as_str().unwrap();
    let changes = stage
        .json(0, &["diff", "--vault", "db", "--source", "web", &id[..8]])
        .await;
    let is_new = |change: &Value| change["path"].as_str().unwrap().ends_with("dir1/new");
    assert!(changes.as_array().unwrap().iter().any(is_new), "{changes}");

    let restore = [
        "restore", "--vault", "db", "--source", "web", "latest", "--target", "out",
    ];
    let restored = stage.json(0, &restore).await;
    assert_eq!(restored["complete"], true);
    let same = Command::new("diff")
        .arg("-r")
        .arg(&tree)
        .arg(stage.at("out").join(&path[1..]))
        .status();
    assert!(same.unwrap().success());
    let refused = stage.told(1, &restore).await;
    assert!(refused.contains("--delta"), "{refused}");
    stage
        .run(0, &[&restore[..], &["--delta", "--site", "off"]].concat())
        .await;

    let verified = stage
        .json(0, &["verify", "--vault", "db", "--read-data"])
        .await;
    assert_eq!(verified["complete"], true);
    assert_eq!(verified["snapshots"].as_array().unwrap().len(), 3);
    stage
        .run(0, &["key", "kit", "--vault", "db", "--out", "kit"])
        .await;
    let kit = stage.at("kit").display().to_string();
    stage
        .run(
            0,
            &["ls", "--vault", "db", "--source", "web", "--identity", &kit],
        )
        .await;

    retention(&stage, id).await;
    reports(&stage).await;
}

async fn retention(stage: &Stage, id: &str) {
    write(&stage.at("policy.toml"), b"version = 1\n[keep]\nlast = 1\n");
    stage
        .run(0, &["policy", "set", "--vault", "db", "policy.toml"])
        .await;
    let simulated = stage
        .json(
            0,
            &[
                "policy", "simulate", "--vault", "db", "--source", "web", "--until", "3d",
            ],
        )
        .await;
    assert!(
        simulated["sources"]["web"]["snapshots"].is_array(),
        "{simulated}"
    );
    let hold = stage
        .json(
            0,
            &["hold", "place", "--vault", "db", &id[..6], "--why", "trial"],
        )
        .await;
    let hold = hold["id"].as_str().unwrap().to_owned();
    assert_eq!(
        stage
            .json(0, &["hold", "list", "--vault", "db"])
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    stage
        .run(0, &["hold", "release", "--vault", "db", &hold[..6]])
        .await;
    stage
        .run(0, &["forget", &id[..8], "--vault", "db", "--why", "test"])
        .await;
    let trash = stage.json(0, &["trash", "list", "--vault", "db"]).await;
    assert_eq!(trash[0]["id"], id);
    stage
        .run(0, &["trash", "restore", "--vault", "db", &id[..8]])
        .await;
    stage
        .run(0, &["forget", &id[..8], "--vault", "db", "--purge"])
        .await;
    let plan = stage.json(0, &["gc", "--vault", "db", "--dry-run"]).await;
    assert!(plan["plan"].is_object(), "{plan}");
    stage.run(0, &["gc", "--vault", "db", "--wait"]).await;
}

async fn reports(stage: &Stage) {
    let status = stage.json(0, &["status"]).await;
    assert_eq!(status["vaults"][0]["name"], "db");
    stage.run(0, &["status"]).await;
    stage.run(0, &["vault", "list"]).await;
    stage.run(0, &["vault", "show", "--vault", "db"]).await;
    stage.run(0, &["placement", "show", "--vault", "db"]).await;
    stage.run(0, &["site", "list", "--vault", "db"]).await;
    stage.run(0, &["key", "recipients", "--vault", "db"]).await;
    let wrong = stage.told(1, &["snapshots", "--vault", "nonesuch"]).await;
    assert!(
        wrong.contains("nonesuch") && wrong.contains("does not exist"),
        "{wrong}"
    );
    stage.run(2, &["snapshots"]).await;
    let mut gone = stage.command(&["status"]);
    gone.env("HOLDFAST_COORDINATOR", "unix:/nonexistent");
    let gone = Context::system()
        .run_blocking(move || gone.output())
        .await
        .unwrap();
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("try: start one with"));
    let moved = stage
        .json(0, &["failover", "--vault", "db", "--to", "off"])
        .await;
    assert_eq!(moved["done"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_ends_with_130() {
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
    write(&stage.at("tree/large"), &noise(16 << 20));
    let path = stage.at("tree").display().to_string();
    let mut slow = stage.command(&["backup", "--vault", "db", &path, "--limit-rate", "100k"]);
    let context = Context::system();
    let child = slow
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // It has begun once the session stands in the log.
    while stage.json(0, &["status"]).await["vaults"][0]["open_sessions"] != 1 {
        tokio::task::yield_now().await;
    }
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = context
        .run_blocking(move || child.wait_with_output())
        .await
        .unwrap();
    assert_eq!(
        ended.status.code(),
        Some(130),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    assert_eq!(
        stage.json(0, &["status"]).await["vaults"][0]["open_sessions"],
        0
    );
    let none = stage.json(0, &["snapshots", "--vault", "db"]).await;
    assert!(none.as_array().unwrap().is_empty());
}
