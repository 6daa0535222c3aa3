//! Lengths of time: `30s`, `10min`, `1h30min`, `2d`.

use std::str::FromStr;
use std::time::Duration;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeSpan(pub(crate) Duration);

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || "write numbers with units: 500ms, 30s, 10min, 1h30min, 2d, 1w".to_owned();
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self(total));
        }
        if rest.is_empty() {
            return Err(refuse());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(refuse)?;
            let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
            let after = &rest[digits..];
            let end = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let millis: u64 = match &after[..end] {
                "ms" => 1,
                "s" => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 7 * 86_400_000,
                _ => return Err(refuse()),
            };
            let part = number.checked_mul(millis).ok_or_else(refuse)?;
            total = total
                .checked_add(Duration::from_millis(part))
                .ok_or_else(refuse)?;
            rest = after[end..].trim_start();
        }
        Ok(Self(total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_units() {
        fn check(text: &str, want: Option<u64>) {
            let millis = text
                .parse::<TimeSpan>()
                .ok()
                .map(|t| t.0.as_millis() as u64);
            assert_eq!(millis, want, "{text}");
        }
        check("0", Some(0));
        check("500ms", Some(500));
        check("30s", Some(30_000));
        check("10m", Some(600_000));
        check("1h30min", Some(5_400_000));
        check("1d 2h", Some(93_600_000));
        check("1w", Some(604_800_000));
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "1.5h",
            "10x",
            "99999999999999999999s",
            "h1",
        ] {
            check(bad, None);
        }
    }
}
