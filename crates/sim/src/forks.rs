//! What the logs at all sites, put beside each other, say of epochs and branches: whether a number was used twice, and how much was left
//! behind where histories part.
//!
//! State: none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_format::{ClaimNonce, Epoch, Fact, Position, SiteName, Slot, SnapshotId};
use holdfast_store::SiteReader;
use holdfast_vault::LogReader;

use crate::disk::Disk;
use crate::world::World;

/// Numbers of epochs that two claims have: no name is ever used twice.
pub async fn claimed_twice(world: &World) -> Vec<String> {
    let mut claims: BTreeMap<Epoch, (SiteName, ClaimNonce)> = BTreeMap::new();
    let mut found = Vec::new();
    for disk in &world.disks {
        let reader = reader(disk, world);
        for epoch in reader.epochs().await.unwrap_or_default() {
            let first = Position {
                epoch,
                slot: Slot(0),
            };
            // Damage is another check's business.
            let Ok(Some(record)) = reader.read_raw(first).await else {
                continue;
            };
            if record.claim().is_none() {
                continue;
            }
            let (site, nonce) = (disk.site_name(), record.body.nonce);
            let (there, other) = claims.entry(epoch).or_insert((site.clone(), nonce));
            if *other != nonce {
                found.push(format!(
                    "I4: epoch {epoch} was claimed twice, at site {there} and at site {site}"
                ));
            }
        }
    }
    found
}

/// A branch that was closed, and what of it somebody was told to be committed.
#[derive(Debug)]
pub struct LeftBehind {
    /// Where it lies.
    pub site: SiteName,
    /// Its first record.
    pub from: Position,
    /// How long after the last record before it the last one was made that acknowledged a snapshot, in milliseconds.
    pub millis: i64,
}

/// Every branch that was closed, with how much was left behind there; with the flag only of what placement was told of.
pub async fn left_behind(world: &World, told_only: bool) -> Vec<LeftBehind> {
    let acknowledged: BTreeSet<SnapshotId> = world.model().acknowledged().into_iter().collect();
    let mut found = Vec::new();
    for disk in &world.disks {
        let mut reader = reader(disk, world);
        let told = world.placement.told(disk.site_name());
        let counts = |at: Position| !told_only || told.is_some_and(|told| at <= told);
        let mut before = None;
        for epoch in reader.epochs().await.unwrap_or_default() {
            let ends_at = match reader.branch(epoch).await {
                Ok(Some(branch)) => Some((branch.ends_at, branch.sealed_at)),
                _ => None,
            };
            let (mut from, mut last) = (None, None);
            for at in reader.slots(epoch, Slot(0)).await.unwrap_or_default() {
                let Ok(Some(record)) = reader.read_raw(at).await else {
                    continue;
                };
                let time = record.body.time_millis;
                let is_acknowledged = record.body.facts.0.iter().any(|fact| match fact {
                    Fact::SnapshotCommitted(snapshot) => acknowledged.contains(&snapshot.snapshot),
                    _ => false,
                });
                match ends_at {
                    Some((ends_at, sealed_at)) if at.slot >= ends_at => {
                        if at.slot < sealed_at {
                            from = from.or(Some(at));
                            last = if is_acknowledged && counts(at) {
                                Some(time)
                            } else {
                                last
                            };
                        }
                    }
                    _ => before = Some(time),
                }
            }
            if let (Some(from), Some(last), Some(before)) = (from, last, before) {
                found.push(LeftBehind {
                    site: disk.site_name().clone(),
                    from,
                    millis: last - before,
                });
            }
        }
    }
    found
}

fn reader(disk: &Arc<Disk>, world: &World) -> LogReader {
    let site: Arc<dyn SiteReader> = disk.clone();
    LogReader::new(site, world.header.vault)
}
