//! Five policies taken from companies' published retention pages, as far as retention goes: each
//! is run over simulated years, and what is kept and freed is compared with its rules.

use crate::{
    Policy, Retention, Schedule, Simulation, SimulationOptions, SnapshotFacts, SnapshotForecast,
    calendar::millis, simulate,
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

const LEADGEN: &str = r#"
version = 1
time_zone = "America/New_York"
trash = "1d"

[keep]           # full daily, incremental hourly: kept 7 days
within = "7d"
"#;

const LEANMES: &str = r#"
version = 1
time_zone = "America/Boise"
max_age = "20y"            # the standard cap of "for ever"
point_in_time = "4w"       # reserved
destroy_within = "30d"     # reserved: of the acknowledgement after termination

[keep]
daily = "4w"               # nightly kept 4 weeks,
weekly = "56w"             # then weekly kept 52 weeks,
monthly = "forever"        # then monthly for ever
"#;

const DESKHOURLY: &str = r#"
version = 1
trash = "0"                # permanently deleted after 6 months, not a week later
max_age = "6mo"

[source."recycle bin"]     # rests 30 days, then goes
max_age = "30d"
"#;

const CALLCENTRE: &str = r#"
version = 1
time_zone = "Europe/Helsinki"

[keep]
daily = 31
weekly = 12
monthly = 3

[source.contracts]         # retention in months, up to 120
keep.monthly = 120

[source.recordings.derived]  # reserved: min(2r, r + 1 year)
own_retention = "18mo"
times = 2
longer_max = "1y"

[source."activity log"]    # 30 days
max_age = "30d"
keep = { daily = 0, weekly = 0, monthly = 0, within = "forever" }
"#;

const DATASMASH: &str = r#"
version = 1                # deletion is on request only, and then complete
trash = "0"
"#;

fn effective(text: &str, source: &str) -> Retention {
    let policy = Policy::parse(text).unwrap();
    assert_eq!(Policy::parse(&policy.to_toml()), Ok(policy.clone()));
    policy.effective(source)
}

fn run(retention: &Retention, every: &str, from: &str, until: &str) -> Simulation {
    let (from_millis, until_millis) = (millis(from), millis(until));
    let schedule = Schedule {
        every: every.parse().unwrap(),
        from_millis,
        until_millis,
    };
    let forecast = |facts: SnapshotFacts| SnapshotForecast {
        facts,
        bytes_unique: None,
    };
    let made = schedule.snapshots(&retention.calendar).unwrap();
    let snapshots: Vec<SnapshotForecast> = made.into_iter().map(forecast).collect();
    let options = SimulationOptions {
        from_millis,
        until_millis,
        run_every_hours: 24,
    };
    simulate(retention, &snapshots, &options)
}

/// Ages, in whole days, of what the catalog holds at a time, youngest first.
fn ages_days(simulation: &Simulation, at: &str) -> Vec<i64> {
    let now = millis(at);
    simulation
        .catalog_at(now)
        .map(|fate| (now - fate.opened_millis) / DAY)
        .collect()
}

#[test]
fn leadgen_keeps_all_of_seven_days() {
    let retention = effective(LEADGEN, "crm");
    let simulation = run(
        &retention,
        "every 1h",
        "2026-01-01T05:00Z",
        "2026-06-01T05:00Z",
    );
    let ages = ages_days(&simulation, "2026-06-01T05:00Z");
    // The last was made an hour ago; one of exactly a week before it is gone.
    assert_eq!((ages.len(), ages[0], ages[167]), (7 * 24, 0, 7));
    assert!(
        simulation
            .snapshots
            .iter()
            .filter_map(|fate| fate.expires)
            .all(|expiry| { expiry.trash_ends_millis - expiry.expired_millis >= 23 * HOUR })
    );
}

#[test]
fn leanmes_keeps_nightly_then_weekly_then_monthly() {
    let retention = effective(LEANMES, "plant");
    let simulation = run(
        &retention,
        "daily at 01:00",
        "2004-01-01T12:00Z",
        "2026-06-30T12:00Z",
    );
    let ages = ages_days(&simulation, "2026-06-30T12:00Z");
    let count = |from: i64, to: i64| ages.iter().filter(|age| (from..to).contains(*age)).count();
    assert_eq!(count(0, 28), 28, "every night of 4 weeks");
    // 52 weeks more; month ends that are no week's end besides.
    assert!(
        (52..=52 + 13).contains(&count(28, 56 * 7)),
        "{}",
        count(28, 56 * 7)
    );
    let monthly = count(56 * 7, i64::MAX);
    assert!(
        (226..=228).contains(&monthly),
        "{monthly} months from 56 weeks to 20 years"
    );
    assert!(
        ages.iter().all(|age| *age < 20 * 366),
        "nothing beyond the cap"
    );
    let reserved = Policy::parse(LEANMES).unwrap().reserved();
    assert_eq!(reserved, ["destroy_within", "point_in_time"]);
}

#[test]
fn deskhourly_keeps_hourly_for_six_months_and_then_nothing() {
    let retention = effective(DESKHOURLY, "desk");
    let simulation = run(
        &retention,
        "every 1h",
        "2026-01-01T00:00Z",
        "2026-10-01T00:00Z",
    );
    let ages = ages_days(&simulation, "2026-10-01T00:00Z");
    // From 1 April, 01:00 on.
    assert_eq!(
        ages.len() as i64,
        (millis("2026-10-01T00:00Z") - millis("2026-04-01T00:00Z")) / HOUR - 1
    );
    // Backups stop, and the last one goes too, at once and for good.
    let stopped = run(
        &retention,
        "every 1h",
        "2026-01-01T00:00Z",
        "2026-01-02T00:00Z",
    );
    let snapshots: Vec<SnapshotForecast> = stopped
        .snapshots
        .iter()
        .map(|fate| SnapshotForecast {
            facts: SnapshotFacts {
                id: fate.id,
                opened_millis: fate.opened_millis,
                committed_millis: fate.committed_millis,
                held: false,
                partial: false,
            },
            bytes_unique: None,
        })
        .collect();
    let options = SimulationOptions {
        from_millis: millis("2026-01-02T00:00Z"),
        until_millis: millis("2026-07-03T00:00Z"),
        run_every_hours: 1,
    };
    let simulation = simulate(&retention, &snapshots, &options);
    assert_eq!(
        simulation.catalog_at(millis("2026-07-01T22:59Z")).count(),
        1
    );
    assert_eq!(
        simulation.catalog_at(millis("2026-07-01T23:00Z")).count(),
        0
    );
    assert_eq!(simulation.trash_at(millis("2026-07-01T23:00Z")).count(), 0);
    assert_eq!(
        effective(DESKHOURLY, "recycle bin")
            .max_age
            .unwrap()
            .to_string(),
        "30d"
    );
}

#[test]
fn callcentre_keeps_31_days_12_weeks_3_months() {
    let retention = effective(CALLCENTRE, "calls");
    let simulation = run(
        &retention,
        "daily at 02:00",
        "2025-01-01T12:00Z",
        "2026-06-30T12:00Z",
    );
    let count = |name: &str| {
        let named = |fate: &&crate::SnapshotFate| {
            fate.kept
                .iter()
                .any(|reason| reason.to_string().starts_with(name))
        };
        simulation
            .catalog_at(millis("2026-06-30T12:00Z"))
            .filter(named)
            .count()
    };
    assert_eq!(
        (count("daily"), count("weekly"), count("monthly")),
        (31, 12, 3)
    );

    let contracts = effective(CALLCENTRE, "contracts");
    let simulation = run(
        &contracts,
        "every 7d",
        "2010-01-01T12:00Z",
        "2026-06-30T12:00Z",
    );
    let months = ages_days(&simulation, "2026-06-30T12:00Z")
        .into_iter()
        .filter(|age| *age > 31 * 7);
    assert_eq!(months.count(), 120 - 8);

    let log = effective(CALLCENTRE, "activity log");
    let simulation = run(&log, "every 12h", "2026-01-01T00:00Z", "2026-06-30T00:00Z");
    assert_eq!(ages_days(&simulation, "2026-06-30T00:00Z").len(), 60 - 1);

    // Reserved: what a recording of 18 months would get is 30 months, not 36.
    let derived = effective(CALLCENTRE, "recordings").derived.unwrap();
    let ends = derived.ends_millis(&retention.calendar, millis("2026-01-01T00:00Z"));
    assert_eq!(ends, millis("2028-06-30T23:00Z"));
}

#[test]
fn datasmash_expires_nothing_by_itself() {
    let retention = effective(DATASMASH, "shop");
    let simulation = run(
        &retention,
        "every 1d",
        "2006-01-01T00:00Z",
        "2008-01-01T00:00Z",
    );
    assert_eq!(
        simulation.catalog_at(millis("2008-01-01T00:00Z")).count(),
        730
    );
    assert!(simulation.freed.is_empty());
}
