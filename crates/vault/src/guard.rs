//! The guards of the protocol, by name: each is a line of code without which some interleaving loses data.
//!
//! In every build that people run [`Guard::stands`] is the constant `true`. With the feature `mutation`, which only tests
//! turn on, one guard can be taken away on one thread, so that the simulator can show what it is good for
//! (`crates/sim/src/mutation.rs` lists what each removal loses, and with which seed).

/// A guard. The place that it guards asks [`Guard::stands`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// The old epoch is sealed before the next is claimed.
    SealBeforeClaim,
    /// A claimant proves that the site refuses a second claim.
    ClaimProven,
    /// An outcome that is not success is settled by reading the slot.
    OutcomeSettled,
    /// One record is ever proposed for a slot.
    OneProposalPerSlot,
    /// A pack stands at the primary before the record that names it.
    PackBeforeRecord,
    /// A data key stands at the primary before the record that names it.
    KeyBeforeRecord,
    /// A node is named only after everything that it refers to.
    ChildrenFirst,
    /// A commit is appended only if everything that it refers to is live.
    CommitChecked,
    /// A chunk named bad is asked for again.
    StaleWanted,
    /// What was promised to an open session is not given up.
    PromisesKept,
    /// What came to be needed since the mark is taken out of the plan, in the turn that condemns.
    MarkBroughtUpToDate,
    /// What a record under way gives up is not answered as known.
    CondemningNotKnown,
    /// A hold placed since the mark counts in the turn that condemns.
    HoldInTheTurn,
    /// After a takeover nothing is given up until former sessions are back or ended.
    FormerSessionsFirst,
    /// A pack goes only when nothing live is at home in it.
    HomesStay,
    /// A key goes only when no session and no pack uses it.
    KeysInUseStay,
    /// While a member may hold a branch, keys from before this epoch stay.
    KeysOfBranchesStay,
    /// A pack of which something needed cannot be copied stays.
    DoubtKeeps,
    /// Nothing leaves the trash by a clock that is not trusted.
    ClockTrusted,
    /// The record that condemns stands at every member before anything is deleted at any.
    CondemnedEverywhere,
    /// Keys and packs stand at a member before the record that names them.
    NamedBeforeRecord,
    /// Only what the fold has taken is copied to a member.
    OnlyFoldedCopied,
    /// A member that holds another record in a slot is not taken to hold this one.
    SlotCompared,
    /// A copy is verified before it is put at a member.
    CopyVerified,
    /// A pack condemned since is copied too, while it is there.
    CondemnedCopied,
    /// A member counts as a copy only once it holds all that its records need.
    WholeBeforeProtected,
    /// A seal of this epoch at a member stops its owner.
    SealAtMemberStops,
    /// A branch is closed before it is read.
    BranchClosedFirst,
    /// A site that was left behind follows only once its branch was salvaged.
    SalvagedFirst,
    /// What was held on the branch and given up here stops the salvage.
    OwedHoldsStop,
    /// A fold that was saved in a branch is not gone on from.
    BranchFoldsLeft,
    /// While the primary's own log holds a branch that was not brought back nothing is condemned.
    OwnBranchStops,
    /// In a failover the old primary is sealed before it is drained.
    SealBeforeDrain,
    /// A failover takes what other members hold beyond the target.
    OthersGathered,
    /// Epoch numbers that a cut-off member may have used are never issued again.
    EpochsNeverReused,
    /// A failover leaves no more behind than was seen before it, though the primary answered again meanwhile.
    NoMoreLeftBehind,
    /// A primary that lost its last records gets them back before anyone appends behind the gap.
    PrimaryHealed,
    /// A site that a failover left behind is not taken for the primary.
    LastPrimaryAsked,
    /// A vault whose sites have lost records that stood there is not opened without a word.
    LossTold,
    /// Nothing is put behind a record that is not there any more: a site may have been rolled back.
    PreviousStands,
    /// A record that reads and differs is a branch, never overwritten as damage.
    BranchIsNoDamage,
}

