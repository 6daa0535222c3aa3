//! Which snapshots of one source are kept now, each with all its reasons, and which expire.
//!
//! What people expect of restic and Borg, made to hold together:
//!
//! - A calendar rule keeps the **newest** snapshot of each hour, day, week, month or year that has
//!   one, of as many as its depth says, the current one included. Units without a snapshot do not
//!   count. Rules are independent: one snapshot may be the last of its day and of its month.
//! - So nothing ever vanishes from a rule but by growing old. While a month lasts, its newest
//!   snapshot moves on; once it is over, the last one is the month's for good: it was the newest
//!   when it came, and was kept at every run since. Hence what is kept does not depend on when, or
//!   how often, the rules are applied (`laws.rs` proves it).
//! - Periods (`within = "7d"`, `daily = "4w"`) reach back from the source's newest snapshot, as
//!   restic's do, not from now: a source whose backups stop keeps what it has. For a limit that
//!   runs on regardless there is `max_age`.
//! - A **partial** snapshot, one in which some files could not be read, never costs a complete one
//!   its place. In its unit a complete one goes before a newer partial one; and the rules are
//!   applied twice, to all snapshots and to the complete ones alone, and what either keeps stays.
//! - The newest complete snapshot stays, whatever the rules say, until `max_age`.
//! - Nothing expires without a keep rule or a maximum age; nothing held expires; nothing expires
//!   that was committed less than `min_age` ago, `max_age` excepted.
//! - A snapshot dated later than now tells of a wrong clock. It is kept and counts for no rule, so
//!   that it displaces nothing.
//!
//! Half of this file's lines are tests.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Bucket, Depth, ExpireReason, KeepReason, Period, Retention, Rule};

/// What a decision needs to know about a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The snapshot's id.
    pub id: [u8; 16],
    /// When its session was opened, by the coordinator's clock: its place in the calendar.
    pub opened_millis: i64,
    /// When it was committed: from here its minimum age counts.
    pub committed_millis: i64,
    /// A legal hold covers it.
    pub held: bool,
    /// Some of it could not be read.
    pub partial: bool,
}

impl SnapshotFacts {
    fn is_in_future(&self, now_millis: i64) -> bool {
        self.opened_millis.max(self.committed_millis) > now_millis
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot's id.
    pub id: [u8; 16],
    /// Kept or expired, and why.
    pub fate: Fate,
}

impl Decision {
    /// True if the snapshot goes to the trash.
    pub fn expires(&self) -> bool {
        matches!(self.fate, Fate::Expire(_))
    }
}

/// Kept or expired, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It stays, for all of these reasons; there is at least one.
    Keep(Vec<KeepReason>),
    /// It goes to the trash.
    Expire(ExpireReason),
}

/// Decides on all snapshots of one source that are in the catalog and not in the trash. The answer
/// is in the order of opening, newest first, whatever the order of the input.
///
/// `now_millis` is [`crate::ClockVerdict::Allowed`]'s; the plan must then pass
/// [`crate::check_share`].
pub fn decide(
    retention: &Retention,
    snapshots: &[SnapshotFacts],
    now_millis: i64,
) -> Vec<Decision> {
    let mut dated: Vec<Dated> = snapshots
        .iter()
        .map(|facts| Dated::new(retention, *facts))
        .collect();
    sort_newest_first(&mut dated);
    let fates = decide_dated(retention, &dated, now_millis);
    dated
        .iter()
        .zip(fates)
        .map(|(dated, fate)| Decision {
            id: dated.facts.id,
            fate,
        })
        .collect()
}

/// A snapshot with all that its retention's calendar says of it, which time does not change.
#[derive(Debug, Clone)]
pub(crate) struct Dated {
    pub(crate) facts: SnapshotFacts,
    min_age_ends_millis: i64,
    max_age_ends_millis: i64,
    /// One for each rule that is on, in their order.
    places: Vec<Place>,
}

/// A snapshot's place in one rule.
#[derive(Debug, Clone)]
struct Place {
    /// The unit it lies in, for a calendar rule.
    bucket: Option<Bucket>,
    /// When the rule's period has passed for it, if the rule has one.
    ends_millis: i64,
}

impl Dated {
    pub(crate) fn new(retention: &Retention, facts: SnapshotFacts) -> Self {
        let calendar = &retention.calendar;
        let ends = |period: Option<Period>| match period {
            Some(period) => calendar.after_millis(facts.opened_millis, period),
            None => i64::MAX,
        };
        let place = |(rule, depth): (Rule, Depth)| Place {
            bucket: rule
                .unit()
                .map(|unit| calendar.bucket(unit, facts.opened_millis)),
            ends_millis: match depth {
                Depth::For(period) => ends(Some(period)),
                Depth::Count(_) | Depth::Forever => i64::MAX,
            },
        };
        Self {
            facts,
            min_age_ends_millis: calendar.after_millis(facts.committed_millis, retention.min_age),
            max_age_ends_millis: ends(retention.max_age),
            places: retention.keep.rules().into_iter().map(place).collect(),
        }
    }
}

