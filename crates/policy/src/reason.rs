//! Why a snapshot is kept, or expires: what a plan prints beside each.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{Bucket, Depth, Period, Rule};

/// Why a snapshot is kept. A snapshot may have several reasons; it stays as long as one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// A legal hold covers it.
    Held,
    /// No policy says that anything of its source expires.
    NoPolicy,
    /// The policy has a maximum age, which it has not reached, and no keep rule.
    NoKeepRule,
    /// It was opened or committed later than now: a clock is wrong. It counts for no rule.
    InFuture,
    /// It was committed less than the minimum age ago.
    MinAge(Period),
    /// It is its source's newest complete snapshot.
    NewestComplete,
    /// A keep rule that counts snapshots covers it.
    Rule(Rule, Depth),
    /// It is the one that a keep rule keeps of an hour, day, week, month or year.
    Bucket(Rule, Bucket),
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::NoPolicy => f.write_str("no policy"),
            Self::NoKeepRule => f.write_str("no keep rule"),
            Self::InFuture => f.write_str("dated in the future"),
            Self::MinAge(_) => f.write_str("younger than min_age"),
            Self::NewestComplete => f.write_str("newest complete"),
            Self::Rule(rule, depth) => write!(f, "{rule} {depth}"),
            Self::Bucket(rule, bucket) => write!(f, "{rule} {bucket}"),
        }
    }
}

impl Serialize for KeepReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a snapshot expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpireReason {
    /// It has reached the maximum age.
    MaxAge(Period),
    /// There are keep rules, and none of them keeps it.
    NoRule,
}

impl fmt::Display for ExpireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaxAge(period) => write!(f, "older than max_age {period}"),
            Self::NoRule => f.write_str("kept by no rule"),
        }
    }
}

impl Serialize for ExpireReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
