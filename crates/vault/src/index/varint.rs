//! References of nodes, packed: how many, then zigzag differences, seven bits a byte.

use holdfast_format::Ordinal;

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a list of references.
pub(super) fn put_refs(out: &mut Vec<u8>, refs: &[Ordinal]) {
    put(out, refs.len() as u64);
    let mut before = 0u64;
    for one in refs {
        let difference = one.0.wrapping_sub(before) as i64;
        put(out, ((difference << 1) ^ (difference >> 63)) as u64);
        before = one.0;
    }
}

/// Reads a list of references; a list that ends early is as short as it is (segments are checked by hash).
pub(super) fn take_refs(mut bytes: &[u8]) -> Vec<Ordinal> {
    let count = take(&mut bytes).unwrap_or(0);
    let mut refs = Vec::with_capacity(count.min(bytes.len() as u64) as usize);
    let mut before = 0u64;
    for _ in 0..count {
        let Some(coded) = take(&mut bytes) else { break };
        before = before.wrapping_add(((coded >> 1) as i64 ^ -((coded & 1) as i64)) as u64);
        refs.push(Ordinal(before));
    }
    refs
}
