//! Sizes, times and counts as a person reads them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];

/// `512 B`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = None;
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(next);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) if value < 9.995 => format!("{value:.2} {unit}"),
        Some(unit) if value < 99.95 => format!("{value:.1} {unit}"),
        Some(unit) => format!("{value:.0} {unit}"),
    }
}

/// `1,234,567`.
pub(crate) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 finding`, `2 findings`; `1 entry`, `2 entries`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{} {stem}ies", count(number)),
        (_, None) => format!("{} {noun}s", count(number)),
    }
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `5 h 12 min`, `2 d 3 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The same, of a number of seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `2026-11-22 07:19:03+02:00`, in this machine's zone.
pub(crate) fn time(millis: i64) -> String {
    in_zone(millis, TimeZone::system())
}

/// `2026-11-22T05:19:03.123Z`, for JSON.
pub(crate) fn time_utc(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{millis} ms"),
    }
}

fn in_zone(millis: i64, zone: TimeZone) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(timestamp) => {
            let zoned = timestamp.to_zoned(zone);
            zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
        }
        Err(_) => format!("{millis} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_figures() {
        let shown = |n: u64| bytes(n);
        assert_eq!(shown(0), "0 B");
        assert_eq!(shown(1023), "1023 B");
        assert_eq!(shown(1024), "1.00 KiB");
        assert_eq!(shown(10 << 20), "10.0 MiB");
        assert_eq!(shown(150 << 30), "150 GiB");
        assert_eq!(shown(u64::MAX), "16384 PiB");
    }

    #[test]
    fn counts_are_grouped() {
        let shown: Vec<String> = [0, 999, 1000, 1_234_567].map(count).into();
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_local_with_their_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            in_zone(1_795_324_743_000, zone),
            "2026-11-22 07:19:03+02:00"
        );
        assert_eq!(time_utc(1_795_324_743_123), "2026-11-22T05:19:03.123Z");
        assert_eq!(time_utc(i64::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn durations_have_two_units() {
        let shown: Vec<String> = [0.44, 12.0, 200.0, 18_720.0, 183_600.0].map(seconds).into();
        assert_eq!(
            shown,
            ["0.4 s", "12 s", "3 min 20 s", "5 h 12 min", "2 d 3 h"]
        );
        assert_eq!(seconds(-1.0), "0.0 s");
    }
}
