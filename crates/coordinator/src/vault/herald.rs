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

/// At most one write per vault and member in this time.
const PERIOD: Duration = Duration::from_secs(5);

/// Starts telling, until this ownership ends.
pub(crate) fn start(vault: &Arc<Vault>, placement: Arc<dyn Placement>) {
    let (weak, stop) = (Arc::downgrade(vault), vault.stop.clone());
    vault.context.spawn(async move {
        let mut told: BTreeMap<SiteName, Option<Position>> = BTreeMap::new();
        loop {
            let Some(vault) = weak.upgrade() else { return };
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

async fn tell(
    vault: &Vault,
    placement: &dyn Placement,
    told: &mut BTreeMap<SiteName, Option<Position>>,
) {
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
        if replicated.is_none() || told.get(&site) == Some(&replicated) {
            continue;
        }
        let progress = Progress {
            replicated,
            verified: None,
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
                told.insert(site, replicated);
            }
            Err(error) => {
                tracing::debug!(%site, %error, "placement was not told how far a member is");
            }
        }
    }
}
