use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// When the log ended before the guard opened.
const START: i64 = 1_800_000_000_000;

/// Clocks at so much after [`START`]; the monotonic one began at zero.
fn at(log: i64, local: i64, monotonic: i64) -> ClockReading {
    ClockReading {
        log_millis: START + log,
        local_millis: START + local,
        monotonic_millis: monotonic,
        sites: Vec::new(),
        coordinators: Vec::new(),
    }
}

fn reference(name: &str, offset: i64) -> Reference {
    Reference {
        name: name.into(),
        millis: START + offset,
    }
}

/// What the verdict says in short: `ok`, or the reason and when it ends.
fn short(verdict: &ClockVerdict) -> String {
    match verdict {
        ClockVerdict::Allowed { .. } => "ok".into(),
        ClockVerdict::Waiting {
            why,
            until_monotonic_millis: until,
        } => {
            let why = match why {
                ClockWait::Disagrees { reference, .. } => format!("disagrees {reference}"),
                ClockWait::Drifted { .. } => "drifted".into(),
                ClockWait::LogAhead { .. } => "log ahead".into(),
                ClockWait::Leapt { .. } => "leapt".into(),
            };
            until.map_or(why.clone(), |until| {
                format!("{why} until {}m", until / MINUTE)
            })
        }
    }
}

/// Steps through readings; `None` is an operator's confirmation.
fn check(steps: &[(Option<ClockReading>, &str)]) {
    let mut guard = ClockGuard::open(START);
    for (index, (reading, wanted)) in steps.iter().enumerate() {
        guard = match reading {
            None => guard.confirm(),
            Some(reading) => {
                let (guard, verdict) = guard.step(reading);
                assert_eq!(short(&verdict), *wanted, "step {index}");
                guard
            }
        };
    }
}

#[test]
fn allows_a_clock_that_runs() {
    check(&[
        (Some(at(0, 0, 0)), "ok"),
        (Some(at(HOUR, HOUR, HOUR)), "ok"),
        (Some(at(HOUR, 2 * HOUR + 5 * MINUTE, 2 * HOUR)), "ok"),
    ]);
    let (_, verdict) = ClockGuard::open(START).step(&at(0, 7, 0));
    assert_eq!(
        verdict,
        ClockVerdict::Allowed {
            now_millis: START + 7
        }
    );
}

#[test]
fn asks_sites_then_coordinators_then_its_own_clock() {
    fn check_references(sites: &[i64], coordinators: &[i64], wanted: &str) {
        let mut reading = at(0, 0, 0);
        reading.sites = sites
            .iter()
            .map(|offset| reference("site", *offset))
            .collect();
        reading.coordinators = coordinators
            .iter()
            .map(|offset| reference("node", *offset))
            .collect();
        check(&[(Some(reading), wanted)]);
    }
    check_references(&[], &[], "ok");
    check_references(&[5 * MINUTE, -5 * MINUTE], &[HOUR], "ok");
    check_references(&[0, 5 * MINUTE + 1], &[], "disagrees site");
    check_references(&[0, -5 * MINUTE - 1], &[0], "disagrees site");
    check_references(&[], &[5 * MINUTE], "ok");
    check_references(&[], &[0, DAY], "disagrees node");
}

#[test]
fn names_the_furthest_reference() {
    let mut reading = at(0, 0, 0);
    reading.sites = vec![
        reference("a", -6 * MINUTE),
        reference("b", 9 * MINUTE),
        reference("c", 0),
    ];
    let (_, verdict) = ClockGuard::open(START).step(&reading);
    let why = ClockWait::Disagrees {
        reference: "b".into(),
        ahead_millis: -9 * MINUTE,
    };
    assert_eq!(
        verdict,
        ClockVerdict::Waiting {
            why,
            until_monotonic_millis: None
        }
    );
}

#[test]
fn no_confirmation_overrules_a_reference() {
    let mut reading = at(0, 0, 0);
    reading.sites = vec![reference("site", HOUR)];
    check(&[
        (Some(reading.clone()), "disagrees site"),
        (None, ""),
        (Some(reading), "disagrees site"),
    ]);
}

#[test]
fn notices_a_lone_clock_that_is_set() {
    check(&[
        (Some(at(0, 0, 0)), "ok"),
        (Some(at(0, HOUR, HOUR)), "ok"),
        (Some(at(0, 3 * HOUR, 2 * HOUR)), "drifted"),
        (Some(at(0, 10 * HOUR, 9 * HOUR)), "drifted"),
        (None, ""),
        (Some(at(0, 10 * HOUR, 9 * HOUR)), "ok"),
    ]);
    check(&[
        (Some(at(0, 0, 0)), "ok"),
        (Some(at(0, -6 * MINUTE, 0)), "drifted"),
    ]);
}

#[test]
fn waits_an_hour_after_a_leap() {
    check(&[
        (Some(at(0, 25 * HOUR, 0)), "leapt until 60m"),
        (
            Some(at(25 * HOUR, 25 * HOUR + 59 * MINUTE, 59 * MINUTE)),
            "leapt until 60m",
        ),
        (Some(at(25 * HOUR, 26 * HOUR, HOUR)), "ok"),
    ]);
    check(&[(Some(at(0, DAY, 0)), "ok")]);
    check(&[(Some(at(0, DAY + 1, 0)), "leapt until 60m")]);
    check(&[
        (Some(at(2 * DAY, 2 * DAY, 0)), "leapt until 60m"),
        (None, ""),
        (Some(at(2 * DAY, 2 * DAY, 1)), "ok"),
    ]);
}

