//! Damage: every kind of object × missing, cut short, one bit flipped, zeroed, swapped with another, an old version of it ×
//! at the primary, at the other member, at both × every operation.
//!
//! Whatever is damaged: never a wrong byte, never a panic; what is lost is named, the rest is restored; the exit code
//! tells which (0 done, 1 failed, 3 damage found and named). With one site damaged, a restore through the coordinator
//! is complete from the other.
//!
//! [`expected`] holds the whole table, to be read and as functions that the cells are checked with; [`objects`] says what an
//! old version of each kind is. Each test prints its rows: every operation and how it ended.
//!
//! Reading (rescue, restore, verify) and backup are tried with all six damages. What takes longer is tried with those that
//! differ in how they show: takeover, expiry, collection and failover with *missing*, *flipped* and *old*; replication and
//! failover of a lagging member with *missing* and *old*.
//!
//! Real coordinators, each with its own copy of one base that was made once.

mod base;
mod changing;
mod expected;
mod lagging;
mod objects;
mod reading;
mod stage;

use std::sync::Mutex;

use base::{Base, base};
use objects::{Damage, Kind, Which};
use stage::{Ran, SITES, Stage};

/// Where an object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Primary,
    Other,
    Both,
}

impl Place {
    const ALL: [Self; 3] = [Self::Primary, Self::Other, Self::Both];

    fn sites(self) -> &'static [&'static str] {
        match self {
            Self::Primary => &SITES[..1],
            Self::Other => &SITES[1..],
            Self::Both => &SITES,
        }
    }

    fn is_both(self) -> bool {
        self == Self::Both
    }
}

/// One cell of the table, and what went against the rules in it.
struct Cell {
    kind: Kind,
    damage: Damage,
    place: Place,
    base: &'static Base,
    /// Each operation and how it ended.
    ended: Vec<(&'static str, i32)>,
    found: Vec<String>,
}

impl Cell {
    fn check(&mut self, operation: &'static str, ran: &Ran, codes: &[i32]) {
        self.ended.push((operation, ran.code));
        if ran.said.contains("panicked") {
            self.tell(operation, "it panicked", ran);
        }
        if !codes.contains(&ran.code) {
            let why = format!("exit code {} instead of {codes:?}", ran.code);
            self.tell(operation, &why, ran);
        }
    }

    fn tell(&mut self, operation: &str, why: &str, ran: &Ran) {
        let said: String = ran.said.chars().take(600).collect();
        self.found.push(format!(
            "{operation}: {why}\n      {}",
            said.trim().replace('\n', "\n      ")
        ));
    }

    /// A restore's outcome: what is there is right, and what is not there was named.
    fn check_restore(
        &mut self,
        operation: &'static str,
        stage: &Stage,
        target: &str,
        ran: &Ran,
        codes: &[i32],
    ) {
        self.check(operation, ran, codes);
        for wrong in stage.compare(target, ran) {
            self.tell(operation, &wrong, ran);
        }
    }

    /// Restores the latest snapshot through the coordinator.
    fn restore(&self, stage: &Stage, target: &str, more: &[&str]) -> Ran {
        let latest = &self.base.latest;
        let words = ["restore", "--vault", "db", latest, "--target", target];
        stage.run(&[&words[..], more].concat())
    }

    fn run(&mut self) {
        let mut stage = Stage::copy_of(self.base, false);
        for site in self.place.sites() {
            stage.damage(site, self.kind, self.damage, Which::Shared);
        }
        self.rescue(&stage);
        stage.start();
        self.read(&stage);
        if self.is_worked_out() {
            self.change(&mut stage);
        }
        self.finish(stage);
        if self.lags() {
            self.replicate_and_fail_over();
        }
    }

    /// Whether it goes through the operations that take long, too: of the damages those that differ in how they show (it is
    /// not there; it does not read; it reads and is wrong).
    fn is_worked_out(&self) -> bool {
        [Damage::Missing, Damage::Flipped, Damage::Old].contains(&self.damage)
    }

    fn finish(&mut self, mut stage: Stage) {
        let log = stage.stop();
        if log.contains("panicked") {
            self.found.push(format!("the coordinator panicked:\n{log}"));
        }
    }

    /// Its row of the table.
    fn row(&self) -> String {
        let ended = self.ended.iter();
        let ended: Vec<String> = ended.map(|(what, code)| format!("{what} {code}")).collect();
        let place = format!("{:?} {:?} at {:?}", self.kind, self.damage, self.place);
        format!("{place}: {}", ended.join(", "))
    }
}

/// Cells at work at once.
const WORKERS: usize = 4;

fn check(kind: Kind) {
    let base = base();
    let cells: Vec<(Damage, Place)> = Damage::ALL
        .into_iter()
        .flat_map(|damage| Place::ALL.map(|place| (damage, place)))
        .collect();
    let cells = Mutex::new(cells);
    let found = Mutex::new(Vec::new());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((damage, place)) = cells.lock().unwrap().pop() else {
                        return;
                    };
                    let mut cell = Cell {
                        kind,
                        damage,
                        place,
                        base,
                        ended: Vec::new(),
                        found: Vec::new(),
                    };
                    cell.run();
                    rows.lock().unwrap().push(cell.row());
                    let told = cell.found.into_iter();
                    let told = told.map(|what| format!("{kind:?} {damage:?} at {place:?}: {what}"));
                    found.lock().unwrap().extend(told);
                }
            });
        }
    });
    let (mut found, mut rows) = (found.into_inner().unwrap(), rows.into_inner().unwrap());
    rows.sort();
    println!("{}", rows.join("\n"));
    found.sort();
    assert!(
        found.is_empty(),
        "{} cells' rules are broken:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn of_the_header() {
    check(Kind::Header);
}

#[test]
fn of_the_vaults_key() {
    check(Kind::VaultKey);
}

#[test]
fn of_a_sessions_key() {
    check(Kind::SessionKey);
}

#[test]
fn of_a_data_packs_body() {
    check(Kind::DataBody);
}

#[test]
fn of_a_data_packs_footer() {
    check(Kind::DataFooter);
}

#[test]
fn of_a_pack_of_nodes() {
    check(Kind::NodePack);
}

#[test]
fn of_a_record_that_a_checkpoint_covers() {
    check(Kind::CoveredRecord);
}

#[test]
fn of_a_record_in_the_middle() {
    check(Kind::MiddleRecord);
}

#[test]
fn of_a_seal() {
    check(Kind::Seal);
}

#[test]
fn of_a_claim() {
    check(Kind::Claim);
}

#[test]
fn of_the_last_record() {
    check(Kind::LastRecord);
}

#[test]
fn of_a_checkpoint() {
    check(Kind::Checkpoint);
}

#[test]
fn of_a_segment() {
    check(Kind::Segment);
}
