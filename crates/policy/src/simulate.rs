//! `policy simulate`: what a policy will do to one source, day by day.
//!
//! It runs [`decide`](crate::decide()) as the retention actor would, on the catalog as it is, on
//! snapshots of a schedule, or on both, and writes down what goes when. It takes clocks for right,
//! operators for willing (it says where one would be asked) and holds for lasting. Point-in-time
//! cover is not in it: that window is not enforced yet.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};

use crate::decide::{Dated, decide_dated, sort_newest_first};
use crate::{
    ExpireReason, Fate, KeepReason, Retention, ShareVerdict, SnapshotFacts, Unit, check_share,
};

/// A snapshot to simulate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotForecast {
    /// The snapshot.
    pub facts: SnapshotFacts,
    /// Bytes that only this snapshot refers to, if known. They are the least that its end frees:
    /// what two neighbours share goes when the second goes.
    pub bytes_unique: Option<u64>,
}

/// When the simulation runs. Times are milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimulationOptions {
    /// The first run of retention.
    pub from_millis: i64,
    /// No run is later.
    pub until_millis: i64,
    /// Time between runs. What is kept does not depend on it, only how soon the rest goes.
    pub run_every_hours: u32,
}

/// What became of everything.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    /// Name of the zone in which the days of `freed` are counted.
    pub time_zone: String,
    /// The time of the last run, to which the reasons in `snapshots` refer.
    pub until_millis: i64,
    /// All snapshots, newest first.
    pub snapshots: Vec<SnapshotFate>,
    /// Days on which bytes can be freed, in order.
    pub freed: Vec<DayFreed>,
    /// Runs for which an operator would have been asked.
    pub confirmations: Vec<Confirmation>,
}

/// What became of one snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotFate {
    /// Its id, in hexadecimal.
    #[serde(serialize_with = "serialize_id")]
    pub id: [u8; 16],
    /// When its session was opened.
    pub opened_millis: i64,
    /// When it was committed.
    pub committed_millis: i64,
    /// Why it was kept by the last run; empty if it was not, or was not made by then.
    pub kept: Vec<KeepReason>,
    /// When and why it leaves the catalog; `None` if it does not within the simulation.
    pub expires: Option<Expiry>,
    /// Bytes that only it refers to, if known.
    pub bytes_unique: Option<u64>,
}

/// A snapshot's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// The run that puts it in the trash.
    pub expired_millis: i64,
    /// Why.
    pub why: ExpireReason,
    /// When its time in the trash ends; collection frees its bytes after that. Never is
    /// `i64::MAX`.
    pub trash_ends_millis: i64,
}

/// What can be freed on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayFreed {
    /// The day, such as `2026-11-20`.
    pub day: String,
    /// Snapshots whose time in the trash ends.
    pub snapshots: usize,
    /// Bytes that only they refer to, of those for which that is known.
    pub bytes_at_least: u64,
    /// How many it is not known for.
    pub snapshots_of_unknown_bytes: usize,
}

/// A run that would have waited for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Confirmation {
    /// The run's time.
    pub at_millis: i64,
    /// How many snapshots it would expire.
    pub expire: usize,
    /// How many it may without being confirmed.
    pub expire_max: usize,
    /// How many the source had.
    pub snapshots: usize,
}

impl Simulation {
    /// What the catalog holds at a time of the simulation, newest first: committed by then and not
    /// expired.
    pub fn catalog_at(&self, millis: i64) -> impl Iterator<Item = &SnapshotFate> {
        self.snapshots.iter().filter(move |fate| {
            let gone = fate
                .expires
                .is_some_and(|expiry| expiry.expired_millis <= millis);
            fate.committed_millis <= millis && !gone
        })
    }

    /// What can be restored from the trash at a time of the simulation, newest first.
    pub fn trash_at(&self, millis: i64) -> impl Iterator<Item = &SnapshotFate> {
        self.snapshots.iter().filter(move |fate| {
            fate.expires.is_some_and(|expiry| {
                expiry.expired_millis <= millis && millis < expiry.trash_ends_millis
            })
        })
    }
}

