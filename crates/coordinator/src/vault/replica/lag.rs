//! How far a member is behind: in records, in bytes of packs, and since when.
//!
//! State: the replica's.

use holdfast_format::{Position, Slot};
use holdfast_vault::log::reader::LogReader;
use holdfast_vault::replicate::Replicator;

use super::{Replica, Vault};

/// How far behind a member is.
pub(super) struct Lag {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) oldest_millis: Option<i64>,
}

impl Replica {
    /// How far behind a member is whose last record is `head`.
    pub(super) async fn lag(
        &mut self,
        vault: &Vault,
        head: Option<Position>,
    ) -> crate::Result<Lag> {
        let (primary_head, bytes) = {
            let state = vault.state();
            let lacking = state.catalog.packs.values().rev();
            let lacking = lacking.take_while(|pack| head.is_none_or(|head| pack.added > head));
            let bytes: u64 = lacking
                .filter(|pack| pack.condemned.is_none())
                .map(|pack| pack.len)
                .sum();
            (state.chain.head, bytes)
        };
        let records = match primary_head {
            None => 0,
            Some(primary) => self.lag_records(vault, head, primary).await?,
        };
        let reached_millis = self.replicator.as_ref().and_then(Replicator::head_millis);
        let oldest_millis = match records {
            0 => None,
            _ => {
                let (before, looked_at) = {
                    let standing = self.args.standing.borrow();
                    (standing.oldest_lacking_millis, standing.looked_at)
                };
                // One that does not answer may have lacked it before it was looked at first.
                let before = match before {
                    None if !looked_at || self.replicator.is_none() => {
                        self.first_lacking(vault, head).await
                    }
                    before => before,
                };
                let now_millis = vault.state().chain.time_millis;
                Some(oldest_lacking(before, now_millis, reached_millis))
            }
        };
        Ok(Lag {
            records,
            bytes,
            oldest_millis,
        })
    }

    /// When the first record was made that the member lacks: for one that has not been looked at yet, and may lack it for days,
    /// also while it does not answer.
    async fn first_lacking(&self, vault: &Vault, head: Option<Position>) -> Option<i64> {
        let mut reader = LogReader::new(vault.primary.site.clone(), vault.header.vault);
        let next = match &self.replicator {
            Some(replicator) => replicator.next(),
            None => first_after(&reader, head).await.ok().flatten()?,
        };
        let record = reader.read(next).await.ok().flatten()?;
        Some(record.body.time_millis)
    }

    /// Records that the member lacks.
    async fn lag_records(
        &mut self,
        vault: &Vault,
        head: Option<Position>,
        primary: Position,
    ) -> crate::Result<u64> {
        let records = match (self.behind, head) {
            (_, Some(head)) if head.epoch == primary.epoch => {
                primary.slot.0.saturating_sub(head.slot.0)
            }
            // This replica lives within one ownership, so the primary's head moves within one epoch.
            (Some((behind, then)), _) if then.epoch == primary.epoch => {
                behind + primary.slot.0.saturating_sub(then.slot.0)
            }
            _ => self.count_lag(vault, head, primary).await?,
        };
        self.behind = Some((records, primary));
        Ok(records)
    }

    async fn count_lag(
        &self,
        vault: &Vault,
        head: Option<Position>,
        primary: Position,
    ) -> crate::Result<u64> {
        let reader = LogReader::new(vault.primary.site.clone(), vault.header.vault);
        let mut records = 0;
        for epoch in reader.epochs().await? {
            if epoch > primary.epoch || head.is_some_and(|head| epoch < head.epoch) {
                continue;
            }
            let slots = reader.slots(epoch, Slot(0)).await?;
            records += slots
                .iter()
                .filter(|at| head.is_none_or(|head| **at > head))
                .count() as u64;
        }
        Ok(records)
    }
}

/// The first record of a log behind one of it.
async fn first_after(
    reader: &LogReader,
    head: Option<Position>,
) -> crate::Result<Option<Position>> {
    for epoch in reader.epochs().await? {
        let from = match head {
            Some(head) if epoch < head.epoch => continue,
            Some(head) if epoch == head.epoch => Slot(head.slot.0 + 1),
            _ => Slot(0),
        };
        if let Some(first) = reader.slots(epoch, from).await?.first() {
            return Ok(Some(*first));
        }
    }
    Ok(None)
}

/// Since when a member lacks something, at most: since it was level last, or since the last record that it has, whichever is later.
/// A member that follows closely is never level while an agent sends, and yet lacks little.
fn oldest_lacking(before: Option<i64>, now_millis: i64, reached_millis: Option<i64>) -> i64 {
    let since_level = before.unwrap_or(now_millis);
    since_level.max(reached_millis.unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_member_that_follows_is_short() {
        // It was level, and lacks what came just now, although its last record is a day old.
        assert_eq!(oldest_lacking(None, 86_400_000, Some(5)), 86_400_000);
        // It lacks something since then, and has got no further.
        assert_eq!(oldest_lacking(Some(100), 900, Some(50)), 100);
        // It follows, and there is always one more.
        assert_eq!(oldest_lacking(Some(100), 900, Some(850)), 850);
        // Where it stands is not known.
        assert_eq!(oldest_lacking(Some(100), 900, None), 100);
    }
}
