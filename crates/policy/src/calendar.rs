//! The calendar of a named time zone: which hour, day, week, month and year an instant lies in,
//! and when a period that begins at an instant ends.
//!
//! Instants are milliseconds since 1970 in UTC. Zones come from the database that is compiled in,
//! never from the machine: all coordinators of one release agree, and nothing is read from disk.
//! Instants beyond the years −9999 to 9999 count as the first or the last one of these.

use std::fmt;

use jiff::civil::{Date, ISOWeekDate};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use crate::{Error, Period};

/// A unit of which a keep rule keeps one snapshot each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// An hour of the clock on the wall.
    Hour,
    /// A calendar day.
    Day,
    /// An ISO 8601 week, Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

/// One hour, day, week, month or year of a zone's calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// An hour. The offset from UTC tells the two hours of one name apart that a zone has when its
    /// summer time ends.
    Hour {
        /// Its day.
        date: Date,
        /// 0 to 23.
        hour: i8,
        /// Seconds that local time is ahead of UTC.
        offset_seconds: i32,
    },
    /// A day.
    Day(Date),
    /// An ISO 8601 week.
    Week {
        /// The year that has the week's Thursday.
        year: i16,
        /// 1 to 53.
        week: i8,
    },
    /// A month.
    Month {
        /// Its year.
        year: i16,
        /// 1 to 12.
        month: i8,
    },
    /// A year.
    Year(i16),
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hour {
                date,
                hour,
                offset_seconds,
            } => {
                let offset = Offset::from_seconds(*offset_seconds).unwrap_or(Offset::UTC);
                write!(f, "{date}T{hour:02}{offset}")
            }
            Self::Day(date) => write!(f, "{date}"),
            Self::Week { year, week } => write!(f, "{year:04}-W{week:02}"),
            Self::Month { year, month } => write!(f, "{year:04}-{month:02}"),
            Self::Year(year) => write!(f, "{year:04}"),
        }
    }
}

/// The calendar of one time zone. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// The calendar of UTC.
    pub fn utc() -> Self {
        Self {
            zone: TimeZone::UTC,
        }
    }

    /// The calendar of the zone with this IANA name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let unknown = || Error::TimeZone {
            name: name.to_owned(),
        };
        let zone = TimeZoneDatabase::bundled()
            .get(name)
            .map_err(|_| unknown())?;
        if zone.is_unknown() {
            Err(unknown())
        } else {
            Ok(Self { zone })
        }
    }

    /// The zone's IANA name.
    pub fn name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The unit of this calendar in which an instant lies.
    pub fn bucket(&self, unit: Unit, millis: i64) -> Bucket {
        let local = self.zoned(millis);
        match unit {
            Unit::Hour => Bucket::Hour {
                date: local.date(),
                hour: local.hour(),
                offset_seconds: local.offset().seconds(),
            },
            Unit::Day => Bucket::Day(local.date()),
            Unit::Week => {
                let week: ISOWeekDate = local.date().iso_week_date();
                Bucket::Week {
                    year: week.year(),
                    week: week.week(),
                }
            }
            Unit::Month => Bucket::Month {
                year: local.year(),
                month: local.month(),
            },
            Unit::Year => Bucket::Year(local.year()),
        }
    }

    /// The instant at which a period ends that begins at `millis`; `i64::MAX`, which is never, if
    /// it lies beyond the calendar.
    ///
    /// Calendar units are added to local time first, then exact units (RFC 5545's order, jiff's
    /// too). A local time that summer time skips is taken as much later as was skipped.
    pub fn after_millis(&self, millis: i64, period: Period) -> i64 {
        if period.is_zero() {
            return millis;
        }
        match self.zoned(millis).checked_add(period.to_span()) {
            Ok(end) => end.timestamp().as_millisecond(),
            Err(_) => i64::MAX,
        }
    }

    /// The instant of a time of day on the day that lies `days` after the one of `millis`. A time
    /// of day that occurs twice is the first of the two.
    pub(crate) fn time_of_day_millis(&self, millis: i64, days: i64, hour: i8, minute: i8) -> i64 {
        let day = self
            .zoned(millis)
            .date()
            .checked_add(jiff::ToSpan::days(days.min(4_000_000)));
        let local = day
            .ok()
            .map(|day| day.at(hour, minute, 0, 0).to_zoned(self.zone.clone()));
        match local {
            Some(Ok(local)) => local.timestamp().as_millisecond(),
            _ => i64::MAX,
        }
    }

    fn zoned(&self, millis: i64) -> Zoned {
        let limit = if millis < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        Timestamp::from_millisecond(millis)
            .unwrap_or(limit)
            .to_zoned(self.zone.clone())
    }
}

