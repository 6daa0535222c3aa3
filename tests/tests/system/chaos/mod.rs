//! Chaos: everything at once on the real thing, and faults at random; then faults stop, and it passes only if nothing that was told
//! is missing or wrong.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | what goes wrong when and on whom, from the seed |
//! | [`stage`] | three etcds, two S3 servers, three coordinators, the doors between them |
//! | [`faults`] | carries the plan out |
//! | [`workload`], [`reins`] | six agents and the people around them |
//! | [`ledger`] | what was told |
//! | [`judge`], [`sites`] | the end: what is there, asked of coordinators and read past them |
//! | [`story`] | what happened, line by line |
//!
//! `cargo xtask chaos --minutes 2 --seed 7` runs it for longer. What comes from the seed is what is done and when; how the machine
//! orders what happens at once is its own, so a seed does not give the same run twice.

mod faults;
mod judge;
mod ledger;
mod plan;
mod reins;
mod sites;
mod stage;
mod story;
mod workload;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use holdfast_tests::{Noise, surroundings};

use faults::Faults;
use judge::{From, Judge};
use plan::AGENTS;
use reins::Reins;
use stage::Stage;
use story::Story;
use workload::Agent;

/// How long things go wrong: as `HOLDFAST_TEST_CHAOS_SECONDS` says, or as every run of the tests can afford.
fn length() -> Duration {
    let told = std::env::var("HOLDFAST_TEST_CHAOS_SECONDS");
    let told = told.map(|text| text.parse().expect("a number of seconds"));
    let affordable = if surroundings::is_quick() { 20 } else { 45 };
    Duration::from_secs(told.unwrap_or(affordable))
}

#[test]
fn nothing_that_was_told_is_lost() {
    let (mut noise, seed) = Noise::seeded_as("chaos");
    let story = Story::begin(seed);
    let length = length();
    let planned = plan::draw(&mut noise, length);
    let reins: Vec<Reins> = (0..AGENTS).map(|_| Reins::default()).collect();
    let stage = Stage::set();
    story.tell(
        "chaos",
        format_args!("seed {seed}, {length:?}, {} faults", planned.len()),
    );
    let agents: Vec<Agent<'_>> = reins
        .iter()
        .enumerate()
        .map(|(number, reins)| Agent::new(&stage, &story, reins, number, noise.number()))
        .collect();
    let mut faults = Faults::new(stage, &story, &reins);
    let stop = AtomicBool::new(false);
    let entries = thread::scope(|scope| {
        let works = agents
            .into_iter()
            .map(|agent| scope.spawn(|| agent.work(&stop)));
        let works: Vec<_> = works.collect();
        faults.carry_out(&planned, length);
        stop.store(true, Ordering::SeqCst);
        faults.hear_people_out();
        while !works.iter().all(thread::ScopedJoinHandle::is_finished) {
            faults.look_after();
            thread::sleep(Duration::from_millis(50));
        }
        works
            .into_iter()
            .flat_map(|work| work.join().expect("it tells the story what goes wrong"))
            .collect()
    });
    let judge = Judge {
        story: &story,
        entries,
    };
    story.tell("chaos", format_args!("all agents have ended"));
    let expected = judge.settle(&mut faults);
    judge.restore(&faults.stage, &expected, From::Coordinator);
    for coordinator in &mut faults.stage.coordinators {
        coordinator.stop();
    }
    judge.restore(&faults.stage, &expected, From::EachSiteAlone);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(sites::look(&faults.stage, &story, &expected));
    judge.read_logs(&faults.stage);
    for faulty in &faults.stage.faulty {
        story.count_more("S3 requests failed", faulty.struck());
    }
    for coordinator in &faults.stage.coordinators {
        story.keep(&coordinator.log_path());
    }
    let failures = story.end(seed);
    assert!(
        failures.is_empty(),
        "{} failures, HOLDFAST_TEST_SEED={seed}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