/// Runs retention over the snapshots of one source and says what becomes of each. The time that it
/// takes grows with the number of runs times what the catalog holds.
pub fn simulate(
    retention: &Retention,
    snapshots: &[SnapshotForecast],
    options: &SimulationOptions,
) -> Simulation {
    let mut run = Run::new(retention, snapshots);
    let step_millis = i64::from(options.run_every_hours.max(1)) * 3_600_000;
    let mut now_millis = options.from_millis;
    let mut last_millis = now_millis;
    while now_millis <= options.until_millis {
        run.step(now_millis);
        last_millis = now_millis;
        match now_millis.checked_add(step_millis) {
            Some(next) => now_millis = next,
            None => break,
        }
    }
    run.finish(snapshots, last_millis)
}

struct Run<'a> {
    retention: &'a Retention,
    /// Not committed yet, latest commit first.
    coming: Vec<Dated>,
    /// In the catalog, newest first.
    catalog: Vec<Dated>,
    kept: BTreeMap<[u8; 16], Vec<KeepReason>>,
    expired: BTreeMap<[u8; 16], Expiry>,
    confirmations: Vec<Confirmation>,
}

impl<'a> Run<'a> {
    fn new(retention: &'a Retention, snapshots: &[SnapshotForecast]) -> Self {
        let mut coming: Vec<Dated> = snapshots
            .iter()
            .map(|snapshot| Dated::new(retention, snapshot.facts))
            .collect();
        coming.sort_by_key(|dated| std::cmp::Reverse(dated.facts.committed_millis));
        Self {
            retention,
            coming,
            catalog: Vec::new(),
            kept: BTreeMap::new(),
            expired: BTreeMap::new(),
            confirmations: Vec::new(),
        }
    }

    fn step(&mut self, now_millis: i64) {
        let is_due = |dated: &mut Dated| dated.facts.committed_millis <= now_millis;
        while let Some(dated) = self.coming.pop_if(is_due) {
            self.catalog.push(dated);
        }
        sort_newest_first(&mut self.catalog);
        let fates = decide_dated(self.retention, &self.catalog, now_millis);
        self.note_confirmation(&fates, now_millis);
        self.kept.clear();
        let mut staying = Vec::with_capacity(self.catalog.len());
        for (dated, fate) in std::mem::take(&mut self.catalog).into_iter().zip(fates) {
            match fate {
                Fate::Keep(reasons) => {
                    self.kept.insert(dated.facts.id, reasons);
                    staying.push(dated);
                }
                Fate::Expire(why) => {
                    let trash_ends_millis = self.retention.trash_ends_millis(now_millis);
                    let expiry = Expiry {
                        expired_millis: now_millis,
                        why,
                        trash_ends_millis,
                    };
                    self.expired.insert(dated.facts.id, expiry);
                }
            }
        }
        self.catalog = staying;
    }

    fn note_confirmation(&mut self, fates: &[Fate], now_millis: i64) {
        let fates = self.catalog.iter().zip(fates);
        let expiring = fates.filter(|(_, fate)| matches!(fate, Fate::Expire(_)));
        let expiring: Vec<[u8; 16]> = expiring.map(|(dated, _)| dated.facts.id).collect();
        let share_max = self.retention.expire_share_max;
        let verdict = check_share(share_max, self.catalog.len(), &expiring, &BTreeSet::new());
        if let ShareVerdict::Waiting {
            expire,
            expire_max,
            snapshots,
        } = verdict
        {
            let at_millis = now_millis;
            self.confirmations.push(Confirmation {
                at_millis,
                expire,
                expire_max,
                snapshots,
            });
        }
    }

