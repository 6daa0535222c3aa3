//! `Collector`: marks, condemns by record, sweeps at every member.
//!
//! State: none between runs; everything that waits to be swept stands in the log. It alone is handed the right to
//! delete. Any doubt ends a run, loudly; the next run still happens.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use holdfast_format::{ChunkKind, Epoch, Pack, PackBuilder, PackOrdinal, Position, SiteName};
use holdfast_policy::{
    ClockVerdict, CollectOptions, CopyGroup, PackFacts, PackKind, plan_collection,
};
use holdfast_store::SiteReader;
use holdfast_vault::Proposal;
use holdfast_vault::collect::condemn::Plan;
use holdfast_vault::collect::mark::{Mark, blocked_by, mark};
use holdfast_vault::collect::sweep::{self, Member, Waiting};
use holdfast_vault::fetch::PackRead;
use holdfast_vault::log::reader::LogReader;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::Infallible;
use kameo::message::{Context, Message};
use tokio::sync::{mpsc, oneshot};

use super::upload::put_pack;
use super::{Vault, checkpoint};
use crate::error::{Error, Result};
use crate::node::Node;
use crate::salvage::{self, Salvaged};

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
    /// Bytes copied for that.
    pub copied_bytes: u64,
    /// Bytes that it frees at each member.
    pub freed_bytes: u64,
    /// Chunks that stay.
    pub live_chunks: u64,
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

/// Collect now.
#[derive(Debug)]
pub struct Collect {
    /// Only plan.
    pub dry_run: bool,
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
        let Collect {
            dry_run,
            who,
            progress,
            reply,
        } = message;
        let run = Run {
            vault,
            who,
            progress,
        };
        let result = run.collect(dry_run).await;
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
    /// What came back.
    pub reply: oneshot::Sender<Result<Salvaged>>,
}

impl Message<BringBack> for Collector {
    type Reply = ();

    async fn handle(&mut self, message: BringBack, _: &mut Context<Self, ()>) {
        let Some(vault) = self.vault.upgrade() else {
            return;
        };
        let result = salvage::bring_back(&message.node, &vault, &message.site).await;
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
        let (progress, _) = mpsc::channel(1);
        let run = Run {
            vault,
            who: "collector".into(),
            progress,
        };
        if let Err(error) = run.sweep().await {
            tracing::warn!(%error, "the sweep ended early; it goes on later");
        }
    }
}

/// Save the fold, and drop checkpoints that are no longer kept.
#[derive(Debug)]
pub struct Checkpoint;

impl Message<Checkpoint> for Collector {
    type Reply = ();

    async fn handle(&mut self, _: Checkpoint, _: &mut Context<Self, ()>) {
        if let Some(vault) = self.vault.upgrade() {
            keep_checkpoint(&vault).await;
        }
    }
}

