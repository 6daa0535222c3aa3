//! kill -9 of the agent and of the coordinator, at random points, again and again. Nothing that was acknowledged as
//! committed is missing; every snapshot restores bit for bit, from each site; nothing is damaged.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use holdfast_tests::compare::{Tree, assert_as_described, describe};
use holdfast_tests::tree::{self, restored};
use holdfast_tests::{Client, Coordinator, Ground, Noise, surroundings};
use serde_json::Value;

/// What is new in each round: enough to be hit while it is read, sent and written.
const NEW_BYTES: usize = 12 << 20;

/// After a kill, the backup is run again at most so often until it commits.
const TRIES_MAX: usize = 4;

#[derive(Default)]
struct Ledger {
    /// What the tree was like in each round.
    rounds: Vec<Tree>,
    /// The snapshots that were acknowledged, and in which round.
    acknowledged: BTreeMap<String, usize>,
}

#[test]
fn agent_and_coordinator_at_random_points() {
    let mut noise = Noise::seeded("killed");
    let rounds = if surroundings::is_quick() { 6 } else { 14 };
    let ground = Ground::new();
    let path = ground.at("tree");
    tree::plain_only(&path, noise.number());
    let starting = ground.coordinator("c1").file_sites(&["onsite", "offsite"]);
    let mut coordinator = starting.start();
    let user = ground.user().on(&coordinator);
    let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
    user.done(&[&create[..], &["--identity-out", "identity"]].concat());
    let user = user.with_identity("identity");
    let text = ground.text("tree");

    let mut ledger = Ledger::default();
    // How long a backup takes that nobody disturbs, on this machine, now.
    let mut millis = 500;
    for round in 0..rounds {
        let tag = format!("round-{round}");
        let words = [
            "backup", "--vault", "db", "--source", "files", &text, "--tag", &tag, "--json",
        ];
        if round > 0 {
            tree::change(&path, noise.number());
        }
        tree::write(&path.join("bulk"), &noise.bytes(NEW_BYTES));
        ledger.rounds.push(describe(&path));
        let committed = one_round(&mut noise, millis, &mut coordinator, &user, &words);
        millis = (committed["seconds"].as_f64().unwrap() * 1000.0) as u64;
        let id = committed["snapshot"].as_str().unwrap().to_owned();
        ledger.acknowledged.insert(id, round);
    }
    all_is_there(&ground, &user, &ledger);
}

/// Runs a backup and kills something meanwhile; then runs it until it commits. What was acknowledged.
fn one_round(
    noise: &mut Noise,
    millis: u64,
    coordinator: &mut Coordinator,
    user: &Client,
    words: &[&str],
) -> Value {
    let mut agent = user.start(words);
    // Not to wait for anything: the point where it strikes is left to chance.
    let point = noise.below(millis);
    thread::sleep(Duration::from_millis(point));
    let victim = ["the agent", "the coordinator", "both"][noise.below(3) as usize];
    if victim != "the coordinator" {
        agent.kill();
    }
    if victim != "the agent" {
        coordinator.kill();
        coordinator.start_again();
    }
    let ran = agent.wait();
    println!(
        "{}: killed {victim} after {point} of {millis} ms; the backup ended with {:?}",
        words[7], ran.code
    );
    if ran.code == Some(0) {
        return ran.json();
    }
    for _ in 0..TRIES_MAX {
        let ran = user.run(words);
        if ran.code == Some(0) {
            return ran.json();
        }
        println!("again: {}", ran.says());
    }
    panic!("it does not commit after {TRIES_MAX} tries");
}

fn all_is_there(ground: &Ground, user: &Client, ledger: &Ledger) {
    let path = ground.at("tree");
    let last = [
        "backup",
        "--vault",
        "db",
        "--source",
        "files",
        path.to_str().unwrap(),
    ];
    let tag = format!("round-{}", ledger.rounds.len() - 1);
    user.done(&[&last[..], &["--tag", &tag, "--wait", "protected"]].concat());
    let all = user.json(0, &["snapshots", "--vault", "db"]);
    let all = all.as_array().unwrap();
    for id in ledger.acknowledged.keys() {
        assert!(
            all.iter().any(|snapshot| snapshot["id"] == id.as_str()),
            "{id} is missing"
        );
    }
    println!(
        "{} snapshots, {} acknowledged",
        all.len(),
        ledger.acknowledged.len()
    );
    // Each restores bit for bit: from one site or the other in turn, with --delta so that only changes are written.
    for (number, snapshot) in all.iter().enumerate() {
        let id = snapshot["id"].as_str().unwrap();
        let tag = snapshot["tags"][0].as_str().unwrap();
        let round: usize = tag.strip_prefix("round-").unwrap().parse().unwrap();
        if let Some(acknowledged) = ledger.acknowledged.get(id) {
            assert_eq!(*acknowledged, round);
        }
        let site = ["onsite", "offsite"][number % 2];
        let target = ground.text(format!("restored-{site}"));
        let words = [
            "restore", "--vault", "db", id, "--target", &target, "--site", site,
        ];
        user.done(&[&words[..], &["--delta", "--delete-extra"]].concat());
        assert_as_described(&ledger.rounds[round], &restored(target.as_ref(), &path));
    }
    for site in ["onsite", "offsite"] {
        let words = ["verify", "--vault", "db", "--read-data", "--site", site];
        let verified = user.json(0, &words);
        assert_eq!(verified["complete"], true, "{verified}");
        let checked = verified["snapshots"].as_array().unwrap().len();
        assert_eq!(checked, all.len(), "{verified}");
    }
}
