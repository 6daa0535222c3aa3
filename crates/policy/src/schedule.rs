//! A schedule of backups that might be made, for `policy simulate`.

use std::fmt;
use std::str::FromStr;

use crate::{Calendar, Error, Period, SnapshotFacts};

/// No schedule makes more snapshots.
pub const SCHEDULE_SNAPSHOTS_MAX: usize = 200_000;

/// When backups are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleEvery {
    /// At the start and then each time so much later.
    Every(Period),
    /// Every day at a time of day. On the night that lacks it, as much later as is lacking; on the
    /// night that has it twice, the first time.
    DailyAt {
        /// 0 to 23.
        hour: i8,
        /// 0 to 59.
        minute: i8,
    },
}

/// Backups made at regular times for a while. Written `every 1h` or `daily at 02:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// When.
    pub every: ScheduleEvery,
    /// From when on.
    pub from_millis: i64,
    /// Until before when.
    pub until_millis: i64,
}

impl Schedule {
    /// The snapshots that it makes, oldest first: complete, not held, committed as they are opened.
    /// Their ids are placeholders: `ff` eight times, then a number.
    pub fn snapshots(&self, calendar: &Calendar) -> Result<Vec<SnapshotFacts>, Error> {
        let mut snapshots = Vec::new();
        for number in 0.. {
            let opened_millis = self.instant_millis(calendar, number);
            if opened_millis >= self.until_millis || opened_millis == i64::MAX {
                break;
            }
            if snapshots.len() == SCHEDULE_SNAPSHOTS_MAX {
                let problem = format!("makes more than {SCHEDULE_SNAPSHOTS_MAX} snapshots");
                return Err(refusal(
                    &self.every.to_string(),
                    &problem,
                    "a shorter time to simulate",
                ));
            }
            if opened_millis >= self.from_millis {
                snapshots.push(planned(number, opened_millis));
            }
        }
        Ok(snapshots)
    }

    fn instant_millis(&self, calendar: &Calendar, number: u32) -> i64 {
        match self.every {
            // Always from the start: a month after 28 February would never be the 31st again.
            ScheduleEvery::Every(period) => match period.times(number) {
                Some(period) => calendar.after_millis(self.from_millis, period),
                None => i64::MAX,
            },
            ScheduleEvery::DailyAt { hour, minute } => {
                calendar.time_of_day_millis(self.from_millis, number.into(), hour, minute)
            }
        }
    }
}

fn planned(number: u32, opened_millis: i64) -> SnapshotFacts {
    let mut id = [0xff; 16];
    id[8..].copy_from_slice(&u64::from(number).to_be_bytes());
    let committed_millis = opened_millis;
    SnapshotFacts {
        id,
        opened_millis,
        committed_millis,
        held: false,
        partial: false,
    }
}

fn refusal(text: &str, problem: &str, advice: &str) -> Error {
    Error::Schedule {
        text: text.into(),
        problem: problem.into(),
        advice: advice.into(),
    }
}

impl fmt::Display for ScheduleEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(period) => write!(f, "every {period}"),
            Self::DailyAt { hour, minute } => write!(f, "daily at {hour:02}:{minute:02}"),
        }
    }
}

impl FromStr for ScheduleEvery {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(period) = text.strip_prefix("every ") {
            return match Period::parse(period)? {
                period if period.is_zero() => Err(refusal(text, "never moves on", r#""every 1h""#)),
                period => Ok(Self::Every(period)),
            };
        }
        let time = text.strip_prefix("daily at ").and_then(parse_time_of_day);
        let unknown = || refusal(text, "is not known", r#""every 1h" or "daily at 02:00""#);
        time.map(|(hour, minute)| Self::DailyAt { hour, minute })
            .ok_or_else(unknown)
    }
}

fn parse_time_of_day(text: &str) -> Option<(i8, i8)> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::millis;

    #[test]
    fn reads_and_writes_schedules() {
        fn check(text: &str, message: Option<&str>) {
            match (text.parse::<ScheduleEvery>(), message) {
                (Ok(every), None) => assert_eq!(every.to_string(), text),
                (Err(error), Some(message)) => {
                    assert!(error.to_string().contains(message), "{error}")
                }
                (found, _) => panic!("{text:?} gave {found:?}"),
            }
        }
        check("every 1h", None);
        check("every 1y6mo", None);
        check("daily at 02:00", None);
        check("every 0", Some(r#"never moves on; write "every 1h""#));
        check("every 5", Some("has no unit"));
        check(
            "daily at 2:00",
            Some(r#"write "every 1h" or "daily at 02:00""#),
        );
        check("daily at 24:00", Some("is not known"));
        check("hourly", Some("is not known"));
    }

    #[test]
    fn makes_snapshots() {
        fn check(zone: &str, every: &str, from: &str, until: &str, wanted: &[&str]) {
            let every = every.parse().unwrap();
            let schedule = Schedule {
                every,
                from_millis: millis(from),
                until_millis: millis(until),
            };
            let made = schedule.snapshots(&Calendar::named(zone).unwrap()).unwrap();
            let found: Vec<i64> = made.iter().map(|facts| facts.opened_millis).collect();
            let wanted: Vec<i64> = wanted.iter().map(|text| millis(text)).collect();
            assert_eq!(found, wanted, "{every}");
        }
        check(
            "UTC",
            "every 8h",
            "2026-11-20T03:00Z",
            "2026-11-20T19:00Z",
            &["2026-11-20T03:00Z", "2026-11-20T11:00Z"],
        );
        check(
            "UTC",
            "every 1mo",
            "2026-01-31T00:00Z",
            "2026-04-30T00:00Z",
            &[
                "2026-01-31T00:00Z",
                "2026-02-28T00:00Z",
                "2026-03-31T00:00Z",
            ],
        );
        check(
            "Europe/Helsinki",
            "daily at 03:30",
            "2026-03-28T12:00Z",
            "2026-03-31T00:00Z",
            &["2026-03-29T01:30Z", "2026-03-30T00:30Z"],
        );
        check(
            "Europe/Helsinki",
            "daily at 03:30",
            "2026-10-24T00:30Z",
            "2026-10-26T12:00Z",
            &[
                "2026-10-24T00:30Z",
                "2026-10-25T00:30Z",
                "2026-10-26T01:30Z",
            ],
        );
        check(
            "UTC",
            "every 1h",
            "2026-11-20T03:00Z",
            "2026-11-20T03:00Z",
            &[],
        );
    }

    #[test]
    fn refuses_to_make_too_many() {
        let schedule = Schedule {
            every: "every 1s".parse().unwrap(),
            from_millis: 0,
            until_millis: i64::MAX,
        };
        let error = schedule.snapshots(&Calendar::utc()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("write a shorter time to simulate"),
            "{error}"
        );
    }
}
