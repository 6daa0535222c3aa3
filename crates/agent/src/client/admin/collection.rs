//! A collection as it is planned and carried out.

use holdfast_proto::v1;
use tonic::Streaming;

use super::{Admin, named};
use crate::client::status::refused;
use crate::error::Result;

/// How to collect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectOptions {
    /// Only plan.
    pub dry_run: bool,
    /// Go on until the bytes are gone at every site.
    pub wait: bool,
    /// How large a share of dead bytes may be left in packs that stay, in per cent. None: a pack is copied once less than half of
    /// it is live.
    pub unused_percent_max: Option<u8>,
    /// First end the open sessions whose agents are not connected. Not with `dry_run`.
    pub end_sessions: bool,
}

/// What a collection will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectPlan {
    /// Snapshots that leave the trash.
    pub snapshots: u64,
    /// Chunks that are given up.
    pub chunks: u64,
    /// Packs that are condemned.
    pub packs_condemned: u64,
    /// Of these, packs whose live frames are copied first.
    pub packs_rewritten: u64,
    /// Of those, packs that are only small, and become fewer.
    pub packs_merged: u64,
    /// Bytes that nothing needs, and that stay in packs of which enough is needed.
    pub dead_bytes: u64,
    /// Bytes that are copied for it.
    pub copied_bytes: u64,
    /// Bytes that it frees at each member.
    pub freed_bytes: u64,
    /// Chunks that stay.
    pub live_chunks: u64,
    /// Why nothing can be condemned now; empty when it can.
    pub blocked: String,
}

/// What happens in a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectStep {
    /// This is planned.
    Plan(CollectPlan),
    /// This is done now.
    Step(String),
    /// A site still holds bytes that are given up.
    Waiting {
        /// Which.
        site: String,
        /// How many.
        bytes: u64,
        /// Why.
        why: String,
    },
    /// All is done; without waiting, all that could be done now.
    Done {
        /// Bytes freed at each member.
        freed_bytes: u64,
        /// Packs deleted.
        packs: u64,
    },
}

/// A collection under way.
#[derive(Debug)]
pub struct Collecting {
    steps: Streaming<v1::CollectProgress>,
    what: String,
}

impl Collecting {
    /// The next step; none at the end.
    pub async fn next(&mut self) -> Result<Option<CollectStep>> {
        loop {
            let message = self.steps.message().await;
            let Some(message) = message.map_err(|status| refused(&self.what, &status))? else {
                return Ok(None);
            };
            if let Some(kind) = message.kind {
                return Ok(Some(read(kind)));
            }
        }
    }
}

fn read(kind: v1::collect_progress::Kind) -> CollectStep {
    use v1::collect_progress::Kind;
    match kind {
        Kind::Plan(plan) => CollectStep::Plan(CollectPlan {
            snapshots: plan.snapshots,
            chunks: plan.chunks,
            packs_condemned: plan.packs_condemned,
            packs_rewritten: plan.packs_rewritten,
            packs_merged: plan.packs_merged,
            dead_bytes: plan.dead_bytes,
            copied_bytes: plan.copied_bytes,
            freed_bytes: plan.freed_bytes,
            live_chunks: plan.live_chunks,
            blocked: plan.blocked,
        }),
        Kind::Step(step) => CollectStep::Step(step.what),
        Kind::Waiting(waiting) => CollectStep::Waiting {
            site: waiting.site,
            bytes: waiting.bytes,
            why: waiting.why,
        },
        Kind::Done(done) => CollectStep::Done {
            freed_bytes: done.freed_bytes,
            packs: done.packs,
        },
    }
}

impl Admin {
    /// Plans a collection and, unless `dry_run`, carries it out; with `wait`, until the bytes are gone at every member.
    pub async fn collect(
        &self,
        vault: &str,
        options: CollectOptions,
        who: &str,
    ) -> Result<Collecting> {
        let request = v1::CollectRequest {
            vault: vault.into(),
            dry_run: options.dry_run,
            wait: options.wait,
            who: who.into(),
            unused_percent_max: options.unused_percent_max.map(u32::from),
            end_sessions: options.end_sessions,
        };
        let what = format!("the collection of {}", named(vault));
        let answer = self.connection.retention().collect(request).await;
        let steps = answer
            .map_err(|status| refused(&what, &status))?
            .into_inner();
        Ok(Collecting { steps, what })
    }
}
