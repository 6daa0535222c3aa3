//! The rule that says where one chunk ends and the next begins.
//!
//! A chunk may end behind a byte if two secret questions about the bytes before it are answered right:
//!
//! 1. *Filter*, over 12 bytes: three words, mixed by shifts and one multiplication, begin with a secret pattern. One place in
//!    4096 does. It is cheap and has no memory, so that 64 places are looked at in one go (8 at a time with AVX2).
//! 2. *Decision*, over 64 bytes: their BLAKE3, keyed, is below a bound. This is what makes a cut rare, and tells whoever
//!    watches the lengths of chunks nothing about what is in them.
//!
//! So a cut depends on 64 bytes of content and nothing else, and comes again wherever these do. As in FastCDC (Xia et al.,
//! <https://ieeexplore.ieee.org/document/9055082>) the bound is lower before the aimed-at length and higher behind it.
//! The gear hash of that paper takes one byte a turn, each waiting for the last: this is two to three times as fast.
//!
//! State: the scope's secrets. Pure.

use holdfast_format::ScopeKeys;
use holdfast_format::chunk::CutKeys;

use super::limits::{CUT_BYTES_AVERAGE, CUT_BYTES_MAX, CUT_BYTES_MIN};

/// Of so many places one passes the filter, as a power of two.
const FILTER_BITS: u32 = 12;

/// A place before the aimed-at length is a cut with this chance, as a power of one half …
const BITS_BELOW_AVERAGE: u32 = 21;

/// … and one behind it with this.
const BITS_ABOVE_AVERAGE: u32 = 19;

/// The filter looks at so many bytes before a place …
const FILTER_BYTES: usize = 12;

/// … and the decision at so many.
const DECISION_BYTES: usize = 64;

/// So many places are filtered in one go.
const BLOCK: usize = 64;

/// Words in a row of a block.
const ROW: usize = BLOCK / 4;

/// What must be there to filter a block: its places, and what the last window has beyond the first one.
const BLOCK_BYTES: usize = BLOCK + FILTER_BYTES - 1;

/// Finds cut points with one scope's secrets.
#[derive(Clone)]
pub struct Cutter {
    keys: CutKeys,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cutter(secret)")
    }
}

impl Cutter {
    /// The cutter of one scope.
    pub fn new(keys: &ScopeKeys) -> Self {
        Self {
            keys: keys.cut_keys(),
        }
    }

    /// Length of the first chunk of `data`, or `None` where more bytes must be seen first. `last` says that none
    /// follow.
    pub fn cut(&self, data: &[u8], last: bool) -> Option<usize> {
        let limit = data.len().min(CUT_BYTES_MAX);
        let mut from = CUT_BYTES_MIN;
        // The last window that was decided on: where content repeats itself, so do the candidates.
        let mut decided: (&[u8], u64) = (&[], u64::MAX);
        while let Some(end) = self.candidate(&data[..limit], from) {
            let window = &data[end - DECISION_BYTES..end];
            if decided.0 != window {
                decided = (window, self.decision(window));
            }
            let bits = match end <= CUT_BYTES_AVERAGE {
                true => BITS_BELOW_AVERAGE,
                false => BITS_ABOVE_AVERAGE,
            };
            if decided.1 >> (u64::BITS - (bits - FILTER_BITS)) == 0 {
                return Some(end);
            }
            from = end + 1;
        }
        match limit == CUT_BYTES_MAX || (last && limit > 0) {
            true => Some(limit),
            false => None,
        }
    }

    fn decision(&self, window: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.keys.decision, window);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }

    /// The first place from `from` on that passes the filter; the end of `data` is one too.
    fn candidate(&self, data: &[u8], from: usize) -> Option<usize> {
        if from > data.len() {
            return None;
        }
        let begin = from - FILTER_BYTES;
        let found = match data[begin..].len() >= BLOCK_BYTES {
            true => self.first_of_blocks(&data[begin..]),
            false => Scanned::None(0),
        };
        match found {
            Scanned::Found(at) => Some(begin + at + FILTER_BYTES),
            Scanned::None(scanned) => (begin + scanned..=data.len() - FILTER_BYTES)
                .find(|at| self.passes(&data[*at..*at + FILTER_BYTES]))
                .map(|at| at + FILTER_BYTES),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn first_of_blocks(&self, data: &[u8]) -> Scanned {
        if std::arch::is_x86_feature_detected!("avx2") {
            #[expect(
                unsafe_code,
                reason = "the processor was asked for what the function needs"
            )]
            // SAFETY: the processor has AVX2.
            unsafe {
                return first_of_blocks_avx2(&self.keys, data);
            }
        }
        first_of_blocks(&self.keys, data)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn first_of_blocks(&self, data: &[u8]) -> Scanned {
        first_of_blocks(&self.keys, data)
    }

    /// The filter as it is defined, for the few places that fill no block.
    fn passes(&self, window: &[u8]) -> bool {
        passes(
            &self.keys,
            word(window, 0),
            word(window, 4),
            word(window, 8),
        )
    }
}

