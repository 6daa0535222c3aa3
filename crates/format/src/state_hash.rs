//! The hash of a folded state: an incremental multiset hash, so that two folds can be compared entry by entry without
//! either being written out, however their entries are split into segments.
//!
//! Each entry is hashed with BLAKE3 to eight 64-bit numbers, which are added to the sum (or taken away when the entry
//! goes). It finds folds that diverge; it is no signature.

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

/// The sum over all entries.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct StateHash([u64; 8]);

impl StateHash {
    /// Adds an entry. `domain` tells kinds of entries apart.
    pub fn add(&mut self, domain: &str, entry: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(parts(domain, entry)) {
            *sum = sum.wrapping_add(part);
        }
    }

    /// Takes away an entry that was added before.
    pub fn remove(&mut self, domain: &str, entry: &[u8]) {
        for (sum, part) in self.0.iter_mut().zip(parts(domain, entry)) {
            *sum = sum.wrapping_sub(part);
        }
    }

    /// The 64 bytes, little-endian numbers.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut out = [0; 64];
        for (slot, number) in out.chunks_exact_mut(8).zip(self.0) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Reads the 64 bytes.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut sum = [0u64; 8];
        for (number, slot) in sum.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = slot
                .iter()
                .rev()
                .fold(0, |all, &byte| all << 8 | u64::from(byte));
        }
        Self(sum)
    }
}

fn parts(domain: &str, entry: &[u8]) -> [u64; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(domain.len() as u32).to_le_bytes());
    hasher.update(domain.as_bytes());
    hasher.update(entry);
    let mut bytes = [0u8; 64];
    hasher.finalize_xof().fill(&mut bytes);
    StateHash::from_bytes(&bytes).0
}

impl std::fmt::Display for StateHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.to_bytes()[..16]))
    }
}

impl std::fmt::Debug for StateHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateHash({self}…)")
    }
}

impl<C> Encode<C> for StateHash {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        e.bytes(&self.to_bytes())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for StateHash {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let bytes = d.bytes()?;
        bytes
            .try_into()
            .map(|bytes| Self::from_bytes(&bytes))
            .map_err(|_| DecodeError::message("a state hash has 64 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let mut one = StateHash::default();
        one.add("a", b"1");
        one.add("b", b"2");
        let mut two = StateHash::default();
        two.add("b", b"2");
        two.add("a", b"3");
        two.add("a", b"1");
        assert_ne!(one, two);
        two.remove("a", b"3");
        assert_eq!(one, two);
        assert_eq!(StateHash::from_bytes(&one.to_bytes()), one);
        let mut moved = StateHash::default();
        moved.add("ab", b"12");
        assert_ne!(moved, StateHash::default());
    }
}
