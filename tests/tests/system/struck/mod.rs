//! A vault at two sites that is struck in the middle of its work, again and again: the same work for processes that are
//! killed (`cuts`) and for machines that lose their power (`power`). After each strike the work is done again until it
//! is done, and nothing that was acknowledged is missing; at the end all of it is restored, from each site alone.
//!
//! State: the ground, the coordinator, the ledger of what was told, and how long each kind of work takes undisturbed.

mod complete;
mod ledger;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_tests::compare::describe;
use holdfast_tests::{Client, Coordinator, Ground, Noise, Ran, Running, Starting, tree};
use serde_json::Value;
use tokio::time::Instant;

use ledger::{KEPT, Ledger};
use work::{Task, Work};

/// After a strike, work is done again at most so often.
const TRIES_MAX: usize = 6;

/// A vault is open before it was asked for so often, at some hundredths of a second each.
const OPEN_WITHIN_TRIES: usize = 500;

/// Work takes so long at first guess, in microseconds.
const GUESS_MICROS: u64 = 60_000;

/// What goes on after a backup was acknowledged, and is struck: replication, above all.
const AFTER_MICROS: u64 = 60_000;

/// Longer than any work here takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// How many strikes: `HOLDFAST_TEST_CUTS`, to strike by hundreds by hand, or what every run can afford.
pub(crate) fn strikes(affordable: usize) -> usize {
    std::env::var("HOLDFAST_TEST_CUTS").map_or(affordable, |text| text.parse().unwrap())
}

