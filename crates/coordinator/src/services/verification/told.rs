//! What a verification says by record of a site: which snapshots are damaged there, and which were read back whole.
//!
//! State: that of the run.

use holdfast_format::fact::SnapshotVerified;
use holdfast_format::{Position, SiteName, SnapshotId};
use holdfast_vault::Proposal;

use super::Check;
use crate::error::Result;

impl Check<'_> {
    /// Something without which nothing at the site can be read is damaged there, or could not be looked at.
    pub(super) fn all_hurt(&mut self, is_damage: bool) {
        let state = self.vault.state();
        let all = state.catalog.snapshots.keys().copied();
        match is_damage {
            true => self.hurt.extend(all),
            false => self.unsure.extend(all),
        }
    }

    /// Says which snapshots are damaged at a site whose log is right up to `head`. That one is not any more is said once all of the
    /// site was read: what lies damaged inside a pack is not seen by looking.
    pub(super) async fn say_damaged(&self, name: &SiteName, head: Option<Position>) -> Result<()> {
        let (damaged, unread) = {
            let state = self.vault.state();
            let mut damaged = self.hurt.clone();
            // It stood there, and is gone from its log.
            let known = state.catalog.snapshots.iter();
            let gone = known.filter(|(_, s)| {
                let at = Some(s.committed_at);
                at > head && at <= self.log_damaged_up_to
            });
            damaged.extend(gone.map(|(id, _)| *id));
            let healed: Vec<SnapshotId> = match self.reads_all() {
                false => Vec::new(),
                true => (state.catalog.snapshots.iter())
                    .filter(|(_, s)| s.is_damaged_at(name) && Some(s.committed_at) <= head)
                    .map(|(id, _)| *id)
                    .filter(|id| !damaged.contains(id) && !self.unsure.contains(id))
                    .collect(),
            };
            (damaged.into_iter().collect::<Vec<_>>(), healed)
        };
        let said = self.vault.say_checked(name, &damaged, &unread, "verify");
        said.await.map(drop)
    }

    /// Says which snapshots were read back whole at a site.
    pub(super) async fn say_verified(&self, name: &SiteName, head: Position) -> Result<()> {
        let fresh: Vec<SnapshotId> = {
            let state = self.vault.state();
            let snapshots = state.catalog.live_snapshots();
            snapshots
                .filter(|(_, s)| s.committed_at <= head && !s.verified.contains_key(name))
                .map(|(id, _)| *id)
                .filter(|id| !self.unsure.contains(id))
                .collect()
        };
        for snapshot in fresh {
            let fact = SnapshotVerified {
                snapshot,
                site: name.clone(),
                who: "verify".into(),
            };
            if !self.vault.say(Proposal::Verified(fact)).await? {
                break;
            }
        }
        Ok(())
    }
}