    fn finish(mut self, snapshots: &[SnapshotForecast], until_millis: i64) -> Simulation {
        let mut fates: Vec<SnapshotFate> = snapshots
            .iter()
            .map(|snapshot| self.take_fate(snapshot))
            .collect();
        fates.sort_by_key(|fate| {
            std::cmp::Reverse((fate.opened_millis, fate.committed_millis, fate.id))
        });
        Simulation {
            time_zone: self.retention.calendar.name().to_owned(),
            until_millis,
            freed: freed_by_day(self.retention, &fates),
            snapshots: fates,
            confirmations: self.confirmations,
        }
    }

    fn take_fate(&mut self, snapshot: &SnapshotForecast) -> SnapshotFate {
        let SnapshotFacts {
            id,
            opened_millis,
            committed_millis,
            ..
        } = snapshot.facts;
        SnapshotFate {
            id,
            opened_millis,
            committed_millis,
            kept: self.kept.remove(&id).unwrap_or_default(),
            expires: self.expired.get(&id).copied(),
            bytes_unique: snapshot.bytes_unique,
        }
    }
}

fn freed_by_day(retention: &Retention, fates: &[SnapshotFate]) -> Vec<DayFreed> {
    let mut days: BTreeMap<crate::Bucket, DayFreed> = BTreeMap::new();
    for fate in fates {
        let Some(expiry) = fate
            .expires
            .filter(|expiry| expiry.trash_ends_millis < i64::MAX)
        else {
            continue;
        };
        let bucket = retention
            .calendar
            .bucket(Unit::Day, expiry.trash_ends_millis);
        let day = days.entry(bucket).or_insert_with(|| DayFreed {
            day: bucket.to_string(),
            snapshots: 0,
            bytes_at_least: 0,
            snapshots_of_unknown_bytes: 0,
        });
        day.snapshots += 1;
        day.bytes_at_least = day
            .bytes_at_least
            .saturating_add(fate.bytes_unique.unwrap_or(0));
        day.snapshots_of_unknown_bytes += usize::from(fate.bytes_unique.is_none());
    }
    days.into_values().collect()
}

