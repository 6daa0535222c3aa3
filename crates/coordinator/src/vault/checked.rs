//! What is known of snapshots at a site, said by record: that something is damaged there, or that nobody has read it.

use std::time::Duration;

use holdfast_format::fact::SiteChecked;
use holdfast_format::{Position, SiteName, SnapshotId};
use holdfast_vault::Proposal;
use holdfast_vault::fold::catalog::Snapshot;

use super::Vault;
use crate::error::{Error, Result};

/// So many snapshots a record names at most.
const NAMED_AT_ONCE: usize = 4096;

/// So long a record of what was learnt is waited for: verifying and following go on while the primary takes nothing.
pub(crate) const RECORD_WAIT: Duration = Duration::from_secs(10);

impl Vault {
    /// Puts into the log what was learnt. False: the primary takes no record now; what was proposed stays with the writer.
    pub(crate) async fn say(&self, what: Proposal) -> Result<bool> {
        match tokio::time::timeout(RECORD_WAIT, self.append(what)).await {
            // Collected meanwhile.
            Ok(Ok(_) | Err(Error::Missing(_))) => Ok(true),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::warn!(vault = %self.header.name, "the primary takes no record now: what was verified, is damaged or was not read is not told yet");
                Ok(false)
            }
        }
    }

    /// Says which snapshots are damaged at a site, and of which nothing is known there. False as with [`Self::say`].
    pub(crate) async fn say_checked(
        &self,
        site: &SiteName,
        damaged: &[SnapshotId],
        unread: &[SnapshotId],
        who: &str,
    ) -> Result<bool> {
        let damaged = damaged.chunks(NAMED_AT_ONCE).map(|ids| (ids, &[][..]));
        let unread = unread.chunks(NAMED_AT_ONCE).map(|ids| (&[][..], ids));
        for (damaged, unread) in damaged.chain(unread) {
            let fact = SiteChecked {
                site: site.clone(),
                damaged: damaged.to_vec(),
                unread: unread.to_vec(),
                who: who.into(),
            };
            if !self.say(Proposal::Checked(fact)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A site has lost what stands behind a record, or all of it: what was read there counts no more. What is known to be damaged
    /// there is so until somebody has read it.
    pub(crate) async fn unread_behind(&self, site: &SiteName, after: Option<Position>) {
        let ids = self.told_of(|s| s.verified.contains_key(site) && Some(s.committed_at) > after);
        if let Err(error) = self.say_checked(site, &[], &ids, "coordinator").await {
            tracing::warn!(%site, %error, "that snapshots were not read at this site was not told");
        }
    }

    /// A site is another disk, which holds nothing yet.
    pub(crate) async fn unread_all(&self, site: &SiteName, who: &str) -> Result<()> {
        let ids = self.told_of(|s| s.verified.contains_key(site) || s.is_damaged_at(site));
        match self.say_checked(site, &[], &ids, who).await? {
            true => Ok(()),
            false => Err(Error::Unavailable(
                "the primary takes no record now; run this again once it does".into(),
            )),
        }
    }

    fn told_of(&self, is_told: impl Fn(&Snapshot) -> bool) -> Vec<SnapshotId> {
        let state = self.state();
        let told = state.catalog.snapshots.iter().filter(|(_, s)| is_told(s));
        told.map(|(id, _)| *id).collect()
    }
}
