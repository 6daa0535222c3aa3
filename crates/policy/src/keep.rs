//! The keep rules of a policy: its `[keep]` table.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Depth, Error, Unit};

/// A keep rule: the name of a key under `[keep]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// The newest snapshots.
    Last,
    /// All snapshots of a period.
    Within,
    /// The last snapshot of each hour.
    Hourly,
    /// The last snapshot of each day.
    Daily,
    /// The last snapshot of each ISO week.
    Weekly,
    /// The last snapshot of each month.
    Monthly,
    /// The last snapshot of each year.
    Yearly,
}

impl Rule {
    /// All rules, in the order in which reasons are listed.
    pub const ALL: [Self; 7] = [
        Self::Last,
        Self::Within,
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    /// The calendar unit of which the rule keeps one snapshot each; `None` if it counts snapshots.
    pub fn unit(&self) -> Option<Unit> {
        match self {
            Self::Last | Self::Within => None,
            Self::Hourly => Some(Unit::Hour),
            Self::Daily => Some(Unit::Day),
            Self::Weekly => Some(Unit::Week),
            Self::Monthly => Some(Unit::Month),
            Self::Yearly => Some(Unit::Year),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Within => "within",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The `[keep]` table. A snapshot stays as long as any one of the rules keeps it.
///
/// With counts the rules are restic's (`daily = 31`, `monthly = 3`); with periods they are tiers
/// (`daily = "4w"`, `weekly = "56w"`, `monthly = "forever"`), each measured from now, not from the
/// end of the one before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// The newest so many snapshots: a count or `forever`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Depth>,
    /// All snapshots of the last so long: a period or `forever`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Depth>,
    /// The last snapshot of each hour that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hourly: Option<Depth>,
    /// The last snapshot of each day that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<Depth>,
    /// The last snapshot of each ISO week that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weekly: Option<Depth>,
    /// The last snapshot of each month that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monthly: Option<Depth>,
    /// The last snapshot of each year that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yearly: Option<Depth>,
}

impl Keep {
    /// What one rule says; `None` if it is not set.
    pub fn depth(&self, rule: Rule) -> Option<Depth> {
        match rule {
            Rule::Last => self.last,
            Rule::Within => self.within,
            Rule::Hourly => self.hourly,
            Rule::Daily => self.daily,
            Rule::Weekly => self.weekly,
            Rule::Monthly => self.monthly,
            Rule::Yearly => self.yearly,
        }
    }

    /// The rules that keep something, in the order of [`Rule::ALL`].
    pub fn rules(&self) -> Vec<(Rule, Depth)> {
        let set = Rule::ALL
            .into_iter()
            .filter_map(|rule| Some((rule, self.depth(rule)?)));
        set.filter(|(_, depth)| !depth.is_off()).collect()
    }

    /// These rules, and `base`'s where these say nothing.
    pub fn over(&self, base: &Self) -> Self {
        Self {
            last: self.last.or(base.last),
            within: self.within.or(base.within),
            hourly: self.hourly.or(base.hourly),
            daily: self.daily.or(base.daily),
            weekly: self.weekly.or(base.weekly),
            monthly: self.monthly.or(base.monthly),
            yearly: self.yearly.or(base.yearly),
        }
    }

    /// Checks each rule by itself and that some rule keeps something. `path` leads to this table.
    pub(crate) fn check(&self, path: &str) -> Result<(), Error> {
        let key = |rule: Rule| format!("{path}keep.{rule}");
        if let Some(Depth::For(period)) = self.last {
            let advice = format!(r#"within = "{period}" for a period, or last = 3 for a count"#);
            return Err(Error::policy(key(Rule::Last), "is a period", advice));
        }
        if let Some(Depth::Count(count @ 1..)) = self.within {
            let advice =
                format!(r#"within = "{count}d" for a period, or last = {count} for a count"#);
            return Err(Error::policy(key(Rule::Within), "has no unit", advice));
        }
        let any_set = Rule::ALL.into_iter().any(|rule| self.depth(rule).is_some());
        if any_set && self.rules().is_empty() {
            let advice = "last = 1 for the newest only, or leave [keep] out to keep everything";
            return Err(Error::policy(
                format!("{path}keep"),
                "has no rule above 0",
                advice,
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(text: &str) -> Keep {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn checks_rules() {
        fn check(text: &str, outcome: Result<(), &str>) {
            let found = keep(text).check("").map_err(|error| error.to_string());
            assert_eq!(found, outcome.map_err(str::to_owned));
        }
        check("", Ok(()));
        check("last = 3\nwithin = \"7d\"\nyearly = \"forever\"", Ok(()));
        check("within = 0\nlast = 1", Ok(()));
        check(
            "last = \"7d\"",
            Err(
                r#"keep.last: is a period; write within = "7d" for a period, or last = 3 for a count"#,
            ),
        );
        check(
            "within = 7",
            Err(
                r#"keep.within: has no unit; write within = "7d" for a period, or last = 7 for a count"#,
            ),
        );
        check(
            "last = 0\ndaily = 0",
            Err(
                "keep: has no rule above 0; write last = 1 for the newest only, \
                 or leave [keep] out to keep everything",
            ),
        );
    }

    #[test]
    fn lies_over_a_base() {
        fn check(over: &str, base: &str, rules: &str) {
            let found = keep(over).over(&keep(base)).rules();
            let found: Vec<String> = found
                .iter()
                .map(|(rule, depth)| format!("{rule} {depth}"))
                .collect();
            assert_eq!(found.join(", "), rules);
        }
        check("", "daily = 7\nlast = 2", "last 2, daily 7");
        check("daily = 14", "daily = 7\nlast = 2", "last 2, daily 14");
        check("daily = 0\nweekly = \"1y\"", "daily = 7", "weekly 1y");
    }
}
