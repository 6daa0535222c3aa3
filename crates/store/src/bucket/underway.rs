//! Which packs are being written, so that nobody sends one that another is sending.
//!
//! A pack goes to a member twice: from whoever made it, and from the replicator that does not find it there yet. Over a slow
//! line that would be each pack twice.
//!
//! State: one lock for each pack that is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use holdfast_format::ObjectName;
use tokio::sync::OwnedMutexGuard;

/// The packs that are under way to one site.
#[derive(Debug, Default)]
pub(super) struct Underway(Mutex<HashMap<ObjectName, Weak<tokio::sync::Mutex<()>>>>);

/// The right to write one pack.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whether another had it before.
    pub(super) waited: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Underway {
    /// Waits until nobody else writes this pack.
    pub(super) async fn turn(&self, name: &ObjectName) -> Turn {
        let lock = self.lock_of(name);
        match Arc::clone(&lock).try_lock_owned() {
            Ok(turn) => Turn {
                waited: false,
                _turn: turn,
            },
            Err(_) => Turn {
                waited: true,
                _turn: lock.lock_owned().await,
            },
        }
    }

    fn lock_of(&self, name: &ObjectName) -> Arc<tokio::sync::Mutex<()>> {
        let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        packs.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = packs.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        packs.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn one_pack_is_written_by_one_at_a_time() {
        let (underway, one) = (Underway::default(), ObjectName::parse("v/1").unwrap());
        let first = underway.turn(&one).await;
        assert!(!first.waited);
        assert!(
            !underway
                .turn(&ObjectName::parse("v/2").unwrap())
                .await
                .waited
        );
        let mut second = Box::pin(underway.turn(&one));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert!(second.await.waited);
        // What nobody writes any more is forgotten.
        drop(underway.turn(&one).await);
        assert!(!underway.turn(&one).await.waited);
        assert_eq!(underway.0.lock().unwrap().len(), 1);
    }
}
