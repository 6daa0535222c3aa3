//! What a site's URL says of how much may go to it at once: `upload_max=`, `download_max=`, `requests_max=`.

use std::fmt;
use std::str::FromStr;

/// What may go to one site at once, from one coordinator. What is absent is not limited, but for the number of requests
/// (see [`crate::SiteOptions::requests_max`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of packs that are sent per second.
    pub upload_max: Option<Rate>,
    /// The most bytes of packs that are received per second.
    pub download_max: Option<Rate>,
    /// The most requests that are under way at once.
    pub requests_max: Option<usize>,
}

/// Fewest requests at once: one of packs, one of everything else.
const REQUESTS_MIN: usize = 2;

/// Most requests at once that make sense: each is a connection.
const REQUESTS_MAX: usize = 1024;

/// The slowest line that a site is used over.
const RATE_MIN: u64 = 16 << 10;

/// Bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bytes per second; at least 16 KiB.
    pub bytes_per_second: u64,
}

/// Units in which rates are read, in bytes; those with a whole number are written in the first that divides it.
const UNITS: [(&str, u64); 10] = [
    ("GiB/s", 1 << 30),
    ("MiB/s", 1 << 20),
    ("KiB/s", 1 << 10),
    ("GB/s", 1_000_000_000),
    ("MB/s", 1_000_000),
    ("kB/s", 1_000),
    ("Gbit/s", 125_000_000),
    ("Mbit/s", 125_000),
    ("kbit/s", 125),
    ("B/s", 1),
];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let rate = unit.and_then(|(_, bytes)| digits.parse::<u64>().ok()?.checked_mul(*bytes));
        match rate {
            Some(bytes_per_second) if bytes_per_second >= RATE_MIN => Ok(Self { bytes_per_second }),
            Some(_) => Err("a rate is at least 16KiB/s".into()),
            None => {
                Err("a rate is a whole number and a unit, as 20MiB/s, 20MB/s or 100Mbit/s".into())
            }
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.bytes_per_second;
        let fitting = UNITS.iter().find(|(_, unit)| rate.is_multiple_of(*unit));
        let (name, unit) = fitting.unwrap_or(&("B/s", 1));
        write!(f, "{}{name}", rate / unit)
    }
}

impl Limits {
    /// Takes a parameter of a URL, if it is one of a limit; an error says how it is written.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let rate = || {
            value
                .parse()
                .map(Some)
                .map_err(|why: String| format!("{key}={value} cannot be read: {why}"))
        };
        match key {
            "upload_max" => self.upload_max = rate()?,
            "download_max" => self.download_max = rate()?,
            "requests_max" => {
                let fine = value
                    .parse()
                    .ok()
                    .filter(|count| (REQUESTS_MIN..=REQUESTS_MAX).contains(count));
                self.requests_max = Some(fine.ok_or_else(|| {
                    format!("requests_max= is a number from {REQUESTS_MIN} to {REQUESTS_MAX}")
                })?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The parameters as they are written into a URL.
    pub(super) fn parameters(&self) -> [(&'static str, Option<String>); 3] {
        [
            ("upload_max", self.upload_max.map(|rate| rate.to_string())),
            (
                "download_max",
                self.download_max.map(|rate| rate.to_string()),
            ),
            (
                "requests_max",
                self.requests_max.map(|count| count.to_string()),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_in_the_unit_that_fits() {
        for (text, bytes, shown) in [
            ("20MiB/s", 20 << 20, "20MiB/s"),
            ("20 MiB/s", 20 << 20, "20MiB/s"),
            ("2048KiB/s", 2 << 20, "2MiB/s"),
            ("100Mbit/s", 12_500_000, "12500kB/s"),
            ("1GB/s", 1_000_000_000, "1GB/s"),
            ("16385B/s", 16_385, "16385B/s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.bytes_per_second, bytes, "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse::<Rate>().unwrap(), rate);
        }
        for wrong in [
            "",
            "20",
            "20MiB",
            "-1MiB/s",
            "1.5MiB/s",
            "1B/s",
            "99999999999GiB/s",
        ] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong:?}");
        }
    }
}
