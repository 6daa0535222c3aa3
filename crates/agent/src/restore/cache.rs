//! A cache that is bounded by what its entries cost and drops what was used longest ago.
//!
//! State: the entries and the order of their use. It must never hold more than its limit.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    entries: HashMap<K, Kept<V>>,
    /// Keys by the tick of their last use.
    order: BTreeMap<u64, K>,
    tick: u64,
    cost: u64,
    cost_max: u64,
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    cost: u64,
    tick: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    /// An empty cache whose entries together cost at most `cost_max`.
    pub(crate) fn new(cost_max: u64) -> Self {
        Self {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            cost: 0,
            cost_max,
        }
    }

    /// The value of `key`, which counts as used.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        self.tick += 1;
        let kept = self.entries.get_mut(key)?;
        self.order.remove(&kept.tick);
        kept.tick = self.tick;
        self.order.insert(kept.tick, key.clone());
        Some(kept.value.clone())
    }

    /// Whether `key` is there; does not count as use.
    pub(crate) fn has(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes a value, and drops others to make room. One that costs more than the limit is not kept.
    pub(crate) fn put(&mut self, key: K, value: V, cost: u64) {
        self.remove(&key);
        if cost > self.cost_max {
            return;
        }
        while self.cost + cost > self.cost_max {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(kept) = self.entries.remove(&oldest) {
                self.cost -= kept.cost;
            }
        }
        self.tick += 1;
        let tick = self.tick;
        self.order.insert(tick, key.clone());
        self.cost += cost;
        self.entries.insert(key, Kept { value, cost, tick });
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(kept) = self.entries.remove(key) {
            self.order.remove(&kept.tick);
            self.cost -= kept.cost;
        }
    }

    /// What all entries cost together.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first_and_the_limit_holds() {
        let mut cache = Cache::new(10);
        cache.put('a', 1, 4);
        cache.put('b', 2, 4);
        assert_eq!(cache.get(&'a'), Some(1));
        cache.put('c', 3, 4);
        assert!(cache.has(&'a') && !cache.has(&'b') && cache.has(&'c'));
        assert_eq!(cache.cost(), 8);
        cache.put('d', 4, 11);
        assert!(!cache.has(&'d') && cache.has(&'a'));
        cache.put('a', 5, 10);
        assert_eq!((cache.get(&'a'), cache.cost()), (Some(5), 10));
    }
}
