//! Standby: a fold of each vault that this coordinator would take next, kept up to date while another one owns it, so that taking
//! it costs what was appended since, and not the whole log.
//!
//! State: the folds, and which of them are behind. They are hints: whoever takes a vault asks the site first whether the fold's
//! last record stands there in the history, and folds what follows; else it opens the vault as if there were none.
//!
//! A vault has one standby: the first of the ranking that does not own it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_format::{SiteName, VaultId};
use holdfast_store::SiteReader;
use holdfast_vault::checkpoint::settle;
use holdfast_vault::{State, open_state_from};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::node::{Node, Slot};
use crate::spread::stands_by;

/// How often every fold is looked at, whatever the placement store told.
const TURN: Duration = Duration::from_secs(60);

/// A fold whose index holds more chunks than this in memory has them moved to the disk.
const SETTLED_CHUNKS: usize = 1 << 17;

/// See the module header.
#[derive(Debug, Default)]
pub(crate) struct Standby {
    folds: Mutex<BTreeMap<VaultId, Arc<State>>>,
    behind: Mutex<BTreeSet<VaultId>>,
    wake: Notify,
}

impl Standby {
    /// A vault's log has grown.
    pub(crate) fn grown(&self, vault: VaultId) {
        if lock(&self.behind).insert(vault) {
            self.wake.notify_one();
        }
    }

    /// The fold of a vault that is about to be taken.
    pub(crate) fn fold(&self, vault: VaultId) -> Option<Arc<State>> {
        lock(&self.folds).get(&vault).cloned()
    }

    /// Something of a vault's fold, if there is one.
    pub(crate) fn look<T>(&self, vault: VaultId, at: impl FnOnce(&State) -> T) -> Option<T> {
        lock(&self.folds).get(&vault).map(|fold| at(fold))
    }

    /// The vault's fold is not kept any more: it was taken, and the owner has its own, or another stands by.
    pub(crate) fn forget(&self, vault: VaultId) {
        lock(&self.folds).remove(&vault);
    }
}

impl Node {
    /// Keeps the folds up to date until the node stops. One after the other: who waits is only slower to take.
    pub(crate) async fn keep_warm(self: &Arc<Self>) {
        loop {
            let behind = std::mem::take(&mut *lock(&self.standby.behind));
            for id in behind {
                let following = self.warm(id);
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    () = following => {}
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.standby.wake.notified() => {}
                () = tokio::time::sleep(TURN) => {
                    let all = self.list().into_iter().map(|slot| slot.header.vault);
                    lock(&self.standby.behind).extend(all);
                }
            }
        }
    }

    /// Brings a vault's fold up to date, if this coordinator stands by for it; drops it if not.
    async fn warm(&self, id: VaultId) {
        let Some(slot) = self.slots().get(&id).cloned() else {
            return self.standby.forget(id);
        };
        match self.part_in(&slot) {
            Part::Standby => {}
            Part::Taker => return,
            Part::None => return self.standby.forget(id),
        }
        let header = slot.header.clone();
        let before = self.standby.fold(id);
        match self.follow(&slot, before).await {
            Ok(state) => {
                // Taken meanwhile, or handed to another: then it would only be in the way.
                let slot = self.slots().get(&id).cloned();
                if slot.is_some_and(|slot| self.part_in(&slot) == Part::Standby) {
                    let through = state.chain.head.map(tracing::field::display);
                    if lock(&self.standby.folds)
                        .insert(id, Arc::new(state))
                        .is_none()
                    {
                        tracing::info!(vault = %header.name, through, "this coordinator stands by for the vault");
                    }
                }
            }
            Err(error) => {
                if !matches!(error, Error::Unavailable(_)) {
                    self.standby.forget(id);
                }
                tracing::debug!(vault = %header.name, %error, "its log is not followed now; taking it would take longer");
            }
        }
    }

    async fn follow(&self, slot: &Slot, before: Option<Arc<State>>) -> Result<State> {
        let id = slot.header.vault;
        let primary = before
            .as_ref()
            .and_then(|state| state.catalog.primary.clone());
        let primary = match primary {
            Some(primary) => primary,
            None => match self.last_primary(id).await? {
                Some(primary) => primary,
                None => slot.found_at.clone(),
            },
        };
        let mut state = self.open_at(&primary, id, before.as_deref()).await?;
        // A failover moved it.
        if let Some(now) = state.catalog.primary.clone().filter(|now| *now != primary) {
            state = self.open_at(&now, id, Some(&state)).await?;
        }
        if state.index.unwritten() < SETTLED_CHUNKS {
            return Ok(state);
        }
        let cache = self.cache_of(id);
        self.context
            .run_blocking(move || {
                settle(&mut state.index, &cache)?;
                cache.prune(&state.index)?;
                Ok(state)
            })
            .await
    }

    async fn open_at(&self, site: &SiteName, id: VaultId, before: Option<&State>) -> Result<State> {
        let opened = self.sites.open(site).await?;
        let site: Arc<dyn SiteReader> = opened.site;
        open_state_from(&site, id, &self.cache_of(id), before).await
    }

    fn part_in(&self, slot: &Slot) -> Part {
        let owner = slot.owner_name();
        if slot.vault.is_some() {
            return Part::None;
        }
        // It is being taken just now.
        if owner == self.options.name {
            return Part::Taker;
        }
        match stands_by(slot.header.vault, &owner, &self.options.name, &self.live()) {
            true => Part::Standby,
            false => Part::None,
        }
    }
}

/// What this coordinator has to do with a vault that another one owns, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is the one that should take the vault next.
    Standby,
    /// It takes it.
    Taker,
    /// Another stands by.
    None,
}

/// Nothing in here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
