//! What is expected of each cell, as exit codes: 0 done; 1 refused or failed, and nothing was changed; 3 damage was met, what
//! is lost is named and the rest is there; 4 committed and not yet at every site; 124 it waits, and would for longer than a
//! test does.
//!
//! With the object damaged at **one** site ([`super::objects`] says what an old version of each kind is):
//!
//! | kind | rescue there | restore | verify | backup | takeover | expire, collect | failover to the other site |
//! |---|---|---|---|---|---|---|---|
//! | header | 1 | 0 | 3, or 0 once mended | 0 | 0, mends the primary's | 0 | damaged target: 1, after `verify --repair` 0 |
//! | the vault's key | 1 | 0, mends it | 3, or 0 | 0 | 0 | 0 | 0 |
//! | session key, packs | 3, names the files | 0, mends it | 3, or 0 | 0 | 0 | 0 | damaged target: 1 if missing, or short, after `verify --repair` 0; else 0 |
//! | record, seal, claim | `ls` 3, restore 1 or 3 | 0 | 3, or 0 | 0 | 0, mends the primary's | 0 | damaged primary: 0, mends it; damaged target: 1, after `verify --repair` 0 |
//! | last record, missing | the log is one record shorter | 0 | 3, or 0 | 0 | 0, mends the primary's | 0 | as another record |
//! | covered record, checkpoint, segment | 0 | 0 | 3 | 0 | 0 | 0 | 0 |
//!
//! With it damaged at **both**:
//!
//! | kind | rescue | restore | verify | backup | takeover | expire, collect | failover |
//! |---|---|---|---|---|---|---|---|
//! | header | 1 | 0, mended when the vault was opened | 0 | 0 | 0, mends it | 0 | 1, after `verify --repair` 0 |
//! | the vault's key | 1 | 1 | 3 | 1, refused: nobody could read it | 0, nobody can read | 0 | 0 |
//! | session key, packs | 3 | 3, names the files | 3 | 0, sends again what is lost of a pack or under a key; the new snapshot is whole | 0 | 0; what was sent again lets a damaged pack go | 0 |
//! | record, seal, claim | 3 | 1, the vault is not open | 1 | waits | 1, not open | 1 | 1 |
//! | last record, missing | the log is one record shorter | 1, the vault is not open: what it lost is told | 1 | waits | 1 | 1 | 1, with `--accept-loss` 0 |
//! | covered record, checkpoint, segment | 0 | 0 | 3; a checkpoint is replaced by `verify --repair`, and then 0 | 0 | 0 | 0 | 0 |
//!
//! Where one member **lags** behind the primary by a backup:
//!
//! | damaged | the lagging member | failover to it |
//! |---|---|---|
//! | header, vault's key, covered record, checkpoint, segment at either site | follows | 0 |
//! | the last record at the member | does not follow, and says why | 1, after `verify --repair` 0 |
//! | a record in the middle at the member | follows | 1, after `verify --repair` 0 |
//! | session key or packs of its own at the member | follows | if missing, or short, 1, after `verify --repair` 0; else 0 |
//! | a session key or pack that only the primary has | does not follow, and says why | 1. Forgetting what needs it and collecting lets it follow, and then 0 |
//! | a record that only the primary has | the vault is not open | 1, with `--accept-loss` 0, and what was behind the record is lost |
//! | the last record at the primary, missing | the vault is not open | 1, with `--accept-loss` 0, and the snapshot that it committed is lost |
//!
//! What never changes: a restore that ends with 0 is complete and right; whatever is not restored is named; and after
//! collection and failover nothing is lost that could be restored before.

use super::objects::{Damage, Kind};
use super::{Cell, Place};

/// How much of a snapshot depends on an object, for a reader of that site alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// It only saves work.
    Nothing,
    /// The log ends one record earlier, and nobody who knows that site alone can tell.
    Shorter,
    /// Some chunks.
    Some,
    /// Everything.
    All,
}

/// How bad a damage is.
pub(crate) fn severity(kind: Kind, damage: Damage) -> Severity {
    match (kind, damage) {
        (Kind::Checkpoint | Kind::Segment | Kind::CoveredRecord, _) => Severity::Nothing,
        (Kind::LastRecord, Damage::Missing) => Severity::Shorter,
        (Kind::SessionKey | Kind::DataBody | Kind::DataFooter | Kind::NodePack, _) => {
            Severity::Some
        }
        (
            Kind::Header
            | Kind::VaultKey
            | Kind::MiddleRecord
            | Kind::Seal
            | Kind::Claim
            | Kind::LastRecord,
            _,
        ) => Severity::All,
    }
}

/// Exit codes that are allowed. Several where a repair beside a restore may or may not be done by then.
pub(crate) type Codes = &'static [i32];

impl Severity {
    pub(crate) fn rescue_ls(self) -> Codes {
        match self {
            Self::All => &[1, 3],
            _ => &[0],
        }
    }

    pub(crate) fn rescue_restore(self) -> Codes {
        match self {
            Self::Nothing => &[0],
            Self::Shorter => &[1],
            Self::Some => &[3],
            Self::All => &[1, 3],
        }
    }

