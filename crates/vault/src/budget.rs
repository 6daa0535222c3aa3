//! A bound on the bytes of packs that one coordinator has in memory: those being filled, and those on their way.
//!
//! State: what is left. Whoever waits for a share while it holds one must get what it holds on its way first, or two of
//! them could wait for each other.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units of this size.
const UNIT: usize = 64 << 10;

/// What all packs under way share.
#[derive(Debug, Clone)]
pub struct Budget {
    room: Arc<Semaphore>,
    units_max: u32,
}

/// A part of it; given back when dropped.
#[derive(Debug)]
pub struct Share(OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many bytes.
    pub fn of(bytes: usize) -> Self {
        let units = bytes.div_ceil(UNIT);
        Self {
            room: Arc::new(Semaphore::new(units)),
            units_max: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// A share for so many bytes, if there is room. One that is larger than the whole takes the whole.
    pub fn try_take(&self, bytes: usize) -> Option<Share> {
        let taken = self.room.clone().try_acquire_many_owned(self.units(bytes));
        taken.ok().map(Share)
    }

    /// The same, when there is room.
    pub async fn take(&self, bytes: usize) -> Share {
        match self
            .room
            .clone()
            .acquire_many_owned(self.units(bytes))
            .await
        {
            Ok(taken) => Share(taken),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    fn units(&self, bytes: usize) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        units.min(self.units_max)
    }
}

impl Share {
    /// Adds another share to this one.
    pub fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_come_back_and_nobody_asks_for_more_than_there_is() {
        let budget = Budget::of(3 * UNIT);
        let mut one = budget.try_take(1).unwrap();
        one.merge(budget.try_take(UNIT).unwrap());
        assert!(budget.try_take(UNIT + 1).is_none());
        let last = budget.take(UNIT).await;
        assert!(budget.try_take(1).is_none());
        drop(one);
        drop(last);
        assert!(budget.try_take(usize::MAX).is_some());
    }
}
