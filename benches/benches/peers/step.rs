//! What each tool is asked to do, in this order, on one repository.

use serde::{Deserialize, Serialize};

/// See the module header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The first backup. Ours ends when the snapshot stands at the primary.
    First,
    /// Ours only: the same, until the snapshot stands at both sites.
    FirstProtected,
    /// A backup with nothing changed.
    Unchanged,
    /// A backup of the next day's state.
    DayTwo,
    /// Ours only: the same, until the snapshot stands at both sites.
    DayTwoProtected,
    /// A full restore of the latest snapshot into an empty folder.
    Restore,
    /// A check that reads all data.
    Verify,
    /// All snapshots but the latest go, and what only they needed is deleted.
    Expire,
}

impl Step {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 8] = [
        Self::First,
        Self::FirstProtected,
        Self::Unchanged,
        Self::DayTwo,
        Self::DayTwoProtected,
        Self::Restore,
        Self::Verify,
        Self::Expire,
    ];

    /// The steps that a tool is told to run; the others are seen on the way.
    pub(crate) const ASKED: [Self; 6] = [
        Self::First,
        Self::Unchanged,
        Self::DayTwo,
        Self::Restore,
        Self::Verify,
        Self::Expire,
    ];

    /// The word that chooses it, and that names its snapshot.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::FirstProtected => "first-protected",
            Self::Unchanged => "unchanged",
            Self::DayTwo => "two",
            Self::DayTwoProtected => "two-protected",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Expire => "expire",
        }
    }

    /// For a table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::FirstProtected => "first, both sites",
            Self::Unchanged => "unchanged",
            Self::DayTwo => "day two",
            Self::DayTwoProtected => "day two, both sites",
            Self::Restore => "restore",
            Self::Verify => "verify all data",
            Self::Expire => "expire + collect",
        }
    }

    /// Without these there is no state that the others need.
    pub(crate) fn is_needed(self) -> bool {
        matches!(self, Self::First | Self::DayTwo)
    }

    /// Whether it is mostly a reading of the repository.
    pub(crate) fn reads_repository(self) -> bool {
        matches!(self, Self::Restore | Self::Verify)
    }

    /// For ours: what the step leads to once both sites have it.
    pub(crate) fn protected(self) -> Option<Self> {
        match self {
            Self::First => Some(Self::FirstProtected),
            Self::DayTwo => Some(Self::DayTwoProtected),
            _ => None,
        }
    }
}
