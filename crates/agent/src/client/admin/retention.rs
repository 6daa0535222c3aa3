//! What is kept for how long: policy, trash, holds.

use holdfast_format::{HoldId, SnapshotId};
use holdfast_proto::v1;

use super::{Admin, named, soon};
use crate::client::SnapshotInfo;
use crate::client::status::{nonsense, refused};
use crate::error::Result;

/// What a hold covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldCover {
    /// Everything.
    Vault,
    /// One source's snapshots.
    Source(String),
    /// One snapshot.
    Snapshot(SnapshotId),
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldInfo {
    /// Its id.
    pub id: HoldId,
    /// What it covers, in words: `vault`, `source NAME`, `snapshot ID`.
    pub covers: String,
    /// Why it was placed.
    pub why: String,
    /// By whom.
    pub who: String,
    /// When: milliseconds since 1970 UTC.
    pub placed_millis: i64,
    /// When it ends by itself, if it does.
    pub until_millis: Option<i64>,
    /// Whether it belongs to a running restore or mount.
    pub by_restore: bool,
}

/// What retention does with one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDecision {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its source.
    pub source: String,
    /// Its time.
    pub time_millis: i64,
    /// Whether it is kept.
    pub keep: bool,
    /// Why.
    pub reasons: Vec<String>,
}

/// What retention does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// Snapshot by snapshot.
    pub decisions: Vec<RetentionDecision>,
    /// Why nothing is expired now; empty when nothing stands in the way.
    pub waiting: String,
}

fn bytes(ids: &[SnapshotId]) -> Vec<bytes::Bytes> {
    ids.iter().map(|id| id.0.to_vec().into()).collect()
}

impl HoldInfo {
    fn read(wire: v1::Hold) -> Result<Self> {
        Ok(Self {
            id: HoldId::from_slice(&wire.id).map_err(nonsense)?,
            covers: wire.covers,
            why: wire.why,
            who: wire.who,
            placed_millis: wire.placed_millis,
            until_millis: (wire.until_millis != 0).then_some(wire.until_millis),
            by_restore: wire.by_restore,
        })
    }
}

impl Admin {
    /// Sets a vault's policy. Gives warnings.
    pub async fn set_policy(&self, vault: &str, text: &str, who: &str) -> Result<Vec<String>> {
        let request = v1::SetPolicyRequest {
            vault: vault.into(),
            text: text.into(),
            who: who.into(),
        };
        let answer = self.connection.retention().set_policy(request).await;
        let answer = answer.map_err(|status| refused("the policy", &status))?;
        Ok(answer.into_inner().warnings)
    }

    /// Puts snapshots into the trash. With `purge` they leave it at once.
    pub async fn forget(
        &self,
        vault: &str,
        snapshots: &[SnapshotId],
        why: &str,
        purge: bool,
        who: &str,
    ) -> Result<Vec<SnapshotInfo>> {
        let request = v1::ForgetRequest {
            vault: vault.into(),
            snapshots: bytes(snapshots),
            who: who.into(),
            why: why.into(),
            purge,
        };
        let answer = self.connection.retention().forget(request).await;
        let answer = answer.map_err(|status| refused("forgetting", &status))?;
        SnapshotInfo::read_all(answer.into_inner().snapshots)
    }

    /// Takes snapshots out of the trash.
    pub async fn recover(
        &self,
        vault: &str,
        snapshots: &[SnapshotId],
        who: &str,
    ) -> Result<Vec<SnapshotInfo>> {
        let request = v1::RecoverRequest {
            vault: vault.into(),
            snapshots: bytes(snapshots),
            who: who.into(),
        };
        let answer = self.connection.retention().recover(request).await;
        let answer = answer.map_err(|status| refused("taking out of the trash", &status))?;
        SnapshotInfo::read_all(answer.into_inner().snapshots)
    }

    /// What retention would do now; with `apply` it does it, with `confirm` also what needs an operator's word.
    pub async fn expire(
        &self,
        vault: &str,
        apply: bool,
        confirm: bool,
        who: &str,
    ) -> Result<Expiring> {
        let request = v1::ExpireRequest {
            vault: vault.into(),
            apply,
            confirm,
            who: who.into(),
        };
        let answer = self.connection.retention().expire(request).await;
        let wire = answer
            .map_err(|status| refused(&named(vault), &status))?
            .into_inner();
        let decision = |wire: v1::Decision| {
            Ok(RetentionDecision {
                snapshot: SnapshotId::from_slice(&wire.snapshot).map_err(nonsense)?,
                source: wire.source,
                time_millis: wire.time_millis,
                keep: wire.keep,
                reasons: wire.reasons,
            })
        };
        Ok(Expiring {
            decisions: wire
                .decisions
                .into_iter()
                .map(decision)
                .collect::<Result<_>>()?,
            waiting: wire.waiting,
        })
    }

    /// Places a hold.
    pub async fn place_hold(
        &self,
        vault: &str,
        cover: HoldCover,
        why: &str,
        who: &str,
    ) -> Result<HoldInfo> {
        use v1::place_hold_request::Cover;
        let cover = match cover {
            HoldCover::Vault => Cover::WholeVault(true),
            HoldCover::Source(source) => Cover::Source(source),
            HoldCover::Snapshot(id) => Cover::Snapshot(id.0.to_vec().into()),
        };
        let request = v1::PlaceHoldRequest {
            vault: vault.into(),
            cover: Some(cover),
            why: why.into(),
            who: who.into(),
        };
        let answer = self.connection.retention().place_hold(request).await;
        let answer = answer.map_err(|status| refused("the hold", &status))?;
        HoldInfo::read(answer.into_inner())
    }

    /// Ends a hold.
    pub async fn release_hold(&self, vault: &str, hold: HoldId, who: &str) -> Result<HoldInfo> {
        let request = v1::ReleaseHoldRequest {
            vault: vault.into(),
            hold: hold.0.to_vec().into(),
            who: who.into(),
        };
        let answer = self.connection.retention().release_hold(request).await;
        let answer = answer.map_err(|status| refused(&format!("hold {hold}"), &status))?;
        HoldInfo::read(answer.into_inner())
    }

    /// All holds of a vault.
    pub async fn holds(&self, vault: &str) -> Result<Vec<HoldInfo>> {
        let request = soon(v1::ListHoldsRequest {
            vault: vault.into(),
        });
        let answer = self.connection.retention().list_holds(request).await;
        let answer = answer.map_err(|status| refused(&named(vault), &status))?;
        let holds = answer.into_inner().holds;
        holds.into_iter().map(HoldInfo::read).collect()
    }
}
