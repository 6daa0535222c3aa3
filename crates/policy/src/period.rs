//! A length of time with units: `36h`, `30d`, `4w`, `6mo`, `2y`, `1y6mo`.
//!
//! Years, months, weeks and days are calendar periods: a day ends at the same time of day in the
//! policy's time zone, whether that takes 23, 24 or 25 hours; a month that ends on a day its last
//! month lacks ends on that month's last day. Hours, minutes and seconds are exact. A period is
//! kept as it was written, so that a policy reads back as its author wrote it.

use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::civil::{DateTime, date};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// No period is longer. What is to stay longer is to stay `forever`.
pub const PERIOD_YEARS_MAX: u32 = 1000;

const EXAMPLES: &str = r#"a number and a unit, such as "36h", "30d", "4w", "6mo" or "2y""#;

/// Units in the order in which they are written, longest first.
const UNITS: [&str; 7] = ["y", "mo", "w", "d", "h", "min", "s"];

/// A length of time in calendar and clock units. The default is [`Period::ZERO`].
///
/// Equality is as written: `12mo` and `1y` are two values. Use [`Period::fits_in`] for length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Period {
    /// Amounts of [`UNITS`], in their order.
    amounts: [u32; 7],
}

impl Period {
    /// No time at all, written `0`.
    pub const ZERO: Self = Self { amounts: [0; 7] };

    /// Whole calendar days.
    pub const fn days(days: u16) -> Self {
        Self {
            amounts: [0, 0, 0, days as u32, 0, 0, 0],
        }
    }

    /// Exact hours.
    pub const fn hours(hours: u16) -> Self {
        Self {
            amounts: [0, 0, 0, 0, hours as u32, 0, 0],
        }
    }

    /// Its length, if it has only hours, minutes and seconds, which are as long everywhere.
    pub fn exact(&self) -> Option<std::time::Duration> {
        let [0, 0, 0, 0, hours, minutes, seconds] = self.amounts else {
            return None;
        };
        let seconds = u64::from(hours) * 3600 + u64::from(minutes) * 60 + u64::from(seconds);
        Some(std::time::Duration::from_secs(seconds))
    }

