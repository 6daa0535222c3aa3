//! A copy of a store as it was at one moment, and a store that is made from one: what an operator's backup of etcd is, and what comes
//! back from it. For simulations.
//!
//! State: every entry, and every lease with what it holds. As with etcd, a lease that comes back lasts its whole time again.

use holdfast_context::Context;
use tokio::time::Instant;

use super::EmbeddedPlacement;
use super::file::File;
use super::leases::Leases;
use crate::error::Result;

/// See the module.
#[derive(Debug, Clone)]
pub struct Backup {
    entries: Vec<(String, Vec<u8>)>,
    leases: Leases,
}

impl EmbeddedPlacement {
    /// A copy of the store as it is now.
    pub fn backup(&self) -> Result<Backup> {
        // The leases are held meanwhile: nothing is taken or given up between the two.
        let leases = self.living.leases();
        Ok(Backup {
            entries: self.file.list("")?,
            leases: leases.clone(),
        })
    }

    /// A store in memory that goes on from a copy. Needs a runtime around it.
    pub fn from_backup(context: Context, backup: &Backup) -> Result<Self> {
        let file = File::in_memory(&context)?;
        for (key, bytes) in &backup.entries {
            file.put(key, bytes)?;
        }
        let store = Self::on(context, file);
        *store.living.leases() = backup.leases.renewed(Instant::now());
        store.living.changed.notify_one();
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use holdfast_format::{Epoch, VaultId};

    use super::*;
    use crate::{Acquire, CoordinatorInfo, Placement};

    fn coordinator(name: &str) -> CoordinatorInfo {
        CoordinatorInfo {
            name: name.into(),
            addresses: vec![format!("unix:/{name}")],
            public_key: [7; 32],
            level: 1,
            started_millis: 0,
            gone: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_is_what_was_copied_and_leases_last_again() {
        let clock = holdfast_context::ManualClock::at(0);
        let context = Context::seeded(1, std::sync::Arc::new(clock));
        let (vault, ttl) = (VaultId([3; 16]), Duration::from_secs(10));
        let store = EmbeddedPlacement::in_memory(context.clone()).unwrap();
        let lease = store.register(&coordinator("c1"), ttl).await.unwrap();
        let epoch = store.issue_epoch(vault, Epoch(4)).await.unwrap();
        let taken = store.acquire(vault, &lease, epoch).await.unwrap();
        assert_eq!(taken, Acquire::Granted);
        tokio::time::sleep(Duration::from_secs(8)).await;
        let backup = store.backup().unwrap();
        store.issue_epoch(vault, Epoch(8)).await.unwrap();
        store.deregister(&lease).await.unwrap();

        let back = EmbeddedPlacement::from_backup(context, &backup).unwrap();
        assert_eq!(back.epoch_counter(vault).await.unwrap(), Epoch(5));
        tokio::time::sleep(Duration::from_secs(8)).await;
        let owner = back.owner(vault).await.unwrap().unwrap();
        assert_eq!((owner.coordinator.as_str(), owner.epoch), ("c1", Epoch(5)));
        assert!(back.keep_alive(&lease).await.unwrap());
        tokio::time::sleep(ttl).await;
        assert_eq!(back.owner(vault).await.unwrap(), None);
        assert_eq!(back.coordinators().await.unwrap(), []);
    }
}
