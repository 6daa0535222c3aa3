//! Sizes and rates: `64MiB`, `10M`, `1.5GB`, `500k/s`.

use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            "write a number and a unit: 500k, 64MiB, 1.5G (each 1024 times the last), or kB, MB, \
             GB (1000 times); a rate may end in /s"
                .to_owned()
        };
        let body = text.strip_suffix("/s").unwrap_or(text).trim();
        let end = body
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(body.len());
        let (digits, unit) = body.split_at(end);
        let number: f64 = digits.parse().map_err(|_| refuse())?;
        let factor: f64 = match unit.trim() {
            "" | "B" | "b" => 1.0,
            "k" | "K" | "KiB" | "kiB" => 1024.0,
            "M" | "MiB" => 1024f64.powi(2),
            "G" | "GiB" => 1024f64.powi(3),
            "T" | "TiB" => 1024f64.powi(4),
            "kB" | "KB" => 1000.0,
            "MB" => 1000f64.powi(2),
            "GB" => 1000f64.powi(3),
            "TB" => 1000f64.powi(4),
            _ => return Err(refuse()),
        };
        let bytes = number * factor;
        if !(0.0..9e18).contains(&bytes) {
            return Err("it is too large".into());
        }
        Ok(Self(bytes.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        fn check(text: &str, want: Option<u64>) {
            assert_eq!(text.parse::<Size>().ok().map(|s| s.0), want, "{text}");
        }
        check("0", Some(0));
        check("1000", Some(1000));
        check("10M", Some(10 << 20));
        check("64 MiB", Some(64 << 20));
        check("1.5GB", Some(1_500_000_000));
        check("500k/s", Some(500 << 10));
        check("2TiB", Some(2 << 40));
        for bad in ["", "M", "-1", "1m", "1.2.3", "1e30T", "10 parsecs", "1/s/s"] {
            check(bad, None);
        }
    }
}
