//! Whether an off-site S3 site keeps up with a first backup: the speed beside that of one site alone, how far the off-site copy is
//! behind while the backup runs and at its end, and how long it takes to come level by itself.
//!
//! Rounds of both kinds take turns. What the S3 server costs is told beside, since it has the same processors.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

use std::process::{Child, Stdio};
use std::time::Duration;

use holdfast_benches::{cpu_seconds, median, processes, write_noise};
use holdfast_tests::{Client, Ground, surroundings};
use serde_json::Value;
use tokio::time::Instant;

/// The file's length.
const BYTES: u64 = 2 << 30;

/// Rounds of each kind.
const ROUNDS: usize = 3;

/// How often it is asked how far the copy is behind.
const LOOK: Duration = Duration::from_millis(500);

/// What the S3 server of the tests consists of.
const SERVERS: [&str; 5] = [
    "radosgw",
    "ceph-osd",
    "ceph-mon",
    "ceph-mgr",
    "moto_server.py",
];

/// What one round gave.
#[derive(Debug, Clone, Default)]
struct Round {
    seconds: f64,
    agent_cpu: f64,
    coordinator_cpu: f64,
    server_cpu: f64,
    /// How often it was looked, and the most that the copy was behind while the backup ran.
    looks: usize,
    behind_records: u64,
    behind_bytes: u64,
    behind_seconds: f64,
    /// As the backup ended.
    left_bytes: u64,
    left_seconds: f64,
    /// From then until the copy was level.
    level_seconds: f64,
    /// What the off-site server was asked for, by kind.
    requests: String,
}

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let ground = Ground::new();
    let file = ground.text("incompressible");
    write_noise(file.as_ref(), BYTES);
    let (mut alone, mut both) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(round(&file, false));
        both.push(round(&file, true));
    }
    let speed = |round: &Round| BYTES as f64 / 1e6 / round.seconds;
    let one = median(&alone, speed);
    let two = median(&both, speed);
    println!("{} MiB, medians of {ROUNDS} rounds", BYTES >> 20);
    for (what, round) in [("one site", &one), ("and S3 off-site", &two)] {
        println!(
            "{what:<16} {:>5.0} MB/s; seconds of processor: agent {:.1}, coordinator {:.1}, S3 server {:.1}",
            speed(round),
            round.agent_cpu,
            round.coordinator_cpu,
            round.server_cpu
        );
    }
    println!(
        "speed with S3 beside one site alone: {:.2}",
        speed(&two) / speed(&one)
    );
    for round in &both {
        println!(
            "behind at most {:.1} s, {} records, {} MiB in {} looks; at the end {:.1} s, {} MiB; level {:.1} s after it; asked of S3: {}",
            round.behind_seconds,
            round.behind_records,
            round.behind_bytes >> 20,
            round.looks,
            round.left_seconds,
            round.left_bytes >> 20,
            round.level_seconds,
            round.requests
        );
    }
}

/// One first backup on fresh sites.
fn round(file: &str, with_s3: bool) -> Round {
    let ground = Ground::new();
    let mut coordinator = ground.coordinator("c").file_sites(&["onsite"]);
    if with_s3 {
        coordinator = coordinator.site("offsite", &surroundings::s3().site(0, "replication"));
    }
    let coordinator = coordinator.start();
    let user = ground
        .user()
        .on(&coordinator)
        .within(Duration::from_secs(600));
    let sites = if with_s3 { "onsite,offsite" } else { "onsite" };
    let identity = ground.text("identity");
    let create = ["vault", "create", "db", "--sites", sites];
    user.done(&[&create[..], &["--identity-out", &identity]].concat());
    let servers = processes(&SERVERS);
    let servers_used = || servers.iter().map(|&pid| cpu_seconds(pid)).sum::<f64>();
    let before = (cpu_seconds(coordinator.pid()), servers_used());
    let mut agent = user.command(&["backup", "--vault", "db", file, "--json"]);
    let agent = agent.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut round = watched(agent.spawn().unwrap(), &user, with_s3);
    let ended = began + Duration::from_secs_f64(round.seconds);
    while with_s3 && !Behind::of(&offsite(&user)).is_level() {
        std::thread::sleep(LOOK);
    }
    round.level_seconds = ended.elapsed().as_secs_f64();
    round.coordinator_cpu = cpu_seconds(coordinator.pid()) - before.0;
    round.server_cpu = servers_used() - before.1;
    if with_s3 {
        round.requests = offsite(&user)["requests_by_kind"].to_string();
    }
    round
}

/// Looks at the copy while the agent runs.
fn watched(mut agent: Child, user: &Client, with_s3: bool) -> Round {
    let began = Instant::now();
    let mut round = Round::default();
    loop {
        round.agent_cpu = round.agent_cpu.max(cpu_seconds(agent.id()));
        if let Some(status) = agent.try_wait().unwrap() {
            assert!(status.success(), "the backup failed: {status}");
            break;
        }
        if with_s3 {
            let behind = Behind::of(&offsite(user));
            round.looks += 1;
            round.behind_records = round.behind_records.max(behind.records);
            round.behind_bytes = round.behind_bytes.max(behind.bytes);
            round.behind_seconds = round.behind_seconds.max(behind.seconds);
        }
        std::thread::sleep(LOOK);
    }
    round.seconds = began.elapsed().as_secs_f64();
    if with_s3 {
        let behind = Behind::of(&offsite(user));
        (round.left_bytes, round.left_seconds) = (behind.bytes, behind.seconds);
    }
    round
}

/// How far the off-site copy is behind.
struct Behind {
    records: u64,
    bytes: u64,
    seconds: f64,
}

impl Behind {
    fn of(site: &Value) -> Self {
        Self {
            records: site["lag_records"].as_u64().unwrap(),
            bytes: site["lag_bytes"].as_u64().unwrap(),
            seconds: site["lag_seconds"].as_f64().unwrap(),
        }
    }

    fn is_level(&self) -> bool {
        self.records == 0 && self.bytes == 0
    }
}

/// What the coordinator says of the off-site copy.
fn offsite(user: &Client) -> Value {
    let status = user.done(&["--json", "status"]).json();
    let sites = status["vaults"][0]["sites"].as_array().cloned();
    let mut sites = sites.into_iter().flatten();
    sites.find(|site| site["site"] == "offsite").unwrap()
}
