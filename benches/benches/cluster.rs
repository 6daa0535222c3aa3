//! What several agents and coordinators on one machine do together: 1, 2 and 4 of each, every agent with a vault of its own at a
//! coordinator of its own, all over one etcd. What it costs is told beside, to show what limits it.

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

use holdfast_benches::{cpu_seconds, median, peak_mib, write_noise};
use holdfast_tests::{Cluster, Coordinator, Ground, surroundings};
use tokio::time::Instant;

/// What each agent backs up.
const BYTES: u64 = 1 << 30;

/// Rounds of each number.
const ROUNDS: usize = 3;

/// How many agents and coordinators.
const NUMBERS: [usize; 3] = [1, 2, 4];

/// Vaults have stayed where they are for so long before it begins.
const CALM: Duration = Duration::from_secs(10);

/// What one round gave.
#[derive(Debug, Clone)]
struct Round {
    seconds: f64,
    agents_cpu: f64,
    coordinators_cpu: f64,
    /// The most of one.
    coordinator_mib: u64,
}

fn main() {
    // `cargo test --benches` passes this: there is nothing to test.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let ground = Ground::new();
    let file = ground.text("incompressible");
    write_noise(file.as_ref(), BYTES);
    let mut rounds = vec![Vec::new(); NUMBERS.len()];
    for _ in 0..ROUNDS {
        for (number, rounds) in NUMBERS.iter().zip(&mut rounds) {
            rounds.push(round(&file, *number));
        }
    }
    println!(
        "{} MiB for each agent, medians of {ROUNDS} rounds",
        BYTES >> 20
    );
    for (number, rounds) in NUMBERS.iter().zip(&rounds) {
        let round = median(rounds, |round| round.seconds);
        let gigabytes = *number as f64 * BYTES as f64 / 1e9;
        let cpu = round.agents_cpu + round.coordinators_cpu;
        println!(
            "{number} of each: {:>5.0} MB/s together; processor: {:.2} s/GB agents, {:.2} s/GB coordinators, {:.1} cores busy with them; \
             a coordinator has {} MiB at most",
            gigabytes * 1e3 / round.seconds,
            round.agents_cpu / gigabytes,
            round.coordinators_cpu / gigabytes,
            cpu / round.seconds,
            round.coordinator_mib
        );
    }
}

/// As many first backups at once, on fresh sites.
fn round(file: &str, number: usize) -> Round {
    let ground = Ground::new();
    let names: Vec<String> = (1..=number).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::start_over(&ground, &surroundings::etcd("cluster"), &names, &["onsite"]);
    let vaults = one_each(&cluster);
    let before = used(&cluster.coordinators);
    let began = Instant::now();
    let agents = vaults.iter().map(|vault| {
        let words = ["backup", "--vault", vault, file, "--json"];
        let mut agent = cluster.user().command(&words);
        agent.stdout(Stdio::null()).stderr(Stdio::null());
        agent.spawn().unwrap()
    });
    let agents_cpu = ended(agents.collect());
    Round {
        seconds: began.elapsed().as_secs_f64(),
        agents_cpu,
        coordinators_cpu: used(&cluster.coordinators) - before,
        coordinator_mib: cluster
            .coordinators
            .iter()
            .map(|one| peak_mib(one.pid()))
            .max()
            .unwrap(),
    }
}

/// Makes vaults until each coordinator owns one: their ids decide who owns which.
fn one_each(cluster: &Cluster) -> Vec<String> {
    let user = cluster.user();
    let mut made = Vec::new();
    loop {
        let vault = format!("v{}", made.len());
        let identity = format!("{vault}.identity");
        let create = ["vault", "create", &vault, "--sites", "onsite"];
        user.done(&[&create[..], &["--identity-out", &identity]].concat());
        made.push(vault);
        if made.len() < cluster.coordinators.len() {
            continue;
        }
        let owners = calm(cluster, &made);
        let firsts: Vec<_> = (0..cluster.coordinators.len())
            .filter_map(|one| owners.iter().position(|owner| *owner == one))
            .collect();
        if firsts.len() == cluster.coordinators.len() {
            return firsts.into_iter().map(|at| made[at].clone()).collect();
        }
    }
}

/// The owner of each vault, once none has changed for long enough.
fn calm(cluster: &Cluster, vaults: &[String]) -> Vec<usize> {
    let look = || -> Vec<usize> {
        let owners = vaults
            .iter()
            .map(|vault| cluster.wait_owner(vault, |_| true).0);
        owners.collect()
    };
    let (mut owners, mut since) = (look(), Instant::now());
    while since.elapsed() < CALM {
        std::thread::sleep(Duration::from_millis(500));
        let now = look();
        if now != owners {
            (owners, since) = (now, Instant::now());
        }
    }
    owners
}

/// The processor time that coordinators have used, seconds.
fn used(coordinators: &[Coordinator]) -> f64 {
    coordinators.iter().map(|one| cpu_seconds(one.pid())).sum()
}

/// Waits until all have ended well; the processor time that they used, seconds.
fn ended(mut agents: Vec<Child>) -> f64 {
    let mut used = vec![0.0_f64; agents.len()];
    let mut run: BTreeSet<usize> = (0..agents.len()).collect();
    while !run.is_empty() {
        std::thread::sleep(Duration::from_millis(20));
        run.retain(|&at| {
            used[at] = used[at].max(cpu_seconds(agents[at].id()));
            let status = agents[at].try_wait().unwrap();
            assert!(
                status.is_none_or(|status| status.success()),
                "a backup failed"
            );
            status.is_none()
        });
    }
    used.iter().sum()
}
