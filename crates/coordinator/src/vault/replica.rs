//! `Replica`: keeps one member a growing prefix of the primary's log.
//!
//! State: the replicator once the member answered, and what is known of its lag. It reads the primary and writes one
//! member; a member that does not answer is tried again and blocks nobody. A member that has diverged is left alone:
//! failback brings it back; a seal there that the primary lacks ends this ownership.

mod lag;

use std::sync::{Arc, Weak};
use std::time::Duration;

use holdfast_format::{ObjectName, Position, SiteName};
use holdfast_store::Opened;
use holdfast_vault::Guard;
use holdfast_vault::replicate::{Diverged, Replicator, Step};
use kameo::Actor;
use kameo::actor::{ActorRef, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::Vault;
use crate::error::Error;
use crate::repair;

/// Records copied before the actor looks at its mailbox again.
const STEPS_PER_TURN: usize = 32;

/// Pause after a failure, doubled up to the second number.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A member that has had nothing to copy for so long is asked whether it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Where a member stands, for whoever asks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// The last record that stands there.
    pub head: Option<Position>,
    /// Whether it was looked at since this replica began.
    pub looked_at: bool,
    /// Whether it answered the last time.
    pub reachable: bool,
    /// Why it does not follow; empty when it does.
    pub trouble: String,
    /// Records that it lacks.
    pub lag_records: u64,
    /// Bytes of packs that those records add.
    pub lag_bytes: u64,
    /// Log time of the oldest record that it lacks.
    pub oldest_lacking_millis: Option<i64>,
    /// Whether it has records that are not history.
    pub diverged: bool,
    /// Whether it holds all that its records need. While it catches up it may not: packs that were swept since are not
    /// copied, and what moved out of them comes with a later record.
    pub whole: bool,
}

impl Standing {
    /// Whether the member holds a record and all that it needs.
    pub fn holds(&self, at: Position) -> bool {
        let whole = self.whole || !Guard::WholeBeforeProtected.stands();
        whole && self.head.is_some_and(|head| head >= at)
    }
}

/// What the actor starts from.
#[derive(Debug)]
pub struct ReplicaArgs {
    /// The vault.
    pub vault: Weak<Vault>,
    /// The member.
    pub site: SiteName,
    /// Where its standing is told.
    pub standing: watch::Sender<Standing>,
}

/// See the module.
#[derive(Debug)]
pub struct Replica {
    args: ReplicaArgs,
    replicator: Option<Replicator>,
    pause: Duration,
    feeder: Option<tokio::task::JoinHandle<()>>,
    /// When it goes on by itself. One at a time, so that a member that fails is tried again at its pauses only.
    again: Option<AbortOnDropHandle<()>>,
    /// Records that the member lacked when the primary's head was where the second part says. Counted once, by listing,
    /// and kept up to date from then on.
    behind: Option<(u64, Position)>,
    /// The primary's head when this replica began to follow: from there on the member holds all that it needs.
    whole_from: Option<Position>,
}

/// Time to go on.
struct Work;

/// The primary's head moved: there is something to copy.
struct Moved;

/// There was nothing to copy for a while.
struct Look;

impl Actor for Replica {
    type Args = ReplicaArgs;
    type Error = Infallible;

    async fn on_start(args: ReplicaArgs, this: ActorRef<Self>) -> Result<Self, Infallible> {
        // Turns every move of the primary's head into a message; one more or less does not matter.
        let feeder = args.vault.upgrade().map(|vault| {
            let mut head = vault.head.clone();
            let context = vault.context.clone();
            drop(vault);
            let this = this.downgrade();
            context.spawn(async move {
                loop {
                    let Some(replica) = this.upgrade() else {
                        return;
                    };
                    if replica.tell(Moved).await.is_err() {
                        return;
                    }
                    drop(replica);
                    loop {
                        tokio::select! {
                            biased;
                            moved = head.changed() => match moved {
                                Ok(()) => break,
                                Err(_) => return,
                            },
                            () = tokio::time::sleep(LOOK_EVERY) => {}
                        }
                        let Some(replica) = this.upgrade() else {
                            return;
                        };
                        if replica.tell(Look).await.is_err() {
                            return;
                        }
                    }
                }
            })
        });
        Ok(Self {
            args,
            replicator: None,
            pause: PAUSE_MIN,
            feeder,
            again: None,
            behind: None,
            whole_from: None,
        })
    }

    async fn on_stop(
        &mut self,
        _: WeakActorRef<Self>,
        _: ActorStopReason,
    ) -> Result<(), Infallible> {
        if let Some(feeder) = &self.feeder {
            feeder.abort();
        }
        Ok(())
    }
}

impl Message<Work> for Replica {
    type Reply = ();

    async fn handle(&mut self, _: Work, context: &mut Context<Self, ()>) {
        self.work(context).await;
    }
}

impl Message<Moved> for Replica {
    type Reply = ();

    async fn handle(&mut self, _: Moved, context: &mut Context<Self, ()>) {
        // It goes on by itself, after the pause that it takes, and finds what is new then.
        if self.again.is_none() {
            self.work(context).await;
        }
    }
}

