//! The kinds of work that are struck: what is run, and when it counts as done.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use holdfast_tests::compare::assert_as_described;
use holdfast_tests::tree::restored;
use holdfast_tests::{Noise, Ran};
use serde_json::Value;

use super::{OPEN_WITHIN_TRIES, Struck};

/// See the module header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A backup; the other site follows by itself.
    Backup,
    /// A backup until every site has it.
    Protect,
    /// A snapshot leaves the list and the trash.
    Forget,
    /// What the policy says.
    Expire,
    /// Collection until the bytes are gone everywhere.
    Collect,
    /// The other site becomes the primary.
    FailOver,
    /// Some snapshot, from some site.
    Restore,
    /// A damaged pack is found and mended.
    Repair,
}

use Work::{Backup, Collect, Expire, FailOver, Forget, Protect, Repair, Restore};

/// Work comes in turns of these, in another order each turn.
const TURN: [Work; 13] = [
    Backup, Backup, Backup, Protect, Protect, Forget, Expire, Collect, Collect, FailOver, FailOver,
    Restore, Repair,
];

/// One command line, and what it is about.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) work: Work,
    pub(crate) words: Vec<String>,
    /// A tag, a snapshot's id, a site.
    about: String,
    /// The snapshot to be restored, as it was listed.
    snapshot: Value,
}

impl Work {
    pub(super) fn opens_session(self) -> bool {
        matches!(self, Backup | Protect)
    }

    pub(super) fn shuffled(noise: &mut Noise) -> Vec<Self> {
        let mut turn = TURN.to_vec();
        for end in (1..turn.len()).rev() {
            turn.swap(end, noise.below(end as u64 + 1) as usize);
        }
        turn
    }
}

