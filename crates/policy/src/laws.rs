//! The laws of [`decide`](crate::decide()), tried on random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::{
    Depth, Fate, Keep, KeepReason, Period, Retention, Rule, SnapshotFacts, Unit,
    calendar::{Calendar, millis},
    decide,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const ZONES: [&str; 4] = [
    "UTC",
    "Europe/Helsinki",
    "America/New_York",
    "Asia/Kathmandu",
];

fn start() -> i64 {
    millis("2023-11-01T00:00Z")
}

fn id(index: usize) -> [u8; 16] {
    (index as u128).to_be_bytes()
}

/// Snapshots at random times within two years, some committed late, held or partial.
fn any_history() -> impl Strategy<Value = Vec<SnapshotFacts>> {
    let snapshot = (
        0..730 * 24_i64,
        0..100_i64,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.3),
    );
    prop::collection::vec(snapshot, 0..40).prop_map(|snapshots| {
        let facts = |(index, (opened, took, held, partial)): (usize, (i64, i64, bool, bool))| {
            let opened_millis = start() + opened * HOUR;
            SnapshotFacts {
                id: id(index),
                opened_millis,
                committed_millis: opened_millis + took * HOUR / 10,
                held,
                partial,
            }
        };
        snapshots.into_iter().enumerate().map(facts).collect()
    })
}

fn any_depth() -> impl Strategy<Value = Option<Depth>> {
    prop_oneof![
        3 => Just(None),
        3 => (0_u32..6).prop_map(|count| Some(Depth::Count(count))),
        2 => (1_u16..400).prop_map(|days| Some(Depth::For(Period::days(days)))),
        1 => Just(Some(Depth::Forever)),
    ]
}

fn any_keep() -> impl Strategy<Value = Keep> {
    let count = any_depth().prop_map(|depth| depth.filter(|depth| !matches!(depth, Depth::For(_))));
    let within =
        any_depth().prop_map(|depth| depth.filter(|depth| !matches!(depth, Depth::Count(_))));
    let units = (
        any_depth(),
        any_depth(),
        any_depth(),
        any_depth(),
        any_depth(),
    );
    (count, within, units).prop_map(|(last, within, (hourly, daily, weekly, monthly, yearly))| {
        Keep {
            last,
            within,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
        }
    })
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let max_age = prop::option::weighted(0.3, (30_u16..700).prop_map(Period::days));
    (any_keep(), 0_u16..30, max_age, prop::sample::select(&ZONES)).prop_map(
        |(keep, min_days, max_age, zone)| Retention {
            calendar: Calendar::named(zone).unwrap(),
            keep,
            min_age: Period::days(min_days),
            max_age,
            ..Retention::default()
        },
    )
}

fn any_now() -> impl Strategy<Value = i64> {
    (0..900 * 24_i64).prop_map(|hours| start() + hours * HOUR)
}

fn kept(retention: &Retention, snapshots: &[SnapshotFacts], now: i64) -> BTreeSet<[u8; 16]> {
    let decisions = decide(retention, snapshots, now);
    decisions
        .iter()
        .filter(|decision| !decision.expires())
        .map(|decision| decision.id)
        .collect()
}

