//! What a policy file may say for all sources, and again for one: its settings.
//!
//! Everything is optional here; [`crate::Retention`] is what results. Some settings are reserved:
//! they are read and checked, so that a file that has them loads and its mistakes are found, but
//! **nothing enforces them yet**. [`Settings::reserved`] names those that are set, and whoever
//! shows a policy to a person says so.

use serde::{Deserialize, Serialize};

use crate::{Calendar, Depth, Error, Keep, Period, Rule};

/// The settings of a policy, or those in which one source differs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// IANA name of the zone in which hours, days, weeks, months and years are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Age, counted from commit, before which no rule expires a snapshot. `"0"`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<Period>,
    /// Age, counted from the opening of its session, at which a snapshot expires whatever else
    /// says, unless it is held. `"forever"`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Depth>,
    /// How long an expired or forgotten snapshot can still be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<Period>,
    /// How long dead bytes may lie in a frame beside live ones before the frame becomes stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residue: Option<Period>,
    /// Share of a source's snapshots, above 0 and up to 1, that a plan may expire by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_share_max: Option<f64>,
    /// **Reserved, not enforced yet:** how far back point-in-time restore shall reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<Period>,
    /// The keep rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
    /// **Reserved, not enforced yet:** a period derived from how long the originals are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived: Option<Derived>,
}

/// **Reserved, not enforced yet.** How long backups are kept, derived from how long their originals
/// are: `times` as long, and at most `longer_max` longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// How long the source keeps the originals.
    pub own_retention: Period,
    /// The multiple of it for which the backups are kept.
    pub times: u32,
    /// The cap: how much longer than the originals the backups may be kept at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longer_max: Option<Period>,
}

impl Derived {
    /// When the derived period of something ends that began at `millis`.
    pub fn ends_millis(&self, calendar: &Calendar, millis: i64) -> i64 {
        let multiple = match self.own_retention.times(self.times) {
            Some(period) => calendar.after_millis(millis, period),
            None => i64::MAX,
        };
        match self.longer_max {
            Some(longer) => {
                let own_end = calendar.after_millis(millis, self.own_retention);
                multiple.min(calendar.after_millis(own_end, longer))
            }
            None => multiple,
        }
    }

    fn check(&self, path: &str) -> Result<(), Error> {
        let key = |name: &str| format!("{path}derived.{name}");
        if self.own_retention.is_zero() {
            let advice = r#"how long the source keeps its originals, such as "6mo""#;
            return Err(Error::policy(
                key("own_retention"),
                "is no time at all",
                advice,
            ));
        }
        if self.times == 0 || self.own_retention.times(self.times).is_none() {
            let problem = format!(
                "{} times {} is out of range",
                self.times, self.own_retention
            );
            return Err(Error::policy(
                key("times"),
                problem,
                "a small whole number, such as 2",
            ));
        }
        Ok(())
    }
}

impl Settings {
    /// These settings, and `base`'s where these say nothing. Keep rules are laid over one by one.
    pub fn over(&self, base: &Self) -> Self {
        let keep = match (&self.keep, &base.keep) {
            (Some(keep), Some(base)) => Some(keep.over(base)),
            (keep, base) => keep.clone().or_else(|| base.clone()),
        };
        Self {
            time_zone: self.time_zone.clone().or_else(|| base.time_zone.clone()),
            min_age: self.min_age.or(base.min_age),
            max_age: self.max_age.or(base.max_age),
            trash: self.trash.or(base.trash),
            residue: self.residue.or(base.residue),
            expire_share_max: self.expire_share_max.or(base.expire_share_max),
            point_in_time: self.point_in_time.or(base.point_in_time),
            keep,
            derived: self.derived.clone().or_else(|| base.derived.clone()),
        }
    }

