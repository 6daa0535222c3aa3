//! What holds for one source: its policy with every default filled in.

use crate::{Calendar, Depth, Derived, Keep, Period, Settings};

/// How long what expires or is forgotten stays restorable, if the policy does not say.
pub const TRASH_DEFAULT: Period = Period::days(7);
/// How long dead bytes may lie beside live ones in a frame, if the policy does not say.
pub const RESIDUE_DEFAULT: Period = Period::days(30);
/// Share of a source's snapshots that a plan may expire by itself, if the policy does not say.
pub const EXPIRE_SHARE_MAX_DEFAULT: f64 = 0.5;

/// What holds for the snapshots of one source. [`Retention::default`] is no policy at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// Where hours, days, weeks, months and years are counted.
    pub calendar: Calendar,
    /// The keep rules.
    pub keep: Keep,
    /// No rule expires what was committed less than this ago.
    pub min_age: Period,
    /// What was opened this long ago expires, unless it is held; `None`: no such age.
    pub max_age: Option<Period>,
    /// How long what expired or was forgotten stays restorable.
    pub trash: Period,
    /// How long dead bytes may lie beside live ones before their frame becomes stale.
    pub residue: Period,
    /// Share of the source's snapshots that a plan may expire by itself.
    pub expire_share_max: f64,
    /// **Reserved, not enforced yet:** how far back point-in-time restore shall reach.
    pub point_in_time: Option<Period>,
    /// **Reserved, not enforced yet:** a period derived from how long the originals are kept.
    pub derived: Option<Derived>,
}

impl Default for Retention {
    fn default() -> Self {
        Self::from_settings(&Settings::default())
    }
}

impl Retention {
    /// Fills in the defaults. The settings have been checked.
    pub(crate) fn from_settings(settings: &Settings) -> Self {
        let calendar = match settings.time_zone.as_deref() {
            Some(name) => Calendar::named(name).expect("settings are checked before they are used"),
            None => Calendar::utc(),
        };
        Self {
            calendar,
            keep: settings.keep.clone().unwrap_or_default(),
            min_age: settings.min_age.unwrap_or_default(),
            max_age: match settings.max_age {
                Some(Depth::For(period)) => Some(period),
                _ => None,
            },
            trash: settings.trash.unwrap_or(TRASH_DEFAULT),
            residue: settings.residue.unwrap_or(RESIDUE_DEFAULT),
            expire_share_max: settings
                .expire_share_max
                .unwrap_or(EXPIRE_SHARE_MAX_DEFAULT),
            point_in_time: settings.point_in_time,
            derived: settings.derived.clone(),
        }
    }

    /// True if nothing here ever expires a snapshot.
    pub fn keeps_everything(&self) -> bool {
        self.max_age.is_none() && self.keep.rules().is_empty()
    }

    /// When something leaves the trash that entered it at `millis`.
    pub fn trash_ends_millis(&self, millis: i64) -> i64 {
        self.calendar.after_millis(millis, self.trash)
    }

    /// When a frame becomes stale of which a chunk has been absent since `millis`.
    pub fn residue_ends_millis(&self, millis: i64) -> i64 {
        self.calendar.after_millis(millis, self.residue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, calendar::millis};

    #[test]
    fn fills_in_defaults() {
        let retention = Policy::parse("version = 1").unwrap().effective("any");
        assert_eq!(retention, Retention::default());
        assert!(retention.keeps_everything());
        assert_eq!(retention.calendar.name(), "UTC");
        assert_eq!(
            (retention.trash, retention.residue),
            (TRASH_DEFAULT, RESIDUE_DEFAULT)
        );
        assert_eq!(retention.expire_share_max, 0.5);
    }

    #[test]
    fn ends_trash_by_the_calendar() {
        fn check(text: &str, expired: &str, ends: &str) {
            let retention = Policy::parse(&format!("version = 1\n{text}"))
                .unwrap()
                .effective("any");
            assert_eq!(retention.trash_ends_millis(millis(expired)), millis(ends));
        }
        check("", "2026-03-25T12:00Z", "2026-04-01T12:00Z");
        check(
            "time_zone = 'Europe/Helsinki'",
            "2026-03-25T12:00Z",
            "2026-04-01T11:00Z",
        );
        check("trash = '0'", "2026-03-25T12:00Z", "2026-03-25T12:00Z");
        check(
            "trash = '168h'\ntime_zone = 'Europe/Helsinki'",
            "2026-03-25T12:00Z",
            "2026-04-01T12:00Z",
        );
    }
}
