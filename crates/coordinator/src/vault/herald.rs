//! `Herald`: tells placement how far each member has come, for other coordinators, for status, and for its own next start.
//!
//! State: what it told last. A hint, never truth: the members' own logs are. It is what tells a site that is empty because
//! it is new from one whose disk is not mounted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{Position, SiteName};
use holdfast_placement::{Placement, Progress};

use super::Vault;
use crate::error::{Result, from_placement};

/// At most one write per vault and member in this time.
const PERIOD: Duration = Duration::from_secs(5);

/// So often in turn only what has changed is told, and then all of it once more: the store may have lost what it was told.
const CHANGES_ONLY: u32 = 60;

/// How far a member was told to be: replicated, verified.
type Told = (Option<Position>, Option<Position>);

/// Starts telling, until this ownership ends.
pub(crate) fn start(vault: &Arc<Vault>, placement: Arc<dyn Placement>) {
    let (weak, stop) = (Arc::downgrade(vault), vault.stop.clone());
    vault.context.spawn(async move {
        let mut told: BTreeMap<SiteName, Told> = BTreeMap::new();
        for turn in 1u32.. {
            let Some(vault) = weak.upgrade() else { return };
            if turn.is_multiple_of(CHANGES_ONLY) {
                told.clear();
            }
            tell(&vault, placement.as_ref(), &mut told).await;
            drop(vault);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
}

/// Tells how far the primary had come, once an ownership has ended: whoever opens the vault next misses what is lost since.
pub(crate) async fn last_word(vault: &Vault, placement: &dyn Placement) {
    let (id, primary) = (vault.header.vault, vault.primary.site.name());
    let head = vault.state().chain.head;
    let Ok(told) = placement.progress(id).await else {
        return;
    };
    let mut told = told.into_iter().filter(|(site, _)| site == primary);
    let told = told.next().map(|(_, told)| told);
    if told.and_then(|told| told.replicated) >= head {
        return;
    }
    let progress = Progress {
        replicated: head,
        verified: vault.verified_through(primary),
        at_millis: vault.context.now_millis(),
        records: 0,
        bytes: 0,
    };
    if let Err(error) = placement.set_progress(id, primary, progress).await {
        tracing::debug!(site = %primary, %error, "placement was not told how far the primary is");
    }
}

/// A site is taken for a new member from here on, also after a restart: whatever it held before is not missed.
pub(crate) async fn takes_for_new(
    vault: &Vault,
    placement: &dyn Placement,
    site: &SiteName,
) -> Result<()> {
    let progress = Progress {
        replicated: None,
        verified: None,
        at_millis: vault.context.now_millis(),
        records: 0,
        bytes: 0,
    };
    let told = placement.set_progress(vault.header.vault, site, progress);
    told.await.map_err(from_placement)?;
    vault.note_progress(site, None);
    Ok(())
}

async fn tell(vault: &Vault, placement: &dyn Placement, told: &mut BTreeMap<SiteName, Told>) {
    let head = vault.state().chain.head;
    let primary = vault.primary.site.name().clone();
    let mut all = vec![(primary, head, 0, 0)];
    for (site, standing) in vault.standings() {
        all.push((
            site,
            standing.head,
            standing.lag_records,
            standing.lag_bytes,
        ));
    }
    for (site, replicated, records, bytes) in all {
        // What is not known now is not told: it would take back what was known.
        let verified = vault.verified_through(&site);
        if replicated.is_none() || told.get(&site) == Some(&(replicated, verified)) {
            continue;
        }
        let progress = Progress {
            replicated,
            verified,
            at_millis: vault.context.now_millis(),
            records,
            bytes,
        };
        match placement
            .set_progress(vault.header.vault, &site, progress)
            .await
        {
            Ok(()) => {
                vault.note_progress(&site, replicated);
                vault.sites.held_records(&site);
                told.insert(site, (replicated, verified));
            }
            Err(error) => {
                tracing::debug!(%site, %error, "placement was not told how far a member is");
            }
        }
    }
}