impl Guard {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::SealBeforeClaim,
        Self::ClaimProven,
        Self::OutcomeSettled,
        Self::OneProposalPerSlot,
        Self::PackBeforeRecord,
        Self::KeyBeforeRecord,
        Self::ChildrenFirst,
        Self::CommitChecked,
        Self::StaleWanted,
        Self::PromisesKept,
        Self::MarkBroughtUpToDate,
        Self::CondemningNotKnown,
        Self::HoldInTheTurn,
        Self::FormerSessionsFirst,
        Self::HomesStay,
        Self::KeysInUseStay,
        Self::KeysOfBranchesStay,
        Self::DoubtKeeps,
        Self::ClockTrusted,
        Self::CondemnedEverywhere,
        Self::NamedBeforeRecord,
        Self::OnlyFoldedCopied,
        Self::SlotCompared,
        Self::CopyVerified,
        Self::CondemnedCopied,
        Self::WholeBeforeProtected,
        Self::SealAtMemberStops,
        Self::BranchClosedFirst,
        Self::SalvagedFirst,
        Self::OwedHoldsStop,
        Self::BranchFoldsLeft,
        Self::OwnBranchStops,
        Self::SealBeforeDrain,
        Self::OthersGathered,
        Self::EpochsNeverReused,
        Self::NoMoreLeftBehind,
        Self::PrimaryHealed,
        Self::LastPrimaryAsked,
        Self::LossTold,
        Self::PreviousStands,
        Self::BranchIsNoDamage,
    ];

    /// Whether the guard is in force.
    #[cfg(not(feature = "mutation"))]
    #[inline(always)]
    pub const fn stands(self) -> bool {
        true
    }

    /// Whether the guard is in force on this thread.
    #[cfg(feature = "mutation")]
    pub fn stands(self) -> bool {
        (REMOVED.get() | removed_everywhere()) & self.bit() == 0
    }

    /// Takes the guard away on this thread, until what this gives is dropped.
    #[cfg(feature = "mutation")]
    pub fn remove(self) -> Removed {
        REMOVED.set(REMOVED.get() | self.bit());
        Removed(self)
    }

    #[cfg(feature = "mutation")]
    fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// Guards that the whole process goes without, by name, separated by commas: for tests that start themselves anew.
#[cfg(feature = "mutation")]
pub const WITHOUT_VARIABLE: &str = "HOLDFAST_TEST_WITHOUT_GUARD";

#[cfg(feature = "mutation")]
fn removed_everywhere() -> u64 {
    static REMOVED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *REMOVED.get_or_init(|| {
        let names = std::env::var(WITHOUT_VARIABLE).unwrap_or_default();
        let named = |guard: &&Guard| names.split(',').any(|name| format!("{guard:?}") == name);
        let guards = Guard::ALL.iter().filter(named);
        guards.fold(0, |all, guard| all | guard.bit())
    })
}

#[cfg(feature = "mutation")]
thread_local! {
    static REMOVED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A guard is away for as long as this lives.
#[cfg(feature = "mutation")]
#[derive(Debug)]
#[must_use = "the guard is back as soon as this is dropped"]
pub struct Removed(Guard);

#[cfg(feature = "mutation")]
impl Drop for Removed {
    fn drop(&mut self) {
        REMOVED.set(REMOVED.get() & !self.0.bit());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guard_is_listed_once_and_stands() {
        let mut all = Guard::ALL.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), Guard::ALL.len());
        assert_eq!(Guard::ALL.last(), Some(&Guard::BranchIsNoDamage));
        assert_eq!(Guard::ALL.len(), Guard::BranchIsNoDamage as usize + 1);
        assert!(all.iter().all(|guard| guard.stands()));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn one_guard_is_away_for_as_long_as_asked() {
        let away = Guard::DoubtKeeps.remove();
        assert!(!Guard::DoubtKeeps.stands() && Guard::HomesStay.stands());
        drop(away);
        assert!(Guard::DoubtKeeps.stands());
    }
}
