//! One collection's first half: marking, planning, and copying what is needed out of packs that go.
//!
//! State: none. Frames are copied as they are, sealed; a pack goes only if everything needed in it has a later home.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use holdfast_format::{ChunkKind, Epoch, Pack, PackBuilder, PackOrdinal};
use holdfast_policy::{CollectOptions, CopyGroup, PackFacts, PackKind, plan_collection};
use holdfast_vault::collect::mark::{Mark, blocked_by, mark};
use holdfast_vault::fetch::PackRead;
use holdfast_vault::{Guard, Proposal, State};

use super::collector::{Progress, Report, Run};
use super::reading::Reading;
use super::upload::put_pack;
use crate::error::{Error, Result};
use crate::repair;

/// Packs that are read at once to be copied: one of them, of up to a pack's bytes, waits in memory for the one that is written.
const READS_AT_ONCE: usize = 2;

impl Run {
    /// While a member has not reached this owner's epoch it may turn out to hold a branch: the keys that a salvage would
    /// need stay until it has.
    pub(super) fn keys_from(&self) -> Epoch {
        let epoch = self.vault.claimant.epoch;
        let standings = self.vault.standings();
        let all_here = standings.values().all(|standing| {
            !standing.diverged && standing.head.is_some_and(|at| at.epoch == epoch)
        });
        match all_here || !Guard::KeysOfBranchesStay.stands() {
            true => Epoch(0),
            false => epoch,
        }
    }

    /// Why nothing may be condemned now; empty if it may.
    async fn blocked(&self, state: &State) -> Result<String> {
        let vault = &self.vault;
        let former = blocked_by(state, |id| vault.promises().is_attached(id));
        if let Some((_, why)) = former
            && Guard::FormerSessionsFirst.stands()
        {
            return Ok(why);
        }
        // ORDER: before the mark. What a branch at the primary itself needs is reached by no snapshot of the history.
        let own = repair::own_branch(vault).await?;
        if own.is_some() && Guard::OwnBranchStops.stands() {
            let (site, why) = (vault.primary.site.name(), vault.own_branch_trouble());
            return Ok(format!("site {site}: {why}"));
        }
        Ok(String::new())
    }

    /// Marks on a copy of the state, so that backups go on, and plans.
    pub(super) async fn plan(
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
        let blocked = self.blocked(&state).await?;
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
        let mut options = CollectOptions {
            unused_percent_max: self.unused_percent_max,
            ..CollectOptions::default()
        };
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
            packs_merged: planned
                .merge
                .iter()
                .map(|group| group.packs.len() as u64)
                .sum(),
            live_chunks: marked.reached.len(),
            blocked,
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
        let goes: HashSet<u32> = (planned.condemn.iter().copied())
            .chain(groups.iter().flat_map(|group| group.packs.iter().copied()))
            .collect();
        report.dead_bytes = (facts.iter())
            .filter(|facts| !goes.contains(&facts.ordinal))
            .map(|facts| facts.bytes.saturating_sub(facts.bytes_live))
            .sum();
        let lives: HashMap<u32, u64> = (facts.iter())
            .map(|facts| (facts.ordinal, facts.bytes_live))
            .collect();
        for group in &groups {
            let (all, live) = group.packs.iter().fold((0, 0), |(all, live), pack| {
                let live_here = lives.get(pack).copied().unwrap_or_default();
                (all + len(*pack), live + live_here)
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
    ///
    /// The next packs are read while one is written.
    pub(super) async fn copy(&self, group: &CopyGroup, marked: &Mark) -> Result<Vec<PackOrdinal>> {
        let vault = &self.vault;
        let sites = vault.read_sites(None).await?;
        let mut copied = Vec::new();
        let mut builder: Option<PackBuilder> = None;
        let mut to_read = group.packs.iter().map(|&pack| PackOrdinal(pack));
        let mut reads = VecDeque::new();
        loop {
            while reads.len() < READS_AT_ONCE
                && let Some(ordinal) = to_read.next()
            {
                let Some(read) = self.needed_of(ordinal, marked) else {
                    continue;
                };
                if read.frames.is_empty() {
                    copied.push(ordinal);
                    continue;
                }
                reads.push_back(Reading::start(vault, &sites, read));
            }
            let Some(reading) = reads.pop_front() else {
                break;
            };
            let (read, fetched) = reading.end().await?;
            let ordinal = read.ordinal;
            if let Some((id, why)) = fetched.lost.first() {
                let what = format!(
                    "pack {} stays: chunk {id} cannot be copied: {why}",
                    read.pack.id
                );
                tracing::error!(vault = %vault.header.name, "{what}; see `holdfast verify --read-data`");
                self.tell(Progress::Step(what)).await;
                if Guard::DoubtKeeps.stands() {
                    continue;
                }
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

    /// What of a pack is needed, frame by frame; nothing if it is gone.
    fn needed_of(&self, ordinal: PackOrdinal, marked: &Mark) -> Option<PackRead> {
        let state = self.vault.state();
        let pack = state.catalog.packs.get(&ordinal)?.clone();
        let mut frames: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for chunk in pack
            .ordinals()
            .filter(|chunk| marked.reached.contains(chunk.0))
        {
            if let (Some(entry), Some(id)) = (state.index.entry(chunk), state.index.id(chunk))
                && entry.pack == ordinal
            {
                frames.entry(entry.frame).or_default().push(id);
            }
        }
        Some(PackRead {
            ordinal,
            pack,
            frames,
        })
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
}