/// The order in which [`decide_dated`] takes them. Ids settle ties.
pub(crate) fn sort_newest_first(dated: &mut [Dated]) {
    let key = |dated: &Dated| {
        (
            dated.facts.opened_millis,
            dated.facts.committed_millis,
            dated.facts.id,
        )
    };
    dated.sort_by_key(|dated| Reverse(key(dated)));
}

/// The fates of snapshots that are sorted newest first.
pub(crate) fn decide_dated(retention: &Retention, dated: &[Dated], now_millis: i64) -> Vec<Fate> {
    let rules = retention.keep.rules();
    let mut reasons: Vec<Vec<KeepReason>> = dated
        .iter()
        .map(|dated| own_reasons(retention, rules.is_empty(), dated, now_millis))
        .collect();
    let counted: Vec<usize> = (0..dated.len())
        .filter(|at| !dated[*at].facts.is_in_future(now_millis))
        .collect();
    let complete: Vec<usize> = counted
        .iter()
        .copied()
        .filter(|at| !dated[*at].facts.partial)
        .collect();
    if let Some(newest) = complete.first() {
        reasons[*newest].push(KeepReason::NewestComplete);
    }
    apply_rules(&rules, dated, &counted, &mut reasons);
    if complete.len() < counted.len() {
        apply_rules(&rules, dated, &complete, &mut reasons);
    }
    let fates = dated.iter().zip(reasons);
    fates
        .map(|(dated, reasons)| fate(retention, dated, reasons, now_millis))
        .collect()
}

fn fate(retention: &Retention, dated: &Dated, reasons: Vec<KeepReason>, now_millis: i64) -> Fate {
    match retention.max_age {
        Some(max_age) if dated.max_age_ends_millis <= now_millis && !dated.facts.held => {
            Fate::Expire(ExpireReason::MaxAge(max_age))
        }
        _ if reasons.is_empty() => Fate::Expire(ExpireReason::NoRule),
        _ => Fate::Keep(reasons),
    }
}

/// Reasons that a snapshot has by itself, without regard to the others.
fn own_reasons(
    retention: &Retention,
    no_rule: bool,
    dated: &Dated,
    now_millis: i64,
) -> Vec<KeepReason> {
    let candidates = [
        (dated.facts.held, KeepReason::Held),
        (no_rule && retention.max_age.is_none(), KeepReason::NoPolicy),
        (
            no_rule && retention.max_age.is_some(),
            KeepReason::NoKeepRule,
        ),
        (dated.facts.is_in_future(now_millis), KeepReason::InFuture),
        (
            !retention.min_age.is_zero() && dated.min_age_ends_millis > now_millis,
            KeepReason::MinAge(retention.min_age),
        ),
    ];
    candidates
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, reason)| reason)
        .collect()
}

/// Adds the reasons that the rules give to `group`: indices into `dated`, newest first.
fn apply_rules(
    rules: &[(Rule, Depth)],
    dated: &[Dated],
    group: &[usize],
    reasons: &mut [Vec<KeepReason>],
) {
    let Some(newest) = group.first() else { return };
    let newest_millis = dated[*newest].facts.opened_millis;
    for (index, (rule, depth)) in rules.iter().enumerate() {
        let restore_points = match rule.unit() {
            Some(_) => one_of_each_bucket(dated, group, index),
            None => group.to_vec(),
        };
        for (rank, at) in restore_points.into_iter().enumerate() {
            let place = &dated[at].places[index];
            let covered = match depth {
                Depth::Count(count) => rank < *count as usize,
                Depth::For(_) => place.ends_millis > newest_millis,
                Depth::Forever => true,
            };
            let reason = match place.bucket {
                Some(bucket) => KeepReason::Bucket(*rule, bucket),
                None => KeepReason::Rule(*rule, *depth),
            };
            if covered && !reasons[at].contains(&reason) {
                reasons[at].push(reason);
            }
        }
    }
}

/// The newest complete snapshot of each bucket, or its newest if it has no complete one. Buckets
/// are in the order of their newest snapshots, so that a partial one never changes their order.
///
/// A map rather than a look at the neighbour: where summer time ends at 00:01, as it did in St.
/// John's, a day begins, gives way to the day before, and goes on.
fn one_of_each_bucket(dated: &[Dated], group: &[usize], index: usize) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut rank_of: BTreeMap<Option<Bucket>, usize> = BTreeMap::new();
    for at in group.iter().copied() {
        let rank = *rank_of
            .entry(dated[at].places[index].bucket)
            .or_insert(chosen.len());
        match chosen.get_mut(rank) {
            None => chosen.push(at),
            Some(kept) if dated[*kept].facts.partial && !dated[at].facts.partial => *kept = at,
            Some(_) => {}
        }
    }
    chosen
}

#[cfg(test)]
mod tests;
