//! kill -9 of the agent, of the coordinator, of both, in the middle of everything that they do, many times: backup,
//! replication, expiry, collection, failover, restore, repair. `HOLDFAST_TEST_CUTS=400` does it for longer.

use holdfast_tests::{Ground, Noise, Running};

use crate::struck::{Struck, strikes};

/// How many every run of the tests can afford.
const KILLS: usize = 60;

#[test]
fn processes_killed_in_the_middle_of_everything() {
    let noise = Noise::seeded("cuts");
    let ground = Ground::new();
    let sites = ["onsite", "offsite"].map(|name| ground.text(name));
    let starting = ground.coordinator("c1");
    let mut struck = Struck::new(&ground, noise, starting, sites);
    let kills = strikes(KILLS);
    for number in 0..kills {
        let wait = |_: &mut Struck<'_>, _: &mut Running, point| std::thread::sleep(point);
        struck.round(number, number < kills / 2, wait, |struck, agent| {
            let victim = match (&agent, struck.noise.below(3)) {
                (None, _) | (_, 0) => "the coordinator",
                (_, 1) => "the agent",
                _ => "both",
            };
            if victim != "the agent" {
                struck.coordinator.kill();
            }
            if let Some(agent) = agent.filter(|_| victim != "the coordinator") {
                agent.kill();
            }
            if victim != "the agent" {
                // What is protected needs nobody but one site.
                struck.rescued_from(number % 2);
                struck.coordinator.start_again();
            }
            victim
        });
    }
    struck.tell();
    struck.all_is_there();
}
