//! A point in time: a date, a date with a time, or so long before or after now.

use std::str::FromStr;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::TimeSpan;

/// See the module header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Milliseconds since 1970 UTC.
    At(i64),
    /// So far from now; which way, the option says.
    Away(TimeSpan),
}

impl Moment {
    /// In the past, if it was given as a length of time.
    pub(crate) fn before_millis(self, now_millis: i64) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::Away(span) => now_millis.saturating_sub(millis(span)),
        }
    }

    /// In the future, if it was given as a length of time.
    pub(crate) fn after_millis(self, now_millis: i64) -> i64 {
        match self {
            Self::At(millis) => millis,
            Self::Away(span) => now_millis.saturating_add(millis(span)),
        }
    }
}

fn millis(span: TimeSpan) -> i64 {
    i64::try_from(span.0.as_millis()).unwrap_or(i64::MAX)
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse::<TimeSpan>() {
            return Ok(Self::Away(span));
        }
        let local = |time: DateTime| time.to_zoned(TimeZone::system()).ok();
        let timestamp = text
            .parse::<Timestamp>()
            .ok()
            .or_else(|| text.parse::<Zoned>().ok().map(|zoned| zoned.timestamp()))
            .or_else(|| {
                let civil = text.parse::<Date>().map(|date| date.at(0, 0, 0, 0));
                let civil = if text.contains([':', 'T']) {
                    text.parse()
                } else {
                    civil
                };
                local(civil.ok()?).map(|zoned| zoned.timestamp())
            });
        let form = "write a date such as 2026-11-22, a time such as 2026-11-22T08:00 or \
                    2026-11-22T08:00+02:00, or a length of time such as 3d";
        timestamp
            .map(|timestamp| Self::At(timestamp.as_millisecond()))
            .ok_or_else(|| form.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_times_or_distances() {
        let at = |text: &str| match text.parse::<Moment>() {
            Ok(Moment::At(millis)) => millis,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(at("2026-11-22T05:19:03Z"), 1_795_324_743_000);
        assert_eq!(at("2026-11-22T07:19:03+02:00"), 1_795_324_743_000);
        assert_eq!(
            at("2026-11-22T08:30") - at("2026-11-22"),
            8 * 3_600_000 + 1_800_000
        );
        let away: Moment = "2d".parse().unwrap();
        assert_eq!(away.before_millis(200_000_000), 200_000_000 - 172_800_000);
        assert_eq!(away.after_millis(0), 172_800_000);
        for bad in ["", "yesterday", "2026-13-01", "22.11.2026"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }
}
