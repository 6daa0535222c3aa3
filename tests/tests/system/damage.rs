//! Damage: every kind of object × missing, cut short, one bit flipped, swapped with another × at the primary, at the
//! other member, at both × every operation.
//!
//! Whatever is damaged: never a wrong byte, never a panic; what is lost is named, the rest is restored; the exit code
//! tells which (0 done, 1 failed, 3 damage found and named). With one site damaged, a restore through the coordinator
//! is complete from the other.
//!
//! Real coordinators, each with its own copy of one base that was made once.

mod objects;
mod stage;

use std::sync::Mutex;

use objects::{Damage, Kind};
use stage::{Base, Ran, SITES, Stage, base};

/// How much of a snapshot depends on an object, for a reader of that site alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// It only saves work.
    Nothing,
    /// The log ends one record earlier, and nobody who knows that site alone can tell.
    Shorter,
    /// Some chunks.
    Some,
    /// Everything.
    All,
}

fn severity(kind: Kind, damage: Damage) -> Severity {
    match (kind, damage) {
        (Kind::Checkpoint | Kind::Segment | Kind::CoveredRecord, _) => Severity::Nothing,
        (Kind::LastRecord, Damage::Missing) => Severity::Shorter,
        (Kind::SessionKey | Kind::DataBody | Kind::DataFooter | Kind::NodePack, _) => {
            Severity::Some
        }
        (Kind::Header | Kind::VaultKey | Kind::MiddleRecord | Kind::LastRecord, _) => Severity::All,
    }
}

/// Where an object is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Primary,
    Other,
    Both,
}

impl Place {
    fn sites(self) -> &'static [&'static str] {
        match self {
            Self::Primary => &SITES[..1],
            Self::Other => &SITES[1..],
            Self::Both => &SITES,
        }
    }
}

/// One cell of the table, and what went against the rules in it.
struct Cell {
    kind: Kind,
    damage: Damage,
    place: Place,
    base: &'static Base,
    found: Vec<String>,
}

impl Cell {
    fn check(&mut self, operation: &str, ran: &Ran, codes: &[i32]) {
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
        operation: &str,
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

    fn run(&mut self) {
        let severity = severity(self.kind, self.damage);
        let stage = Stage::copy_of(self.base);
        for site in self.place.sites() {
            stage.damage(site, self.kind, self.damage);
        }
        let site = self.place.sites()[0];
        let both = self.place == Place::Both;

        let ran = stage.rescue(&["ls"], site);
        self.check(
            "rescue ls",
            &ran,
            match severity {
                Severity::All => &[1, 3],
                _ => &[0],
            },
        );
        let ran = stage.rescue(&["restore", "--target", "rescued", &self.base.latest], site);
        self.check_restore(
            "rescue restore",
            &stage,
            "rescued",
            &ran,
            match severity {
                Severity::Nothing => &[0],
                Severity::Shorter => &[1],
                Severity::Some => &[3],
                Severity::All => &[1, 3],
            },
        );

        let mut stage = stage;
        stage.start();
        let latest = self.base.latest.clone();
        let restore = |target: &'static str, more: &[&str]| {
            let words = ["restore", "--vault", "db", &latest, "--target", target];
            stage.run(&[&words[..], more].concat())
        };
        let ran = restore("from-site", &["--site", site]);
        let one_site: &[i32] = match (severity, both) {
            (Severity::Nothing, _) => &[0],
            (Severity::Some, false) => &[0, 3],
            (Severity::Some, true) => &[3],
            (Severity::Shorter, _) => &[0, 1],
            (Severity::All, _) => &[0, 1, 3],
        };
        self.check_restore("restore --site", &stage, "from-site", &ran, one_site);

        let ran = stage.run_without_identity(&["verify", "--vault", "db", "--read-data"]);
        let healed = self
            .place
            .sites()
            .iter()
            .all(|site| stage.is_whole(site, self.kind));
        let verified: &[i32] = match (severity, both) {
            (Severity::Shorter, true) => &[0],
            (Severity::All, true) => &[1, 3],
            _ if healed => &[0, 3],
            _ => &[3],
        };
        self.check("verify --read-data", &ran, verified);
        // Of two that were swapped either may be told.
        let either = self.damage == Damage::Swapped && ran.said.contains("in the wrong place");
        if ran.code == 3 && !either && !stage.names(&ran, self.kind) {
            self.tell("verify --read-data", "it does not name the object", &ran);
        }

        let ran = restore("restored", &[]);
        let best: &[i32] = match (severity, both) {
            (_, false) | (Severity::Nothing, true) => &[0],
            (Severity::Shorter, true) => &[1],
            (Severity::Some, true) => &[3],
            (Severity::All, true) => &[1, 3],
        };
        self.check_restore("restore", &stage, "restored", &ran, best);

        stage.write_new_file();
        let is_open = !ran.said.contains(" is not open: ");
        let ran = stage.backup(is_open);
        let backed_up: &[i32] = match (severity, self.place) {
            (Severity::All, Place::Primary | Place::Both) if is_open => &[0, 1],
            (Severity::All, Place::Primary | Place::Both) => &[1, 124],
            _ => &[0],
        };
        self.check("backup", &ran, backed_up);
        if ran.code == 0 && !(both && severity == Severity::All) {
            let id = ran.json["snapshot"].as_str().unwrap_or_default().to_owned();
            let new = stage.new_file_path();
            let words = [
                "restore",
                "--vault",
                "db",
                &id,
                "--target",
                "new",
                "--include",
                &new,
            ];
            let ran = stage.run(&words);
            if !stage.new_file_is_right("new") {
                self.tell(
                    "restore of the new file",
                    "it is not what was backed up",
                    &ran,
                );
            }
        }
        let log = stage.stop();
        if log.contains("panicked") {
            self.found.push(format!("the coordinator panicked:\n{log}"));
        }
    }
}

/// Cells at work at once.
const WORKERS: usize = 4;

fn check(kind: Kind) {
    let base = base();
    let cells: Vec<(Damage, Place)> = Damage::ALL
        .into_iter()
        .flat_map(|damage| [Place::Primary, Place::Other, Place::Both].map(|place| (damage, place)))
        .collect();
    let cells = Mutex::new(cells);
    let found = Mutex::new(Vec::new());
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
                        found: Vec::new(),
                    };
                    cell.run();
                    let told = cell.found.into_iter();
                    let told = told.map(|what| format!("{kind:?} {damage:?} at {place:?}: {what}"));
                    found.lock().unwrap().extend(told);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
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