impl Message<Look> for Replica {
    type Reply = ();

    async fn handle(&mut self, _: Look, context: &mut Context<Self, ()>) {
        // One that does not follow has been told of, and is tried again by itself or by a failback.
        let Some(replicator) = &self.replicator else {
            return;
        };
        if !matches!(replicator.still_stands().await, Ok(true)) {
            self.replicator = None;
            self.work(context).await;
        }
    }
}

/// What is said of a member that had records and has none now.
pub(crate) fn holds_nothing(vault: &Vault, site: &SiteName, held: Position) -> Error {
    Error::Unavailable(format!(
        "site {site} holds nothing of this vault, although it had its records up to {held}. Mount its disk, or mend its URL, or, if \
         it was emptied or replaced on purpose, have it filled anew with `holdfast failback --vault {} --site {site}`",
        vault.header.name
    ))
}

/// Whether the record that a member came to is not history, or the last of its epoch: then the member may have held more.
pub(crate) async fn left_the_history(vault: &Vault, held: Position) -> crate::Result<bool> {
    let epoch = vault.state().chain.next().epoch;
    if held.epoch >= epoch {
        return Ok(held.epoch > epoch);
    }
    let next = Position {
        slot: held.slot.next(),
        ..held
    };
    let next = ObjectName::record(vault.header.vault, next);
    Ok(vault.primary.site.head(&next).await?.is_none())
}

impl Replica {
    async fn work(&mut self, context: &mut Context<Self, ()>) {
        self.again = None;
        let Some(vault) = self.args.vault.upgrade() else {
            context.actor_ref().kill();
            return;
        };
        if vault.stop.is_cancelled() {
            return;
        }
        let again = match self.copy(&vault).await {
            Ok(more) => {
                self.pause = PAUSE_MIN;
                more.then_some(Duration::ZERO)
            }
            Err(error) => {
                tracing::warn!(site = %self.args.site, %error, "the member does not follow");
                self.tell_trouble(&vault, &error).await;
                self.mend(&vault).await;
                self.replicator = None;
                // It may have been the primary that did not answer; opening a site anew costs little.
                if matches!(error, Error::Unavailable(_)) {
                    vault.sites.doubt(&self.args.site);
                }
                let pause = self.pause;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                Some(pause)
            }
        };
        if let Some(pause) = again {
            let this = context.actor_ref().downgrade();
            let going = vault.context.spawn(async move {
                tokio::time::sleep(pause).await;
                if let Some(this) = this.upgrade() {
                    // An actor that ended has nothing to go on with.
                    let _ = this.tell(Work).await;
                }
            });
            self.again = Some(AbortOnDropHandle::new(going));
        }
    }

    /// Copies up to a turn's worth of records; true if there may be more.
    async fn copy(&mut self, vault: &Arc<Vault>) -> crate::Result<bool> {
        if self.replicator.is_none() {
            let target = vault.sites.open(&self.args.site).await?;
            self.must_stand_apart(vault, &target)?;
            let started = Replicator::start(
                vault.primary.site.clone(),
                target.site,
                vault.shared.clone(),
                vault.budget.clone(),
            )
            .await?;
            match started {
                Ok(mut replicator) => {
                    replicator.beside(vault.under_way.clone());
                    let held = vault.progress_of(&self.args.site);
                    if let Some(held) = held.filter(|_| replicator.holds_nothing()) {
                        return Err(holds_nothing(vault, &self.args.site, held));
                    }
                    self.replicator = Some(replicator);
                    self.behind = None;
                    self.whole_from = vault.state().chain.head;
                }
                Err(diverged) => return self.diverged(vault, diverged),
            }
            self.tell_standing(vault, false).await?;
            // ORDER: after its standing is told, since the primary may take no record now. It may have gone back to an older copy of
            // itself, or have been lost: what it gets now was never read there.
            let head = self.replicator.as_ref().and_then(Replicator::head);
            vault.unread_behind(&self.args.site, head).await;
        }
        for _ in 0..STEPS_PER_TURN {
            let Some(replicator) = self.replicator.as_mut() else {
                return Ok(false);
            };
            match replicator.step(None).await? {
                Ok(Step::Copied(at)) => self.tell_copied(vault, at),
                Ok(Step::Level) => {
                    self.tell_standing(vault, true).await?;
                    return Ok(false);
                }
                Err(diverged) => return self.diverged(vault, diverged),
            }
        }
        self.tell_standing(vault, true).await?;
        Ok(true)
    }

    /// A member that is another one's place by now counts for nothing: there would be one copy, told to be two.
    fn must_stand_apart(&self, vault: &Vault, target: &Opened) -> crate::Result<()> {
        let members: Vec<SiteName> = vault.state().catalog.members.keys().cloned().collect();
        let site = &self.args.site;
        let apart = vault.sites.must_stand_apart(site, target, &members);
        if apart.is_err() {
            // It is opened anew the next time: somebody may have put its own disk back.
            vault.sites.doubt(site);
            self.args.standing.send_modify(|standing| {
                standing.head = None;
                standing.whole = false;
            });
        }
        apart
    }

