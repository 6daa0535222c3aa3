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
            let at = filter.block(id);
            if let Some(block) = filter.blocks.get_mut(at) {
                for (word, bit) in block.0.iter_mut().zip(bits(id)) {
                    *word |= 1 << bit;
                }
            }
        }
        filter
    }

    /// False: it is not there.
    pub(super) fn may_hold(&self, id: &[u8; 32]) -> bool {
        let Some(block) = self.blocks.get(self.block(id)) else {
            return false;
        };
        let lacking = block.0.iter().zip(bits(id));
        lacking.fold(0, |lacking, (word, bit)| lacking | (!word >> bit & 1)) == 0
    }

    fn block(&self, id: &[u8; 32]) -> usize {
        ((u128::from(number(id, 8)) * self.blocks.len() as u128) >> 64) as usize
    }
}

/// A bit for each word.
fn bits(id: &[u8; 32]) -> [u32; WORDS] {
    let all = number(id, 16);
    std::array::from_fn(|word| (all >> (5 * word)) as u32 & 31)
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
        assert!(ids.iter().all(|id| filter.may_hold(id)));
        let wrong = (10_000..110_000).filter(|&n| filter.may_hold(&id(n)));
        let wrong = wrong.count();
        assert!(wrong < 1_000, "{wrong} of 100,000");
    }

    #[test]
    fn ids_that_are_no_hashes_are_found_too() {
        let ids: Vec<[u8; 32]> = (0..100).map(|n| [n; 32]).collect();
        let filter = Filter::of(ids.iter());
        assert!(ids.iter().all(|id| filter.may_hold(id)));
        assert!(!Filter::of([].into_iter()).may_hold(&[0; 32]));
    }
}
