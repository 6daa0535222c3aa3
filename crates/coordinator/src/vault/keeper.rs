//! `Keeper`: retention by itself: expires by the policy, ends sessions that are too old, lets restore holds run out,
//! and asks the collector to work.
//!
//! State: what an operator has confirmed, and what the last checkpoint holds. It deletes nothing: it puts snapshots into the trash, by
//! record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_format::fact::{HoldReleased, SnapshotsTrashed};
use holdfast_format::{SessionId, SnapshotId};
use holdfast_policy::{
    ClockVerdict, Decision, Fate, Policy, ShareVerdict, SnapshotFacts, check_share, decide,
};
use holdfast_vault::Proposal;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::Infallible;
use kameo::message::{Context, Message};
use tokio::sync::{mpsc, oneshot};

use super::collector::{Checkpoint, Collect, Sweep, Work};
use super::{Vault, checkpoint, ending};
use crate::error::{Error, Result};

/// How often it looks.
const TICK: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    vault: std::sync::Weak<Vault>,
    confirmed: BTreeSet<[u8; 16]>,
    collected_millis: i64,
    saved: checkpoint::Saved,
}

impl Actor for Keeper {
    type Args = Arc<Vault>;
    type Error = Infallible;

    async fn on_start(
        vault: Arc<Vault>,
        _: ActorRef<Self>,
    ) -> std::result::Result<Self, Infallible> {
        let now = vault.context.now_millis();
        Ok(Self {
            vault: Arc::downgrade(&vault),
            confirmed: BTreeSet::new(),
            collected_millis: now,
            saved: checkpoint::Saved::default(),
        })
    }
}

/// Starts the clockwork that wakes the keeper.
pub(super) fn tick(vault: &Arc<Vault>) {
    let weak = Arc::downgrade(vault);
    let stop = vault.stop.clone();
    vault.context.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let Some(vault) = weak.upgrade() else { return };
            if let Some(keeper) = vault.keeper() {
                let _ = keeper.tell(Tick).try_send();
            }
        }
    });
}

/// Look now.
struct Tick;

impl Message<Tick> for Keeper {
    type Reply = ();

    async fn handle(&mut self, _: Tick, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        if let Err(error) = self.look(&vault).await {
            tracing::warn!(vault = %vault.header.name, %error, "retention will look again");
        }
    }
}

/// What the policy says now.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// One for each snapshot that is not in the trash.
    pub decisions: Vec<(SnapshotId, Decision)>,
    /// Why nothing is expired now; empty when nothing stands in the way.
    pub waiting: String,
}

/// Decide, and with `apply` expire.
#[derive(Debug)]
pub struct Expire {
    /// Put what expires into the trash.
    pub apply: bool,
    /// An operator confirms what waits.
    pub confirm: bool,
    /// Who.
    pub who: String,
    /// The verdict.
    pub reply: oneshot::Sender<Result<Verdict>>,
}

impl Message<Expire> for Keeper {
    type Reply = ();

    async fn handle(&mut self, message: Expire, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        let verdict = self
            .expire(&vault, message.apply, message.confirm, &message.who)
            .await;
        let _ = message.reply.send(verdict);
    }
}

impl Keeper {
    async fn look(&mut self, vault: &Arc<Vault>) -> Result<()> {
        ending::end_overdue(vault).await?;
        self.end_holds(vault).await?;
        let verdict = self.expire(vault, true, false, "policy").await?;
        if !verdict.waiting.is_empty() {
            tracing::warn!(vault = %vault.header.name, why = verdict.waiting, "nothing is expired");
        }
        self.collect(vault).await;
        Ok(())
    }

    async fn end_holds(&self, vault: &Arc<Vault>) -> Result<()> {
        let over: Vec<_> = {
            let state = vault.state();
            let now = state.next_time(vault.context.now_millis());
            let holds = state
                .catalog
                .holds
                .iter()
                .filter(|(_, hold)| !hold.in_force(now));
            holds.map(|(id, _)| *id).collect()
        };
        for hold in over {
            vault
                .append(Proposal::Release(HoldReleased {
                    hold,
                    who: "coordinator".into(),
                }))
                .await?;
        }
        Ok(())
    }

