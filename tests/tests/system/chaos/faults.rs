//! Carries the plan out, in time, and starts again what ends by itself, as a service manager would.
//!
//! State: the stage, which coordinators are down because the plan says so, and the commands of people that still run.

use std::fs;
use std::io::Write;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use holdfast_tests::Gate;
use tokio::time::Instant;

use super::plan::{COORDINATORS, Fault, Planned, SITES, SLOW_BYTES_PER_SECOND, SPARE, VAULTS, Way};
use super::reins::{Held, Reins, breakage};
use super::stage::Stage;
use super::story::Story;
use super::workload::short;

/// Between two looks at what runs.
const LOOK: Duration = Duration::from_millis(50);

/// A service manager waits so long before it starts again what ended by itself.
const REST: Duration = Duration::from_millis(500);

/// A person tries so often, with such a pause between two attempts.
const ATTEMPTS: usize = 6;
const PAUSE: Duration = Duration::from_secs(3);

/// See the module header.
pub(super) struct Faults<'s> {
    pub(super) stage: Stage,
    story: &'s Story,
    agents: &'s [Reins],
    /// Since when each coordinator is down because the plan says so.
    is_down: [bool; 3],
    ended: [Option<Instant>; 3],
    people: Vec<(String, JoinHandle<Vec<Held>>)>,
}

impl<'s> Faults<'s> {
    pub(super) fn new(stage: Stage, story: &'s Story, agents: &'s [Reins]) -> Self {
        Self {
            stage,
            story,
            agents,
            is_down: [false; 3],
            ended: [None; 3],
            people: Vec::new(),
        }
    }

    /// Carries it all out; afterwards nothing is wrong any more.
    pub(super) fn carry_out(&mut self, plan: &[Planned], length: Duration) {
        let mut moments: Vec<(Duration, bool, &Planned)> = Vec::new();
        for one in plan {
            moments.push((one.at, true, one));
            moments.push((one.until, false, one));
        }
        moments.sort_by_key(|(at, begins, _)| (*at, *begins));
        let since = Instant::now();
        for (at, begins, one) in moments {
            self.watch_until(since + at);
            match begins {
                true => self.begin(one),
                false => self.end(one),
            }
        }
        self.watch_until(since + length);
        self.story.tell("chaos", format_args!("faults stop"));
    }

    /// Waits for people whose commands still run.
    pub(super) fn hear_people_out(&mut self) {
        while !self.people.is_empty() {
            self.look_after();
            thread::sleep(LOOK);
        }
    }

    fn watch_until(&mut self, until: Instant) {
        while Instant::now() < until {
            self.look_after();
            thread::sleep(LOOK);
        }
    }

    /// Starts again whichever coordinator has ended by itself, and hears out people whose commands have ended.
    pub(super) fn look_after(&mut self) {
        for (number, name) in COORDINATORS.into_iter().enumerate() {
            if self.is_down[number] {
                continue;
            }
            if let Some(status) = self.stage.coordinators[number].ended() {
                let log = self.stage.coordinators[number].log();
                let last = log
                    .lines()
                    .rev()
                    .find(|line| line.starts_with("holdfast: "));
                let told = last.unwrap_or_default().to_owned();
                self.story
                    .tell(name, format_args!("ended by itself, {status}: {told}"));
                self.story.count("coordinators that ended by themselves");
                self.ended[number] = Some(Instant::now());
            }
            if self.ended[number].is_some_and(|ended| ended.elapsed() > REST) {
                self.ended[number] = None;
                self.stage.coordinators[number].start_again_unheard();
            }
        }
        let (over, still) = std::mem::take(&mut self.people)
            .into_iter()
            .partition(|(_, person)| person.is_finished());
        self.people = still;
        let over: Vec<(String, JoinHandle<Vec<Held>>)> = over;
        for (words, person) in over {
            for held in person.join().expect("it is caught what goes wrong") {
                self.hear_out(&words, &held);
            }
        }
    }

    fn hear_out(&self, words: &str, held: &Held) {
        if let Some(wrong) = breakage(held) {
            self.story
                .fail("person", format_args!("{wrong}: {}", held.ran));
        }
        let how = if held.ran.code == Some(0) {
            "done"
        } else {
            "failed"
        };
        let verb = words.split(' ').next().unwrap_or_default();
        self.story.count(&format!("{verb} {how}"));
        let (code, said) = (held.ran.code, short(&held.ran.stderr));
        self.story
            .tell("person", format_args!("{words}: {code:?} {said}"));
    }

