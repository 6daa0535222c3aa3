//! `Collector`: marks, condemns by record, sweeps at every member.
//!
//! State: none between runs; everything that waits to be swept stands in the log. It alone is handed the right to
//! delete. Any doubt ends a run, loudly; the next run still happens.

use std::sync::Arc;

use holdfast_format::{Position, SiteName};
use holdfast_policy::ClockVerdict;
use holdfast_store::SiteReader;
use holdfast_vault::collect::condemn::Plan;
use holdfast_vault::collect::sweep::{self, Member, Waiting};
use holdfast_vault::collect::sweeping::{self, Effect, Event};
use holdfast_vault::log::reader::LogReader;
use holdfast_vault::{Guard, Proposal, invariant};
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::Infallible;
use kameo::message::{Context, Message};
use tokio::sync::{mpsc, oneshot};

use super::{Vault, checkpoint, ending};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::repair;
use crate::salvage::{self, Emptied, Salvaged};

/// See the module.
#[derive(Debug)]
pub struct Collector {
    vault: std::sync::Weak<Vault>,
}

impl Actor for Collector {
    type Args = Arc<Vault>;
    type Error = Infallible;

    async fn on_start(
        vault: Arc<Vault>,
        _: ActorRef<Self>,
    ) -> std::result::Result<Self, Infallible> {
        Ok(Self {
            vault: Arc::downgrade(&vault),
        })
    }
}

/// What a collection would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Snapshots that leave the trash.
    pub snapshots: u64,
    /// Chunks given up.
    pub chunks: u64,
    /// Packs condemned, those that were copied first among them.
    pub packs_condemned: u64,
    /// Packs whose live frames are copied first.
    pub packs_rewritten: u64,
    /// Of those, packs that are only small, and become fewer.
    pub packs_merged: u64,
    /// Bytes copied for that.
    pub copied_bytes: u64,
    /// Bytes that it frees at each member.
    pub freed_bytes: u64,
    /// Chunks that stay.
    pub live_chunks: u64,
    /// Bytes that nothing needs, and that stay in packs of which enough is needed.
    pub dead_bytes: u64,
    /// Why nothing can be condemned now; empty when it can.
    pub blocked: String,
}

/// What a collection says as it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The plan.
    Plan(Report),
    /// A step, for people.
    Step(String),
    /// It waits for a site before anything is deleted anywhere.
    Waiting {
        /// The site.
        site: SiteName,
        /// Bytes that wait.
        bytes: u64,
        /// Why.
        why: String,
    },
    /// The bytes are gone at every member.
    Done(Report),
}

/// How much of a collection is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Only the plan.
    Plan,
    /// All of it.
    All,
    /// Only the sweep of what was condemned before.
    Sweep,
}

/// Collect now.
#[derive(Debug)]
pub struct Collect {
    /// How much of it.
    pub what: Work,
    /// The share of dead bytes that may be left, in per cent; see [`holdfast_policy::CollectOptions`].
    pub unused_percent_max: Option<u8>,
    /// With [`Work::All`]: first end the sessions whose agents are not connected.
    pub end_sessions: bool,
    /// Who asks.
    pub who: String,
    /// Told as it goes.
    pub progress: mpsc::Sender<Progress>,
    /// Told when this run ended: true if everything condemned is swept.
    pub reply: oneshot::Sender<Result<bool>>,
}

impl Message<Collect> for Collector {
    type Reply = ();

    async fn handle(&mut self, message: Collect, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        let _work = vault.work();
        let Collect {
            what,
            unused_percent_max,
            end_sessions,
            who,
            progress,
            reply,
        } = message;
        let run = Run {
            vault,
            unused_percent_max,
            who,
            progress,
        };
        let result = match what {
            Work::Sweep => run.sweep_all().await,
            Work::Plan => run.collect(true).await,
            Work::All if end_sessions => match run.end_sessions().await {
                Ok(()) => run.collect(false).await,
                Err(error) => Err(error),
            },
            Work::All => run.collect(false).await,
        };
        if let Err(error) = &result {
            tracing::warn!(%error, "the collection ended early; nothing was deleted that was not condemned");
        }
        let _ = reply.send(result);
    }
}

/// Bring a site back that was left behind: in the collector's turn, so that nothing is condemned while its snapshots are
/// committed again.
#[derive(Debug)]
pub struct BringBack {
    /// The node, which issues epochs.
    pub node: Arc<Node>,
    /// The site.
    pub site: SiteName,
    /// What becomes of it if it is empty now.
    pub emptied: Emptied,
    /// What came back.
    pub reply: oneshot::Sender<Result<Salvaged>>,
}

impl Message<BringBack> for Collector {
    type Reply = ();

    async fn handle(&mut self, message: BringBack, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        let result =
            salvage::bring_back(&message.node, &vault, &message.site, message.emptied).await;
        let _ = message.reply.send(result);
    }
}

/// Sweep what waits, if it can be by now.
#[derive(Debug)]
pub struct Sweep;