    /// What cannot be copied since the primary's copy is bad, another member may have: it is mended from there. What lies
    /// damaged at the member, ahead of its log, is replaced by what the log names.
    async fn mend(&self, vault: &Arc<Vault>) {
        let Some(replicator) = &self.replicator else {
            return;
        };
        let primary = vault.primary.site.name();
        for pack in replicator.take_bad() {
            if let Err(error) = repair::pack(vault, primary, &pack).await {
                tracing::error!(site = %primary, pack = %pack.id, %error, "the copy was not repaired");
            }
        }
        let wrong = replicator.take_wrong();
        let Some(opened) = vault.sites.opened(&self.args.site) else {
            return;
        };
        for (name, good) in wrong {
            tracing::error!(site = %self.args.site, %name, "a bad copy was found; it is replaced");
            if let Err(error) = opened.sweeper.replace_damaged(&name, good).await {
                tracing::error!(site = %self.args.site, %name, %error, "it was not replaced yet");
            }
        }
    }

    /// Tells of one record more; the lag in bytes is told once a turn.
    fn tell_copied(&mut self, vault: &Vault, at: Position) {
        // The last one is looked at again when a replica begins: it was counted before.
        let before = self.args.standing.borrow().head;
        let is_new = u64::from(before.is_none_or(|before| at > before));
        if let Some((behind, _)) = &mut self.behind {
            *behind = behind.saturating_sub(is_new);
        }
        let whole = self.whole_from.is_none_or(|from| at >= from);
        self.args.standing.send_modify(|standing| {
            standing.head = Some(at);
            standing.whole = whole;
            standing.reachable = true;
            standing.trouble.clear();
            standing.lag_records = standing.lag_records.saturating_sub(is_new);
        });
        vault.member_moved();
    }

    fn diverged(&mut self, vault: &Arc<Vault>, diverged: Diverged) -> crate::Result<bool> {
        self.replicator = None;
        let trouble = match diverged {
            // A seal of an older epoch is a branch's: somebody took over there before this owner's claim.
            Diverged::Branch(at) | Diverged::Sealed(at)
                if !diverged.fences(vault.claimant.epoch) =>
            {
                format!(
                    "it holds records of its own from {at} on: it was left behind by a failover. `holdfast failback --vault {}` \
                     brings it back with nothing lost",
                    vault.header.name
                )
            }
            Diverged::Branch(at) | Diverged::Sealed(at) => {
                // Another owner took over there. What this one still commits would be a branch.
                tracing::error!(site = %self.args.site, %at, "a member holds a seal that the primary lacks: fenced");
                vault.stop.cancel();
                format!("another owner sealed the log there at {at}")
            }
        };
        self.args.standing.send_modify(|standing| {
            standing.looked_at = true;
            standing.reachable = true;
            standing.diverged = true;
            standing.trouble = trouble;
        });
        vault.member_moved();
        Ok(false)
    }

    /// Tells why it does not follow, and how far behind that leaves it: a site that does not answer gets staler meanwhile.
    async fn tell_trouble(&mut self, vault: &Vault, error: &Error) {
        let known = self.args.standing.borrow().head;
        let head = known.or_else(|| vault.progress_of(&self.args.site));
        let lag = self.lag(vault, head).await;
        // It may be the primary that does not answer.
        let answers = match (&self.replicator, error) {
            (_, error) if !matches!(error, Error::Unavailable(_)) => true,
            (Some(replicator), _) => replicator.still_stands().await.is_ok(),
            (None, _) => false,
        };
        self.args.standing.send_modify(|standing| {
            standing.looked_at = true;
            standing.reachable = answers;
            standing.trouble = error.to_string();
            // Where the primary cannot be listed either, the last figures stay.
            if let Ok(lag) = lag {
                (standing.lag_records, standing.lag_bytes) = (lag.records, lag.bytes);
                standing.oldest_lacking_millis = lag.oldest_millis;
            }
        });
        vault.member_moved();
    }

    /// Tells where the member stands. `moved`: something was copied, or nothing is left to copy; until then trouble stays.
    async fn tell_standing(&mut self, vault: &Vault, moved: bool) -> crate::Result<()> {
        let Some(head) = self.replicator.as_ref().map(Replicator::head) else {
            return Ok(());
        };
        let lag = self.lag(vault, head).await?;
        let whole = match (head, self.whole_from) {
            (Some(head), Some(from)) => head >= from,
            (_, from) => from.is_none(),
        };
        self.args.standing.send_modify(|standing| {
            let trouble = std::mem::take(&mut standing.trouble);
            *standing = Standing {
                head,
                looked_at: true,
                reachable: moved || standing.reachable || trouble.is_empty(),
                trouble: if moved { String::new() } else { trouble },
                lag_records: lag.records,
                lag_bytes: lag.bytes,
                oldest_lacking_millis: lag.oldest_millis,
                diverged: false,
                whole,
            };
        });
        vault.member_moved();
        Ok(())
    }
}