/// A checkpoint that cannot be made, or an old one that cannot be dropped, costs time and room only.
async fn keep_checkpoint(vault: &Arc<Vault>) {
    if let Err(error) = checkpoint::save(vault).await {
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

struct Run {
    vault: Arc<Vault>,
    who: String,
    progress: mpsc::Sender<Progress>,
}

impl Run {
    async fn tell(&self, progress: Progress) {
        let _ = self.progress.send(progress).await;
    }

    async fn collect(&self, dry_run: bool) -> Result<bool> {
        let vault = &self.vault;
        let clock = vault.clock.verdict(vault);
        let now = match &clock {
            ClockVerdict::Allowed { now_millis } => *now_millis,
            // Before the time of anything: nothing leaves the trash by a clock that is not trusted.
            ClockVerdict::Waiting { .. } => i64::MIN,
        };
        let (marked, plan, report, groups) = self.plan(now).await?;
        self.tell(Progress::Plan(report.clone())).await;
        if let ClockVerdict::Waiting { why, .. } = &clock {
            let what = format!(
                "nothing leaves the trash now: {why}. If the clock is right, `holdfast policy apply --confirm` says so"
            );
            self.tell(Progress::Step(what)).await;
        }
        if dry_run {
            return Ok(true);
        }
        if !report.blocked.is_empty() {
            return Err(Error::Invalid(report.blocked));
        }
        let mut condemn = plan;
        for group in &groups {
            let copied = self.copy(group, &marked).await?;
            condemn.extend(copied);
        }
        let proposal = {
            let state = vault.state();
            Plan::new(&state, &marked, condemn, self.keys_from(), &self.who)
        };
        if let Some(proposal) = proposal {
            vault.append(Proposal::Condemn(Box::new(proposal))).await?;
            if checkpoint::is_due(&vault.state(), true) {
                keep_checkpoint(vault).await;
            }
        }
        let done = self.sweep().await?;
        if done {
            self.tell(Progress::Done(report)).await;
        }
        Ok(done)
    }

    /// While a member has not reached this owner's epoch it may turn out to hold a branch: the keys that a salvage would
    /// need stay until it has.
    fn keys_from(&self) -> Epoch {
        let epoch = self.vault.claimant.epoch;
        let standings = self.vault.standings();
        let all_here = standings.values().all(|standing| {
            !standing.diverged && standing.head.is_some_and(|at| at.epoch == epoch)
        });
        match all_here {
            true => Epoch(0),
            false => epoch,
        }
    }

    /// Marks on a copy of the state, so that backups go on, and plans.
    async fn plan(
        &self,
        trash_now: i64,
    ) -> Result<(Mark, Vec<PackOrdinal>, Report, Vec<CopyGroup>)> {
        let vault = &self.vault;
        let now = vault.context.now_millis();
        let (state, promised) = {
            let state = vault.state();
            let promised: Vec<_> = vault.promises().all().collect();
            (state.clone(), promised)
        };
        let blocked = blocked_by(&state, |id| vault.promises().is_attached(id));
        let (state, marked) = vault
            .context
            .run_blocking(move || {
                let trash_now = trash_now.min(state.next_time(now));
                let marked = mark(&state, promised, trash_now, state.next_time(now));
                (state, marked)
            })
            .await;
        let mut scopes: HashMap<&str, u32> = HashMap::new();
        let facts: Vec<PackFacts> = (state.catalog.packs.iter())
            .filter_map(|(&ordinal, pack)| {
                let share = marked.packs.get(&ordinal)?;
                let count = scopes.len() as u32;
                let scope = *scopes.entry(pack.scope.as_str()).or_insert(count);
                let bytes = pack.footer_offset;
                // Estimated from plaintext lengths: the sealed lengths of single frames stand in footers only.
                let live = match share.total_bytes {
                    0 => 0,
                    total => {
                        (u128::from(bytes) * u128::from(share.live_bytes) / u128::from(total))
                            as u64
                    }
                };
                Some(PackFacts {
                    ordinal: ordinal.0,
                    bytes,
                    bytes_live: if share.live_chunks == 0 {
                        0
                    } else {
                        live.clamp(1, bytes)
                    },
                    chunks: pack.chunks,
                    chunks_live: share.live_chunks,
                    kind: if pack.kind == 0 {
                        PackKind::Data
                    } else {
                        PackKind::Nodes
                    },
                    scope,
                    keys: pack.keys.len() as u32,
                    age_millis: now.saturating_sub(pack.added_millis).max(0) as u64,
                })
            })
            .collect();
        // A person who asks wants the room now: young packs are copied too.
        let mut options = CollectOptions::default();
        if self.who != "collector" {
            options.settle_millis = 0;
        }
        let planned = plan_collection(&facts, &options)
            .map_err(|error| Error::Bug(format!("the collection cannot be planned: {error}")))?;
        let groups: Vec<CopyGroup> = planned
            .rewrite
            .iter()
            .chain(&planned.merge)
            .cloned()
            .collect();
        let mut report = Report {
            snapshots: marked.leaving.len() as u64,
            chunks: state.index.live().saturating_sub(marked.reached.len()),
            packs_condemned: planned.condemn.len() as u64,
            live_chunks: marked.reached.len(),
            blocked: blocked.map(|(_, why)| why).unwrap_or_default(),
            ..Report::default()
        };
        let len = |pack: u32| {
            state
                .catalog
                .packs
                .get(&PackOrdinal(pack))
                .map_or(0, |info| info.len)
        };
        report.freed_bytes = planned.condemn.iter().map(|&pack| len(pack)).sum();
        for group in &groups {
            let (all, live) = group.packs.iter().fold((0, 0), |(all, live), &pack| {
                let facts = facts.iter().find(|facts| facts.ordinal == pack);
                (
                    all + len(pack),
                    live + facts.map_or(0, |facts| facts.bytes_live),
                )
            });
            report.packs_rewritten += group.packs.len() as u64;
            report.packs_condemned += group.packs.len() as u64;
            report.copied_bytes += live;
            report.freed_bytes += all - live.min(all);
        }
        let condemn = planned
            .condemn
            .iter()
            .map(|&pack| PackOrdinal(pack))
            .collect();
        Ok((marked, condemn, report, groups))
    }

    /// Copies the frames that hold anything needed into new packs; frames are copied as they are, sealed. Gives the packs of
    /// which everything needed was copied: one with damage stays, for what is good in it, and is named.
    async fn copy(&self, group: &CopyGroup, marked: &Mark) -> Result<Vec<PackOrdinal>> {
        let vault = &self.vault;
        let sites = vault.read_sites(None).await?;
        let mut copied = Vec::new();
        let mut builder: Option<PackBuilder> = None;
        for &pack in &group.packs {
            let ordinal = PackOrdinal(pack);
            let read = {
                let state = vault.state();
                let Some(info) = state.catalog.packs.get(&ordinal).cloned() else {
                    continue;
                };
                let mut frames: BTreeMap<u32, Vec<_>> = BTreeMap::new();
                for chunk in info
                    .ordinals()
                    .filter(|chunk| marked.reached.contains(chunk.0))
                {
                    if let (Some(entry), Some(id)) =
                        (state.index.entry(chunk), state.index.id(chunk))
                        && entry.pack == ordinal
                    {
                        frames.entry(entry.frame).or_default().push(id);
                    }
                }
                PackRead {
                    ordinal,
                    pack: info,
                    frames,
                }
            };
            if read.frames.is_empty() {
                copied.push(ordinal);
                continue;
            }
            let fetched = vault.frames.fetch(&sites, &read).await;
            if let Some((id, why)) = fetched.lost.first() {
                let what = format!(
                    "pack {} stays: chunk {id} cannot be copied: {why}",
                    read.pack.id
                );
                tracing::error!(vault = %vault.header.name, "{what}; see `holdfast verify --read-data`");
                self.tell(Progress::Step(what)).await;
                continue;
            }
            copied.push(ordinal);
            let kind = if read.pack.kind == 0 {
                ChunkKind::Data
            } else {
                ChunkKind::Node
            };
            for frame in fetched.frames {
                let full = builder.as_ref().is_some_and(PackBuilder::is_full);
                if full && let Some(full) = builder.take() {
                    self.place(full.finish()).await?;
                }
                let builder = builder.get_or_insert_with(|| {
                    PackBuilder::new(
                        vault.header.vault,
                        vault.new_pack_id(),
                        kind,
                        read.pack.scope.clone(),
                    )
                });
                builder.add(frame)?;
            }
        }
        if let Some(builder) = builder.filter(|builder| !builder.is_empty()) {
            self.place(builder.finish()).await?;
        }
        Ok(copied)
    }

    async fn place(&self, pack: Pack) -> Result<()> {
        put_pack(&self.vault, &pack).await?;
        let packs = vec![pack.without_body()];
        self.vault
            .append(Proposal::Copies {
                packs,
                fresh: HashSet::new(),
            })
            .await?;
        Ok(())
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
        let mut members = Vec::new();
        for name in state.catalog.members.keys() {
            match self.member(name, last).await {
                Ok(member) => members.push(member),
                Err(error) => {
                    self.tell(Progress::Waiting {
                        site: name.clone(),
                        bytes: waiting.bytes(),
                        why: error.to_string(),
                    })
                    .await;
                    return Ok(false);
                }
            }
        }
        // ORDER: see `sweep_member`: the record was read at every member before the first delete anywhere.
        for member in &members {
            sweep::sweep_member(&state, &waiting, member).await?;
            self.tell(Progress::Step(format!(
                "swept {} packs at site {}",
                waiting.packs.len(),
                member.site.name()
            )))
            .await;
        }
        vault
            .append(Proposal::Sweep(sweep::swept(&waiting)))
            .await?;
        Ok(true)
    }

    /// A member at which the record at `last` stands: read there now, and compared with the primary's.
    async fn member(&self, name: &SiteName, last: Position) -> Result<Member> {
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
        if !sweep::stands(opened.site.as_ref(), vault.header.vault, last, own.hash).await? {
            return Err(Error::Unavailable(format!(
                "record {last}, which condemns, has not reached site {name} yet"
            )));
        }
        Ok(Member {
            site: opened.site,
            sweeper: opened.sweeper,
        })
    }
}