    /// Reads a period as it stands in a policy.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "0" {
            return Ok(Self::ZERO);
        }
        let refuse = |problem: &str, advice: String| Err(Error::period(text, problem, advice));
        if text.is_empty() {
            return refuse("is no period", EXAMPLES.into());
        }
        if text.starts_with(['-', '+']) {
            return refuse("has a sign", format!("it without: {EXAMPLES}"));
        }
        let mut amounts = [0_u32; 7];
        let mut rest = text;
        let mut place_next = 0;
        while !rest.is_empty() {
            let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
            if digits.is_empty() {
                return refuse("has something where a number should stand", EXAMPLES.into());
            }
            if after.starts_with(['.', ',']) {
                return refuse(
                    "has a fraction",
                    r#"a smaller unit, such as "90min""#.into(),
                );
            }
            let (unit, after) = split_while(after, |c| c.is_alphabetic());
            let place = match UNITS.iter().position(|known| *known == unit) {
                Some(place) => place,
                None => return refuse(&unit_problem(unit), unit_advice(digits, unit)),
            };
            if place < place_next {
                return refuse(
                    "has its units out of order or twice",
                    r#"each once and the longest first, such as "1y6mo""#.into(),
                );
            }
            amounts[place] = match digits.parse() {
                Ok(amount) => amount,
                Err(_) => return refuse("is too long", too_long_advice()),
            };
            place_next = place + 1;
            rest = after;
        }
        match (Self { amounts }).checked() {
            Some(period) => Ok(period),
            None => refuse("is too long", too_long_advice()),
        }
    }

    /// True for a period of no length.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// This period `count` times over, unit by unit; `None` beyond [`PERIOD_YEARS_MAX`] years.
    pub fn times(&self, count: u32) -> Option<Self> {
        let mut amounts = self.amounts;
        for amount in &mut amounts {
            *amount = amount.checked_mul(count)?;
        }
        Self { amounts }.checked()
    }

    /// True if this period never ends after `longer`, from whatever day both begin.
    ///
    /// `28d` fits in `1mo`, `30d` does not: February is shorter. Decided by trying every day of
    /// ten years, one of which, 2100, is a leap year by its number and not in fact.
    pub fn fits_in(&self, longer: &Self) -> bool {
        let (mine, theirs) = (self.merged(), longer.merged());
        if mine
            .iter()
            .zip(theirs)
            .all(|(mine, theirs)| *mine <= theirs)
        {
            return true;
        }
        let mut day = date(2095, 1, 1);
        let last = date(2104, 12, 31);
        while day <= last {
            let from = day.at(0, 0, 0, 0);
            if self.after_civil(from) > longer.after_civil(from) {
                return false;
            }
            day = day.tomorrow().expect("2104 is far from the calendar's end");
        }
        true
    }

    /// As jiff adds it: calendar units first, then exact time.
    pub(crate) fn to_span(self) -> Span {
        let [years, months, weeks, days, hours, minutes, seconds] = self.amounts.map(i64::from);
        // The setters panic beyond jiff's own limits, which are above those of `checked`.
        Span::new()
            .years(years)
            .months(months)
            .weeks(weeks)
            .days(days)
            .hours(hours)
            .minutes(minutes)
            .seconds(seconds)
    }

    fn after_civil(&self, from: DateTime) -> DateTime {
        from.checked_add(self.to_span()).unwrap_or(DateTime::MAX)
    }

    /// Months, days and seconds: what cannot be turned into one another.
    fn merged(&self) -> [u64; 3] {
        let [years, months, weeks, days, hours, minutes, seconds] = self.amounts.map(u64::from);
        [
            years * 12 + months,
            weeks * 7 + days,
            (hours * 60 + minutes) * 60 + seconds,
        ]
    }

    fn checked(self) -> Option<Self> {
        let [months, days, seconds] = self.merged();
        let days_about = months * 61 / 2 + days + seconds / 86_400;
        (days_about <= u64::from(PERIOD_YEARS_MAX) * 366).then_some(self)
    }
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !belongs(c)).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_problem(unit: &str) -> String {
    match unit {
        "" => "has no unit".into(),
        "m" => "has the unit \"m\", which may be minutes or months".into(),
        other => format!("has an unknown unit {other:?}"),
    }
}

fn unit_advice(digits: &str, unit: &str) -> String {
    let known = match unit.to_ascii_lowercase().as_str() {
        "m" => return format!("\"{digits}mo\" for months or \"{digits}min\" for minutes"),
        "year" | "years" => "y",
        "month" | "months" => "mo",
        "week" | "weeks" => "w",
        "day" | "days" | "d" => "d",
        "hour" | "hours" | "hr" | "hrs" | "h" => "h",
        "minute" | "minutes" | "mins" | "min" => "min",
        "second" | "seconds" | "sec" | "secs" | "s" => "s",
        "y" => "y",
        "w" => "w",
        "mo" => "mo",
        _ => return EXAMPLES.into(),
    };
    format!("\"{digits}{known}\"")
}

