use super::*;
use crate::{Policy, calendar::millis};

/// `2026-11-20T10:00Z`, with `p` behind it if partial, `h` if held.
fn facts(index: usize, text: &str) -> SnapshotFacts {
    let instant = millis(text.trim_end_matches(['p', 'h']));
    let mut id = [0; 16];
    id[15] = index as u8;
    SnapshotFacts {
        id,
        opened_millis: instant,
        committed_millis: instant + 60_000,
        held: text.ends_with('h'),
        partial: text.ends_with('p'),
    }
}

/// What becomes of each snapshot, in the order given: its reasons, or `-` and why it expires.
fn fates(policy: &str, now: &str, snapshots: &[&str]) -> Vec<String> {
    let retention = Policy::parse(&format!("version = 1\n{policy}"))
        .unwrap()
        .effective("s");
    let facts: Vec<SnapshotFacts> = snapshots
        .iter()
        .enumerate()
        .map(|(index, text)| facts(index, text))
        .collect();
    let mut decisions = decide(&retention, &facts, millis(now));
    decisions.sort_by_key(|decision| decision.id);
    let text = |decision: &Decision| match &decision.fate {
        Fate::Keep(reasons) => reasons
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        Fate::Expire(reason) => format!("- {reason}"),
    };
    decisions.iter().map(text).collect()
}

fn check(policy: &str, now: &str, snapshots: &[(&str, &str)]) {
    let (given, wanted): (Vec<&str>, Vec<&str>) = snapshots.iter().copied().unzip();
    assert_eq!(fates(policy, now, &given), wanted, "{policy}");
}

#[test]
fn expires_nothing_without_a_policy() {
    check(
        "",
        "2030-01-01T00:00Z",
        &[
            ("1999-01-01T00:00Z", "no policy, newest complete"),
            ("2000-01-01T00:00Zp", "no policy"),
        ],
    );
    check(
        "trash = '0'\nmin_age = '1d'",
        "2030-01-01T00:00Z",
        &[
            ("1999-01-01T00:00Z", "no policy"),
            (
                "2029-12-31T23:00Z",
                "no policy, younger than min_age, newest complete",
            ),
        ],
    );
    check(
        "max_age = '6mo'",
        "2026-12-01T00:00Z",
        &[
            ("2026-06-01T00:00Z", "- older than max_age 6mo"),
            ("2026-06-01T00:00:00.001Z", "no keep rule"),
            ("2026-11-01T00:00Z", "no keep rule, newest complete"),
        ],
    );
}

#[test]
fn keeps_the_last_ones() {
    check(
        "keep.last = 2",
        "2026-12-01T00:00Z",
        &[
            ("2026-11-18T00:00Z", "- kept by no rule"),
            ("2026-11-20T00:00Z", "newest complete, last 2"),
            ("2026-11-19T00:00Z", "last 2"),
        ],
    );
    check(
        "keep.last = 'forever'",
        "2026-12-01T00:00Z",
        &[("2026-11-18T00:00Z", "newest complete, last forever")],
    );
}

#[test]
fn keeps_within_a_period_of_the_newest() {
    check(
        "keep.within = '7d'",
        "2027-12-01T00:00Z",
        &[
            ("2026-11-13T00:00Z", "- kept by no rule"),
            ("2026-11-13T00:00:01Z", "within 7d"),
            ("2026-11-20T00:00Z", "newest complete, within 7d"),
        ],
    );
}

#[test]
fn keeps_the_newest_of_each_unit() {
    check(
        "keep.daily = 2\nkeep.monthly = 2",
        "2026-12-01T00:00Z",
        &[
            ("2026-08-31T00:00Z", "- kept by no rule"),
            ("2026-10-30T23:00Z", "- kept by no rule"),
            ("2026-10-31T23:00Z", "monthly 2026-10"),
            ("2026-11-18T10:00Z", "daily 2026-11-18"),
            ("2026-11-20T10:00Z", "- kept by no rule"),
            (
                "2026-11-20T11:00Z",
                "newest complete, daily 2026-11-20, monthly 2026-11",
            ),
        ],
    );
    check(
        "keep.weekly = 2\nkeep.yearly = 2",
        "2021-02-01T00:00Z",
        &[
            ("2020-12-31T10:00Z", "yearly 2020"),
            ("2021-01-03T10:00Z", "weekly 2020-W53"),
            (
                "2021-01-04T10:00Z",
                "newest complete, weekly 2021-W01, yearly 2021",
            ),
        ],
    );
}

