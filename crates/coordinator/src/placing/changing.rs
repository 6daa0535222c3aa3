//! Changing who owns a vault: taken, handed over, given up, reserved; one change at a time for each vault.
//!
//! State: none of its own; the locks and the attempts under way are in [`super::Placing`].

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{Epoch, VaultId};
use holdfast_placement::Acquire;
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Busy, RETRY, lock};
use crate::error::{Error, Result, from_placement};
use crate::node::{Node, Slot};
use crate::taking::Take;
use crate::vault::{Vault, herald};

/// The longest pause after which a vault that could not be taken is tried again.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How long an ownership that is being changed is waited for before its attempt is looked for again.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);

/// A site that is well answers within this.
const WELL_WITHIN: Duration = Duration::from_secs(2);

/// After a vault was handed over, how long it is not again, should it come back: at first, and at most.
const REST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(3600);

impl Node {
    /// Takes a vault that nobody owns; one that could not be taken is tried again after a pause that grows.
    pub(super) async fn take_free(self: &Arc<Self>, id: VaultId, busy: Busy) {
        let Some(_changing) = self.changing_unless(id, busy).await else {
            return;
        };
        let Some(slot) = self.slots().get(&id).cloned() else {
            return;
        };
        // Whoever waits has looked at the sites since, and may have mended what an attempt under way failed for.
        let waits = busy == Busy::Leave && slot.is_paused();
        if slot.vault.is_some() || waits || self.stop.is_cancelled() {
            return;
        }
        let ended = CancellationToken::new();
        lock(&self.placing.tries).insert(id, ended.clone());
        // Dropped in its middle it leaves what a crash would: whoever comes next goes on from there.
        let taken = tokio::select! {
            biased;
            () = ended.cancelled() => {
                // It was open already, and only what is told of it was not done yet.
                if let Some(vault) = self.slots().get(&id).and_then(|slot| slot.vault.clone()) {
                    herald::start(&vault, self.placement.clone());
                }
                return;
            }
            taken = self.take_in_turn(id) => taken,
        };
        lock(&self.placing.tries).remove(&id);
        if let Err(error) = taken {
            if !matches!(error, Error::Elsewhere(_)) {
                tracing::warn!(vault = %slot.header.name, %error, "the vault is not open");
            }
            let mut was_reserved = false;
            if let Some(slot) = self.slots().get_mut(&id) {
                slot.trouble = error.to_string();
                let pause = slot.tried.map_or(RETRY, |(_, pause)| pause * 2);
                slot.tried = Some((Instant::now(), pause.min(RETRY_MAX)));
                was_reserved = !matches!(error, Error::Elsewhere(_));
            }
            self.changed.set(());
            // Another coordinator may reach a site that this one does not.
            if was_reserved {
                self.release(id).await;
            }
        }
    }

    async fn take_in_turn(self: &Arc<Self>, id: VaultId) -> Result<Arc<Vault>> {
        // Many may wait for their turn: whoever handed them over sees that they are not left alone.
        self.reserve(id).await?;
        let permit = self.placing.taking.acquire().await;
        let _permit = permit.map_err(|_| Error::Bug("nothing is taken any more".into()))?;
        self.take(id, &Take::AtPrimary).await
    }

    /// Gives an idle vault to the coordinator that should have it.
    pub(super) async fn hand_over(&self, id: VaultId, to: String) {
        let Some(_changing) = self.changing_unless(id, Busy::Leave).await else {
            return;
        };
        let Some(slot) = self.slots().get(&id).cloned() else {
            return;
        };
        let Some(vault) = slot.vault.filter(|vault| vault.is_idle()) else {
            return;
        };
        // Whoever gets it has to open it, and what this owner knows of a site that is away he could not see for himself.
        if !is_well(&vault).await || !vault.is_idle() {
            return;
        }
        tracing::info!(vault = %slot.header.name, to, "the vault is handed over");
        self.give_up(id, format!("it was handed over to coordinator {to}"))
            .await;
        if let Some(slot) = self.slots().get_mut(&id) {
            let last = slot.handed.filter(|(at, pause)| at.elapsed() < *pause * 2);
            let pause = last.map_or(REST, |(_, pause)| (pause * 2).min(REST_MAX));
            slot.handed = Some((Instant::now(), pause));
        }
        self.release(id).await;
    }

