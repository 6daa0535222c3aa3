//! Checkpoints of a vault: when one is due, how it is made, and which older ones go.
//!
//! State: none; which checkpoints count stands in the log. A checkpoint is a saved fold: losing one costs the time to
//! fold again, never data. It runs in the collector's turn, which alone may delete.

use std::collections::HashSet;

use holdfast_format::checkpoint::Manifest;
use holdfast_format::{Hash, ObjectName, Position};
use holdfast_store::Opened;
use holdfast_vault::{Proposal, State, checkpoint};

use super::Vault;
use super::writer::Settle;
use crate::error::{Error, Result};

/// A checkpoint is due once so many records came after the last one.
const RECORDS_BETWEEN: u64 = 1024;

/// Or so many chunks: whoever opens the vault with an empty folder holds those that no checkpoint has.
const CHUNKS_BETWEEN: u64 = 1 << 20;

/// After a collection that gave something up, one is due after so many.
const RECORDS_AFTER_COLLECTION: u64 = 16;

/// Whether a checkpoint is due.
pub(super) fn is_due(state: &State, collected: bool) -> bool {
    let Some(head) = state.chain.head else {
        return false;
    };
    let since = match state.catalog.checkpoints.last() {
        Some(last) if last.covers.epoch == head.epoch => head.slot.0 - last.covers.slot.0,
        _ => head.slot.0,
    };
    let after = match collected {
        true => RECORDS_AFTER_COLLECTION,
        false => RECORDS_BETWEEN,
    };
    since >= after
}

/// What the last checkpoint covers.
pub(super) fn last(state: &State) -> Option<Position> {
    state.catalog.checkpoints.last().map(|last| last.covers)
}

/// How many chunks the last checkpoint holds at least, as far as this owner saw. One that it found holds as many as there were when
/// it looked first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    covers: Option<Position>,
    chunks: u64,
    /// How many there were when it was looked last.
    seen: Option<u64>,
}

impl Saved {
    /// Looks at the state anew; whether a checkpoint is due by the chunks that came since the last one.
    pub(super) fn is_behind(&mut self, state: &State) -> bool {
        self.is_behind_by(last(state), state.index.next().0)
    }

    fn is_behind_by(&mut self, covers: Option<Position>, chunks: u64) -> bool {
        if covers != self.covers {
            // Made since the last look: it has what there was then, perhaps more.
            self.covers = covers;
            self.chunks = self.seen.unwrap_or(chunks);
        }
        self.seen = Some(chunks);
        chunks.saturating_sub(self.chunks) >= CHUNKS_BETWEEN
    }
}

/// Saves the fold at the primary and makes it count; the replicators carry it to the other members. `thorough`: what it shares
/// with earlier ones is read, and replaced where it is damaged.
pub(super) async fn save(vault: &Vault, thorough: bool) -> Result<Position> {
    let (reply, settled) = tokio::sync::oneshot::channel();
    let gone = || Error::Fenced("this coordinator no longer owns the vault".into());
    let asked = vault.log_writer().tell(Settle { reply }).await;
    asked.map_err(|_| gone())?;
    let state = settled.await.map_err(|_| gone())??;
    let made = checkpoint::save(&state, &vault.primary, thorough).await?;
    let covers = made.covers;
    vault.append(Proposal::Checkpoint(made)).await?;
    tracing::info!(vault = %vault.header.name, %covers, "a checkpoint was made");
    Ok(covers)
}

/// Deletes, at one member, checkpoints older than the two that are kept and those that count nowhere, and segments that only
/// they name.
///
/// A crash between a manifest and its record leaves one that counts nowhere, which every opening would fold behind in vain.
/// Once its epoch is over no record can name it any more: whoever saves a fold names it in the same epoch.
///
/// ORDER: segments go before the manifest that names them: what a crash leaves is a checkpoint that does not read, which
/// is passed over and met here again, never segments that nothing names.
pub(super) async fn prune(vault: &Vault, member: &Opened) -> Result<u64> {
    let id = vault.header.vault;
    let counting: Vec<(Position, Hash)> = {
        let state = vault.state();
        let kept = state.catalog.checkpoints.iter();
        kept.map(|kept| (kept.covers, kept.manifest)).collect()
    };
    let Some(oldest) = counting.iter().map(|(covers, _)| *covers).min() else {
        return Ok(0);
    };
    let prefix = format!("{}checkpoints/", ObjectName::vault_prefix(id));
    let (mut old, mut needed) = (Vec::new(), HashSet::new());
    for info in member.site.list(&prefix, None).await? {
        let Some(covers) = info.name.as_checkpoint(id) else {
            continue;
        };
        let Some(object) = member.site.get(&info.name).await? else {
            continue;
        };
        let manifest = Manifest::open(id, covers, Hash::of(&object), &object);
        let segments: Vec<Hash> = match manifest {
            Ok(manifest) => manifest.segments.iter().map(|s| s.hash).collect(),
            Err(_) => Vec::new(),
        };
        let is_named = counting.iter().any(|(counts, _)| *counts == covers);
        let is_over = covers.epoch < vault.claimant.epoch;
        match covers < oldest || (!is_named && is_over) {
            true => old.push((info.name, segments)),
            false => needed.extend(segments),
        }
    }
    let gone = old.len() as u64;
    for (name, segments) in old {
        for segment in segments.iter().filter(|segment| !needed.contains(segment)) {
            let name = ObjectName::segment(id, *segment);
            member.sweeper.delete(&name).await?;
        }
        member.sweeper.delete(&name).await?;
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use holdfast_format::{Epoch, Slot};

    use super::*;

    #[test]
    fn many_chunks_make_a_checkpoint_due() {
        let at = |slot| {
            Some(Position {
                epoch: Epoch(1),
                slot: Slot(slot),
            })
        };
        let mut saved = Saved::default();
        // None was made yet: all chunks count.
        assert!(!saved.is_behind_by(None, CHUNKS_BETWEEN - 1));
        assert!(saved.is_behind_by(None, CHUNKS_BETWEEN));
        // It was made; from there on.
        assert!(!saved.is_behind_by(at(3), CHUNKS_BETWEEN + 7));
        assert!(!saved.is_behind_by(at(3), 2 * CHUNKS_BETWEEN - 1));
        assert!(saved.is_behind_by(at(3), 2 * CHUNKS_BETWEEN));
        // Another one, while many came.
        assert!(saved.is_behind_by(at(8), 3 * CHUNKS_BETWEEN));
        // A vault that was opened with one: from what it had then.
        let mut saved = Saved::default();
        assert!(!saved.is_behind_by(at(9), 100 * CHUNKS_BETWEEN));
        assert!(saved.is_behind_by(at(9), 101 * CHUNKS_BETWEEN));
    }
}