#[test]
fn keeps_tiers_by_period() {
    check(
        "keep.daily = '3d'\nkeep.weekly = '2w'\nkeep.monthly = 'forever'",
        "2026-11-20T12:00Z",
        &[
            ("2026-10-31T10:00Z", "monthly 2026-10"),
            ("2026-11-05T10:00Z", "- kept by no rule"),
            ("2026-11-08T10:00Z", "weekly 2026-W45"),
            ("2026-11-15T10:00Z", "weekly 2026-W46"),
            ("2026-11-17T10:00Z", "- kept by no rule"),
            ("2026-11-18T10:00Z", "daily 2026-11-18"),
            (
                "2026-11-20T10:00Z",
                "newest complete, daily 2026-11-20, weekly 2026-W47, monthly 2026-11",
            ),
        ],
    );
}

#[test]
fn keeps_both_hours_of_an_autumn_night() {
    check(
        "keep.hourly = 3\ntime_zone = 'Europe/Helsinki'",
        "2026-10-25T03:00Z",
        &[
            ("2026-10-25T00:10Z", "- kept by no rule"),
            ("2026-10-25T00:30Z", "hourly 2026-10-25T03+03"),
            ("2026-10-25T01:30Z", "hourly 2026-10-25T03+02"),
            (
                "2026-10-25T02:30Z",
                "newest complete, hourly 2026-10-25T04+02",
            ),
        ],
    );
}

#[test]
fn counts_days_in_the_zone() {
    check(
        "keep.daily = 2\ntime_zone = 'America/New_York'",
        "2026-11-03T00:00Z",
        &[
            ("2026-11-01T03:59Z", "daily 2026-10-31"),
            ("2026-11-01T04:00Z", "- kept by no rule"),
            ("2026-11-02T04:59Z", "newest complete, daily 2026-11-01"),
        ],
    );
}

#[test]
fn lets_no_partial_one_displace_a_complete_one() {
    check(
        "keep.daily = 1",
        "2026-11-21T00:00Z",
        &[
            ("2026-11-20T10:00Z", "newest complete, daily 2026-11-20"),
            ("2026-11-20T11:00Zp", "- kept by no rule"),
        ],
    );
    check(
        "keep.daily = 1",
        "2026-11-21T00:00Z",
        &[
            ("2026-11-19T10:00Z", "newest complete, daily 2026-11-19"),
            ("2026-11-20T10:00Zp", "- kept by no rule"),
            ("2026-11-20T11:00Zp", "daily 2026-11-20"),
        ],
    );
    check(
        "keep.last = 2",
        "2026-11-21T00:00Z",
        &[
            ("2026-11-15T10:00Z", "- kept by no rule"),
            ("2026-11-16T10:00Z", "last 2"),
            ("2026-11-17T10:00Z", "newest complete, last 2"),
            ("2026-11-18T10:00Zp", "- kept by no rule"),
            ("2026-11-19T10:00Zp", "last 2"),
            ("2026-11-20T10:00Zp", "last 2"),
        ],
    );
}

#[test]
fn keeps_what_is_held_and_what_is_young() {
    check(
        "keep.last = 1\nmin_age = '2d'\nmax_age = '30d'",
        "2026-11-20T12:00Z",
        &[
            ("2026-10-01T10:00Z", "- older than max_age 30d"),
            ("2026-10-02T10:00Zh", "held"),
            ("2026-11-18T11:59Z", "- kept by no rule"),
            ("2026-11-18T11:59:01Z", "younger than min_age"),
            (
                "2026-11-20T10:00Z",
                "younger than min_age, newest complete, last 1",
            ),
        ],
    );
}

#[test]
fn lets_max_age_take_even_the_newest() {
    check(
        "keep.last = 1\nmax_age = '30d'",
        "2026-11-20T12:00Z",
        &[
            ("2026-10-01T10:00Z", "- older than max_age 30d"),
            ("2026-10-21T12:00Z", "- older than max_age 30d"),
        ],
    );
}

#[test]
fn keeps_and_skips_what_is_dated_in_the_future() {
    check(
        "keep.last = 1\nkeep.within = '1d'",
        "2026-11-20T12:00Z",
        &[
            ("2026-11-19T13:00Z", "within 1d"),
            ("2026-11-20T11:00Z", "newest complete, last 1, within 1d"),
            ("2036-11-20T12:00Z", "dated in the future"),
        ],
    );
}

#[test]
fn counts_a_day_that_comes_in_two_parts_once() {
    // In 2010 St. John's put its clocks back at 00:01, from 7 November to the 6th.
    check(
        "keep.daily = 2\ntime_zone = 'America/St_Johns'",
        "2010-11-08T00:00Z",
        &[
            ("2010-11-06T02:00Z", "- kept by no rule"),
            ("2010-11-07T02:00Z", "- kept by no rule"),
            ("2010-11-07T02:30:30Z", "- kept by no rule"),
            ("2010-11-07T03:00Z", "daily 2010-11-06"),
            ("2010-11-07T10:00Z", "newest complete, daily 2010-11-07"),
        ],
    );
}