    /// Keys set here that nothing enforces yet.
    pub fn reserved(&self) -> Vec<&'static str> {
        let point_in_time = self.point_in_time.map(|_| "point_in_time");
        let derived = self.derived.as_ref().map(|_| "derived");
        point_in_time.into_iter().chain(derived).collect()
    }

    /// Checks the values and how they go together. `path` leads to these settings in the file.
    pub(crate) fn check(&self, path: &str) -> Result<(), Error> {
        self.check_values(path)?;
        if let Some(keep) = &self.keep {
            keep.check(path)?;
        }
        if let Some(derived) = &self.derived {
            derived.check(path)?;
        }
        self.check_max_age(path)
    }

    fn check_values(&self, path: &str) -> Result<(), Error> {
        let key = |name: &str| format!("{path}{name}");
        if let Some(Err(error)) = self.time_zone.as_deref().map(Calendar::named) {
            let advice = r#"an IANA name such as "Europe/Helsinki", or "UTC""#;
            let Error::TimeZone { name } = error else {
                return Err(error);
            };
            return Err(Error::policy(
                key("time_zone"),
                format!("{name:?} is no time zone"),
                advice,
            ));
        }
        if let Some(Depth::Count(count)) = self.max_age {
            let problem = format!("{count} is no age");
            return Err(Error::policy(
                key("max_age"),
                problem,
                r#""6mo" or another age, or "forever""#,
            ));
        }
        if let Some(share) = self.expire_share_max
            && !(share > 0.0 && share <= 1.0)
        {
            let problem = format!("{share} is no share");
            return Err(Error::policy(
                key("expire_share_max"),
                problem,
                "0.5, or another above 0 and up to 1",
            ));
        }
        if self.point_in_time.is_some_and(|window| window.is_zero()) {
            let problem = "is no time at all";
            return Err(Error::policy(
                key("point_in_time"),
                problem,
                r#""30d", or leave it out"#,
            ));
        }
        Ok(())
    }

    /// What must stay, or is promised to stay, longer than `max_age` is a contradiction.
    fn check_max_age(&self, path: &str) -> Result<(), Error> {
        let Some(Depth::For(max_age)) = self.max_age else {
            return Ok(());
        };
        if let Some(min_age) = self.min_age
            && !min_age.fits_in(&max_age)
        {
            let problem = format!(r#""{min_age}" can be longer than max_age, "{max_age}""#);
            let advice = format!(r#"a max_age that is never shorter than "{min_age}""#);
            return Err(Error::policy(format!("{path}min_age"), problem, advice));
        }
        for rule in Rule::ALL {
            let depth = self.keep.as_ref().and_then(|keep| keep.depth(rule));
            if let Some(Depth::For(period)) = depth
                && !period.fits_in(&max_age)
            {
                let problem = format!(r#""{period}" can be longer than max_age, "{max_age}""#);
                let advice =
                    format!(r#"{rule} = "forever" to keep until max_age, or a larger max_age"#);
                return Err(Error::policy(format!("{path}keep.{rule}"), problem, advice));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::millis;

    #[test]
    fn derives_a_capped_multiple() {
        fn check(own: &str, longer_max: Option<&str>, end: &str) {
            let derived = Derived {
                own_retention: Period::parse(own).unwrap(),
                times: 2,
                longer_max: longer_max.map(|text| Period::parse(text).unwrap()),
            };
            let found = derived.ends_millis(&Calendar::utc(), millis("2026-01-15T00:00Z"));
            assert_eq!(found, millis(end));
        }
        check("6mo", Some("1y"), "2027-01-15T00:00Z");
        check("3y", Some("1y"), "2030-01-15T00:00Z");
        check("3y", None, "2032-01-15T00:00Z");
        check("1y", Some("1y"), "2028-01-15T00:00Z");
    }

    #[test]
    fn lies_over_a_base() {
        fn check(over: &str, base: &str, merged: &str) {
            let read = |text: &str| toml::from_str::<Settings>(text).unwrap();
            assert_eq!(read(over).over(&read(base)), read(merged));
        }
        check(
            "",
            "trash = \"1d\"\nkeep.last = 3",
            "trash = \"1d\"\nkeep.last = 3",
        );
        check(
            "trash = \"2d\"\nkeep.daily = 7",
            "trash = \"1d\"\nkeep.last = 3",
            "trash = \"2d\"\nkeep = { daily = 7, last = 3 }",
        );
        check(
            "max_age = \"forever\"",
            "max_age = \"6mo\"",
            "max_age = \"forever\"",
        );
    }
}