/// Milliseconds of an RFC 3339 text: how tests name instants.
#[cfg(test)]
pub(crate) fn millis(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_millisecond()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: [&str; 7] = [
        "UTC",
        "Europe/Helsinki",
        "America/New_York",
        "Asia/Kathmandu",
        "Australia/Lord_Howe",
        "America/St_Johns",
        "Pacific/Apia",
    ];

    fn bucket(zone: &str, unit: Unit, instant: &str) -> String {
        Calendar::named(zone)
            .unwrap()
            .bucket(unit, millis(instant))
            .to_string()
    }

    #[test]
    fn knows_zones_by_name() {
        fn check(name: &str, known: Option<&str>) {
            let calendar = Calendar::named(name);
            assert_eq!(calendar.as_ref().ok().map(Calendar::name), known);
        }
        check("UTC", Some("UTC"));
        check("Europe/Helsinki", Some("Europe/Helsinki"));
        check("europe/helsinki", Some("Europe/Helsinki"));
        check("Etc/Unknown", None);
        check("Europe/Atlantis", None);
        check("EET-2EEST,M3.5.0/3,M10.5.0/4", None);
        check("", None);
    }

    #[test]
    fn tells_the_hours_of_an_autumn_night_apart() {
        fn check(zone: &str, instants: [&str; 4], hours: [&str; 4]) {
            assert_eq!(
                instants.map(|instant| bucket(zone, Unit::Hour, instant)),
                hours
            );
        }
        check(
            "Europe/Helsinki",
            [
                "2026-10-24T23:59Z",
                "2026-10-25T00:30Z",
                "2026-10-25T01:30Z",
                "2026-10-25T02:00Z",
            ],
            [
                "2026-10-25T02+03",
                "2026-10-25T03+03",
                "2026-10-25T03+02",
                "2026-10-25T04+02",
            ],
        );
        check(
            "America/New_York",
            [
                "2026-11-01T04:59Z",
                "2026-11-01T05:30Z",
                "2026-11-01T06:30Z",
                "2026-11-01T07:00Z",
            ],
            [
                "2026-11-01T00-04",
                "2026-11-01T01-04",
                "2026-11-01T01-05",
                "2026-11-01T02-05",
            ],
        );
        // Lord Howe turns the clock by half an hour.
        check(
            "Australia/Lord_Howe",
            [
                "2026-04-04T14:30Z",
                "2026-04-04T14:59Z",
                "2026-04-04T15:00Z",
                "2026-04-04T15:30Z",
            ],
            [
                "2026-04-05T01+11",
                "2026-04-05T01+11",
                "2026-04-05T01+10:30",
                "2026-04-05T02+10:30",
            ],
        );
    }

    #[test]
    fn skips_the_hour_of_a_spring_night() {
        fn check(zone: &str, before: (&str, &str), after: (&str, &str)) {
            assert_eq!(bucket(zone, Unit::Hour, before.0), before.1);
            assert_eq!(bucket(zone, Unit::Hour, after.0), after.1);
        }
        check(
            "Europe/Helsinki",
            ("2026-03-29T00:59:59.999Z", "2026-03-29T02+02"),
            ("2026-03-29T01:00Z", "2026-03-29T04+03"),
        );
        check(
            "America/New_York",
            ("2026-03-08T06:59:59.999Z", "2026-03-08T01-05"),
            ("2026-03-08T07:00Z", "2026-03-08T03-04"),
        );
    }

    #[test]
    fn finds_days_weeks_months_and_years() {
        fn check(zone: &str, instant: &str, wanted: [&str; 4]) {
            let units = [Unit::Day, Unit::Week, Unit::Month, Unit::Year];
            assert_eq!(units.map(|unit| bucket(zone, unit, instant)), wanted);
        }
        check(
            "UTC",
            "2026-11-20T12:00Z",
            ["2026-11-20", "2026-W47", "2026-11", "2026"],
        );
        // The zone decides, at midnight as at the year's end.
        check(
            "Europe/Helsinki",
            "2026-11-20T22:00Z",
            ["2026-11-21", "2026-W47", "2026-11", "2026"],
        );
        check(
            "Asia/Tokyo",
            "2026-12-31T15:00Z",
            ["2027-01-01", "2026-W53", "2027-01", "2027"],
        );
        check(
            "America/New_York",
            "2027-01-01T04:59Z",
            ["2026-12-31", "2026-W53", "2026-12", "2026"],
        );
        // A week belongs to the year that has its Thursday.
        check(
            "UTC",
            "2024-12-30T00:00Z",
            ["2024-12-30", "2025-W01", "2024-12", "2024"],
        );
        check(
            "UTC",
            "2021-01-03T23:59Z",
            ["2021-01-03", "2020-W53", "2021-01", "2021"],
        );
        check(
            "UTC",
            "2021-01-04T00:00Z",
            ["2021-01-04", "2021-W01", "2021-01", "2021"],
        );
        check(
            "UTC",
            "2024-02-29T00:00Z",
            ["2024-02-29", "2024-W09", "2024-02", "2024"],
        );
        check(
            "UTC",
            "1969-12-31T23:59:59.999Z",
            ["1969-12-31", "1970-W01", "1969-12", "1969"],
        );
        // Samoa had no 30 December 2011.
        check(
            "Pacific/Apia",
            "2011-12-30T09:59Z",
            ["2011-12-29", "2011-W52", "2011-12", "2011"],
        );
        check(
            "Pacific/Apia",
            "2011-12-30T10:00Z",
            ["2011-12-31", "2011-W52", "2011-12", "2011"],
        );
    }

    #[test]
    fn adds_periods() {
        fn check(zone: &str, from: &str, period: &str, end: &str) {
            let period = Period::parse(period).unwrap();
            let found = Calendar::named(zone)
                .unwrap()
                .after_millis(millis(from), period);
            assert_eq!(
                Timestamp::from_millisecond(found).unwrap(),
                end.parse().unwrap()
            );
        }
        check("UTC", "2026-01-31T12:00Z", "1mo", "2026-02-28T12:00Z");
        check("UTC", "2028-01-31T12:00Z", "1mo", "2028-02-29T12:00Z");
        check("UTC", "2024-02-29T12:00Z", "1y", "2025-02-28T12:00Z");
        check("UTC", "2024-02-29T12:00Z", "4y", "2028-02-29T12:00Z");
        check("UTC", "2026-08-31T12:00Z", "6mo", "2027-02-28T12:00Z");
        check(
            "UTC",
            "2026-08-31T12:00:00.123Z",
            "0",
            "2026-08-31T12:00:00.123Z",
        );
        // A day in Helsinki is 25 hours long in autumn, 23 in spring; 24 hours are 24 hours.
        check(
            "Europe/Helsinki",
            "2026-10-24T09:00Z",
            "1d",
            "2026-10-25T10:00Z",
        );
        check(
            "Europe/Helsinki",
            "2026-10-24T09:00Z",
            "24h",
            "2026-10-25T09:00Z",
        );
        check(
            "Europe/Helsinki",
            "2026-03-28T10:00Z",
            "1d",
            "2026-03-29T09:00Z",
        );
        check(
            "America/New_York",
            "2026-03-07T15:00Z",
            "1w",
            "2026-03-14T14:00Z",
        );
        // 03:30 does not exist on the day after: as much later as the clock skips.
        check(
            "Europe/Helsinki",
            "2026-03-28T01:30Z",
            "1d",
            "2026-03-29T01:30Z",
        );
    }

    #[test]
    fn saturates_at_the_calendars_ends() {
        fn check(millis: i64, period: &str, end: i64) {
            let period = Period::parse(period).unwrap();
            assert_eq!(Calendar::utc().after_millis(millis, period), end);
        }
        check(i64::MAX, "1d", i64::MAX);
        check(i64::MAX, "0", i64::MAX);
        check(millis("9999-06-01T00:00Z"), "1y", i64::MAX);
        assert_eq!(
            Calendar::utc().bucket(Unit::Year, i64::MAX).to_string(),
            "9999"
        );
        assert_eq!(
            Calendar::utc().bucket(Unit::Year, i64::MIN).to_string(),
            "-9999"
        );
    }

    proptest! {
        #[test]
        fn buckets_nest(zone in prop::sample::select(&ZONES), a in 0_i64..4_000_000_000_000, gap in 0_i64..90_000_000) {
            let calendar = Calendar::named(zone).unwrap();
            let same = |unit| calendar.bucket(unit, a) == calendar.bucket(unit, a + gap);
            prop_assert!(!same(Unit::Hour) || same(Unit::Day));
            prop_assert!(!same(Unit::Day) || (same(Unit::Week) && same(Unit::Month)));
            prop_assert!(!same(Unit::Month) || same(Unit::Year));
            prop_assert!(!same(Unit::Hour) || gap < 3_600_000, "an hour of {gap} ms");
        }

        #[test]
        fn later_units_are_greater(zone in prop::sample::select(&ZONES[..4]), a in 0_i64..4_000_000_000_000, gap in 0_i64..90_000_000) {
            let calendar = Calendar::named(zone).unwrap();
            for unit in [Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
                prop_assert!(calendar.bucket(unit, a) <= calendar.bucket(unit, a + gap));
            }
        }

        #[test]
        fn no_instant_panics(zone in prop::sample::select(&ZONES), millis: i64, days in 0_u16..) {
            let calendar = Calendar::named(zone).unwrap();
            for unit in [Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::Year] {
                let _ = calendar.bucket(unit, millis).to_string();
            }
            prop_assert!(calendar.after_millis(millis, Period::days(days)) >= millis.min(253_402_207_200_000));
        }
    }
}
