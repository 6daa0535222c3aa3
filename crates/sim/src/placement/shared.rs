//! The placement store that all processes share, and what becomes of it as a whole: lost, dead for a while, or brought back from a
//! copy of itself.
//!
//! State: the store, an operator's copy of it, and, while it is dead, what it will come back with. While it is dead no lease ends: whoever
//! counts leases is what is dead, and each lasts its whole time again when it comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use holdfast_context::Context;
use holdfast_format::{Position, SiteName};
use holdfast_placement::{Backup, EmbeddedPlacement, Result};

/// See the module.
#[derive(Debug)]
pub struct Shared {
    context: Context,
    store: RwLock<Arc<EmbeddedPlacement>>,
    copy: Mutex<Option<Backup>>,
    dead: Mutex<Option<Backup>>,
    /// How often the store was another one than before, though whoever watches it goes on watching: it is told to read everything again.
    turned: AtomicU64,
    /// How far it was ever told that each site has come.
    told: Mutex<BTreeMap<SiteName, Position>>,
    /// How often its history was compacted: whoever lags behind is told the same.
    compacted: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// An empty store.
    pub fn new(context: Context) -> Result<Arc<Self>> {
        let store = EmbeddedPlacement::in_memory(context.clone())?;
        Ok(Arc::new(Self {
            context,
            store: RwLock::new(Arc::new(store)),
            copy: Mutex::default(),
            dead: Mutex::default(),
            told: Mutex::default(),
            turned: AtomicU64::default(),
            compacted: AtomicU64::default(),
        }))
    }

    /// The store itself, without weather.
    pub fn store(&self) -> Arc<EmbeddedPlacement> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }

    fn put(&self, store: EmbeddedPlacement) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(store);
    }

    /// Everything in it is lost, and every watch ends.
    pub fn lose(&self) -> Result<()> {
        self.put(EmbeddedPlacement::in_memory(self.context.clone())?);
        Ok(())
    }

    /// Everything in it is lost, and whoever watches it goes on.
    pub fn empty(&self) -> Result<()> {
        let empty = EmbeddedPlacement::in_memory(self.context.clone())?;
        self.turn_to(empty);
        Ok(())
    }

    /// An operator makes a copy of it. Of one that is dead the copy is of what it will come back with.
    pub fn copy(&self) -> Result<()> {
        let dead = lock(&self.dead).clone();
        let copy = match dead {
            Some(dead) => dead,
            None => self.store().backup()?,
        };
        *lock(&self.copy) = Some(copy);
        Ok(())
    }

    /// It is brought back from the operator's copy; whether there is one.
    pub fn restore(&self) -> Result<bool> {
        let Some(copy) = lock(&self.copy).clone() else {
            return Ok(false);
        };
        let store = EmbeddedPlacement::from_backup(self.context.clone(), &copy)?;
        self.turn_to(store);
        Ok(true)
    }

    /// It answers nobody from now on.
    pub fn die(&self) -> Result<()> {
        let mut dead = lock(&self.dead);
        if dead.is_none() {
            *dead = Some(self.store().backup()?);
        }
        Ok(())
    }

    /// It comes back as it died.
    pub fn come_back(&self) -> Result<()> {
        let Some(dead) = lock(&self.dead).clone() else {
            return Ok(());
        };
        let store = EmbeddedPlacement::from_backup(self.context.clone(), &dead)?;
        self.turn_to(store);
        Ok(())
    }

    /// Whether it answers nobody.
    pub fn is_dead(&self) -> bool {
        lock(&self.dead).is_some()
    }

    /// Its history is compacted: who was not told of a change yet never is.
    pub fn compact(&self) {
        self.compacted.fetch_add(1, Ordering::SeqCst);
    }

    /// How far it was ever told that a site has come.
    pub fn told(&self, site: &SiteName) -> Option<Position> {
        lock(&self.told).get(site).copied()
    }

    pub(super) fn was_told(&self, site: &SiteName, replicated: Option<Position>) {
        let Some(replicated) = replicated else { return };
        let mut told = lock(&self.told);
        let last = told.entry(site.clone()).or_insert(replicated);
        *last = (*last).max(replicated);
    }

    pub(super) fn turned(&self) -> u64 {
        self.turned.load(Ordering::SeqCst)
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted.load(Ordering::SeqCst)
    }

    fn turn_to(&self, store: EmbeddedPlacement) {
        // ORDER: counted before it is there. Whoever is told that the former one is gone looks at the count.
        self.turned.fetch_add(1, Ordering::SeqCst);
        self.put(store);
        *lock(&self.dead) = None;
    }
}
