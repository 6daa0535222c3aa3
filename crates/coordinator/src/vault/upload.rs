//! Writing packs: to the primary, and to other members while the bytes are at hand.

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{ObjectName, Pack, Sealed};
use holdfast_store::Kind;
use tokio::sync::OwnedSemaphorePermit;

use super::Vault;
use crate::error::{Error, Result};

/// A member that lacks more than this is written by its replicator alone.
const LAG_BYTES_MAX: u64 = 512 << 20;

/// Pause before a pack is put again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Writes a pack to the primary and, where they keep up, to the other members at the same time. Returns once the primary
/// has it durably. Nobody waits for another member: one that fails or is slow gets the pack from the replicator.
pub async fn put_pack(vault: &Arc<Vault>, pack: &Pack) -> Result<()> {
    let name = ObjectName::pack(vault.header.vault, pack.footer.pack);
    // Bounds packs, not copies: members share a pack's bytes.
    if let Ok(permit) = vault.direct.clone().try_acquire_owned() {
        put_beside(vault, &name, &pack.body, Arc::new(permit));
    }
    put_primary(vault, &name, &pack.body).await
}

/// Begins to write a pack to members that are nearly level: one that lags would pin packs in memory.
fn put_beside(
    vault: &Arc<Vault>,
    name: &ObjectName,
    body: &Sealed,
    permit: Arc<OwnedSemaphorePermit>,
) {
    for (site, standing) in vault.standings() {
        let level = standing.reachable && !standing.diverged && standing.lag_bytes < LAG_BYTES_MAX;
        let (true, Some(opened)) = (level, vault.sites.opened(&site)) else {
            continue;
        };
        let (name, body, permit) = (name.clone(), body.clone(), permit.clone());
        // ORDER: told before the primary has it, and so before any record names it: no replicator can come before.
        let writing = vault.under_way.begin(site.clone(), name.clone());
        vault.context.spawn(async move {
            // The replicator looks whether it is there, and copies it where it is not.
            if let Err(error) = opened.site.put_pack(&name, body).await {
                tracing::warn!(%site, %error, "a pack was not written; the replicator will");
            }
            drop((writing, permit));
        });
    }
}

async fn put_primary(vault: &Arc<Vault>, name: &ObjectName, body: &Sealed) -> Result<()> {
    loop {
        match vault.primary.site.put_pack(name, body.clone()).await {
            // Exists: an earlier try of this very put, whose answer was lost; the name is ours alone.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == Kind::Retry => {
                tracing::warn!(%error, "a pack was not written yet");
                tokio::select! {
                    biased;
                    () = vault.stop.cancelled() => {
                        return Err(Error::Unavailable("the coordinator stops or no longer owns the vault".into()));
                    }
                    () = tokio::time::sleep(RETRY_PAUSE) => {}
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}
