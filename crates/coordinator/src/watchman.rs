//! `Watchman`: whether the primaries of vaults that may be moved without a person answer; what it saw is told to all coordinators,
//! and once most of them see the same, the vault's owner moves it to another of its sites.
//!
//! State: since when each site that it looks at has not answered, and when a move was tried last. What others see comes with their
//! entries in the placement store, which go with their leases.
//!
//! Only a vault whose policy has a `[failover]` section is moved. Who decides is its owner, or, when it has none, the coordinator
//! that stands by for it. A quorum protects from moving needlessly; that nothing is lost rests on the failover itself, which seals
//! and claims like one that a person asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use holdfast_format::{SiteName, VaultId};
use holdfast_placement::{CoordinatorInfo, SiteGone};
use holdfast_policy::{AutomaticFailover, Policy};
use holdfast_vault::State;
use tokio::time::Instant;

use crate::error::from_placement;
use crate::failover::{self, Accepted};
use crate::node::{Node, Slot};
use crate::spread::stands_by;

/// How often sites are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// A vault that could not be moved is tried again after so long.
const PAUSE: Duration = Duration::from_secs(60);

/// One coordinator alone may be the one that is cut off.
const AGREEING_MIN: usize = 2;

/// See the module header.
#[derive(Debug, Default)]
pub(crate) struct Watchman {
    /// Since when a site has not answered, in milliseconds since 1970-01-01 UTC.
    gone: Mutex<BTreeMap<SiteName, i64>>,
    tried: Mutex<BTreeMap<VaultId, Instant>>,
}

impl Watchman {
    /// What this coordinator tells the others.
    pub(crate) fn gone(&self) -> Vec<SiteGone> {
        let gone = lock(&self.gone);
        let gone = gone.iter();
        gone.map(|(site, since)| SiteGone {
            site: site.clone(),
            since_millis: *since,
        })
        .collect()
    }
}

/// A vault that may be moved without a person, and for which this coordinator decides.
#[derive(Debug)]
struct Movable {
    slot: Slot,
    primary: SiteName,
    others: Vec<SiteName>,
    rule: AutomaticFailover,
}

impl Node {
    /// Looks, tells and moves until the node stops.
    pub(crate) async fn keep_watch(self: &Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.watch_once() => {}
            }
        }
    }

    async fn watch_once(self: &Arc<Self>) {
        let movable = self.movable();
        let heard = self.placing.listed();
        let mut looked_at: BTreeMap<SiteName, VaultId> = BTreeMap::new();
        // Sites that another coordinator misses: it asks what this one sees.
        if let Some(any) = self.list().first().map(|slot| slot.header.vault) {
            let missed = heard.iter().flat_map(|other| &other.gone);
            let missed = missed.filter(|gone| self.sites.url(&gone.site).is_some());
            looked_at.extend(missed.map(|gone| (gone.site.clone(), any)));
        }
        looked_at.extend((movable.iter()).map(|one| (one.primary.clone(), one.slot.header.vault)));
        self.look_whether_gone(&looked_at).await;
        for one in &movable {
            let gone = lock(&self.watchman.gone).contains_key(&one.primary);
            if gone
                && agree(
                    &heard,
                    &one.primary,
                    self.context.now_millis(),
                    one.rule.after,
                )
            {
                self.move_away(one).await;
            }
        }
    }

    /// Asks each site, and tells the others if what is seen has changed.
    async fn look_whether_gone(&self, looked_at: &BTreeMap<SiteName, VaultId>) {
        let asked = looked_at.iter().map(|(site, vault)| async move {
            let answers = self.answering(site, *vault).await.is_ok();
            (!answers).then(|| site.clone())
        });
        let missed: BTreeSet<SiteName> = join_all(asked).await.into_iter().flatten().collect();
        let before = self.watchman.gone();
        {
            let mut gone = lock(&self.watchman.gone);
            gone.retain(|site, _| missed.contains(site));
            for site in missed {
                gone.entry(site).or_insert(self.context.now_millis());
            }
        }
        let now = self.watchman.gone();
        let own = |one: &CoordinatorInfo| one.name == self.options.name && one.gone == now;
        // Told again when an announcement was lost.
        if before == now && (now.is_empty() || self.placing.listed().iter().any(own)) {
            return;
        }
        let told = self.placement.announce(&self.lease(), &self.info()).await;
        if let Err(error) = told.map_err(from_placement) {
            tracing::debug!(%error, "which sites do not answer is not told to others yet");
        }
    }

    fn movable(&self) -> Vec<Movable> {
        let live = self.live();
        let mut movable = Vec::new();
        for slot in self.list() {
            let id = slot.header.vault;
            let found = match &slot.vault {
                Some(vault) if !vault.stop.is_cancelled() => rule_of(&vault.state()),
                None if slot.owner.is_none() && stands_by(id, "", &self.options.name, &live) => {
                    self.standby.look(id, rule_of).flatten()
                }
                _ => None,
            };
            if let Some((primary, others, rule)) = found {
                movable.push(Movable {
                    slot,
                    primary,
                    others,
                    rule,
                });
            }
        }
        movable
    }

    /// Moves a vault whose primary is gone to the first of its other sites that holds enough.
    async fn move_away(self: &Arc<Self>, one: &Movable) {
        let id = one.slot.header.vault;
        let tried = lock(&self.watchman.tried).get(&id).copied();
        if tried.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        lock(&self.watchman.tried).insert(id, Instant::now());
        for to in &one.others {
            match self.move_to(one, to).await {
                Ok(None) => return,
                Ok(Some(why)) => {
                    tracing::error!(vault = %one.slot.header.name, from = %one.primary, %to, why, "the primary is gone, and the vault is not moved by itself");
                }
                Err(error) => {
                    tracing::error!(vault = %one.slot.header.name, from = %one.primary, %to, %error, "the primary is gone, and the vault was not moved by itself");
                }
            }
        }
    }

    /// Why it was not moved there, if it was not.
    async fn move_to(
        self: &Arc<Self>,
        one: &Movable,
        to: &SiteName,
    ) -> crate::Result<Option<String>> {
        let plan = failover::plan(self, &one.slot, to).await?;
        if plan.primary_answers {
            return Ok(Some("the primary answers again".into()));
        }
        let millis = i64::try_from(one.rule.accept_loss.as_millis()).unwrap_or(i64::MAX);
        let accepted = Accepted::UpTo(millis);
        if !accepted.covers(&plan) {
            return Ok(Some(format!(
                "left behind would be: {}. The policy accepts {} s; `holdfast failover --vault {} --to {to} --accept-loss` does it all the same",
                plan.left_behind,
                one.rule.accept_loss.as_secs(),
                one.slot.header.name
            )));
        }
        let lacks = failover::lacks(self, one.slot.header.vault, to, &plan).await?;
        if !lacks.is_empty() {
            return Ok(Some(format!("the copy there fails verification: {lacks}")));
        }
        tracing::error!(vault = %one.slot.header.name, from = %one.primary, %to, left_behind = plan.left_behind, "the primary is gone, and most coordinators agree: the vault is moved");
        failover::carry_out(self, &one.slot, to, &plan, accepted).await?;
        Ok(None)
    }
}

