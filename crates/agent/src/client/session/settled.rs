//! Which chunks need not be asked about or sent again within a session.
//!
//! State: ids, each with the reason why it is settled, in two generations of bounded size; the older is dropped when
//! the younger is full. Forgetting costs one question more, never a chunk.

use std::collections::HashMap;

use holdfast_format::ChunkId;

/// Ids of one generation. A power of two times 7/8 fills a hash table exactly.
const GENERATION_IDS_MAX: usize = (1 << 18) / 8 * 7;

/// Why a chunk is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The coordinator answered that it has it and keeps it until the session ends.
    Known,
    /// It was put in this session: it is on its way, or the coordinator had it.
    Taken,
}

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Settled {
    young: HashMap<ChunkId, Why>,
    old: HashMap<ChunkId, Why>,
}

impl Settled {
    /// Whether a chunk is settled.
    pub(super) fn has(&self, id: &ChunkId) -> bool {
        self.young.contains_key(id) || self.old.contains_key(id)
    }

    /// Notes a chunk. What was taken and turns out to be known counts as known.
    pub(super) fn add(&mut self, id: ChunkId, why: Why) {
        if self.young.len() >= GENERATION_IDS_MAX && !self.young.contains_key(&id) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, why);
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, id: &ChunkId) {
        self.young.remove(id);
        self.old.remove(id);
    }

    /// What the coordinator promised to keep, as far as it is remembered.
    pub(super) fn promised(&self) -> Vec<ChunkId> {
        let known = |(id, why): (&ChunkId, &Why)| (*why == Why::Known).then_some(*id);
        let old = self
            .old
            .iter()
            .filter(|(id, _)| !self.young.contains_key(id));
        self.young.iter().chain(old).filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> ChunkId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        ChunkId(bytes)
    }

    #[test]
    fn it_forgets_the_oldest_and_stays_bounded() {
        let mut settled = Settled::default();
        for n in 0..GENERATION_IDS_MAX * 5 / 2 {
            settled.add(id(n), Why::Taken);
        }
        assert!(!settled.has(&id(0)));
        assert!(settled.has(&id(GENERATION_IDS_MAX * 5 / 2 - 1)));
        assert!(settled.has(&id(GENERATION_IDS_MAX * 3 / 2)));
        assert!(settled.young.len() + settled.old.len() <= 2 * GENERATION_IDS_MAX);
    }

    #[test]
    fn only_what_was_promised_is_offered_again() {
        let mut settled = Settled::default();
        settled.add(id(1), Why::Taken);
        settled.add(id(2), Why::Known);
        settled.add(id(3), Why::Taken);
        settled.add(id(3), Why::Known);
        let mut promised = settled.promised();
        promised.sort();
        assert_eq!(promised, [id(2), id(3)]);
        settled.remove(&id(1));
        assert!(!settled.has(&id(1)));
    }
}