/// What filtering whole blocks gave.
enum Scanned {
    /// The first window that passes begins here.
    Found(usize),
    /// None of this many does.
    None(usize),
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn first_of_blocks_avx2(keys: &CutKeys, data: &[u8]) -> Scanned {
    first_of_blocks(keys, data)
}

/// Written for the compiler to make vectors of: the words at four neighbouring offsets are four rows of a block, each of them three
/// loads from memory that follow one another.
#[inline(always)]
fn first_of_blocks(keys: &CutKeys, data: &[u8]) -> Scanned {
    let mut at = 0;
    while let Some(block) = data[at..].first_chunk::<BLOCK_BYTES>() {
        let mut rows = [[0; ROW]; 4];
        let mut any = 0;
        for (offset, row) in rows.iter_mut().enumerate() {
            let words = [
                words(block, offset),
                words(block, offset + 4),
                words(block, offset + 8),
            ];
            for (n, passed) in row.iter_mut().enumerate() {
                *passed = u32::from(passes(keys, words[0][n], words[1][n], words[2][n]));
                any |= *passed;
            }
        }
        if any != 0 {
            let first = (0..BLOCK).find(|at| rows[at % 4][at / 4] != 0);
            return Scanned::Found(at + first.unwrap_or(0));
        }
        at += BLOCK;
    }
    Scanned::None(at)
}

/// The words of a block from an offset on.
#[inline(always)]
fn words(block: &[u8; BLOCK_BYTES], offset: usize) -> [u32; ROW] {
    let mut words = [0; ROW];
    for (word, bytes) in words.iter_mut().zip(block[offset..].as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
fn passes(keys: &CutKeys, one: u32, two: u32, three: u32) -> bool {
    let mixed = one ^ two.rotate_left(11) ^ three.rotate_left(22);
    (mixed ^ keys.blind).wrapping_mul(keys.factor) >> (u32::BITS - FILTER_BITS)
        == keys.pattern >> (u32::BITS - FILTER_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::testing::{keys, noise};

    /// Byte by byte from the definition, without blocks and memory.
    fn defined(cutter: &Cutter, data: &[u8]) -> usize {
        let limit = data.len().min(CUT_BYTES_MAX);
        for end in CUT_BYTES_MIN..=limit {
            let bits = if end <= CUT_BYTES_AVERAGE { 21 } else { 19 };
            if cutter.passes(&data[end - 12..end])
                && cutter.decision(&data[end - 64..end]) >> (64 - (bits - 12)) == 0
            {
                return end;
            }
        }
        limit
    }

    #[test]
    fn blocks_give_the_cut_points_of_the_definition() {
        let cutter = Cutter::new(&keys("agent/x"));
        let data = noise(2, 48 << 20);
        let (mut at, mut remainders) = (0, std::collections::HashSet::new());
        while data.len() - at > CUT_BYTES_MAX {
            let len = cutter.cut(&data[at..], false).unwrap();
            assert_eq!(len, defined(&cutter, &data[at..]), "at {at}");
            remainders.insert(len % 4);
            at += len;
        }
        assert_eq!(remainders.len(), 4, "every row of a block was used");
    }

    #[test]
    fn every_place_near_the_end_is_looked_at() {
        let cutter = Cutter::new(&keys("vault"));
        let data = noise(5, CUT_BYTES_MAX);
        let cut = cutter.cut(&data, true).unwrap();
        assert!(cut < CUT_BYTES_MAX - 200);
        for beyond in 0..200 {
            assert_eq!(cutter.cut(&data[..cut + beyond], false), Some(cut));
        }
        assert_eq!(cutter.cut(&data[..cut - 1], false), None);
    }

    #[test]
    fn content_that_repeats_itself_is_cut_by_the_definition_too() {
        // A filter that every place of zeros passes.
        let mut cutter = Cutter::new(&keys("vault"));
        cutter.keys.pattern = cutter.keys.blind.wrapping_mul(cutter.keys.factor);
        let zeros = vec![0; CUT_BYTES_MAX + 1];
        let len = cutter.cut(&zeros, false);
        assert_eq!(len, Some(defined(&cutter, &zeros)));
    }

    #[test]
    fn each_scope_cuts_elsewhere() {
        let data = noise(6, 4 * CUT_BYTES_MAX);
        let one = Cutter::new(&keys("agent/a")).cut(&data, false);
        let other = Cutter::new(&keys("agent/b")).cut(&data, false);
        assert_ne!(one, other);
    }
}