    async fn expire(
        &mut self,
        vault: &Arc<Vault>,
        apply: bool,
        confirm: bool,
        who: &str,
    ) -> Result<Verdict> {
        // With or without a policy: the trash waits for the clock too.
        if confirm {
            vault.clock.confirm();
        }
        let text = vault.state().catalog.policy.clone();
        if text.is_empty() {
            return Ok(Verdict::default());
        }
        let policy =
            Policy::parse(&text).map_err(|e| Error::Invalid(format!("the vault's policy: {e}")))?;
        let mut verdict = Verdict::default();
        let now = match &vault.clock.verdict(vault) {
            ClockVerdict::Allowed { now_millis } => *now_millis,
            ClockVerdict::Waiting { why, .. } => {
                verdict.waiting = why.to_string();
                vault.context.now_millis()
            }
        };
        for (source, snapshots) in self.sources(vault, now) {
            let retention = policy.effective(&source);
            let decisions = decide(&retention, &snapshots, now);
            let expiring: Vec<[u8; 16]> = decisions
                .iter()
                .filter(|d| d.expires())
                .map(|d| d.id)
                .collect();
            if confirm {
                self.confirmed.extend(&expiring);
            }
            let share = check_share(
                retention.expire_share_max,
                snapshots.len(),
                &expiring,
                &self.confirmed,
            );
            if let ShareVerdict::Waiting {
                expire,
                expire_max,
                snapshots,
            } = share
            {
                verdict.waiting = format!(
                    "the policy would expire {expire} of the {snapshots} snapshots of source {source}, more than \
                     {expire_max}; look with `holdfast policy simulate`, confirm with `holdfast policy apply --confirm`"
                );
            } else if apply && verdict.waiting.is_empty() {
                self.trash(vault, &decisions, &retention, now, who).await?;
            }
            verdict
                .decisions
                .extend(decisions.into_iter().map(|d| (SessionId(d.id), d)));
        }
        Ok(verdict)
    }

    fn sources(&self, vault: &Arc<Vault>, now: i64) -> BTreeMap<String, Vec<SnapshotFacts>> {
        let state = vault.state();
        let mut sources: BTreeMap<String, Vec<SnapshotFacts>> = BTreeMap::new();
        for (id, snapshot) in state.catalog.live_snapshots() {
            sources
                .entry(snapshot.source.to_string())
                .or_default()
                .push(SnapshotFacts {
                    id: id.0,
                    opened_millis: snapshot.time_millis,
                    committed_millis: snapshot.committed_millis,
                    held: state.catalog.is_held(id, &snapshot.source, now),
                    partial: snapshot.problems > 0,
                });
        }
        sources
    }

    async fn trash(
        &self,
        vault: &Arc<Vault>,
        decisions: &[Decision],
        retention: &holdfast_policy::Retention,
        now: i64,
        who: &str,
    ) -> Result<()> {
        for decision in decisions {
            let Fate::Expire(reason) = &decision.fate else {
                continue;
            };
            let fact = SnapshotsTrashed {
                snapshots: vec![SessionId(decision.id)],
                why: reason.to_string(),
                who: who.into(),
                until_millis: retention.trash_ends_millis(now),
            };
            match vault.append(Proposal::Trash(fact)).await {
                // A hold that was placed meanwhile wins.
                Ok(_) | Err(Error::Invalid(_) | Error::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Collects by itself: sweeps whatever waits, and once a day looks for more.
    async fn collect(&mut self, vault: &Arc<Vault>) {
        let Some(collector) = vault.collector() else {
            return;
        };
        let now = vault.context.now_millis();
        let leaving = {
            let state = vault.state();
            let snapshots = state.catalog.snapshots.values();
            snapshots
                .filter_map(|s| s.trash.as_ref())
                .any(|trash| trash.until_millis <= now)
        };
        if leaving || now - self.collected_millis > 24 * 60 * 60 * 1000 {
            self.collected_millis = now;
            let (progress, _) = mpsc::channel(1);
            let (reply, _) = oneshot::channel();
            let message = Collect {
                what: Work::All,
                unused_percent_max: None,
                end_sessions: false,
                who: "collector".into(),
                progress,
                reply,
            };
            let _ = collector.tell(message).try_send();
        } else {
            let _ = collector.tell(Sweep).try_send();
        }
        let (is_due, last) = {
            let state = vault.state();
            let is_due = self.saved.is_behind(&state) || checkpoint::is_due(&state, false);
            (is_due, checkpoint::last(&state))
        };
        if is_due {
            let _ = collector.tell(Checkpoint::DueSince(last)).try_send();
        }
    }
}
