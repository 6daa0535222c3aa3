//! Which ids a segment surely lacks: one look at memory instead of several at the segment.
//!
//! State: 12 bits for each id. A Bloom filter in blocks (Putze, Sanders, Singler 2007; the split block of Parquet): an id belongs to
//! one block of eight words, and sets one bit in each. Ids are hashes, so their bits serve as they are. About one id in 200 that
//! is not there is taken to be. Whoever makes ids that are no hashes makes look-ups slower, never wrong.

/// Bits for each id.
const BITS_PER_ID: usize = 12;

/// A block's words. 32 bytes lie in one cache line.
const WORDS: usize = 8;

#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Block([u32; WORDS]);

/// See the module.
#[derive(Default)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// A filter of as many ids as the iterator says that it has at most.
    pub(super) fn of<'i>(ids: impl Iterator<Item = &'i [u8; 32]>) -> Self {
        let count = ids.size_hint().1.unwrap_or(0);
        let blocks = (count * BITS_PER_ID).div_ceil(WORDS * 32);
        let mut filter = Self {
            blocks: vec![Block::default(); blocks],
        };
        for id in ids {
            let wanted = Wanted::of(id);
            let at = filter.block(&wanted);
            if let Some(block) = filter.blocks.get_mut(at) {
                for (word, bit) in block.0.iter_mut().zip(wanted.bits) {
                    *word |= bit;
                }
            }
        }
        filter
    }

    /// False: it is not there.
    pub(super) fn may_hold(&self, wanted: &Wanted) -> bool {
        let Some(block) = self.blocks.get(self.block(wanted)) else {
            return false;
        };
        let lacking = block.0.iter().zip(wanted.bits);
        lacking.fold(0, |lacking, (word, bit)| lacking | (!word & bit)) == 0
    }

    fn block(&self, wanted: &Wanted) -> usize {
        ((u128::from(wanted.place) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// An id as filters look at it: made once, asked of many.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Which block, as a share of all that a filter has.
    place: u64,
    /// A bit in each word.
    bits: [u32; WORDS],
}

impl Wanted {
    pub(super) fn of(id: &[u8; 32]) -> Self {
        let bits = number(id, 16);
        Self {
            place: number(id, 8),
            bits: std::array::from_fn(|word| 1 << (bits >> (5 * word) & 31)),
        }
    }
}

/// Other bytes than those that ids are sorted by first.
fn number(id: &[u8; 32], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| id[at + n]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> [u8; 32] {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    #[test]
    fn all_that_is_there_is_found_and_little_else() {
        let ids: Vec<[u8; 32]> = (0..10_000).map(id).collect();
        let filter = Filter::of(ids.iter());
        assert!(ids.iter().all(|id| filter.may_hold(&Wanted::of(id))));
        let wrong = (10_000..110_000).filter(|&n| filter.may_hold(&Wanted::of(&id(n))));
        let wrong = wrong.count();
        assert!(wrong < 1_000, "{wrong} of 100,000");
    }

    #[test]
    fn ids_that_are_no_hashes_are_found_too() {
        let ids: Vec<[u8; 32]> = (0..100).map(|n| [n; 32]).collect();
        let filter = Filter::of(ids.iter());
        assert!(ids.iter().all(|id| filter.may_hold(&Wanted::of(id))));
        assert!(!Filter::of([].into_iter()).may_hold(&Wanted::of(&[0; 32])));
    }
}
