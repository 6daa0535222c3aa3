//! How fast a large incompressible file is backed up through a coordinator on this machine, beside what the disk does alone.
//!
//! Rounds of all kinds take turns, so that what else the machine does hits each alike.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use holdfast_benches::{median, peak_mib, write_noise};
use holdfast_tests::Ground;
use tokio::time::Instant;

/// The file's length.
const BYTES: u64 = 2 << 30;

/// Rounds of each kind.
const ROUNDS: usize = 3;

/// The length of one file of the disk alone: a pack's.
const PIECE: usize = 64 << 20;

/// What one round gave.
#[derive(Debug, Clone, Copy, Default)]
struct Figure {
    seconds: f64,
    agent_mib: u64,
    coordinator_mib: u64,
}

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let ground = Ground::new();
    let file = ground.at("incompressible");
    write_noise(&file, BYTES);
    let (mut alone, mut one, mut two) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(disk_alone(&ground, &file));
        one.push(backup(&file, &["onsite"]));
        two.push(backup(&file, &["onsite", "offsite"]));
    }
    let disk = middle(&alone).seconds;
    println!("{} MiB, medians of {ROUNDS} rounds", BYTES >> 20);
    for (what, figures) in [
        ("disk alone", &alone),
        ("backup to one site", &one),
        ("backup to two sites", &two),
    ] {
        let figure = middle(figures);
        println!(
            "{what:<22} {:>6.0} MB/s  {:>5.2} of the disk alone  agent {:>4} MiB  coordinator {:>4} MiB",
            BYTES as f64 / 1e6 / figure.seconds,
            disk / figure.seconds,
            figure.agent_mib,
            figure.coordinator_mib
        );
    }
}

/// The middle one by its seconds, with the most memory of all.
fn middle(figures: &[Figure]) -> Figure {
    let most = |figure: fn(&Figure) -> u64| figures.iter().map(figure).max().unwrap_or(0);
    Figure {
        seconds: median(figures, |figure| figure.seconds).seconds,
        agent_mib: most(|figure| figure.agent_mib),
        coordinator_mib: most(|figure| figure.coordinator_mib),
    }
}

/// The same bytes in files of a pack's length, each synced.
fn disk_alone(ground: &Ground, file: &Path) -> Figure {
    let folder = ground.folder("alone");
    let began = Instant::now();
    let mut from = File::open(file).unwrap();
    let mut piece = vec![0; PIECE];
    for n in 0..BYTES / PIECE as u64 {
        from.read_exact(&mut piece).unwrap();
        let mut to = File::create(folder.join(n.to_string())).unwrap();
        to.write_all(&piece).unwrap();
        to.sync_all().unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder).unwrap();
    Figure {
        seconds,
        ..Figure::default()
    }
}

/// One backup on fresh sites, with the agent and the coordinator as processes of their own.
fn backup(file: &Path, sites: &[&str]) -> Figure {
    let ground = Ground::new();
    let coordinator = ground.coordinator("c").file_sites(sites).start();
    let user = ground
        .user()
        .on(&coordinator)
        .within(Duration::from_secs(300));
    let sites = sites.join(",");
    let identity = ground.text("identity");
    user.done(&[
        "vault",
        "create",
        "db",
        "--sites",
        &sites,
        "--identity-out",
        &identity,
    ]);
    let mut agent = user.command(&["backup", "--vault", "db", file.to_str().unwrap(), "--json"]);
    let mut agent = agent
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let mut agent_mib = 0;
    let status = loop {
        agent_mib = agent_mib.max(peak_mib(agent.id()));
        if let Some(status) = agent.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let seconds = began.elapsed().as_secs_f64();
    assert!(status.success(), "the backup failed: {status}");
    Figure {
        seconds,
        agent_mib,
        coordinator_mib: peak_mib(coordinator.pid()),
    }
}