/// See the module header.
pub(crate) struct Struck<'g> {
    pub(crate) ground: &'g Ground,
    pub(crate) coordinator: Coordinator,
    pub(crate) noise: Noise,
    user: Client,
    ledger: Ledger,
    /// Where each site lies.
    sites: [(&'static str, String); 2],
    micros: BTreeMap<Work, u64>,
    /// What is still to be done before each kind of work comes again.
    ahead: Vec<Work>,
    /// What was struck in the middle, and what had ended before.
    amid: BTreeMap<Work, (usize, usize)>,
    /// Collections that ran to their end, and those that had to wait for a session.
    collected: (usize, usize),
}

impl<'g> Struck<'g> {
    /// Starts a coordinator whose sites are `onsite` and `offsite` in folders, and makes a vault with a policy.
    pub(crate) fn new(
        ground: &'g Ground,
        noise: Noise,
        starting: Starting,
        sites: [String; 2],
    ) -> Self {
        let coordinator = starting
            .site("onsite", &format!("file:{}", sites[0]))
            .site("offsite", &format!("file:{}", sites[1]))
            .start();
        let user = ground.user().on(&coordinator).within(LIMIT);
        let create = ["vault", "create", "db", "--sites", "onsite,offsite"];
        user.done(&[&create[..], &["--identity-out", "identity"]].concat());
        let policy =
            format!("version = 1\ntrash = \"0\"\nexpire_share_max = 1.0\n[keep]\nlast = {KEPT}\n");
        ground.write("policy.toml", policy);
        user.done(&["policy", "set", "--vault", "db", "policy.toml"]);
        let [onsite, offsite] = sites;
        let mut struck = Self {
            user: user.with_identity("identity"),
            ground,
            coordinator,
            noise,
            ledger: Ledger::default(),
            sites: [("onsite", onsite), ("offsite", offsite)],
            micros: BTreeMap::new(),
            ahead: Vec::new(),
            amid: BTreeMap::new(),
            collected: (0, 0),
        };
        struck.first_backup();
        struck
    }

    fn first_backup(&mut self) {
        tree::small(&self.ground.at("tree"), self.noise.number());
        let task = self.task(Work::Protect);
        assert!(self.is_done(&task), "nothing disturbs it");
    }

    /// One round: work, a strike in its middle, the same work until it is done. `wait` lets the work come to the moment
    /// to strike: so far, or as far as it likes. `strike` ends what it ends and brings it back, and says what it was; it
    /// has the agent, if that still runs.
    ///
    /// A backup that is struck may leave a session whose agent never comes back, and collection then waits for it for an
    /// hour. So that collection is struck too, the `tame` rounds strike a backup after it was acknowledged, when it is
    /// being replicated.
    pub(crate) fn round(
        &mut self,
        number: usize,
        tame: bool,
        mut wait: impl FnMut(&mut Self, &mut Running, Duration),
        mut strike: impl FnMut(&mut Self, Option<&mut Running>) -> &'static str,
    ) {
        if self.ahead.is_empty() {
            self.ahead = Work::shuffled(&mut self.noise);
        }
        let work = self.ahead.pop().expect("there is always something to do");
        let task = self.task(work);
        let mut running = self.user.start(&task.words);
        // Not to wait for anything: the point where it strikes is left to chance.
        let micros = self.micros.get(&work).copied().unwrap_or(GUESS_MICROS);
        let point = self.noise.below(micros);
        let (victim, had_ended, ran) = if tame && work.opens_session() {
            let ran = running.wait();
            std::thread::sleep(Duration::from_micros(self.noise.below(AFTER_MICROS)));
            (strike(self, None), true, ran)
        } else {
            wait(self, &mut running, Duration::from_micros(point));
            let had_ended = running.has_ended();
            let victim = strike(self, Some(&mut running));
            (victim, had_ended, running.wait())
        };
        println!(
            "round {number}: struck {victim} after {} of {} ms of {}; it ended with {:?}",
            point / 1000,
            micros / 1000,
            task.words.join(" "),
            ran.code
        );
        let count = self.amid.entry(work).or_default();
        match had_ended {
            false => count.0 += 1,
            true => count.1 += 1,
        }
        let mut is_done = self.judge(&task, ran);
        for _ in 0..TRIES_MAX {
            if !is_done {
                is_done = self.is_done(&task);
            }
        }
        assert!(is_done, "{:?}: not after {TRIES_MAX} tries", task.words);
        self.ledger.assert_listed(&self.listed());
        self.ledger.assert_gone(&self.listed());
    }

    /// Does the work again, undisturbed, and notes how long it takes.
    fn is_done(&mut self, task: &Task) -> bool {
        let mut start = Instant::now();
        let mut ran = self.user.run(&task.words);
        for _ in 0..OPEN_WITHIN_TRIES {
            if !is_opening(&ran) {
                break;
            }
            start = Instant::now();
            ran = self.user.run(&task.words);
        }
        let took = u64::try_from(start.elapsed().as_micros()).unwrap();
        let is_done = self.judge(task, ran);
        if is_done {
            // A little beyond its end, so that what goes on after an answer is struck as well.
            self.micros.insert(task.work, took * 5 / 4 + 2000);
        }
        is_done
    }

    fn listed(&self) -> Vec<Value> {
        let listed = self.asked(&["--json", "snapshots", "--vault", "db"]);
        listed.as_array().unwrap().clone()
    }

    /// Asks a coordinator that may have been started a moment ago and is opening the vault still.
    #[track_caller]
    fn asked(&self, words: &[&str]) -> Value {
        let ran = (0..OPEN_WITHIN_TRIES)
            .map(|_| self.user.run(words))
            .find(|ran| !is_opening(ran));
        ran.unwrap_or_else(|| self.user.run(words)).expect(0).json()
    }

    /// Changes the tree as a moment's work does, and notes what it is like; the tag of its backups.
    fn change(&mut self) -> String {
        let top = self.ground.at("tree");
        tree::change_small(&top, &mut self.noise);
        self.ledger.note(describe(&top))
    }

    /// Requires that one site alone, with nobody to ask, shows all that was acknowledged as protected, and that the
    /// newest of it can be had from there.
    pub(crate) fn rescued_from(&mut self, site: usize) {
        let url = format!("file:{}", self.sites[site].1);
        let listed = self.user.json(0, &["rescue", "ls", "--site", &url]);
        self.ledger
            .assert_protected_listed(listed.as_array().unwrap());
    }

    /// How often each kind of work was struck in its middle, and how often it had ended by then.
    pub(crate) fn tell(&self) {
        for (work, (amid, after)) in &self.amid {
            println!("{work:?}: struck {amid} times amid, {after} times after its end");
        }
        let (done, waiting) = self.collected;
        println!("{done} collections were done, {waiting} had to wait for a session");
        assert!(done > 0, "collection was never struck");
    }
}

/// The coordinator was started a moment ago, and the vault is being opened still.
fn is_opening(ran: &Ran) -> bool {
    ran.code == Some(1) && ran.stderr.contains("is not available")
}
