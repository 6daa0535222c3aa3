//! Holdfast itself: an agent, a coordinator as a process of its own, two sites in folders.
//!
//! A step costs what its commands cost, and what the coordinator used meanwhile: both peaks of memory are added up.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use holdfast_benches::{cpu_seconds, peak_mib};
use holdfast_tests::{Authority, Client, Coordinator};
use tokio::time::Instant;

use crate::measuring::{Cost, measure};
use crate::step::Step;
use crate::work::Work;

/// How often the coordinator is asked whether all sites have everything.
const POLL: Duration = Duration::from_millis(10);

/// How the agent reaches the coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through its socket.
    Socket,
    /// By mutual TLS over loopback.
    Tls,
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Holdfast {
    coordinator: Coordinator,
    user: Client,
    source: String,
    is_image: bool,
    target: String,
    log: PathBuf,
    site: PathBuf,
}

impl Way {
    /// The tool's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socket => "holdfast",
            Self::Tls => "holdfast tls",
        }
    }
}

/// What it runs for a step, for people; `OLD` are the snapshots but the latest.
pub(crate) fn commands(step: Step) -> &'static str {
    match step {
        Step::First | Step::Unchanged | Step::DayTwo => {
            "backup --vault db [--page-size 8KiB: D only] SOURCE"
        }
        Step::FirstProtected | Step::DayTwoProtected => "",
        Step::Restore => "restore --vault db --identity FILE --no-sync --target TARGET latest",
        Step::Verify => "verify --vault db --identity FILE --read-data --site onsite",
        Step::Expire => "forget --vault db --purge OLD; gc --vault db --wait --max-unused 5%",
    }
}

impl Holdfast {
    /// Starts a coordinator and makes a vault.
    pub(crate) fn start(way: Way, work: &Work) -> Self {
        let ground = &work.ground;
        let starting = ground
            .coordinator("c")
            .file_sites(&["onsite", "offsite"])
            .words(&["--metrics", "127.0.0.1:0"]);
        let user = ground.user().with_identity("identity");
        let (coordinator, user) = match way {
            Way::Socket => {
                let coordinator = starting.start();
                let user = user.on(&coordinator);
                (coordinator, user)
            }
            Way::Tls => {
                let authority = Authority::new(&ground.folder("tls"), "authority");
                let coordinator = starting.tls(&authority.issue("coordinator")).start();
                let user = user.over_tls(&coordinator, &authority.issue("agent"));
                (coordinator, user)
            }
        };
        let identity = ground.text("identity");
        let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
        user.done(&[&create[..], &["--identity-out", &identity]].concat());
        Self {
            coordinator,
            user,
            source: work.source.clone(),
            is_image: work.is_image,
            target: work.target.clone(),
            log: work.log(),
            site: ground.at("onsite"),
        }
    }

    /// One site.
    pub(crate) fn repository(&self) -> PathBuf {
        self.site.clone()
    }

    /// Runs a step; what it cost, and what it had cost once both sites had it, where that is asked for too.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn run(&self, step: Step) -> Result<Vec<(Step, Cost)>, String> {
        let commands = self.step_commands(step);
        let pid = self.coordinator.pid();
        forget_peak(pid);
        let before = cpu_seconds(pid);
        let began = Instant::now();
        let mut agent = Cost::default();
        for command in &commands {
            agent = agent.then(measure(command, &self.log)?);
        }
        let with_coordinator = |agent: Cost| Cost {
            cpu_seconds: agent.cpu_seconds + cpu_seconds(pid) - before,
            peak_bytes: agent.peak_bytes + (peak_mib(pid) << 20),
            ..agent
        };
        let mut costs = vec![(step, with_coordinator(agent))];
        self.wait_protected();
        if let Some(protected) = step.protected() {
            let wall_seconds = began.elapsed().as_secs_f64();
            let until = Cost {
                wall_seconds,
                ..with_coordinator(agent)
            };
            costs.push((protected, until));
        }
        Ok(costs)
    }

    fn step_commands(&self, step: Step) -> Vec<Command> {
        let command = |words: &[&str]| self.user.command(words);
        match step {
            Step::First | Step::Unchanged | Step::DayTwo => {
                let pages: &[&str] = match self.is_image {
                    true => &["--page-size", "8KiB"],
                    false => &[],
                };
                let words = ["backup", "--quiet", "--vault", "db"];
                vec![command(&[&words, pages, &[&self.source]].concat())]
            }
            Step::Restore => {
                let words = [
                    "restore",
                    "--quiet",
                    "--vault",
                    "db",
                    "--no-sync",
                    "--target",
                    &self.target,
                    "latest",
                ];
                vec![command(&words)]
            }
            Step::Verify => {
                let words = [
                    "verify",
                    "--quiet",
                    "--vault",
                    "db",
                    "--read-data",
                    "--site",
                    "onsite",
                ];
                vec![command(&words)]
            }
            Step::Expire => {
                let old = self.old_snapshots();
                let mut forget = vec!["forget", "--quiet", "--vault", "db", "--purge"];
                forget.extend(old.iter().map(String::as_str));
                vec![
                    command(&forget),
                    command(&[
                        "gc",
                        "--quiet",
                        "--vault",
                        "db",
                        "--wait",
                        "--max-unused",
                        "5%",
                    ]),
                ]
            }
            Step::FirstProtected | Step::DayTwoProtected => Vec::new(),
        }
    }

    /// All but the latest.
    fn old_snapshots(&self) -> Vec<String> {
        let told = self.user.json(0, &["snapshots", "--vault", "db"]);
        let mut all: Vec<(i64, String)> = told
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                (
                    one["time_millis"].as_i64().unwrap(),
                    one["id"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        all.sort();
        all.pop();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// Waits until every snapshot stands at both sites.
    fn wait_protected(&self) {
        loop {
            let (_, _, page) = self.coordinator.asked_over_http("/metrics");
            let is_one =
                |line: &str| line.starts_with("holdfast_vault_protected{") && line.ends_with(" 1");
            if page.lines().any(is_one) {
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Has the kernel count the peak of a process's memory from now on.
fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}