    fn begin(&mut self, planned: &Planned) {
        let fault = planned.fault;
        self.story.tell(
            "fault",
            format_args!("{fault:?} for {:.1?}", planned.until - planned.at),
        );
        self.story.count(fault.kind());
        match fault {
            Fault::KillCoordinator(one) => {
                self.is_down[one] = true;
                // One that has ended by itself a moment ago rests.
                if self.ended[one].take().is_none()
                    && self.stage.coordinators[one].ended().is_none()
                {
                    self.stage.coordinators[one].kill();
                }
            }
            Fault::StopCoordinator(one) => {
                self.is_down[one] = true;
                if self.ended[one].take().is_none() {
                    self.stage.coordinators[one].ask_to_stop();
                }
            }
            Fault::FreezeCoordinator(one) => {
                if self.stage.coordinators[one].is_started() {
                    self.stage.coordinators[one].freeze();
                }
            }
            Fault::KillEtcd(one) => self.stage.etcds[one].kill(),
            Fault::FreezeEtcd(one) => self.stage.etcds[one].freeze(),
            Fault::KillAgent(one) => self.agents[one].kill(),
            Fault::FreezeAgent(one) => self.agents[one].freeze(true),
            Fault::FreezeSite(one) => self.stage.motos[one].freeze(),
            Fault::CutFromEtcd(one, way) => self.stage.to_etcd[one]
                .iter()
                .for_each(|door| cut(door, way)),
            Fault::CutFromNode(one, node, way) => cut(&self.stage.to_etcd[one][node], way),
            Fault::CutFromSite(one, site, way) => cut(&self.stage.to_site[one][site], way),
            Fault::CutFromAgents(one, way) => cut(&self.stage.to_coordinator[one], way),
            Fault::FailRequests(site, one_of) => self.stage.faulty[site].fail(one_of, planned.seed),
            Fault::FillData(one) => fill(&self.stage, COORDINATORS[one]),
            Fault::FillSpare => fill(&self.stage, SPARE),
            Fault::FailOver(vault, site, sure) => {
                self.person(
                    &["failover", "--vault", VAULTS[vault].0, "--to", SITES[site]],
                    sure.then_some("--accept-loss"),
                );
            }
            Fault::FailOverAll(site, sure) => {
                self.person(
                    &["failover", "--all", "--to", SITES[site]],
                    sure.then_some("--accept-loss"),
                );
            }
            Fault::FailBack(vault) => self.person(&["failback", "--vault", VAULTS[vault].0], None),
            Fault::FailBackAll(site, sure) => {
                self.person(
                    &["failback", "--all", "--site", SITES[site]],
                    sure.then_some("--make-primary"),
                );
            }
        }
    }

    fn end(&mut self, planned: &Planned) {
        let fault = planned.fault;
        match fault {
            Fault::KillCoordinator(one) => self.start(one),
            Fault::StopCoordinator(one) => {
                match self.stage.coordinators[one].ended() {
                    Some(status) => self
                        .story
                        .count(&format!("coordinators that stopped: {status}")),
                    None if self.stage.coordinators[one].is_started() => {
                        self.story.count("coordinators that did not stop in time");
                        self.stage.coordinators[one].kill();
                    }
                    None => {}
                }
                self.start(one);
            }
            Fault::FreezeCoordinator(one) => {
                if self.stage.coordinators[one].is_started() {
                    self.stage.coordinators[one].thaw();
                }
            }
            Fault::KillEtcd(one) => self.stage.etcds[one].start_unheard(),
            Fault::FreezeEtcd(one) => self.stage.etcds[one].thaw(),
            Fault::KillAgent(_)
            | Fault::FailOver(..)
            | Fault::FailOverAll(..)
            | Fault::FailBack(_)
            | Fault::FailBackAll(..) => return,
            Fault::FreezeAgent(one) => self.agents[one].freeze(false),
            Fault::FreezeSite(one) => self.stage.motos[one].thaw(),
            Fault::CutFromEtcd(one, _) => self.stage.to_etcd[one].iter().for_each(Gate::open),
            Fault::CutFromNode(one, node, _) => self.stage.to_etcd[one][node].open(),
            Fault::CutFromSite(one, site, _) => self.stage.to_site[one][site].open(),
            Fault::CutFromAgents(one, _) => self.stage.to_coordinator[one].open(),
            Fault::FailRequests(site, _) => self.stage.faulty[site].heal(),
            Fault::FillData(one) => fs::remove_file(self.stage.filler(COORDINATORS[one])).unwrap(),
            Fault::FillSpare => fs::remove_file(self.stage.filler(SPARE)).unwrap(),
        }
        self.story.tell("fault", format_args!("{fault:?} is over"));
    }

    fn start(&mut self, coordinator: usize) {
        self.is_down[coordinator] = false;
        self.stage.coordinators[coordinator].start_again_unheard();
    }

    /// Somebody runs a command, once more where it did not do what it should, and the run does not wait for it.
    fn person(&mut self, words: &[&str], more: Option<&str>) {
        let words: Vec<String> = words
            .iter()
            .copied()
            .chain(more)
            .map(str::to_owned)
            .collect();
        let (user, said) = (self.stage.user(), words.join(" "));
        let person = thread::spawn(move || {
            let mut tried = Vec::new();
            loop {
                let held = Reins::default().hold(user.start(&words));
                let is_over = held.ran.code != Some(1) || tried.len() + 1 == ATTEMPTS;
                tried.push(held);
                if is_over {
                    return tried;
                }
                thread::sleep(PAUSE);
            }
        });
        self.people.push((said, person));
    }
}

fn cut(door: &Gate, way: Way) {
    match way {
        Way::Shut => door.shut(),
        Way::Silent => door.silence(),
        Way::Slow => door.slow(SLOW_BYTES_PER_SECOND),
    }
}

/// Fills a disk to the last byte.
fn fill(stage: &Stage, name: &str) {
    let mut file = fs::File::create(stage.filler(name)).unwrap();
    let block = [1; 4096];
    while file.write_all(&block).is_ok() {}
}