fn too_long_advice() -> String {
    format!("at most \"{PERIOD_YEARS_MAX}y\", or \"forever\" where a rule may keep for ever")
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        for (amount, unit) in self.amounts.iter().zip(UNITS) {
            if *amount > 0 {
                write!(f, "{amount}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Period({self})")
    }
}

impl FromStr for Period {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PeriodVisitor;
        impl Visitor<'_> for PeriodVisitor {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a period in quotes: {EXAMPLES}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                Period::parse(text).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Period, E> {
                Err(E::custom(match number {
                    0 => r#"0 stands without quotes; write "0""#.to_owned(),
                    1.. => format!("{number} has no unit; write {EXAMPLES}"),
                    _ => format!("{number} is negative; write {EXAMPLES}"),
                }))
            }
        }
        deserializer.deserialize_any(PeriodVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_writes_periods() {
        fn check(text: &str, written: &str) {
            let period = Period::parse(text).unwrap();
            assert_eq!(period.to_string(), written);
            assert_eq!(Period::parse(written), Ok(period));
        }
        check("36h", "36h");
        check("30d", "30d");
        check("4w", "4w");
        check("6mo", "6mo");
        check("2y", "2y");
        check("1y6mo", "1y6mo");
        check("1d12h30min15s", "1d12h30min15s");
        check("007d", "7d");
        check("0", "0");
        check("0d", "0");
        check("1000y", "1000y");
    }

    #[test]
    fn refuses_with_advice() {
        fn check(text: &str, message: &str) {
            let error = Period::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(message),
                "{text:?} gave {error:?}, wanted {message:?}"
            );
        }
        check("36", r#""36" has no unit; write "#);
        check("", "is no period; write a number and a unit");
        check("-5d", "has a sign; write it without");
        check("+5d", "has a sign");
        check("5m", r#"write "5mo" for months or "5min" for minutes"#);
        check("5M", r#"write "5mo" for months or "5min" for minutes"#);
        check("5days", r#"write "5d""#);
        check("5D", r#"write "5d""#);
        check("5fortnights", "unknown unit");
        check("1.5h", r#"write a smaller unit, such as "90min""#);
        check("6mo1y", "longest first");
        check("1d1d", "each once");
        check("1y 6mo", "something where a number should stand");
        check("d", "something where a number should stand");
        check("1001y", r#"at most "1000y", or "forever""#);
        check("99999999999999999999d", "is too long");
        check("4000000000h", "is too long");
        check("五d", "something where a number should stand");
    }

    #[test]
    fn compares_lengths_on_every_day() {
        fn check(shorter: &str, longer: &str, fits: bool) {
            let (shorter, longer) = (Period::parse(shorter), Period::parse(longer));
            assert_eq!(shorter.unwrap().fits_in(&longer.unwrap()), fits);
        }
        check("28d", "1mo", true);
        check("29d", "1mo", false);
        check("1mo", "31d", true);
        check("1mo", "30d", false);
        check("181d", "6mo", true);
        check("182d", "6mo", false);
        check("12mo", "1y", true);
        check("1y", "12mo", true);
        check("365d", "1y", true);
        check("366d", "1y", false);
        check("24h", "1d", true);
        check("7d", "1w", true);
        check("0", "1s", true);
        check("1000y", "999y", false);
    }

    #[test]
    fn multiplies() {
        fn check(text: &str, count: u32, product: Option<&str>) {
            let times = Period::parse(text).unwrap().times(count);
            assert_eq!(times.map(|period| period.to_string()).as_deref(), product);
        }
        check("6mo", 2, Some("12mo"));
        check("1y6mo", 3, Some("3y18mo"));
        check("5d", 0, Some("0"));
        check("600y", 2, None);
        check("4000000s", u32::MAX, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn display_reads_back(amounts in prop::array::uniform7(0_u32..5000)) {
            if let Some(period) = (Period { amounts }).checked() {
                prop_assert_eq!(Period::parse(&period.to_string()), Ok(period));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            let _ = Period::parse(&text);
        }

        #[test]
        fn fits_in_is_a_preorder(a in 0_u32..60, b in 0_u32..2000) {
            let (months, days) = (Period { amounts: [0, a, 0, 0, 0, 0, 0] }, Period { amounts: [0, 0, 0, b, 0, 0, 0] });
            prop_assert!(months.fits_in(&months));
            let both = months.fits_in(&days) && days.fits_in(&months);
            prop_assert!(!both || (a == 0 && b == 0), "{months} and {days}");
        }
    }
}
