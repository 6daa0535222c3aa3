//! The hold that a running restore or mount has at the coordinator: what it reads is not collected meanwhile.
//!
//! State: a task that renews the hold until it is released. A hold that cannot be renewed is only told: what is read is
//! verified in any case.

use std::time::Duration;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{Generation, SnapshotId, VaultId};
use holdfast_proto::v1;
use tokio_util::task::AbortOnDropHandle;

use crate::client::status::{nonsense, refused};
use crate::client::{Connection, SnapshotInfo};
use crate::error::Result;

/// Renewed no more often than this, …
const RENEW_MIN: Duration = Duration::from_secs(5);

/// … and no less often.
const RENEW_MAX: Duration = Duration::from_secs(300);

/// What the coordinator gives for a restore.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) snapshot: SnapshotInfo,
    pub(super) vault: VaultId,
    pub(super) hold: Lease,
    pub(super) vault_key: Bytes,
    pub(super) generation: Generation,
}

/// A hold that ends by itself.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    id: Bytes,
    until_millis: i64,
}

/// Places a hold on a snapshot, or renews one.
pub(super) async fn open(
    connection: &Connection,
    vault: &str,
    snapshot: SnapshotId,
    who: &str,
    renew: Option<&Lease>,
) -> Result<Opened> {
    let request = v1::OpenRestoreRequest {
        vault: vault.into(),
        snapshot: snapshot.0.to_vec().into(),
        hold: renew.map(|lease| lease.id.clone()).unwrap_or_default(),
        who: who.into(),
    };
    let answer = connection
        .restore()
        .open_restore(request)
        .await
        .map_err(|status| refused(&format!("snapshot {snapshot}"), &status))?
        .into_inner();
    Ok(Opened {
        snapshot: SnapshotInfo::read_some(answer.snapshot)?,
        vault: VaultId::from_slice(&answer.vault_id).map_err(nonsense)?,
        hold: Lease {
            id: answer.hold,
            until_millis: answer.until_millis,
        },
        vault_key: answer.vault_key,
        generation: Generation(answer.generation),
    })
}

/// See the module header.
pub(super) struct Hold {
    connection: Connection,
    vault: String,
    id: Bytes,
    renewing: AbortOnDropHandle<()>,
}

impl Hold {
    /// Keeps a hold alive.
    pub(super) fn keep(
        context: &Context,
        connection: &Connection,
        vault: &str,
        snapshot: SnapshotId,
        who: &str,
        mut lease: Lease,
    ) -> Self {
        let id = lease.id.clone();
        let (context_, connection_) = (context.clone(), connection.clone());
        let (vault_, who) = (vault.to_owned(), who.to_owned());
        let renewing = context.spawn(async move {
            loop {
                tokio::time::sleep(renew_after(&context_, &lease)).await;
                match open(&connection_, &vault_, snapshot, &who, Some(&lease)).await {
                    Ok(opened) => lease = opened.hold,
                    Err(error) => {
                        tracing::warn!(%error, "the hold on what is being read cannot be renewed");
                    }
                }
            }
        });
        Self {
            connection: connection.clone(),
            vault: vault.into(),
            id,
            renewing: AbortOnDropHandle::new(renewing),
        }
    }

    /// Gives it back.
    pub(super) async fn release(&self) {
        self.renewing.abort();
        let request = v1::CloseRestoreRequest {
            vault: self.vault.clone(),
            hold: self.id.clone(),
        };
        if let Err(status) = self.connection.restore().close_restore(request).await {
            tracing::debug!(%status, "the hold was not given back; it ends by itself");
        }
    }
}

/// A third of what is left. The clocks of both machines may differ: the bounds make up for that.
fn renew_after(context: &Context, lease: &Lease) -> Duration {
    let left = lease.until_millis.saturating_sub(context.now_millis());
    let third = Duration::from_millis(u64::try_from(left / 3).unwrap_or(0));
    third.clamp(RENEW_MIN, RENEW_MAX)
}
