//! Epoch numbers: names of log folders, none of which is ever used twice, though the placement store that issues them may be lost or
//! brought back from an old backup.
//!
//! State: none; the store's counter, and what the members show.

use std::time::Duration;

use futures::future::join_all;
use holdfast_format::{ClaimNonce, Epoch, SiteName, Slot, VaultId};
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::{Guard, LogReader, State};

use crate::error::{Error, Result, from_placement};
use crate::failover::ANSWER_WITHIN;
use crate::node::Node;

/// Numbers that are skipped, at least, where a number may have been used unseen.
const SKIPPED_MIN: u64 = 1 << 20;

/// How long a member may take to show its epochs while nothing says that the counter is wrong. Nothing rests on it.
const GLANCE: Duration = Duration::from_secs(1);

/// What a claimant knows of the primary before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Its log was read.
    Read,
    /// It may hold what nobody has read.
    Unread,
}

impl Node {
    /// A claimant above every epoch that was ever issued.
    ///
    /// ORDER: numbers are names of log folders, and no name is ever used twice. A placement store that does not know the
    /// vault has lost its counter, or never had it; one whose counter is behind the log was brought back from an old backup. A number
    /// that a cut-off member has used already would be issued again, and that member could never follow. So every member
    /// is read, and where one cannot be, numbers are skipped.
    ///
    /// ORDER: the counter is never believed alone. That of a store which was brought back from a backup may be right by this site's log,
    /// and behind what another member holds: a failover to that one, which the backup knows nothing of, has used the next number.
    /// Where all seems well members get a moment only: to skip numbers for one that is slow costs nothing.
    pub(crate) async fn new_claimant(
        &self,
        id: VaultId,
        state: &State,
        from: Before,
    ) -> Result<Claimant> {
        let nonce = ClaimNonce(self.context.random());
        // ORDER: looked at, not raised. One that is behind would have come past the log's numbers after a few attempts, and been
        // taken for right.
        let counter = self.placement.epoch_counter(id).await;
        let counter = counter.map_err(from_placement)?;
        if state.chain.head.is_none() {
            // The first epoch of every vault is 1. The counter is told, or it would be taken for one that is behind.
            let epoch = Epoch(1);
            if counter < epoch {
                let issued = self.placement.issue_epoch(id, Epoch(0)).await;
                issued.map_err(from_placement)?;
            }
            return Ok(Claimant { epoch, nonce });
        }
        let mut floor = state.chain.next().epoch;
        let known = self.placement.vaults().await.map_err(from_placement)?;
        let seems_right = counter >= floor && known.iter().any(|entry| entry.vault == id);
        let patience = match seems_right && from == Before::Read {
            true => GLANCE,
            false => ANSWER_WITHIN,
        };
        if Guard::EpochsNeverReused.stands() {
            let members: Vec<SiteName> = state.catalog.members.keys().cloned().collect();
            // ORDER: from the counter on. Numbers that were skipped before it was copied lie above any that would be skipped now.
            floor = self
                .floor(id, floor.max(counter), &members, patience)
                .await
                .0;
        }
        // ORDER: above what was looked at too. The store may have been brought back from a backup since.
        let epoch = self.placement.issue_epoch(id, floor.max(counter)).await;
        Ok(Claimant {
            epoch: epoch.map_err(from_placement)?,
            nonce,
        })
    }

    /// Has the store's counter stand at or above a number in use, before an entry says that the store knows the vault.
    pub(crate) async fn renumber(
        &self,
        id: VaultId,
        used: Epoch,
        members: &[SiteName],
    ) -> Result<()> {
        let counter = self.placement.epoch_counter(id).await;
        if counter.map_err(from_placement)? >= used {
            return Ok(());
        }
        let (floor, _) = self.floor(id, used, members, ANSWER_WITHIN).await;
        let issued = self.placement.issue_epoch(id, floor).await;
        issued.map(drop).map_err(from_placement)
    }

    /// A number at or above every epoch that was ever used, by what the members show; those that could not be read, for which
    /// numbers were skipped.
    pub(crate) async fn floor(
        &self,
        id: VaultId,
        mut floor: Epoch,
        members: &[SiteName],
        patience: Duration,
    ) -> (Epoch, Vec<String>) {
        let mut unread = Vec::new();
        let asked = members.iter().map(|site| async move {
            let looked = tokio::time::timeout(patience, self.last_epoch(id, site));
            let last = looked
                .await
                .unwrap_or_else(|_| Err(Error::Unavailable("it does not answer in time".into())));
            (site, last)
        });
        for (site, last) in join_all(asked).await {
            match last {
                Ok(last) => floor = floor.max(last),
                Err(error) => unread.push(format!("{site} ({error})")),
            }
        }
        if !unread.is_empty() {
            // By chance too: the coordinator on the other side of a cut may have to skip from the same number.
            let chance = u32::from_le_bytes(self.context.random());
            let skipped = SKIPPED_MIN + u64::from(chance);
            tracing::warn!(
                vault = %id,
                skipped,
                "which epochs of this vault were used cannot be known for certain, for not every site can be read: {}. Numbers are \
                 skipped, so that none is used twice",
                unread.join(", ")
            );
            floor = Epoch(floor.0.saturating_add(skipped));
        }
        (floor, unread)
    }

    /// The highest epoch that has a folder at a site, or that its last seal names.
    ///
    /// ORDER: a number that was announced is used, though nobody has claimed it yet. Issued again and claimed elsewhere it would stand in
    /// the way of whoever closes what this seal left open.
    async fn last_epoch(&self, id: VaultId, site: &SiteName) -> Result<Epoch> {
        let opened = self.sites.open(site).await?;
        let log = LogReader::new(opened.site, id);
        let Some(last) = log.epochs().await?.last().copied() else {
            return Ok(Epoch(0));
        };
        let end = log.slots(last, Slot(0)).await?.last().copied();
        let record = match end {
            Some(end) => log.read_raw(end).await?,
            None => None,
        };
        let announced = record.and_then(|record| Some(record.seal()?.next_epoch));
        Ok(announced.map_or(last, |announced| announced.max(last)))
    }
}