fn serialize_id<S: Serializer>(id: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{:032x}", u128::from_be_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Schedule, calendar::millis};

    fn retention(policy: &str) -> Retention {
        Policy::parse(&format!("version = 1\n{policy}"))
            .unwrap()
            .effective("s")
    }

    /// Simulates a schedule with a daily run and 100 bytes a snapshot.
    fn run(policy: &str, every: &str, from: &str, until: &str) -> Simulation {
        let retention = retention(policy);
        let (from_millis, until_millis) = (millis(from), millis(until));
        let schedule = Schedule {
            every: every.parse().unwrap(),
            from_millis,
            until_millis,
        };
        let made = schedule.snapshots(&retention.calendar).unwrap();
        let snapshots: Vec<SnapshotForecast> = made
            .into_iter()
            .map(|facts| SnapshotForecast {
                facts,
                bytes_unique: Some(100),
            })
            .collect();
        let options = SimulationOptions {
            from_millis,
            until_millis,
            run_every_hours: 24,
        };
        simulate(&retention, &snapshots, &options)
    }

    fn days(retention: &Retention, fates: Vec<&SnapshotFate>) -> Vec<String> {
        let day = |fate: &&SnapshotFate| {
            retention
                .calendar
                .bucket(Unit::Day, fate.opened_millis)
                .to_string()
        };
        fates.iter().map(day).collect()
    }

    #[test]
    fn says_what_is_kept_when() {
        let policy = "keep.daily = 3\nkeep.monthly = 2\ntrash = '2d'";
        let simulation = run(
            policy,
            "daily at 02:00",
            "2026-01-01T00:00Z",
            "2026-04-10T00:00Z",
        );
        let check = |at: &str, catalog: &[&str], trash: &[&str]| {
            let retention = retention(policy);
            assert_eq!(
                days(&retention, simulation.catalog_at(millis(at)).collect()),
                catalog
            );
            assert_eq!(
                days(&retention, simulation.trash_at(millis(at)).collect()),
                trash
            );
        };
        check("2026-01-01T12:00Z", &["2026-01-01"], &[]);
        check(
            "2026-02-15T00:00Z",
            &["2026-02-14", "2026-02-13", "2026-02-12", "2026-01-31"],
            &["2026-02-11", "2026-02-10"],
        );
        check(
            "2026-04-10T00:00Z",
            &["2026-04-09", "2026-04-08", "2026-04-07", "2026-03-31"],
            &["2026-04-06", "2026-04-05"],
        );
    }

    #[test]
    fn says_when_and_why_each_leaves() {
        let simulation = run(
            "keep.last = 1\ntrash = '1mo'",
            "daily at 02:00",
            "2026-01-30T00:00Z",
            "2026-02-02T00:00Z",
        );
        let check = |index: usize, kept: &[&str], expires: Option<(&str, &str)>| {
            let fate = &simulation.snapshots[index];
            let reasons: Vec<String> = fate.kept.iter().map(ToString::to_string).collect();
            assert_eq!(reasons, kept);
            let found = fate
                .expires
                .map(|expiry| (expiry.expired_millis, expiry.trash_ends_millis));
            assert_eq!(
                found,
                expires.map(|(expired, ends)| (millis(expired), millis(ends)))
            );
        };
        check(0, &["newest complete", "last 1"], None);
        check(1, &[], Some(("2026-02-02T00:00Z", "2026-03-02T00:00Z")));
        check(2, &[], Some(("2026-02-01T00:00Z", "2026-03-01T00:00Z")));
    }

    #[test]
    fn adds_up_what_is_freed() {
        let policy = "keep.last = 1\ntrash = '0'\ntime_zone = 'America/New_York'";
        let simulation = run(policy, "every 8h", "2026-01-30T00:00Z", "2026-02-01T00:00Z");
        let found: Vec<(&str, usize, u64)> = simulation
            .freed
            .iter()
            .map(|day| (day.day.as_str(), day.snapshots, day.bytes_at_least))
            .collect();
        // Runs at midnight in UTC, which is the day before in New York.
        assert_eq!(found, [("2026-01-30", 3, 300), ("2026-01-31", 2, 200)]);
    }

    #[test]
    fn says_where_an_operator_is_asked() {
        let retention = retention("keep.last = 1");
        let snapshots: Vec<SnapshotForecast> = (0..10_u8)
            .map(|index| SnapshotForecast {
                facts: SnapshotFacts {
                    id: [index; 16],
                    opened_millis: index.into(),
                    committed_millis: index.into(),
                    held: index == 3,
                    partial: false,
                },
                bytes_unique: (index % 2 == 0).then_some(7),
            })
            .collect();
        let options = SimulationOptions {
            from_millis: 100,
            until_millis: 100,
            run_every_hours: 1,
        };
        let simulation = simulate(&retention, &snapshots, &options);
        let asked = Confirmation {
            at_millis: 100,
            expire: 8,
            expire_max: 5,
            snapshots: 10,
        };
        assert_eq!(simulation.confirmations, [asked]);
        let day = &simulation.freed[0];
        assert_eq!(
            (
                day.snapshots,
                day.bytes_at_least,
                day.snapshots_of_unknown_bytes
            ),
            (8, 35, 3)
        );
    }

    #[test]
    fn is_plain_data() {
        let simulation = run(
            "keep.last = 1",
            "daily at 02:00",
            "2026-01-30T00:00Z",
            "2026-02-01T00:00Z",
        );
        let json = serde_json::to_value(&simulation).unwrap();
        let check = |pointer: &str, wanted: serde_json::Value| {
            assert_eq!(json.pointer(pointer), Some(&wanted), "{pointer}");
        };
        check("/time_zone", "UTC".into());
        check("/snapshots/0/id", "ffffffffffffffff0000000000000001".into());
        check("/snapshots/0/kept/1", "last 1".into());
        check("/snapshots/1/expires/why", "kept by no rule".into());
        check("/freed/0/day", "2026-02-08".into());
        check("/freed/0/bytes_at_least", 100.into());
    }
}