    /// Gives up the vaults whose ownership has ended; each by itself.
    pub(super) fn drop_fenced(self: &Arc<Self>, busy: Busy) -> Vec<JoinHandle<()>> {
        let fenced = self.list().into_iter().filter(|slot| {
            let mut vault = slot.vault.iter();
            vault.any(|vault| vault.stop.is_cancelled())
        });
        let drop = |slot: Slot| {
            let (this, id) = (self.clone(), slot.header.vault);
            self.context.spawn(async move {
                let Some(_changing) = this.changing_unless(id, busy).await else {
                    return;
                };
                let owned = this.slots().get(&id).and_then(|slot| slot.vault.clone());
                if owned.is_none_or(|vault| !vault.stop.is_cancelled()) {
                    return;
                }
                this.give_up(id, "its ownership ended; it is opened again".into())
                    .await;
                this.release(id).await;
            })
        };
        fenced.map(drop).collect()
    }

    /// Lets others have a vault at once that was given up.
    async fn release(&self, id: VaultId) {
        if let Err(error) = self.placement.release(id, &self.lease()).await {
            tracing::debug!(vault = %id, %error, "that a vault was given up is not known to others yet");
        }
    }

    fn changing_of(&self, id: VaultId) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.placing.changing).entry(id).or_default().clone()
    }

    /// Keeps the ownership of a vault as it is for as long as the guard lives: it is neither taken nor given up by the node's own
    /// clockwork meanwhile.
    pub(crate) async fn changing(&self, id: VaultId) -> OwnedMutexGuard<()> {
        self.changing_of(id).lock_owned().await
    }

    /// The same at once: the node's own attempt to take the vault, which may hang at the very site that a person gives up, ends.
    pub(crate) async fn changing_now(&self, id: VaultId) -> OwnedMutexGuard<()> {
        loop {
            if let Some(attempt) = lock(&self.placing.tries).remove(&id) {
                attempt.cancel();
            }
            // Looked at again now and then: another attempt may have had the lock first and not been noted yet.
            let changing = tokio::time::timeout(LOCKED_WITHIN, self.changing(id)).await;
            if let Ok(changing) = changing {
                return changing;
            }
        }
    }

    /// The same, unless somebody else is changing it and is not to be waited for: he leaves it in order.
    async fn changing_unless(&self, id: VaultId, busy: Busy) -> Option<OwnedMutexGuard<()>> {
        match busy {
            Busy::Wait => Some(self.changing(id).await),
            Busy::Leave => self.changing_of(id).try_lock_owned().ok(),
        }
    }

    /// Ends this node's ownership of a vault, if it has it. The lease keeps it: see [`Self::release`]. The caller holds
    /// [`Self::changing`].
    pub(crate) async fn give_up(&self, id: VaultId, why: String) {
        let owned = self.slots().get(&id).and_then(|slot| slot.vault.clone());
        if let Some(vault) = owned {
            vault.end().await;
            herald::last_word(&vault, self.placement.as_ref()).await;
            if let Some(slot) = self.slots().get_mut(&id) {
                slot.vault = None;
                slot.set_owner(None, &self.options.name);
                slot.trouble = why;
            }
        }
    }

    /// Gives a vault up when the node stops.
    pub(crate) async fn leave(&self, id: VaultId) {
        let _changing = self.changing_now(id).await;
        self.give_up(id, "this coordinator is stopping".into())
            .await;
        self.release(id).await;
    }

    /// Makes sure that nobody else takes a vault that nobody owns: one that is about to be created, which whoever lists its site
    /// might find first, or one that is to be moved.
    pub(crate) async fn reserve(&self, id: VaultId) -> Result<()> {
        let owner = self.placement.owner(id).await;
        let epoch = match owner.map_err(from_placement)? {
            // Asked for all the same: it may be the lease of a former run that holds it.
            Some(owner) if owner.coordinator == self.options.name => owner.epoch,
            Some(owner) => return Err(self.owned_by(id, owner)),
            None => Epoch(1),
        };
        let taken = self.placement.acquire(id, &self.lease(), epoch).await;
        match taken.map_err(from_placement)? {
            Acquire::Granted => Ok(()),
            Acquire::HeldBy(owner) => Err(self.owned_by(id, owner)),
        }
    }
}

/// Whether all sites of a vault answer, the primary just now.
async fn is_well(vault: &Arc<Vault>) -> bool {
    let standings = vault.standings();
    let mut standings = standings.values();
    if !standings.all(|standing| standing.looked_at && standing.reachable) {
        return false;
    }
    let header = holdfast_format::ObjectName::header(vault.header.vault);
    let asked = vault.primary.site.head(&header);
    let answer = tokio::time::timeout(WELL_WITHIN, asked).await;
    matches!(answer, Ok(Ok(Some(_))))
}
