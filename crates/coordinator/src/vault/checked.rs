//! What is known of a site, said by record: what is damaged there, which snapshots that hurts, and what nobody has read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_format::fact::SiteChecked;
use holdfast_format::{Position, SiteName, SnapshotId};
use holdfast_vault::fold::catalog::Snapshot;
use holdfast_vault::{Proposal, damage};
use tokio::task::JoinHandle;

use super::Vault;
use crate::error::{Error, Result};

/// So many snapshots, packs or keys a record names at most, of each kind.
const NAMED_AT_ONCE: usize = 4096;

/// So long a record of what was learnt is waited for: verifying and following go on while the primary takes nothing.
pub(crate) const RECORD_WAIT: Duration = Duration::from_secs(10);

impl Vault {
    /// Puts into the log what was learnt. False: the primary takes no record now; it is told once the primary does.
    pub(crate) async fn say(self: &Arc<Self>, what: Proposal) -> Result<bool> {
        let vault = self.clone();
        let telling = self.context.spawn(async move { vault.tell(what).await });
        self.wait_for(telling).await
    }

    async fn tell(&self, what: Proposal) -> Result<()> {
        match self.append(what).await {
            // Collected meanwhile.
            Ok(_) | Err(Error::Missing(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts into the log what was learnt of a site, in as many records as it takes, and then what follows from it for snapshots that
    /// were committed meanwhile. False: the primary takes no record now; it is told once the primary does.
    pub(crate) async fn say_checked(self: &Arc<Self>, told: SiteChecked) -> Result<bool> {
        let names_damage = !told.bad_packs.is_empty()
            || !told.bad_keys.is_empty()
            || told.is_unreadable == Some(true);
        let vault = self.clone();
        let telling = self.context.spawn(async move {
            vault.tell_all(in_parts(told)).await?;
            match names_damage {
                true => vault.say_sharing(None).await,
                false => Ok(()),
            }
        });
        self.wait_for(telling).await
    }

    async fn tell_all(&self, facts: Vec<SiteChecked>) -> Result<()> {
        for fact in facts {
            self.tell(Proposal::Checked(fact)).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, telling: JoinHandle<Result<()>>) -> Result<bool> {
        match tokio::time::timeout(RECORD_WAIT, telling).await {
            Ok(Ok(told)) => told.map(|()| true),
            Ok(Err(_)) => Err(Error::Unavailable("this coordinator stops".into())),
            Err(_) => {
                tracing::warn!(vault = %self.header.name, "the primary takes no record now: what was learnt of a site is told once it does");
                Ok(false)
            }
        }
    }

    /// A snapshot is about to be committed: whether it shares what is damaged at a site is not said yet.
    pub(crate) fn doubt_sharing(&self, snapshot: SnapshotId) {
        if self.state().catalog.is_damage_known() {
            self.unsaid().insert(snapshot);
        }
    }

    /// Says which snapshots need something that is damaged at a site, of those that were committed after somebody had looked:
    /// `among` is one that was committed just now. Until that stands in the log these are told no better than committed. While no
    /// damage is known it costs nothing.
    pub(crate) async fn say_sharing(self: &Arc<Self>, among: Option<SnapshotId>) -> Result<()> {
        let hurt = self.share_damage(among).await;
        let ids: Vec<SnapshotId> = hurt.values().flatten().copied().chain(among).collect();
        if hurt.is_empty() {
            self.is_said(&ids);
            return Ok(());
        }
        self.unsaid().extend(&ids);
        for (site, snapshots) in &hurt {
            tracing::warn!(
                vault = %self.header.name, %site, snapshots = snapshots.len(),
                "snapshots need something that is damaged at this site"
            );
        }
        let facts = hurt.into_iter().flat_map(|(site, damaged)| {
            in_parts(SiteChecked {
                damaged,
                ..SiteChecked::nothing_of(&site, "commit")
            })
        });
        let facts: Vec<SiteChecked> = facts.collect();
        let vault = self.clone();
        let telling = self.context.spawn(async move {
            vault.tell_all(facts).await?;
            vault.is_said(&ids);
            Ok(())
        });
        self.wait_for(telling).await.map(drop)
    }

    /// Which snapshots share what is damaged at each site, and are not said to.
    async fn share_damage(&self, among: Option<SnapshotId>) -> BTreeMap<SiteName, Vec<SnapshotId>> {
        loop {
            let state = {
                let state = self.state();
                if !state.catalog.is_damage_known() {
                    return BTreeMap::new();
                }
                state.clone()
            };
            let damage = state.catalog.damage.clone();
            let find = move || damage::not_said(&state, among);
            let hurt = self.context.run_blocking(find).await;
            // What was mended meanwhile hurts nobody.
            if self.state().catalog.damage == damage {
                return hurt;
            }
        }
    }

    fn unsaid(&self) -> MutexGuard<'_, BTreeSet<SnapshotId>> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It stands in the log, or there is nothing to say.
    fn is_said(&self, snapshots: &[SnapshotId]) {
        let known = {
            let mut unsaid = self.unsaid();
            let before = unsaid.len();
            for snapshot in snapshots {
                unsaid.remove(snapshot);
            }
            before - unsaid.len()
        };
        if known > 0 {
            self.changed.set(());
        }
    }

    /// A snapshot that was not committed after all.
    pub(crate) fn doubt_no_more(&self, snapshot: SnapshotId) {
        self.is_said(&[snapshot]);
    }

    /// Snapshots of which it is not said yet whether they share what is damaged at a site.
    pub(crate) fn doubtful(&self) -> BTreeSet<SnapshotId> {
        self.unsaid().clone()
    }

    /// Waits until it is said of a snapshot whether it shares what is damaged at a site.
    pub(crate) async fn wait_said(&self, snapshot: SnapshotId) -> Result<()> {
        let mut changed = self.changed.watch();
        while self.unsaid().contains(&snapshot) {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Error::Fenced("this coordinator no longer owns the vault".into())),
                _ = changed.changed() => {}
            }
        }
        Ok(())
    }

    /// A site has lost what stands behind a record, or all of it: what was read there counts no more. What is known to be damaged
    /// there is so until somebody has read it.
    pub(crate) async fn unread_behind(self: &Arc<Self>, site: &SiteName, after: Option<Position>) {
        let ids = self.told_of(|s| s.verified.contains_key(site) && Some(s.committed_at) > after);
        if ids.is_empty() {
            return;
        }
        let told = SiteChecked {
            unread: ids,
            ..SiteChecked::nothing_of(site, "coordinator")
        };
        if let Err(error) = self.say_checked(told).await {
            tracing::warn!(%site, %error, "that snapshots were not read at this site was not told");
        }
    }

    /// A site is another disk, which holds nothing yet.
    pub(crate) async fn unread_all(self: &Arc<Self>, site: &SiteName, who: &str) -> Result<()> {
        let ids = self.told_of(|s| s.verified.contains_key(site) || s.is_damaged_at(site));
        let damage = self.state().catalog.damage_at(site).cloned();
        let damage = damage.unwrap_or_default();
        let told = SiteChecked {
            unread: ids,
            good_packs: damage.packs.into_iter().collect(),
            good_keys: damage.keys.into_iter().collect(),
            is_unreadable: Some(false),
            ..SiteChecked::nothing_of(site, who)
        };
        match self.say_checked(told).await? {
            true => Ok(()),
            false => Err(Error::Unavailable(
                "the primary takes no record now; run this again once it does".into(),
            )),
        }
    }

    fn told_of(&self, is_told: impl Fn(&Snapshot) -> bool) -> Vec<SnapshotId> {
        let state = self.state();
        let told = state.catalog.snapshots.iter().filter(|(_, s)| is_told(s));
        told.map(|(id, _)| *id).collect()
    }
}

/// Cut so that each record names few enough; all in one record, as a rule.
///
/// ORDER: what is damaged comes with the first. A snapshot that needs it is said to be damaged at the next opening, if this ends in
/// between; a pack that nobody named is not found that way.
fn in_parts(mut told: SiteChecked) -> Vec<SiteChecked> {
    let mut parts = Vec::new();
    while !told.is_nothing() {
        let mut part = SiteChecked {
            is_unreadable: told.is_unreadable.take(),
            ..SiteChecked::nothing_of(&told.site, &told.who)
        };
        part.bad_packs = first_of(&mut told.bad_packs);
        part.bad_keys = first_of(&mut told.bad_keys);
        part.damaged = first_of(&mut told.damaged);
        part.good_packs = first_of(&mut told.good_packs);
        part.good_keys = first_of(&mut told.good_keys);
        part.unread = first_of(&mut told.unread);
        parts.push(part);
    }
    parts
}

fn first_of<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.split_off(all.len().min(NAMED_AT_ONCE));
    std::mem::replace(all, rest)
}
