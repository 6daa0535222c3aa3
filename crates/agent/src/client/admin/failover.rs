//! Making another site the primary, bringing back what was left behind, and making placement again.

use holdfast_format::VaultId;
use holdfast_proto::v1;

use super::{Admin, named};
use crate::client::VaultInfo;
use crate::client::status::{nonsense, refused};
use crate::error::Result;

/// A failover to make, or to look at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailoverPlan {
    /// The vault.
    pub vault: String,
    /// The site that becomes the primary.
    pub to: String,
    /// Go on although something is or may be left behind.
    pub accept_loss: bool,
    /// Only say what would happen.
    pub plan_only: bool,
}

/// What a failover did, or would do.
#[derive(Debug, Clone, PartialEq)]
pub struct FailoverReport {
    /// The primary before.
    pub from: String,
    /// The primary after.
    pub to: String,
    /// The old primary answered, and everything came along.
    pub drained: bool,
    /// In words: `nothing`, `12 records, 40 s`, `unknown`.
    pub left_behind: String,
    /// Whether it is known that nothing is left behind.
    pub loss_known_none: bool,
    /// For people: what the copy at the new primary lacks of what its log names. Empty: nothing, or it was not looked at, since
    /// the loss is accepted.
    pub target_lacks: String,
    /// Whether it was done.
    pub done: bool,
    /// The vault afterwards.
    pub vault: Option<VaultInfo>,
}

/// What a failback did.
#[derive(Debug, Clone, PartialEq)]
pub struct FailbackReport {
    /// Snapshots brought back.
    pub snapshots_salvaged: u64,
    /// Records they stood in.
    pub records_salvaged: u64,
    /// What a person has to look at: what was said on both sides of the fork.
    pub notes: Vec<String>,
    /// The vault afterwards.
    pub vault: VaultInfo,
}

/// What was made again of one vault in the placement store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltVault {
    /// Its id.
    pub id: VaultId,
    /// Its name.
    pub name: String,
    /// Its members, the primary first.
    pub sites: Vec<String>,
    /// No epoch up to this one is issued again.
    pub epoch: u64,
    /// Members that could not be read, with the reason: numbers were skipped for them.
    pub unread: Vec<String>,
    /// What is left to do; empty if nothing is.
    pub trouble: String,
}

impl Admin {
    /// Makes again, from the sites alone, what the placement store knew.
    pub async fn rebuild_placement(&self, who: &str) -> Result<Vec<RebuiltVault>> {
        let request = v1::RebuildPlacementRequest { who: who.into() };
        let answer = self
            .connection
            .operations()
            .rebuild_placement(request)
            .await;
        let wire = answer
            .map_err(|status| refused("the placement store", &status))?
            .into_inner();
        let read = |vault: v1::RebuiltVault| {
            Ok(RebuiltVault {
                id: VaultId::from_slice(&vault.id).map_err(nonsense)?,
                name: vault.name,
                sites: vault.sites,
                epoch: vault.epoch,
                unread: vault.unread,
                trouble: vault.trouble,
            })
        };
        wire.vaults.into_iter().map(read).collect()
    }

    /// Makes another member the primary.
    pub async fn failover(&self, plan: FailoverPlan, who: &str) -> Result<FailoverReport> {
        let what = format!("the failover of {} to {:?}", named(&plan.vault), plan.to);
        let request = v1::FailoverRequest {
            vault: plan.vault,
            to: plan.to,
            accept_loss: plan.accept_loss,
            plan_only: plan.plan_only,
            who: who.into(),
        };
        let answer = self.connection.operations().failover(request).await;
        let wire = answer
            .map_err(|status| refused(&what, &status))?
            .into_inner();
        Ok(FailoverReport {
            from: wire.from,
            to: wire.to,
            drained: wire.drained,
            left_behind: wire.left_behind,
            loss_known_none: wire.loss_known_none,
            target_lacks: wire.target_lacks,
            done: wire.done,
            vault: wire.vault.map(VaultInfo::read).transpose()?,
        })
    }

    /// Brings a site that was left behind back as a member; none means every such site.
    pub async fn failback(
        &self,
        vault: &str,
        site: Option<&str>,
        make_primary: bool,
        who: &str,
    ) -> Result<FailbackReport> {
        let request = v1::FailbackRequest {
            vault: vault.into(),
            site: site.unwrap_or_default().into(),
            make_primary,
            who: who.into(),
        };
        let what = format!("the failback of {}", named(vault));
        let answer = self.connection.operations().failback(request).await;
        let wire = answer
            .map_err(|status| refused(&what, &status))?
            .into_inner();
        Ok(FailbackReport {
            snapshots_salvaged: wire.snapshots_salvaged,
            records_salvaged: wire.records_salvaged,
            notes: wire.notes,
            vault: VaultInfo::read_some(wire.vault)?,
        })
    }
}