/// The primary, the other members, and the rule of a vault that may be moved without a person.
fn rule_of(state: &State) -> Option<(SiteName, Vec<SiteName>, AutomaticFailover)> {
    let text = &state.catalog.policy;
    if !text.contains("failover") {
        return None;
    }
    let rule = Policy::parse(text).ok()?.automatic_failover()?;
    let primary = state.catalog.primary.clone()?;
    let members = state.catalog.members.keys();
    let others = members.filter(|name| **name != primary).cloned().collect();
    Some((primary, others, rule))
}

/// Whether most of the coordinators that live have missed a site for so long, and not one alone.
fn agree(listed: &[CoordinatorInfo], site: &SiteName, now_millis: i64, after: Duration) -> bool {
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    let misses = |one: &&CoordinatorInfo| {
        let mut gone = one.gone.iter();
        gone.any(|gone| gone.site == *site && now_millis.saturating_sub(gone.since_millis) >= after)
    };
    let agreeing = listed.iter().filter(misses).count();
    agreeing >= AGREEING_MIN && agreeing * 2 > listed.len()
}

/// Nothing in here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(gone: &[Option<i64>]) -> Vec<CoordinatorInfo> {
        let site: SiteName = "onsite".parse().unwrap();
        let one = |(n, since): (usize, &Option<i64>)| CoordinatorInfo {
            name: format!("c{n}"),
            addresses: Vec::new(),
            public_key: [0; 32],
            level: 1,
            started_millis: 0,
            gone: (since.iter())
                .map(|&since_millis| SiteGone {
                    site: site.clone(),
                    since_millis,
                })
                .collect(),
        };
        gone.iter().enumerate().map(one).collect()
    }

    #[test]
    fn most_of_them_have_to_miss_it_for_long_enough() {
        let site = "onsite".parse().unwrap();
        let agreed =
            |gone: &[Option<i64>]| agree(&listed(gone), &site, 100_000, Duration::from_secs(60));
        let long = Some(40_000);
        let short = Some(40_001);
        assert!(agreed(&[long, long, None]));
        assert!(agreed(&[long, long]));
        assert!(!agreed(&[long, short, None]), "one of them not for long");
        assert!(!agreed(&[long, None, None]));
        assert!(!agreed(&[long, long, None, None]), "half is not most");
        assert!(!agreed(&[long]), "one alone may be the one that is cut off");
        assert!(!agreed(&[]));
        let other = "offsite".parse().unwrap();
        let all = listed(&[long, long]);
        assert!(!agree(&all, &other, 100_000, Duration::from_secs(60)));
    }
}
