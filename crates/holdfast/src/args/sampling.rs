//! `--read-data[=N%]`: how much of the data is read.

use std::str::FromStr;

/// A share of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// Percent; 100 reads all.
    pub(crate) percent: f64,
}

impl FromStr for Sampling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_end_matches('%');
        match number.parse::<f64>() {
            Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self { percent }),
            _ => Err("write a percentage above 0 and up to 100, such as 5%".into()),
        }
    }
}

impl Sampling {
    /// The share, 0 to 1.
    pub(crate) fn share(self) -> f64 {
        self.percent / 100.0
    }

    /// The percentage, unless it is everything.
    pub(crate) fn sample(self) -> Option<f64> {
        (self.percent < 100.0).then_some(self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        fn check(text: &str, want: Option<f64>) {
            assert_eq!(
                text.parse::<Sampling>().ok().map(Sampling::share),
                want,
                "{text}"
            );
        }
        check("100%", Some(1.0));
        check("5%", Some(0.05));
        check("2.5", Some(0.025));
        for bad in ["", "0%", "101%", "x", "-5%", "NaN"] {
            check(bad, None);
        }
        assert_eq!("100".parse::<Sampling>().unwrap().sample(), None);
    }
}
