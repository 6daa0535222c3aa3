//! The end: faults are over, and everything has to come right by itself, or by what the runbook says a person does. Then all that was
//! told is held against what is there.

use std::thread;
use std::time::Duration;

use holdfast_tests::{Client, Ran};
use serde_json::Value;
use tokio::time::Instant;

use super::faults::Faults;
use super::ledger::{Entry, may_be_missing};
use super::plan::VAULTS;
use super::stage::Stage;
use super::story::Story;
use super::workload::short;

/// What comes about by itself has this long, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(240);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// A vault at the end.
pub(super) struct Expected {
    pub(super) name: &'static str,
    pub(super) sites: &'static [&'static str],
    /// Its garbage was collected: nothing stood in the way.
    pub(super) is_collected: bool,
    /// Its snapshots, as they were listed.
    listed: Vec<Value>,
}

/// See the module header.
pub(super) struct Judge<'s> {
    pub(super) story: &'s Story,
    pub(super) entries: Vec<Entry>,
}

impl Judge<'_> {
    /// Waits until each vault is right again; then what each of them is like.
    pub(super) fn settle(&self, faults: &mut Faults<'_>) -> Vec<Expected> {
        let users = VAULTS.map(|(name, _)| {
            let (keeper, bare) = (faults.stage.keeper(name), faults.stage.user());
            (keeper.within(LIMIT), bare.within(LIMIT))
        });
        thread::scope(|scope| {
            let settle = |((name, sites), (keeper, bare))| {
                scope.spawn(move || self.settle_vault(name, sites, &keeper, &bare))
            };
            let settling: Vec<_> = VAULTS.into_iter().zip(users).map(settle).collect();
            while !settling.iter().all(thread::ScopedJoinHandle::is_finished) {
                faults.look_after();
                thread::sleep(LOOK);
            }
            let settled = settling.into_iter();
            settled
                .map(|one| one.join().expect("a command ends in time"))
                .collect()
        })
    }

    fn settle_vault(
        &self,
        name: &'static str,
        sites: &'static [&'static str],
        keeper: &Client,
        bare: &Client,
    ) -> Expected {
        self.wait(name, || self.is_level(keeper, name));
        self.wait(name, || self.is_protected(keeper, name));
        let is_collected = self.collect(keeper, name);
        self.wait(name, || self.is_level(keeper, name));
        self.wait(name, || self.verifies(bare, name));
        let listed = self.list(keeper, name).unwrap_or_default();
        self.nothing_is_missing(name, &listed);
        Expected {
            name,
            sites,
            is_collected,
            listed,
        }
    }

    /// Waits until something is so; `Err` says what it is instead.
    fn wait(&self, vault: &str, is_so: impl Fn() -> Result<(), String>) {
        let since = Instant::now();
        loop {
            match is_so() {
                Ok(()) => return,
                Err(why) if since.elapsed() > LIMIT => {
                    self.story
                        .fail(vault, format_args!("it does not come right: {why}"));
                    return;
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    /// Whether it is open and each site has everything. Where a site waits for a person, does what the runbook says.
    fn is_level(&self, keeper: &Client, vault: &str) -> Result<(), String> {
        let shown = asked(keeper, &["placement", "show", "--vault", vault]);
        let told = match &shown {
            Ok(shown) => shown.to_string(),
            Err(said) => said.clone(),
        };
        // In so many words a message names the way out.
        let named = |words: &str| told.contains(words).then_some(());
        let shown = shown.unwrap_or_default();
        let none = Vec::new();
        let sites = shown["sites"].as_array().unwrap_or(&none);
        let is_behind = |site: &&Value| {
            site["reachable"] != true
                || site["lag_records"] != 0
                || site["trouble"] != ""
                || site["pending"] == true
        };
        if shown["state"] == "open"
            && !sites.is_empty()
            && !sites.iter().any(|site| is_behind(&site))
        {
            return Ok(());
        }
        for site in super::plan::SITES {
            if named(&format!("--to {site} --accept-loss")).is_some() {
                self.person(
                    keeper,
                    &["failover", "--vault", vault, "--to", site, "--accept-loss"],
                );
                return Err(told);
            }
        }
        for site in super::plan::SITES {
            let anew = format!("failback --vault {vault} --site {site}");
            if named(&anew).is_some() {
                self.person(keeper, &["failback", "--vault", vault, "--site", site]);
                return Err(told);
            }
        }
        if named("holdfast failback").is_some() {
            self.person(keeper, &["failback", "--vault", vault]);
        }
        Err(told)
    }

    fn person(&self, keeper: &Client, words: &[&str]) {
        let ran = keeper.run(words);
        self.story.count(&format!("{} at the end", words[0]));
        let (said, words) = (short(&ran.stderr), words.join(" "));
        self.story.tell(
            "person",
            format_args!("{words}: {:?} {} {said}", ran.code, ran.text().trim()),
        );
    }

    fn list(&self, keeper: &Client, vault: &str) -> Result<Vec<Value>, String> {
        let listed = asked(keeper, &["snapshots", "--vault", vault])?;
        Ok(listed.as_array().cloned().unwrap_or_default())
    }

    fn is_protected(&self, keeper: &Client, vault: &str) -> Result<(), String> {
        let listed = self.list(keeper, vault)?;
        let behind: Vec<_> = listed
            .iter()
            .filter(|one| one["state"] == "committed")
            .collect();
        match behind.is_empty() {
            true => Ok(()),
            false => Err(format!("not protected: {behind:?}")),
        }
    }

    /// Lets go what the policy says, and collects. False: a session whose agent died stands in the way, for twenty minutes.
    fn collect(&self, keeper: &Client, vault: &str) -> bool {
        self.wait(vault, || {
            done(&keeper.run(&["policy", "apply", "--vault", vault, "--confirm"]))
        });
        let said = std::cell::RefCell::new(String::new());
        self.wait(vault, || {
            let ran = keeper.run(&["gc", "--vault", vault, "--wait"]);
            *said.borrow_mut() = ran.stderr.clone();
            match ran.stderr.contains("has not come back yet") {
                true => Ok(()),
                false => done(&ran),
            }
        });
        let said = said.into_inner();
        let Some((_, source)) = said.split_once(" of source ") else {
            self.story.count("collections");
            return true;
        };
        let source = source.split(' ').next().unwrap_or_default();
        // Only an agent that ended badly leaves its session behind.
        let ended_badly = |entry: &Entry| entry.source == source && entry.told.is_none();
        if !self.entries.iter().any(ended_badly) {
            self.story.fail(
                vault,
                format_args!("every backup of it ended well, and yet: {said}"),
            );
        }
        self.story
            .count("collections that wait for the session of a dead agent");
        self.story.tell(vault, format_args!("{}", short(&said)));
        false
    }

    fn verifies(&self, bare: &Client, vault: &str) -> Result<(), String> {
        let ran = bare.run(&["--json", "verify", "--vault", vault, "--read-data"]);
        let verified = serde_json::from_slice::<Value>(&ran.stdout).unwrap_or_default();
        if verified["findings_count"]
            .as_u64()
            .is_some_and(|count| count > 0)
        {
            self.story.fail(
                vault,
                format_args!("verify found: {}", verified["findings"]),
            );
            return Ok(());
        }
        match ran.code == Some(0) && verified["complete"] == true {
            true => Ok(()),
            false => Err(ran.to_string()),
        }
    }

    fn nothing_is_missing(&self, vault: &str, listed: &[Value]) {
        let tags: Vec<String> = listed.iter().map(tag_of).collect();
        let of_vault = self.entries.iter().filter(|entry| entry.vault == vault);
        for entry in of_vault {
            let Some(told) = &entry.told else { continue };
            let is_listed = listed.iter().any(|one| one["id"] == told.id.as_str());
            if !is_listed && !may_be_missing(entry, &self.entries, &tags) {
                self.story.fail(
                    vault,
                    format_args!(
                        "{} was acknowledged as {told:?} and is missing",
                        entry.tag()
                    ),
                );
            }
        }
        self.story.tell(
            vault,
            format_args!("{} snapshots: {}", listed.len(), tags.join(" ")),
        );
    }

    /// Restores everything that is listed, and compares.
    pub(super) fn restore(&self, stage: &Stage, expected: &[Expected], from: From) {
        thread::scope(|scope| {
            for vault in expected {
                scope.spawn(move || self.restore_vault(stage, vault, from));
            }
        });
    }

    fn restore_vault(&self, stage: &Stage, vault: &Expected, from: From) {
        let keeper = stage.keeper(vault.name).within(LIMIT);
        match from {
            From::Coordinator => {
                for (number, snapshot) in vault.listed.iter().enumerate() {
                    let site = vault.sites[number % vault.sites.len()];
                    let words = ["restore", "--vault", vault.name, "--site", site];
                    self.restore_one(stage, &keeper, vault, snapshot, &words);
                }
            }
            From::EachSiteAlone => {
                for site in vault.sites {
                    let url = stage.bare_url(site);
                    for snapshot in &vault.listed {
                        let words = ["rescue", "restore", "--vault", vault.name, "--site", &url];
                        self.restore_one(stage, &keeper, vault, snapshot, &words);
                    }
                }
            }
        }
    }

    fn restore_one(
        &self,
        stage: &Stage,
        keeper: &Client,
        vault: &Expected,
        snapshot: &Value,
        words: &[&str],
    ) {
        let id = snapshot["id"].as_str().unwrap_or_default();
        let tag = tag_of(snapshot);
        let Some(entry) = self.entries.iter().find(|entry| entry.tag() == tag) else {
            self.story
                .fail(vault.name, format_args!("nobody made {snapshot}"));
            return;
        };
        let target = stage.ground.at(format!("judged-{}", entry.source));
        let more = [
            "--target",
            target.to_str().unwrap(),
            "--delta",
            "--delete-extra",
            id,
        ];
        let ran = keeper.run(&[words, &more].concat());
        let compared = match ran.code {
            Some(0) => entry.compare(&target),
            _ => Err(ran.to_string()),
        };
        match compared {
            Ok(()) => self.story.count("restores compared"),
            Err(why) => self.story.fail(
                vault.name,
                format_args!(
                    "{tag} ({}) by {}: {why}",
                    snapshot["state"],
                    words.join(" ")
                ),
            ),
        }
    }

    /// What no coordinator may ever say.
    pub(super) fn read_logs(&self, stage: &Stage) {
        for coordinator in &stage.coordinators {
            let log = coordinator.log();
            let wrong = [
                "panicked",
                "internal check failed",
                "an invariant is broken",
                "BUG",
            ];
            let lines = log
                .lines()
                .filter(|line| wrong.iter().any(|word| line.contains(word)));
            for line in lines {
                self.story
                    .fail(coordinator.name(), format_args!("it said: {line}"));
            }
        }
    }
}

/// Where a restore reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    Coordinator,
    EachSiteAlone,
}

fn tag_of(snapshot: &Value) -> String {
    snapshot["tags"][0].as_str().unwrap_or_default().to_owned()
}

fn done(ran: &Ran) -> Result<(), String> {
    match ran.code {
        Some(0) => Ok(()),
        _ => Err(ran.to_string()),
    }
}

fn asked(client: &Client, words: &[&str]) -> Result<Value, String> {
    let ran = client.run(&[&["--json"][..], words].concat());
    done(&ran)?;
    Ok(ran.json())
}
