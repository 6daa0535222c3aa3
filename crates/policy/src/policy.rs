//! The policy file: how long the snapshots of a vault's sources are kept.
//!
//! ```toml
//! version = 1
//! time_zone = "Europe/Helsinki"   # default "UTC"
//! min_age = "36h"                 # no rule expires what was committed less than this ago
//! max_age = "20y"                 # expires what is older, whatever else says; never what is held
//! trash = "7d"                    # default; "0" frees at once what expires
//! residue = "30d"                 # default
//! expire_share_max = 0.5          # default
//!
//! [keep]                          # each a count, a period, or "forever"; 0 switches a rule off
//! last = 3                        # count or "forever"
//! within = "48h"                  # period or "forever"
//! hourly = 24
//! daily = "4w"
//! weekly = "56w"
//! monthly = "forever"
//! yearly = 10
//!
//! [failover]                      # without it nothing is moved but by a person
//! after = "10min"                 # default; how long the primary has not answered most coordinators
//! accept_loss = "0"               # default; seconds of changes that may be left behind there
//!
//! [source."mail archive"]         # any of the above, for one source
//! keep.daily = 90
//! ```
//!
//! A source takes what it does not say from the top, keep rules one by one. Without a keep rule
//! nothing expires before `max_age`; without that either, never. The policy is text in the log: it
//! is written back ([`Policy::to_toml`]) as it was said, comments and order aside, and what it
//! leaves out is not filled in.
//!
//! **Reserved, not enforced yet** (read and checked, see [`Policy::reserved`]): `point_in_time`,
//! how far back point-in-time restore reaches; `[derived]` (`own_retention`, `times`,
//! `longer_max`), a period derived from the source's own retention; `destroy_within`, at the top
//! only, the deadline for destroying everything after the tenant's end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::moving::{AutomaticFailover, Moving};
use crate::{Depth, Derived, Error, Keep, Period, Retention, Settings};

/// The version of policy files that this release reads.
const VERSION: i64 = 1;

/// A policy that was read and checked. [`Policy::default`] is the empty one: nothing expires.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    settings: Settings,
    destroy_within: Option<Period>,
    failover: Option<Moving>,
    /// Settings of single sources, as said, not merged.
    sources: BTreeMap<String, Settings>,
}

impl Policy {
    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// [`Error::Syntax`] names the line, [`Error::Policy`] the key; both say what to write.
    pub fn parse(text: &str) -> Result<Self, Error> {
        check_version(text)?;
        let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let policy = Self::from(file);
        policy.check()?;
        Ok(policy)
    }

    /// The policy as a file. Parsing it gives an equal policy, and that the same text.
    pub fn to_toml(&self) -> String {
        toml::to_string(&File::from(self.clone())).expect("a policy holds only what TOML has")
    }

    /// What holds for the source of this name: its own settings over the policy's.
    pub fn effective(&self, source: &str) -> Retention {
        let settings = match self.sources.get(source) {
            Some(own) => own.over(&self.settings),
            None => self.settings.clone(),
        };
        Retention::from_settings(&settings)
    }

    /// Names of the sources that have settings of their own.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// **Reserved, not enforced yet:** how long after the tenant's end all of it is to be
    /// destroyed.
    pub fn destroy_within(&self) -> Option<Period> {
        self.destroy_within
    }

    /// When the vault may be moved to another site without a person; `None`: never.
    pub fn automatic_failover(&self) -> Option<AutomaticFailover> {
        self.failover.as_ref().and_then(Moving::rule)
    }

    /// Dotted keys that are set and that nothing enforces yet. Show them with every policy.
    pub fn reserved(&self) -> Vec<String> {
        let destroy_within = self.destroy_within.map(|_| "destroy_within".to_owned());
        let own = self.settings.reserved().into_iter().map(str::to_owned);
        let of_sources = self.sources.iter().flat_map(|(source, settings)| {
            settings
                .reserved()
                .into_iter()
                .map(move |key| source_path(source) + key)
        });
        destroy_within
            .into_iter()
            .chain(own)
            .chain(of_sources)
            .collect()
    }

    fn check(&self) -> Result<(), Error> {
        self.settings.check("")?;
        if self
            .destroy_within
            .is_some_and(|deadline| deadline.is_zero())
        {
            let advice = r#""30d", or leave it out"#;
            return Err(Error::policy("destroy_within", "is no time at all", advice));
        }
        if let Some(moving) = &self.failover {
            moving.check()?;
        }
        for (source, settings) in &self.sources {
            if source.is_empty() {
                let advice = r#"the source's name, such as [source."mail"]"#;
                return Err(Error::policy("source.\"\"", "is no source's name", advice));
            }
            settings.over(&self.settings).check(&source_path(source))?;
        }
        Ok(())
    }
}

fn source_path(source: &str) -> String {
    format!("source.{source:?}.")
}