#[test]
fn begins_the_hour_anew_when_the_clock_is_unsteady() {
    let mut unsure = at(0, 2 * DAY + 30 * MINUTE, 30 * MINUTE);
    unsure.sites = vec![reference("site", 0)];
    check(&[
        (Some(at(0, 2 * DAY, 0)), "leapt until 60m"),
        (Some(unsure), "disagrees site"),
        (
            Some(at(0, 2 * DAY + 60 * MINUTE, 60 * MINUTE)),
            "leapt until 90m",
        ),
        (Some(at(0, 2 * DAY + 90 * MINUTE, 90 * MINUTE)), "ok"),
    ]);
}

#[test]
fn begins_the_hour_anew_when_all_clocks_but_the_monotonic_one_move() {
    let with_site = |local, monotonic| {
        let mut reading = at(0, local, monotonic);
        reading.sites = vec![reference("site", local)];
        Some(reading)
    };
    check(&[
        (with_site(2 * DAY, 0), "leapt until 60m"),
        (
            with_site(2 * DAY + 36 * MINUTE, 30 * MINUTE),
            "leapt until 90m",
        ),
        (
            with_site(2 * DAY + 66 * MINUTE, 60 * MINUTE),
            "leapt until 90m",
        ),
        (with_site(2 * DAY + 96 * MINUTE, 90 * MINUTE), "ok"),
    ]);
}

#[test]
fn an_idle_vault_does_not_leap() {
    check(&[
        (Some(at(0, 0, 0)), "ok"),
        (Some(at(0, 9 * DAY, 9 * DAY)), "ok"),
    ]);
    // A machine that slept through the nine days cannot know.
    let mut awake = at(0, 9 * DAY, HOUR);
    awake.sites = vec![reference("site", 9 * DAY)];
    check(&[(Some(at(0, 0, 0)), "ok"), (Some(awake), "leapt until 120m")]);
}

#[test]
fn a_leap_that_is_undone_hides_no_other() {
    let with_site = |local, monotonic| {
        let mut reading = at(0, local, monotonic);
        reading.sites = vec![reference("site", local)];
        Some(reading)
    };
    check(&[
        (with_site(0, 0), "ok"),
        (with_site(900 * DAY, 1), "leapt until 60m"),
        (None, ""),
        (with_site(0, 2), "ok"),
        (with_site(800 * DAY, 3), "leapt until 60m"),
    ]);
}

#[test]
fn waits_while_the_log_is_ahead() {
    check(&[
        (Some(at(6 * MINUTE, 0, 0)), "log ahead"),
        (None, ""),
        (Some(at(6 * MINUTE, 0, 1)), "ok"),
        (Some(at(6 * MINUTE, MINUTE, MINUTE)), "ok"),
    ]);
    check(&[(Some(at(5 * MINUTE, 0, 0)), "ok")]);
    // Ten years ahead: the leap is seen too, and one confirmation covers both.
    check(&[
        (Some(at(3650 * DAY, 0, 0)), "log ahead"),
        (Some(at(3650 * DAY, 2 * HOUR, 2 * HOUR)), "log ahead"),
        (None, ""),
        (Some(at(3650 * DAY, 2 * HOUR, 2 * HOUR)), "ok"),
        // Another leap takes another confirmation.
        (Some(at(3660 * DAY, 2 * HOUR, 2 * HOUR)), "log ahead"),
    ]);
}

#[test]
fn waits_when_the_monotonic_clock_goes_back() {
    check(&[
        (Some(at(0, HOUR, HOUR)), "ok"),
        (Some(at(0, HOUR, 0)), "leapt until 60m"),
        (Some(at(0, 2 * HOUR, HOUR)), "ok"),
    ]);
}

proptest! {
    #[test]
    fn never_allows_a_clock_that_a_site_disputes(
        steps in prop::collection::vec((0_i64..3 * DAY, 0_i64..3 * DAY, 0_i64..3 * DAY, -HOUR..HOUR, any::<bool>()), 1..20),
    ) {
        let mut guard = ClockGuard::open(START);
        for (log, local, monotonic, offset, confirmed) in steps {
            let mut reading = at(log, local, monotonic);
            reading.sites = vec![reference("site", local + offset)];
            guard = if confirmed { guard.confirm() } else { guard };
            let (next, verdict) = guard.step(&reading);
            guard = next;
            let allowed = matches!(verdict, ClockVerdict::Allowed { .. });
            prop_assert!(!allowed || offset.abs() <= AGREE_MILLIS);
        }
    }

    #[test]
    fn never_panics_on_any_clock(
        start: i64,
        steps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), prop::option::of(any::<i64>())), 1..8),
    ) {
        let mut guard = ClockGuard::open(start);
        for (log_millis, local_millis, monotonic_millis, site) in steps {
            let sites = vec![Reference { name: "site".into(), millis: site.unwrap_or(local_millis) }];
            let coordinators = Vec::new();
            let reading = ClockReading { log_millis, local_millis, monotonic_millis, sites, coordinators };
            (guard, _) = guard.step(&reading);
            (guard, _) = guard.step(&ClockReading { sites: Vec::new(), ..reading });
        }
    }

    #[test]
    fn a_leap_costs_an_hour_of_steps_or_a_confirmation(
        leap in DAY + 1..1000 * DAY,
        passes in prop::collection::vec(0_i64..20 * MINUTE, 1..12),
    ) {
        let (mut guard, first) = ClockGuard::open(START).step(&at(0, leap, 0));
        prop_assert!(short(&first).starts_with("leapt"));
        let mut passed = 0;
        for pass in passes {
            passed += pass;
            let (next, verdict) = guard.step(&at(leap, leap + passed, passed));
            guard = next;
            prop_assert_eq!(matches!(verdict, ClockVerdict::Allowed { .. }), passed >= HOUR);
        }
    }
}
