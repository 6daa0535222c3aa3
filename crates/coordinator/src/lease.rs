//! `LeaseKeeper`: renews the node's lease, as an actor of its own, so that no busy queue can starve it.
//!
//! A lost lease costs liveness only: another coordinator may take the vaults, and fences this one by its seal. This one
//! registers anew and gives up the vaults that others hold by then.

use std::sync::{Arc, Weak};

use kameo::Actor;
use kameo::actor::{ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::message::{Context, Message};

use crate::node::Node;

/// See the module.
#[derive(Debug)]
pub struct LeaseKeeper {
    node: Weak<Node>,
}

impl Actor for LeaseKeeper {
    type Args = Weak<Node>;
    type Error = Infallible;

    async fn on_start(node: Weak<Node>, _: ActorRef<Self>) -> Result<Self, Infallible> {
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