/// The file as serde sees it: [`Settings`] and what stands at the top only. (Serde's `flatten`
/// would let unknown keys pass.)
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_age: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_age: Option<Depth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trash: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    residue: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expire_share_max: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    point_in_time: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destroy_within: Option<Period>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failover: Option<Moving>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<Keep>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    derived: Option<Derived>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    source: BTreeMap<String, Settings>,
}

impl From<File> for Policy {
    fn from(file: File) -> Self {
        let settings = Settings {
            time_zone: file.time_zone,
            min_age: file.min_age,
            max_age: file.max_age,
            trash: file.trash,
            residue: file.residue,
            expire_share_max: file.expire_share_max,
            point_in_time: file.point_in_time,
            keep: file.keep,
            derived: file.derived,
        };
        Self {
            settings,
            destroy_within: file.destroy_within,
            failover: file.failover,
            sources: file.source,
        }
    }
}

impl From<Policy> for File {
    fn from(policy: Policy) -> Self {
        let Policy {
            settings,
            destroy_within,
            failover,
            sources,
        } = policy;
        Self {
            version: VERSION,
            time_zone: settings.time_zone,
            min_age: settings.min_age,
            max_age: settings.max_age,
            trash: settings.trash,
            residue: settings.residue,
            expire_share_max: settings.expire_share_max,
            point_in_time: settings.point_in_time,
            destroy_within,
            failover,
            keep: settings.keep,
            derived: settings.derived,
            source: sources,
        }
    }
}

/// Checked before all else, so that a newer file is called newer and not full of unknown keys.
fn check_version(text: &str) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Head {
        version: Option<i64>,
    }
    let head: Head = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    let problem = match head.version {
        Some(VERSION) => return Ok(()),
        Some(version) => format!("{version} is not known to this release"),
        None => "is missing".to_owned(),
    };
    Err(Error::policy(
        "version",
        problem,
        "version = 1 at the top of the file",
    ))
}

