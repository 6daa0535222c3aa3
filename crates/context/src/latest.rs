//! A value of which only the latest counts, and many who wait for it to change.
//!
//! Like `tokio::sync::watch`, but those who wait are woken in the order in which they began to: a simulation under a seed
//! has to give the same run twice, and `watch` wakes in an order of its own chance.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Sets the value. Dropped, it ends the waiting.
pub struct Latest<T>(Arc<Shared<T>>);

/// Looks at the value, and waits for the next one.
pub struct Seen<T> {
    shared: Arc<Shared<T>>,
    version: u64,
}

struct Shared<T> {
    value: Mutex<Versioned<T>>,
    changed: Notify,
    setters: AtomicUsize,
}

struct Versioned<T> {
    value: T,
    version: u64,
}

/// Nobody is left who could change the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Versioned<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Latest<T> {
    /// A value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: Mutex::new(Versioned { value, version: 0 }),
            changed: Notify::new(),
            setters: AtomicUsize::new(1),
        }))
    }

    /// Changes the value, and tells everyone who waits.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        {
            let mut value = self.0.lock();
            change(&mut value.value);
            value.version += 1;
        }
        self.0.changed.notify_waiters();
    }

    /// Sets the value, and tells everyone who waits.
    pub fn set(&self, value: T) {
        self.change(|there| *there = value);
    }

    /// The value.
    pub fn get(&self) -> T {
        self.0.lock().value.clone()
    }

    /// Somebody who waits from now on.
    pub fn watch(&self) -> Seen<T> {
        Seen {
            version: self.0.lock().version,
            shared: self.0.clone(),
        }
    }
}

impl<T: Clone> Seen<T> {
    /// The value.
    pub fn get(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// Waits until the value was set since this, or a copy that this was made of, last waited. Safe to drop while it waits.
    pub async fn changed(&mut self) -> Result<(), Ended> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // From here on no change goes unnoticed.
            changed.as_mut().enable();
            let version = self.shared.lock().version;
            if version != self.version {
                self.version = version;
                return Ok(());
            }
            if self.shared.setters.load(Ordering::SeqCst) == 0 {
                return Err(Ended);
            }
            changed.await;
        }
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            version: self.version,
        }
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        self.0.setters.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        if self.0.setters.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latest").field(&self.0.lock().value).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Seen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.shared.lock();
        f.debug_tuple("Seen").field(&value.value).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_order() {
        let latest = Latest::new(0);
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..20).map(|number| {
            let (mut seen, order) = (latest.watch(), order.clone());
            let wait = async move {
                assert_eq!(seen.changed().await, Ok(()));
                order.lock().unwrap().push((number, seen.get()));
            };
            tokio::spawn(wait)
        });
        let tasks: Vec<_> = tasks.collect();
        tokio::task::yield_now().await;
        latest.set(7);
        for task in tasks {
            task.await.unwrap();
        }
        let expected: Vec<_> = (0..20).map(|number| (number, 7)).collect();
        assert_eq!(*order.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_change_before_the_waiting_counts_and_the_end_is_told() {
        let latest = Latest::new("a");
        let mut seen = latest.watch();
        latest.set("b");
        let again = latest.clone();
        drop(latest);
        assert_eq!(seen.changed().await, Ok(()));
        assert_eq!(seen.get(), "b");
        let mut other = seen.clone();
        let waiting = tokio::spawn(async move { other.changed().await });
        tokio::task::yield_now().await;
        drop(again);
        assert_eq!(waiting.await.unwrap(), Err(Ended));
        assert_eq!(seen.changed().await, Err(Ended));
    }
}