impl Message<Sweep> for Collector {
    type Reply = ();

    async fn handle(&mut self, _: Sweep, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        let _work = vault.work();
        let (progress, _) = mpsc::channel(1);
        let run = Run {
            vault,
            unused_percent_max: None,
            who: "collector".into(),
            progress,
        };
        // Looked for early, so that people learn of it; whoever condemns looks again.
        if let Err(error) = repair::own_branch(&run.vault).await {
            tracing::warn!(%error, "whether the primary holds a branch of its own is not known yet");
        }
        if let Err(error) = run.sweep().await {
            tracing::warn!(%error, "the sweep ended early; it goes on later");
        }
    }
}

/// Save the fold, and drop checkpoints that are no longer kept.
#[derive(Debug)]
pub enum Checkpoint {
    /// One is due, if the last still is the one that is named here. What it shares with earlier ones is taken to be right.
    DueSince(Option<Position>),
    /// What it shares with earlier ones is read, and replaced where it is damaged.
    Thorough,
}

impl Message<Checkpoint> for Collector {
    type Reply = ();

    async fn handle(&mut self, which: Checkpoint, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        match which {
            // Asked for again while it was made.
            Checkpoint::DueSince(last) if checkpoint::last(&vault.state()) != last => {}
            Checkpoint::DueSince(_) => keep_checkpoint(&vault, false).await,
            Checkpoint::Thorough => keep_checkpoint(&vault, true).await,
        }
    }
}

/// A checkpoint that cannot be made, or an old one that cannot be dropped, costs time and room only.
async fn keep_checkpoint(vault: &Arc<Vault>, thorough: bool) {
    if let Err(error) = checkpoint::save(vault, thorough).await {
        tracing::warn!(%error, "no checkpoint was made; the next one is tried later");
        return;
    }
    let members: Vec<SiteName> = vault.state().catalog.members.keys().cloned().collect();
    for name in members {
        let Some(member) = vault.sites.opened(&name) else {
            continue;
        };
        if let Err(error) = checkpoint::prune(vault, &member).await {
            tracing::warn!(site = %name, %error, "old checkpoints stay for now");
        }
    }
}

/// One run.
pub(super) struct Run {
    pub(super) vault: Arc<Vault>,
    pub(super) unused_percent_max: Option<u8>,
    pub(super) who: String,
    progress: mpsc::Sender<Progress>,
}

impl Run {
    pub(super) async fn tell(&self, progress: Progress) {
        let _ = self.progress.send(progress).await;
    }

    /// ORDER: noted before it is told, so that whoever heard of it finds it in the metrics.
    async fn done(&self, report: Report) {
        let vault = &self.vault;
        vault.upkeep.collected(vault.context.now_millis());
        self.tell(Progress::Done(report)).await;
    }

    /// Sweeps what waits, and says when it is done.
    async fn sweep_all(&self) -> Result<bool> {
        let waiting = Waiting::of(&self.vault.state());
        let done = self.sweep().await?;
        if done {
            let report = Report {
                freed_bytes: waiting.bytes(),
                packs_condemned: waiting.packs.len() as u64,
                ..Report::default()
            };
            self.done(report).await;
        }
        Ok(done)
    }

    /// In the collector's turn: what a salvage has open is without an agent too, and is not ended under it.
    async fn end_sessions(&self) -> Result<()> {
        let what = match ending::end_without_agent(&self.vault, &self.who).await? {
            0 => "there is no session to end: no agent left one open".into(),
            1 => "ended 1 session whose agent was not connected".into(),
            ended => format!("ended {ended} sessions whose agents were not connected"),
        };
        self.tell(Progress::Step(what)).await;
        Ok(())
    }

