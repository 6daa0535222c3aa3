//! `LeaseKeeper`: renews the node's lease, as an actor of its own, so that no busy queue can starve it.
//!
//! A lost lease costs liveness only: another coordinator may take the vaults, and fences this one by its seal. This one
//! registers anew and gives up the vaults that others hold by then.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::message::{Context, Message};

use futures::{StreamExt, stream};
use holdfast_format::SiteName;
use holdfast_placement::Acquire;

use crate::error::{Error, Result, from_placement};
use crate::failover::ANSWER_WITHIN;
use crate::node::{Node, Slot};
use crate::vault::Vault;

/// Of how many vaults at once it is found out whether a new lease holds them.
const HELD_AT_ONCE: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct LeaseKeeper {
    node: Weak<Node>,
}

impl Actor for LeaseKeeper {
    type Args = Weak<Node>;
    type Error = Infallible;

    async fn on_start(
        node: Weak<Node>,
        _: ActorRef<Self>,
    ) -> std::result::Result<Self, Infallible> {
        Ok(Self { node })
    }
}

struct Renew;

impl Message<Renew> for LeaseKeeper {
    type Reply = ();

    async fn handle(&mut self, _: Renew, _: &mut Context<Self, ()>) {
        let Some(node) = self.node.upgrade() else {
            return;
        };
        match node.placement.keep_alive(&node.lease()).await {
            Ok(true) if node.is_unlisted().await => {
                tracing::error!(
                    "the placement store does not list this coordinator any more: it was emptied or brought back from a backup; this \
                     coordinator registers anew"
                );
                if let Err(error) = node.register_again().await {
                    node.placing.unlisted.store(true, Ordering::Relaxed);
                    tracing::warn!(%error, "it is not registered yet");
                }
            }
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(
                    "this coordinator's lease is gone; it registers anew, and others may have taken its vaults over"
                );
                if let Err(error) = node.register_again().await {
                    tracing::warn!(%error, "it is not registered yet");
                }
            }
            Err(error) => tracing::warn!(%error, "the lease was not renewed yet"),
        }
        // Apart: a primary that hangs would let the new lease run out too.
        if node.placing.unheld.load(Ordering::Relaxed)
            && !node.placing.holding.swap(true, Ordering::Relaxed)
        {
            let context = node.context.clone();
            context.spawn(async move {
                node.hold_all().await;
                node.placing.holding.store(false, Ordering::Relaxed);
            });
        }
    }
}

impl LeaseKeeper {
    /// Starts it.
    pub(crate) fn start(node: &Arc<Node>) {
        let keeper = Self::spawn_with_mailbox(Arc::downgrade(node), kameo::mailbox::bounded(2));
        let (period, stop) = (node.options.lease / 4, node.stop.clone());
        node.context.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(period) => {}
                }
                let _ = keeper.tell(Renew).try_send();
            }
        });
    }
}

impl Node {
    /// The lease has ended: takes a new one.
    async fn register_again(&self) -> Result<()> {
        let lease = self
            .placement
            .register(&self.info(), self.options.lease)
            .await
            .map_err(from_placement)?;
        self.set_lease(lease);
        self.placing.unheld.store(true, Ordering::Relaxed);
        self.placing.unlisted.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the store does not list this coordinator: what was heard of that may be older than the present lease.
    async fn is_unlisted(&self) -> bool {
        if !self.placing.unlisted.swap(false, Ordering::Relaxed) {
            return false;
        }
        let listed = self.placement.coordinators().await;
        listed.is_ok_and(|listed| listed.iter().all(|one| one.name != self.options.name))
    }

    /// Has the lease hold every vault that is open here and that nobody else has taken.
    async fn hold_all(&self) {
        // ORDER: cleared first. A lease that is lost meanwhile sets it again.
        self.placing.unheld.store(false, Ordering::Relaxed);
        let holds = self.list().into_iter().map(|slot| async move {
            if let Some(vault) = slot.vault.clone()
                && !vault.stop.is_cancelled()
                && let Err(error) = self.hold(&slot, &vault).await
            {
                tracing::warn!(vault = %slot.header.name, %error, "it is not held yet");
                self.placing.unheld.store(true, Ordering::Relaxed);
            }
        });
        stream::iter(holds)
            .buffer_unordered(HELD_AT_ONCE)
            .collect::<()>()
            .await;
    }

    async fn hold(&self, slot: &Slot, vault: &Vault) -> Result<()> {
        let (id, epoch) = (slot.header.vault, vault.claimant.epoch);
        let taken = self.placement.acquire(id, &self.lease(), epoch).await;
        match taken.map_err(from_placement)? {
            // Another may have taken the vault, appended to it, and lost its own lease again meanwhile. Nobody would ever
            // tell: whoever only reads asks no site whether the epoch was sealed.
            Acquire::Granted => match self.is_not_sealed(vault).await {
                // A store that lost the lease may have lost all else. ORDER: the number before the entry, which says that the
                // store knows the vault.
                Ok(true) => {
                    let members: Vec<SiteName> =
                        vault.state().catalog.members.keys().cloned().collect();
                    self.renumber(id, epoch, &members).await?;
                    self.register_vault(vault).await;
                }
                Ok(false) => {
                    tracing::error!(vault = %slot.header.name, %epoch, "another coordinator had the vault meanwhile; it is taken anew");
                    vault.stop.cancel();
                }
                // Asked again. Whatever it appends the log fences; and what it knows of the primary's last records is all that is known
                // of them, should the primary not come back.
                Err(error @ Error::Unavailable(_)) => return Err(error),
                Err(error) => {
                    tracing::error!(vault = %slot.header.name, %epoch, %error, "whether another coordinator had the vault meanwhile cannot be seen; it is taken anew");
                    vault.stop.cancel();
                }
            },
            // The lease before this one, which runs out by itself.
            Acquire::HeldBy(owner) if owner.coordinator == self.options.name => {
                return Err(self.owned_by(id, owner));
            }
            Acquire::HeldBy(owner) => {
                tracing::error!(vault = %slot.header.name, owner = owner.coordinator, "another coordinator took the vault meanwhile");
                vault.stop.cancel();
            }
        }
        Ok(())
    }

    async fn is_not_sealed(&self, vault: &Vault) -> Result<bool> {
        match tokio::time::timeout(ANSWER_WITHIN, vault.is_not_sealed()).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unavailable("its primary does not answer".into())),
        }
    }
}