impl Struck<'_> {
    /// Prepares work, so that there is something to do.
    pub(super) fn task(&mut self, work: Work) -> Task {
        let mut about = String::new();
        let mut snapshot = Value::Null;
        let path = self.ground.text("tree");
        let words: Vec<&str> = match work {
            Backup | Protect => {
                about = self.change();
                let words = [
                    "--json", "backup", "--vault", "db", "--source", "files", &path, "--tag",
                    &about,
                ];
                let wait: &[&str] = match work {
                    Protect => &["--wait", "protected", "--wait-timeout", "50s"],
                    _ => &[],
                };
                [&words[..], wait].concat()
            }
            Forget => {
                snapshot = self.any_snapshot();
                about = id_of(&snapshot);
                self.ledger.may_go(&snapshot);
                vec!["forget", "--vault", "db", "--purge", &about]
            }
            Expire => vec!["policy", "apply", "--vault", "db", "--confirm"],
            Collect => vec!["gc", "--vault", "db", "--wait"],
            FailOver => {
                about = self.other_site();
                vec!["failover", "--vault", "db", "--to", &about]
            }
            Restore => {
                snapshot = self.any_snapshot();
                about = id_of(&snapshot);
                let site = self.sites[self.noise.below(2) as usize].0;
                let words = ["restore", "--vault", "db", &about, "--target", "restored"];
                [&words[..], &["--site", site, "--delta", "--delete-extra"]].concat()
            }
            Repair => {
                self.damage();
                vec![
                    "--json",
                    "verify",
                    "--vault",
                    "db",
                    "--read-data",
                    "--repair",
                ]
            }
        };
        Task {
            work,
            words: words.into_iter().map(str::to_owned).collect(),
            about,
            snapshot,
        }
    }

    /// Notes what was told, and whether the work is done.
    #[track_caller]
    pub(super) fn judge(&mut self, task: &Task, ran: Ran) -> bool {
        let is_told_done = ran.code == Some(0);
        if let Some(code) = ran.code.filter(|_| !is_told_done) {
            // Whatever strikes, it is said in words.
            assert!(code == 3 || !ran.stderr.is_empty(), "{ran}");
        }
        match task.work {
            Backup | Protect if matches!(ran.code, Some(0 | 4)) => {
                let told = ran.json();
                let is_protected = told["state"] == "protected";
                assert!(
                    is_protected || task.work == Backup || ran.code == Some(4),
                    "{told}"
                );
                let id = told["snapshot"].as_str().unwrap();
                self.ledger.acknowledged(id, &task.about, is_protected);
                true
            }
            Backup | Protect | Expire => is_told_done,
            // An agent that may still come back is waited for, up to twenty minutes. Doubt keeps.
            Collect if ran.stderr.contains("has not come back yet") => {
                self.collected.1 += 1;
                true
            }
            Collect => {
                self.collected.0 += usize::from(is_told_done);
                is_told_done
            }
            Forget => {
                let is_listed = self
                    .listed()
                    .iter()
                    .any(|one| one["id"] == task.about.as_str());
                if is_told_done {
                    self.ledger.is_gone(&task.about);
                }
                assert!(!(is_told_done && is_listed), "{ran}");
                !is_listed
            }
            FailOver => {
                let primary = self.primary();
                let is_primary = primary == task.about;
                assert!(is_primary || !is_told_done, "it is {primary} now: {ran}");
                is_primary
            }
            Restore if is_told_done => {
                let path = self.ground.at("tree");
                let got = restored(&self.ground.at("restored"), &path);
                assert_as_described(self.ledger.tree(&task.snapshot), &got);
                true
            }
            // It may have expired meanwhile.
            Restore => !self
                .listed()
                .iter()
                .any(|one| one["id"] == task.about.as_str()),
            Repair => is_told_done && ran.json()["complete"] == true,
        }
    }

    /// One that is listed. Where all are gone, the last one purged by this very work, one is made first, undisturbed.
    fn any_snapshot(&mut self) -> Value {
        let mut listed = self.listed();
        if listed.is_empty() {
            let task = self.task(Protect);
            assert!(self.is_done(&task), "nothing disturbs it");
            listed = self.listed();
        }
        let number = self.noise.below(listed.len() as u64) as usize;
        listed[number].clone()
    }

    /// The primary, once the vault is open: until then it is shown without one.
    fn primary(&self) -> String {
        let mut tries = 0..OPEN_WITHIN_TRIES;
        let shown = tries.find_map(|_| {
            let shown = self.asked(&["--json", "placement", "show", "--vault", "db"]);
            let primary = shown["primary"].as_str()?;
            (!primary.is_empty()).then(|| primary.to_owned())
        });
        shown.expect("the vault is open in time")
    }

    fn other_site(&self) -> String {
        let primary = self.primary();
        let other = self.sites.iter().find(|(name, _)| *name != primary);
        other.expect("there are two").0.to_owned()
    }

    /// Flips a bit of a pack at one site that the other has as well.
    fn damage(&mut self) {
        let [one, other] = [0, 1].map(|site| packs(Path::new(&self.sites[site].1)));
        let [one_top, other_top] = [0, 1].map(|site| PathBuf::from(&self.sites[site].1));
        let both: Vec<&PathBuf> = one
            .iter()
            .filter(|path| other.contains(path))
            .filter(|path| {
                // Copied whole: one that is being copied is no good copy.
                fs::read(one_top.join(path)).ok() == fs::read(other_top.join(path)).ok()
            })
            .collect();
        if both.is_empty() {
            return;
        }
        let path = both[self.noise.below(both.len() as u64) as usize];
        let top = [one_top.clone(), other_top][self.noise.below(2) as usize].clone();
        // Collection may have taken it away since: then there is nothing to damage.
        if let Ok(mut bytes) = fs::read(top.join(path)) {
            let at = self.noise.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.noise.below(8);
            let file = File::options().write(true).open(top.join(path)).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            file.sync_all().unwrap();
        }
    }
}

pub(super) fn id_of(snapshot: &Value) -> String {
    snapshot["id"].as_str().unwrap().to_owned()
}

/// All packs of the one vault at a site, relative to the site.
pub(super) fn packs(site: &Path) -> Vec<PathBuf> {
    let mut all = super::complete::objects(site);
    all.retain(|path| super::complete::kind(path) == "packs");
    all
}