    async fn collect(&self, dry_run: bool) -> Result<bool> {
        let vault = &self.vault;
        let clock = vault.clock.verdict(vault);
        let now = match &clock {
            ClockVerdict::Allowed { now_millis } => *now_millis,
            // Before the time of anything: nothing leaves the trash by a clock that is not trusted.
            ClockVerdict::Waiting { .. } if Guard::ClockTrusted.stands() => i64::MIN,
            ClockVerdict::Waiting { .. } => vault.context.now_millis(),
        };
        let (marked, plan, report, groups) = self.plan(now).await?;
        self.tell(Progress::Plan(report.clone())).await;
        if let ClockVerdict::Waiting { why, .. } = &clock {
            let what = format!(
                "nothing leaves the trash now: {why}. If the clock is right, `holdfast policy apply --confirm` says so"
            );
            self.tell(Progress::Step(what)).await;
        }
        let idle = ending::without_agent(vault).len();
        if report.blocked.is_empty() && idle > 0 {
            let what = format!(
                "open sessions whose agents are not connected: {idle}. What they sent stays, for seven days at most; if the agents \
                 are not at work any more, `holdfast gc --vault {} --end-sessions` ends them",
                vault.header.name
            );
            self.tell(Progress::Step(what)).await;
        }
        if dry_run {
            return Ok(true);
        }
        if !report.blocked.is_empty() {
            return Err(Error::Invalid(report.blocked));
        }
        // What an earlier run gave up, and could not delete everywhere yet, goes with it.
        let before = Waiting::of(&vault.state());
        let mut condemn = plan;
        for group in &groups {
            match self.copy(group, &marked).await {
                Ok(copied) => condemn.extend(copied),
                // A full site has to be emptied before anything can be copied there: what needs no copy goes all the
                // same. What was copied by now counts at its new home, and the next run gives up the rest.
                Err(Error::Full(why)) => {
                    let what = format!(
                        "nothing more is copied now, for lack of room; collect again: {why}"
                    );
                    tracing::warn!(vault = %vault.header.name, "{what}");
                    self.tell(Progress::Step(what)).await;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let proposal = {
            let state = vault.state();
            Plan::new(&state, &marked, condemn, self.keys_from(), &self.who)
        };
        if let Some(proposal) = proposal {
            vault.append(Proposal::Condemn(Box::new(proposal))).await?;
            self.must_hold(invariant::i2_roots_stay(&vault.state()))?;
            if checkpoint::is_due(&vault.state(), true) {
                keep_checkpoint(vault, false).await;
            }
        }
        let done = self.sweep().await?;
        if done {
            let report = Report {
                freed_bytes: report.freed_bytes + before.bytes(),
                packs_condemned: report.packs_condemned + before.packs.len() as u64,
                ..report
            };
            self.done(report).await;
        }
        Ok(done)
    }

    /// Deletes what is condemned, at every member, if the condemn record stands at every member. True if nothing waits.
    async fn sweep(&self) -> Result<bool> {
        let vault = &self.vault;
        let (state, waiting) = {
            let state = vault.state();
            (state.clone(), Waiting::of(&state))
        };
        let Some(last) = waiting.last() else {
            return Ok(true);
        };
        let names: Vec<&SiteName> = state.catalog.members.keys().collect();
        let order = sweeping::Sweep {
            members: names.len(),
        };
        let mut members = Vec::new();
        let (mut now, mut effect) = order.start();
        loop {
            let event = match effect {
                Effect::Ask(member) => match self.ask(names[member], last).await {
                    Ok((member, stands)) => {
                        members.push(member);
                        match stands {
                            true => Event::Stands,
                            false => Event::Lacks,
                        }
                    }
                    Err(error) => {
                        self.tell_waiting(names[member], &waiting, error.to_string())
                            .await;
                        Event::Unreadable
                    }
                },
                Effect::Delete(member) => {
                    if member == 0 {
                        for (pack, _, _) in &waiting.packs {
                            self.must_hold(invariant::i2_nothing_live_at_home(&state, *pack))?;
                        }
                    }
                    let member = &members[member];
                    sweep::sweep_member(&state, &waiting, member).await?;
                    self.tell(Progress::Step(format!(
                        "swept {waiting} at site {}",
                        member.site.name()
                    )))
                    .await;
                    Event::Gone
                }
                Effect::Record => {
                    vault
                        .append(Proposal::Sweep(sweep::swept(&waiting)))
                        .await?;
                    vault.upkeep.swept(waiting.bytes());
                    Event::Recorded
                }
                Effect::End => return Ok(now == sweeping::State::Done),
            };
            (now, effect) = order.step(now, event);
            if let (sweeping::State::Waits(member), Event::Lacks) = (now, event) {
                let name = names[member];
                let why = format!("record {last}, which condemns, has not reached site {name} yet");
                self.tell_waiting(name, &waiting, why).await;
            }
        }
    }

    /// An invariant that is broken stops this vault's writer, before anything is deleted.
    fn must_hold(&self, invariant: std::result::Result<(), invariant::Breach>) -> Result<()> {
        invariant.map_err(|breach| {
            self.vault.stop.cancel();
            invariant::broken(breach)
        })
    }

    async fn tell_waiting(&self, site: &SiteName, waiting: &Waiting, why: String) {
        self.tell(Progress::Waiting {
            site: site.clone(),
            bytes: waiting.bytes(),
            why,
        })
        .await;
    }

    /// A member, and whether the record at `last` stands there: read there now, and compared with the primary's.
    async fn ask(&self, name: &SiteName, last: Position) -> Result<(Member, bool)> {
        let vault = &self.vault;
        let opened = vault.sites.open(name).await?;
        let primary: Arc<dyn SiteReader> = vault.primary.site.clone();
        let own = LogReader::new(primary, vault.header.vault)
            .read(last)
            .await?;
        let Some(own) = own else {
            return Err(Error::Corrupt(format!(
                "record {last} is missing at the primary"
            )));
        };
        let stands =
            sweep::stands(opened.site.as_ref(), vault.header.vault, last, own.hash).await?;
        let member = Member {
            site: opened.site,
            sweeper: opened.sweeper,
        };
        Ok((member, stands))
    }
}