    pub(crate) fn restore_from_site(self, place: Place) -> Codes {
        match (self, place.is_both()) {
            (Self::Nothing, _) => &[0],
            (Self::Some, false) => &[0, 3],
            (Self::Some, true) => &[3],
            (Self::Shorter, _) => &[0, 1],
            (Self::All, _) => &[0, 1, 3],
        }
    }

    pub(crate) fn verify(self, place: Place, healed: bool) -> Codes {
        match (self, place.is_both()) {
            (Self::Shorter, true) => &[1],
            (Self::All, true) => &[1, 3],
            _ if healed => &[0, 3],
            _ => &[3],
        }
    }

    /// Also after a takeover.
    pub(crate) fn restore(self, place: Place) -> Codes {
        match (self, place.is_both()) {
            (_, false) | (Self::Nothing, true) => &[0],
            (Self::Shorter, true) => &[1],
            (Self::Some, true) => &[3],
            (Self::All, true) => &[1, 3],
        }
    }

    /// The same once a backup has sent again what was lost.
    pub(crate) fn restore_after_backup(self, place: Place) -> Codes {
        match (self, place.is_both()) {
            (Self::Some, true) => &[0, 3],
            _ => self.restore(place),
        }
    }

    pub(crate) fn rescue_afterwards(self, damaged: bool) -> Codes {
        match (self, damaged) {
            (_, false) | (Self::Nothing, true) => &[0],
            (Self::Some, true) => &[0, 3],
            (Self::Shorter | Self::All, true) => &[0, 1, 3],
        }
    }
}

impl Cell {
    pub(super) fn severity(&self) -> Severity {
        severity(self.kind, self.damage)
    }

    /// The same for whoever asks a coordinator, which keeps a copy of the header and has put it back by then.
    pub(super) fn severity_once_open(&self) -> Severity {
        match self.kind {
            Kind::Header if self.place.is_both() => Severity::Nothing,
            _ => self.severity(),
        }
    }

    pub(super) fn verify(&self, healed: bool) -> Codes {
        match self.kind {
            Kind::Header => &[0, 3],
            _ => self.severity().verify(self.place, healed),
        }
    }

    /// Whether it is a record that every reader of the log needs.
    fn is_needed_record(&self) -> bool {
        matches!(
            self.kind,
            Kind::MiddleRecord | Kind::Seal | Kind::Claim | Kind::LastRecord
        )
    }

    fn is_pack_or_key(&self) -> bool {
        self.severity() == Severity::Some
    }

    pub(super) fn backup(&self, is_open: bool) -> Codes {
        match (self.severity(), self.place) {
            (Severity::All | Severity::Shorter, Place::Both) if !is_open => &[1, 124],
            _ if self.kind == Kind::VaultKey && self.place.is_both() => &[1],
            _ => &[0],
        }
    }

    pub(super) fn expire(&self, is_open: bool) -> Codes {
        if is_open { &[0] } else { &[1] }
    }

    pub(super) fn collect(&self, is_open: bool) -> Codes {
        match (self.severity(), self.place) {
            // The session whose commit is lost looks open, and what it sent is kept for it.
            (Severity::Shorter, Place::Both) => &[1],
            _ => self.expire(is_open),
        }
    }

    pub(super) fn failover(&self, is_open: bool) -> Codes {
        let is_header = self.kind == Kind::Header && self.damage != Damage::Missing;
        match self.place {
            _ if !is_open => &[1],
            Place::Both if self.kind == Kind::Header => &[1],
            Place::Other if self.is_needed_record() || is_header => &[1],
            // What the lists show. What the primary lacks too is no worse for the move.
            Place::Other if self.is_pack_or_key() => match (self.kind, self.damage) {
                (Kind::SessionKey, Damage::Missing) => &[1],
                // As long as a pack's length is right only reading it shows it, and the collection may have let it go by then.
                _ => &[0, 1],
            },
            _ => &[0],
        }
    }

    pub(super) fn replicate(&self) -> Codes {
        match self.place {
            Place::Primary if self.is_pack_or_key() => &[4],
            Place::Primary if self.is_cut_short() => &[1, 124],
            _ => &[0],
        }
    }

    /// Whether the primary's log cannot be read to its end, and no other member has the rest.
    pub(super) fn is_cut_short(&self) -> bool {
        self.place == Place::Primary && self.is_needed_record()
    }

    /// Whether only the primary has something that a record which it has names, and that is damaged.
    pub(super) fn is_stuck(&self) -> bool {
        self.place == Place::Primary && self.is_pack_or_key()
    }

    pub(super) fn failover_of_the_lag(&self) -> Codes {
        match self.place {
            Place::Primary if self.is_stuck() || self.is_cut_short() => &[1],
            Place::Primary => &[0],
            _ => self.failover(true),
        }
    }

    pub(super) fn restore_of_the_lag(&self) -> Codes {
        match self.place {
            Place::Primary if self.is_needed_record() => &[1],
            _ => &[0],
        }
    }
}