fn syntax(text: &str, error: &toml::de::Error) -> Error {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or(text);
    let index = before.matches('\n').count();
    let line = text.lines().nth(index).unwrap_or_default();
    Error::Syntax {
        line: index + 1,
        text: line.trim().to_owned(),
        problem: error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"version = 1
time_zone = "Europe/Helsinki"
min_age = "36h"
max_age = "20y"
trash = "7d"
residue = "30d"
expire_share_max = 0.5
point_in_time = "30d"
destroy_within = "30d"

[keep]
last = 3
within = "48h"
hourly = 24
daily = "4w"
weekly = "56w"
monthly = "forever"
yearly = 10

[derived]
own_retention = "6mo"
times = 2
longer_max = "1y"

[source."mail archive"]
trash = "0"

[source."mail archive".keep]
hourly = 0
daily = 90
"#;

    #[test]
    fn writes_back_what_it_read() {
        fn check(text: &str, written: &str) {
            let policy = Policy::parse(text).unwrap();
            assert_eq!(policy.to_toml(), written);
            assert_eq!(Policy::parse(written), Ok(policy));
        }
        check(FULL, FULL);
        check("version = 1", "version = 1\n");
        check(
            "version = 1 # mine\nsource.b.keep.last = 1\nsource.a.keep.last = 2\ntrash = '0'",
            "version = 1\ntrash = \"0\"\n\n[source.a.keep]\nlast = 2\n\n[source.b.keep]\nlast = 1\n",
        );
    }

    #[test]
    fn reads_the_example_of_its_own_page() {
        let page = include_str!("policy.rs").split("```").nth(1).unwrap();
        let lines = page
            .lines()
            .skip(1)
            .map(|line| line.trim_start_matches("//!"));
        let example: Vec<&str> = lines
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        let policy = Policy::parse(&example.join("\n")).unwrap();
        assert_eq!(policy.sources().collect::<Vec<_>>(), ["mail archive"]);
    }

    #[test]
    fn gives_each_source_its_own() {
        fn check(source: &str, rules: &str, trash: &str) {
            let retention = Policy::parse(FULL).unwrap().effective(source);
            let found: Vec<String> = retention
                .keep
                .rules()
                .iter()
                .map(|(rule, depth)| format!("{rule} {depth}"))
                .collect();
            assert_eq!(
                (
                    found.join(" ").as_str(),
                    retention.trash.to_string().as_str()
                ),
                (rules, trash)
            );
        }
        check(
            "web",
            "last 3 within 48h hourly 24 daily 4w weekly 56w monthly forever yearly 10",
            "7d",
        );
        check(
            "mail archive",
            "last 3 within 48h daily 90 weekly 56w monthly forever yearly 10",
            "0",
        );
    }

    #[test]
    fn names_what_is_not_enforced() {
        let text = "version = 1\ndestroy_within = '30d'\npoint_in_time = '30d'\n\
                    [source.a.derived]\nown_retention = '1y'\ntimes = 2\n";
        let reserved = Policy::parse(text).unwrap().reserved();
        assert_eq!(
            reserved,
            ["destroy_within", "point_in_time", r#"source."a".derived"#]
        );
        assert!(Policy::parse("version = 1").unwrap().reserved().is_empty());
    }

    #[test]
    fn refuses_with_key_and_advice() {
        fn check(text: &str, message: &str) {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(
                error.contains(message),
                "{text:?} gave\n{error}, wanted\n{message}"
            );
        }
        check(
            "",
            "version: is missing; write version = 1 at the top of the file",
        );
        check(
            "version = 2\nnovel = 3",
            "version: 2 is not known to this release",
        );
        check("version = 1\nkeep = 3", "line 2, `keep = 3`: ");
        check("version = 1\n[keep\n", "line 2, `[keep`: ");
        check(
            "version = 1\ndaily = 3",
            "line 2, `daily = 3`: unknown field `daily`, expected one of",
        );
        check(
            "version = 1\n[keep]\ndayly = 3",
            "line 3, `dayly = 3`: unknown field `dayly`",
        );
        check(
            "version = 1\n[source.a]\nversion = 1",
            "line 3, `version = 1`: unknown field",
        );
        check(
            "version = 1\n[source.a]\ndestroy_within = '1d'",
            "unknown field `destroy_within`",
        );
        check(
            "version = 1\nmin_age = \"36\"",
            "line 2, `min_age = \"36\"`: \"36\" has no unit; write a number and a unit",
        );
        check(
            "version = 1\nmin_age = 36",
            "line 2, `min_age = 36`: 36 has no unit; write a number and a unit",
        );
        check(
            "version = 1\ntrash = 0",
            r#"line 2, `trash = 0`: 0 stands without quotes; write "0""#,
        );
        check(
            "version = 1\nkeep.daily = -3",
            "line 2, `keep.daily = -3`: -3 is negative; write 0",
        );
        check(
            "version = 1\ntrash = \"3m\"",
            r#"write "3mo" for months or "3min" for minutes"#,
        );
        check(
            "version = 1\ntime_zone = 'Mars'",
            r#"time_zone: "Mars" is no time zone; write an IANA name"#,
        );
        check(
            "version = 1\nmax_age = 3",
            r#"max_age: 3 is no age; write "6mo" or another age"#,
        );
        check("version = 1\nmax_age = '0'", "max_age: 0 is no age");
        check(
            "version = 1\nexpire_share_max = 0",
            "expire_share_max: 0 is no share; write 0.5",
        );
        check(
            "version = 1\nexpire_share_max = 1.1",
            "expire_share_max: 1.1 is no share",
        );
        check(
            "version = 1\nexpire_share_max = nan",
            "expire_share_max: NaN is no share",
        );
        check(
            "version = 1\npoint_in_time = '0'",
            "point_in_time: is no time at all",
        );
        check(
            "version = 1\ndestroy_within = '0'",
            "destroy_within: is no time at all",
        );
        check(
            "version = 1\nkeep.last = '3d'",
            r#"keep.last: is a period; write within = "3d""#,
        );
        check(
            "version = 1\nkeep.last = 0",
            "keep: has no rule above 0; write last = 1",
        );
        check(
            "version = 1\nderived = { own_retention = '1y', times = 0 }",
            "derived.times: 0 times 1y is out of range",
        );
        check(
            "version = 1\nderived = { own_retention = '0', times = 2 }",
            "derived.own_retention: is no time at all",
        );
        check(
            "version = 1\n[source.\"\"]\ntrash = '1d'",
            r#"source."": is no source's name"#,
        );
    }

    #[test]
    fn checks_relations_where_they_meet() {
        fn check(text: &str, message: &str) {
            let error =
                Policy::parse(&format!("version = 1\n{text}")).map_err(|error| error.to_string());
            assert_eq!(error.err().as_deref().unwrap_or_default(), message);
        }
        check("min_age = '30d'\nmax_age = '30d'", "");
        check("keep.monthly = 'forever'\nmax_age = '20y'", "");
        check(
            "min_age = '30d'\nmax_age = '1mo'",
            r#"min_age: "30d" can be longer than max_age, "1mo"; write a max_age that is never shorter than "30d""#,
        );
        check(
            "keep.within = '1y'\nmax_age = '6mo'",
            r#"keep.within: "1y" can be longer than max_age, "6mo"; write within = "forever" to keep until max_age, or a larger max_age"#,
        );
        check(
            "min_age = '60d'\nsource.web.max_age = '30d'",
            r#"source."web".min_age: "60d" can be longer than max_age, "30d"; write a max_age that is never shorter than "60d""#,
        );
        check(
            "keep.daily = 7\nsource.web.keep.daily = 0",
            r#"source."web".keep: has no rule above 0; write last = 1 for the newest only, or leave [keep] out to keep everything"#,
        );
        check(
            "min_age = '60d'\nsource.web = { max_age = '30d', min_age = '0' }",
            "",
        );
        check(
            "keep.daily = 7\nsource.web.keep = { daily = 0, last = 'forever' }",
            "",
        );
    }
}