/// Applies retention at each time in turn to what the runs before left, as the actor does.
fn kept_by_runs(
    retention: &Retention,
    snapshots: &[SnapshotFacts],
    runs: &[i64],
) -> BTreeSet<[u8; 16]> {
    let mut expired: BTreeSet<[u8; 16]> = BTreeSet::new();
    let mut catalog: Vec<SnapshotFacts> = Vec::new();
    for now in runs {
        let committed = snapshots
            .iter()
            .filter(|facts| facts.committed_millis <= *now);
        catalog = committed
            .filter(|facts| !expired.contains(&facts.id))
            .copied()
            .collect();
        let kept = kept(retention, &catalog, *now);
        expired.extend(
            catalog
                .iter()
                .map(|facts| facts.id)
                .filter(|id| !kept.contains(id)),
        );
        catalog.retain(|facts| kept.contains(&facts.id));
    }
    catalog.iter().map(|facts| facts.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_snapshot_is_decided_once_and_with_a_reason(
        retention in any_retention(), snapshots in any_history(), now in any_now(),
    ) {
        let decisions = decide(&retention, &snapshots, now);
        let ids: BTreeSet<_> = decisions.iter().map(|decision| decision.id).collect();
        prop_assert_eq!(ids.len(), snapshots.len());
        prop_assert_eq!(decisions.len(), snapshots.len());
        for decision in decisions {
            if let Fate::Keep(reasons) = decision.fate {
                prop_assert!(!reasons.is_empty());
            }
        }
    }

    #[test]
    fn nothing_expires_without_a_policy(
        snapshots in any_history(), now in any_now(), min_days in 0_u16..30,
    ) {
        let retention = Retention { min_age: Period::days(min_days), ..Retention::default() };
        prop_assert_eq!(kept(&retention, &snapshots, now).len(), snapshots.len());
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        retention in any_retention(), snapshots in any_history(), now in any_now(), seed: u128,
    ) {
        let mut shuffled = snapshots.clone();
        shuffled.sort_by_key(|facts| u128::from_be_bytes(facts.id).wrapping_mul(seed | 1).rotate_left(64));
        prop_assert_eq!(decide(&retention, &shuffled, now), decide(&retention, &snapshots, now));
    }

    #[test]
    fn a_hold_expires_nothing_more_and_keeps_its_own(
        retention in any_retention(), snapshots in any_history(), now in any_now(), at: prop::sample::Index,
    ) {
        prop_assume!(!snapshots.is_empty());
        let mut held = snapshots.clone();
        let at = at.index(held.len());
        held[at].held = true;
        let (before, after) = (kept(&retention, &snapshots, now), kept(&retention, &held, now));
        prop_assert!(after.is_superset(&before));
        prop_assert!(after.contains(&held[at].id));
    }

    #[test]
    fn what_is_young_or_held_stays(
        retention in any_retention(), snapshots in any_history(), now in any_now(),
    ) {
        let calendar = &retention.calendar;
        let kept = kept(&retention, &snapshots, now);
        for facts in &snapshots {
            let young = calendar.after_millis(facts.committed_millis, retention.min_age) > now;
            let over_age = retention.max_age.is_some_and(|age| calendar.after_millis(facts.opened_millis, age) <= now);
            prop_assert!(!facts.held || kept.contains(&facts.id));
            prop_assert!(!young || over_age || kept.contains(&facts.id));
            prop_assert!(facts.held || !over_age || !kept.contains(&facts.id));
        }
    }

    #[test]
    fn the_newest_complete_one_stays(
        retention in any_retention(), snapshots in any_history(), now in any_now(),
    ) {
        let retention = Retention { max_age: None, ..retention };
        let complete = snapshots.iter().filter(|facts| !facts.partial && facts.committed_millis <= now);
        let newest = complete.max_by_key(|facts| (facts.opened_millis, facts.committed_millis, facts.id));
        if let Some(newest) = newest {
            prop_assert!(kept(&retention, &snapshots, now).contains(&newest.id));
        }
    }

    #[test]
    fn a_partial_one_never_expires_a_complete_one(
        retention in any_retention(), snapshots in any_history(), now in any_now(),
    ) {
        let complete: Vec<SnapshotFacts> = snapshots.iter().filter(|facts| !facts.partial).copied().collect();
        let alone = kept(&retention, &complete, now);
        prop_assert!(kept(&retention, &snapshots, now).is_superset(&alone));
    }

    #[test]
    fn one_from_the_future_changes_nothing(
        retention in any_retention(), snapshots in any_history(), now in any_now(), ahead in 1..1_000_000_i64,
    ) {
        let mut with = snapshots.clone();
        let opened_millis = now + ahead * HOUR;
        with.push(SnapshotFacts {
            id: id(snapshots.len()), opened_millis, committed_millis: opened_millis, held: false, partial: false,
        });
        let mut wanted = kept(&retention, &snapshots, now);
        wanted.insert(id(snapshots.len()));
        prop_assert_eq!(kept(&retention, &with, now), wanted);
    }

    #[test]
    fn a_deeper_rule_expires_nothing_more(
        retention in any_retention(), snapshots in any_history(), now in any_now(), more in 1_u32..5,
    ) {
        prop_assume!(!retention.keep.rules().is_empty());
        let deeper = |depth: Option<Depth>| match depth {
            Some(Depth::Count(count)) => Some(Depth::Count(count + more)),
            Some(Depth::For(period)) => period.times(1 + more).map(Depth::For),
            other => other,
        };
        let keep = &retention.keep;
        let keep = Keep { last: deeper(keep.last), daily: deeper(keep.daily), monthly: deeper(keep.monthly), ..keep.clone() };
        let wider = Retention { keep, ..retention.clone() };
        prop_assert!(kept(&wider, &snapshots, now).is_superset(&kept(&retention, &snapshots, now)));
    }

    /// What runs have kept so far, one run over everything that ever was would keep as well: no
    /// snapshot is missed later that an earlier run threw away.
    #[test]
    fn no_run_regrets_an_earlier_one(
        retention in any_retention(), snapshots in any_history(), mut runs in prop::collection::vec(any_now(), 1..12),
    ) {
        runs.sort_unstable();
        let last = runs[runs.len() - 1];
        let ever: Vec<SnapshotFacts> = snapshots.iter().filter(|facts| facts.committed_millis <= last).copied().collect();
        let by_runs = kept_by_runs(&retention, &snapshots, &runs);
        prop_assert!(by_runs.is_superset(&kept(&retention, &ever, last)));
    }

    /// And but for partial ones, no more: how often retention runs makes no difference.
    #[test]
    fn the_times_of_runs_do_not_matter(
        retention in any_retention(), mut snapshots in any_history(), mut runs in prop::collection::vec(any_now(), 1..12),
    ) {
        snapshots.iter_mut().for_each(|facts| facts.partial = false);
        runs.sort_unstable();
        let last = runs[runs.len() - 1];
        let ever: Vec<SnapshotFacts> = snapshots.iter().filter(|facts| facts.committed_millis <= last).copied().collect();
        prop_assert_eq!(kept_by_runs(&retention, &snapshots, &runs), kept(&retention, &ever, last));
    }

    #[test]
    fn last_keeps_the_newest(count in 1_u32..10, mut snapshots in any_history()) {
        snapshots.iter_mut().for_each(|facts| (facts.partial, facts.held) = (false, false));
        let keep = Keep { last: Some(Depth::Count(count)), ..Keep::default() };
        let retention = Retention { keep, ..Retention::default() };
        let now = start() + 1000 * DAY;
        snapshots.sort_by_key(|facts| (facts.opened_millis, facts.committed_millis, facts.id));
        let newest = snapshots.iter().rev().take(count as usize).map(|facts| facts.id).collect();
        prop_assert_eq!(kept(&retention, &snapshots, now), newest);
    }
}

/// A unit's rule with a count, run daily over years with some days' backups missing.
#[derive(Debug, Clone)]
struct Years {
    zone: &'static str,
    rule: Rule,
    count: usize,
    /// For each day, the minutes into the day (UTC) of its backups.
    days: Vec<Vec<i64>>,
}

fn any_years() -> impl Strategy<Value = Years> {
    let day = prop_oneof![1 => Just(vec![]), 3 => prop::collection::vec(0_i64..1440, 1..3)];
    let rule = prop::sample::select(&[Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly][..]);
    (
        prop::sample::select(&ZONES),
        rule,
        1_usize..15,
        prop::collection::vec(day, 400..1200),
    )
        .prop_map(|(zone, rule, count, days)| Years {
            zone,
            rule,
            count,
            days,
        })
}

fn keep_counts(rule: Rule, count: u32) -> Keep {
    let depth = Some(Depth::Count(count));
    match rule {
        Rule::Daily => Keep {
            daily: depth,
            ..Keep::default()
        },
        Rule::Weekly => Keep {
            weekly: depth,
            ..Keep::default()
        },
        Rule::Monthly => Keep {
            monthly: depth,
            ..Keep::default()
        },
        _ => Keep {
            yearly: depth,
            ..Keep::default()
        },
    }
}

/// After each daily run the newest `count` units that ever had a backup have a restore point each,
/// the last backup that the unit ever had, and there is nothing else.
fn check_years(years: &Years) -> Result<(), TestCaseError> {
    let calendar = Calendar::named(years.zone).unwrap();
    let unit: Unit = years.rule.unit().unwrap();
    let keep = keep_counts(years.rule, years.count as u32);
    let retention = Retention {
        calendar: calendar.clone(),
        keep,
        ..Retention::default()
    };
    let mut last_of_unit = BTreeMap::new();
    let mut catalog: Vec<SnapshotFacts> = Vec::new();
    let mut made = 0;
    for (day, minutes) in (0_i64..).zip(&years.days) {
        for minute in minutes {
            let opened_millis = start() + day * DAY + minute * 60_000;
            catalog.push(SnapshotFacts {
                id: id(made),
                opened_millis,
                committed_millis: opened_millis,
                held: false,
                partial: false,
            });
            made += 1;
            let last = last_of_unit
                .entry(calendar.bucket(unit, opened_millis))
                .or_insert(opened_millis);
            *last = opened_millis.max(*last);
        }
        let kept = kept(&retention, &catalog, start() + (day + 1) * DAY);
        catalog.retain(|facts| kept.contains(&facts.id));
        let found: BTreeSet<i64> = catalog.iter().map(|facts| facts.opened_millis).collect();
        let wanted: BTreeSet<i64> = last_of_unit
            .values()
            .rev()
            .take(years.count)
            .copied()
            .collect();
        prop_assert_eq!(found, wanted, "day {}", day);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn years_of_daily_runs_keep_every_unit(years in any_years()) {
        check_years(&years)?;
    }
}

#[test]
fn three_years_of_nightly_backups_keep_twelve_months() {
    let days = vec![vec![120]; 3 * 365];
    check_years(&Years {
        zone: "Europe/Helsinki",
        rule: Rule::Monthly,
        count: 12,
        days,
    })
    .unwrap();
}

#[test]
fn reasons_name_the_month_for_years() {
    let keep = Keep {
        daily: Some(Depth::Count(7)),
        monthly: Some(Depth::Forever),
        ..Keep::default()
    };
    let retention = Retention {
        keep,
        ..Retention::default()
    };
    let mut catalog: Vec<SnapshotFacts> = Vec::new();
    for day in 0..(4 * 366) {
        let opened_millis = start() + day * DAY;
        let facts = SnapshotFacts {
            id: id(day as usize),
            opened_millis,
            committed_millis: opened_millis,
            held: false,
            partial: false,
        };
        catalog.push(facts);
        let kept = kept(&retention, &catalog, opened_millis);
        catalog.retain(|facts| kept.contains(&facts.id));
    }
    let now = start() + 4 * 366 * DAY;
    let monthly = decide(&retention, &catalog, now)
        .into_iter()
        .filter(|decision| match &decision.fate {
            Fate::Keep(reasons) => reasons
                .iter()
                .any(|reason| matches!(reason, KeepReason::Bucket(Rule::Monthly, _))),
            Fate::Expire(_) => false,
        });
    // November 2023 to November 2027; and of seven days, two of which are months' last ones.
    assert_eq!((monthly.count(), catalog.len()), (49, 49 + 7 - 2));
}
