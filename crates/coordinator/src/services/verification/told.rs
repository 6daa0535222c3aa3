//! What a verification says by record of a site: which snapshots are damaged there, and which were read back whole.
//!
//! State: that of the run.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_format::fact::{SiteChecked, SnapshotVerified};
use holdfast_format::{KeyId, PackOrdinal, Position, SiteName, SnapshotId};
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::fold::catalog::Damage;
use holdfast_vault::{Proposal, State, open_state};

use super::Check;
use crate::error::Result;

/// What was learnt at one member.
#[derive(Debug, Default)]
pub(super) struct Here {
    /// Snapshots that need something that is damaged there.
    pub(super) hurt: BTreeSet<SnapshotId>,
    /// Snapshots of which something could not be looked at there.
    pub(super) unsure: BTreeSet<SnapshotId>,
    /// Snapshots of which something is on its way there.
    pub(super) coming: BTreeSet<SnapshotId>,
    /// Packs that are bad, and stayed so.
    pub(super) bad_packs: BTreeSet<PackOrdinal>,
    /// Packs that were read and are right, or were put there again.
    pub(super) right_packs: BTreeSet<PackOrdinal>,
    /// Data keys that are bad, and stayed so.
    pub(super) bad_keys: BTreeSet<KeyId>,
    /// Data keys that are right, or were put there again.
    pub(super) right_keys: BTreeSet<KeyId>,
    /// Something without which nothing can be read there is damaged, and stayed so.
    pub(super) is_unreadable: bool,
    /// Something without which nothing can be read there could not be looked at.
    pub(super) is_unseen: bool,
    /// The last record of its log that is right.
    pub(super) head: Option<Position>,
    /// If its log is damaged, and stayed so: the last record that stood there.
    pub(super) log_damaged_up_to: Option<Position>,
    /// Not everything was gone through.
    pub(super) is_cut_short: bool,
    /// What was known to be damaged there before: what somebody else finds meanwhile is not mended by what was read before that.
    pub(super) was_bad: Damage,
    /// Snapshots that were known to be damaged there before.
    pub(super) was_damaged: BTreeSet<SnapshotId>,
}

impl Here {
    /// What is known before anything is looked at.
    pub(super) fn before(state: &State, name: &SiteName) -> Self {
        let snapshots = state.catalog.snapshots.iter();
        let damaged = snapshots.filter(|(_, s)| s.is_damaged_at(name));
        Self {
            was_bad: state.catalog.damage_at(name).cloned().unwrap_or_default(),
            was_damaged: damaged.map(|(id, _)| *id).collect(),
            ..Self::default()
        }
    }
}

impl Check<'_> {
    /// Something without which nothing at the site can be read is damaged there, or could not be looked at.
    pub(super) fn all_hurt(&mut self, is_damage: bool) {
        let state = self.vault.state();
        let all = state.catalog.snapshots.keys().copied();
        match is_damage {
            true => {
                self.here.is_unreadable = true;
                self.here.hurt.extend(all);
            }
            false => {
                self.here.is_unseen = true;
                self.here.unsure.extend(all);
            }
        }
    }

    /// The log was not right behind `here.head`, and what stood there up to `stands` was not mended.
    pub(super) async fn log_ends(
        &mut self,
        opened: &Opened,
        stands: Option<Position>,
        is_damage: bool,
    ) {
        if is_damage {
            self.here.log_damaged_up_to = stands;
            // From a checkpoint behind the damage it is read all the same.
            let reader: Arc<dyn SiteReader> = opened.site.clone();
            let read = open_state(&reader, self.vault.header.vault, &self.vault.cache).await;
            let is_read = read.is_ok_and(|state| state.chain.head >= stands);
            self.here.is_unreadable |= !is_read;
            return;
        }
        self.here.is_unseen = true;
        let state = self.vault.state();
        let snapshots = state.catalog.snapshots.iter();
        let beyond = snapshots.filter(|(_, s)| Some(s.committed_at) > self.here.head);
        let beyond: Vec<SnapshotId> = beyond.map(|(id, _)| *id).collect();
        self.here.unsure.extend(beyond);
    }

    /// Says what is damaged at the site. That a snapshot is not any more is said once all of the site was read: what lies damaged
    /// inside a pack is not seen by looking. A pack is right as soon as it was read, or put there again, and a data key as soon as
    /// its hash is. False: the primary takes no record now.
    pub(super) async fn say_damaged(&self, name: &SiteName) -> Result<bool> {
        let told = {
            let (state, here) = (self.vault.state(), &self.here);
            let mut damaged = here.hurt.clone();
            // It stood there, and is gone from its log.
            let known = state.catalog.snapshots.iter();
            let gone = known.filter(|(_, s)| {
                let at = Some(s.committed_at);
                at > here.head && at <= here.log_damaged_up_to
            });
            damaged.extend(gone.map(|(id, _)| *id));
            let is_read = self.reads_all() && !here.is_cut_short;
            let snapshots = state.catalog.snapshots.iter();
            let unread = snapshots.filter(|(id, s)| match here.unsure.contains(*id) {
                // It was read back whole before, and could not be read now.
                true => s.verified.contains_key(name),
                false => {
                    let is_there = Some(s.committed_at) <= here.head && !here.coming.contains(*id);
                    is_read && is_there && here.was_damaged.contains(*id)
                }
            });
            let unread = unread.map(|(id, _)| *id);
            let unread: Vec<SnapshotId> = unread.filter(|id| !damaged.contains(id)).collect();
            let right = here.right_packs.intersection(&here.was_bad.packs);
            let right_keys = here.right_keys.intersection(&here.was_bad.keys);
            SiteChecked {
                damaged: damaged.into_iter().collect(),
                unread,
                bad_packs: here.bad_packs.iter().copied().collect(),
                good_packs: right.copied().collect(),
                bad_keys: here.bad_keys.iter().copied().collect(),
                good_keys: right_keys.copied().collect(),
                is_unreadable: match here.is_unreadable {
                    true => Some(true),
                    false if here.is_unseen || here.is_cut_short => None,
                    false => Some(false),
                },
                ..SiteChecked::nothing_of(name, "verify")
            }
        };
        self.vault.say_checked(told).await
    }

    /// Says which snapshots were read back whole at a site.
    pub(super) async fn say_verified(&self, name: &SiteName, head: Position) -> Result<()> {
        let fresh: Vec<SnapshotId> = {
            let state = self.vault.state();
            let snapshots = state.catalog.live_snapshots();
            snapshots
                .filter(|(_, s)| s.committed_at <= head && !s.verified.contains_key(name))
                .map(|(id, _)| *id)
                .filter(|id| !self.here.unsure.contains(id) && !self.here.coming.contains(id))
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
