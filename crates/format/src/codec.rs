//! CBOR (RFC 8949) with the rule of critical keys, and the mark that starts every object.
//!
//! Structures are CBOR maps with small integer keys, so that fields can be added. Keys 0 to 63 are critical: a reader
//! that meets one it does not know stops. Keys from 64 up may be skipped.

use minicbor::{Decode, Decoder, Encode};

use crate::error::{Error, Result};

/// The format level that this release writes, and the highest that it reads.
pub const LEVEL: u8 = 1;

/// First byte after the keys that a reader may skip.
pub const FIRST_SKIPPABLE_KEY: u64 = 64;

/// The largest CBOR body that a decoder accepts, in bytes: a bound on what damage can make us allocate.
pub const BODY_BYTES_MAX: usize = 256 << 20;

/// A structure at the top level of an object or a fact, whose critical keys are checked.
pub trait Body: for<'b> Decode<'b, ()> + Encode<()> {
    /// Keys `0..KEYS` are known to this release.
    const KEYS: u64;
    /// What a person calls it.
    const WHAT: &'static str;
}

/// Encodes a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to a vector does not fail: {error}"),
    }
}

/// Decodes a body: every byte used, no unknown critical key.
pub fn decode<T: Body>(bytes: &[u8]) -> Result<T> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(Error::corrupt(
            T::WHAT,
            "it is larger than any this format has",
        ));
    }
    check_keys(T::WHAT, T::KEYS, bytes)?;
    let mut decoder = Decoder::new(bytes);
    let value = decoder
        .decode::<T>()
        .map_err(|e| Error::corrupt(T::WHAT, e.to_string()))?;
    if decoder.position() != bytes.len() {
        return Err(Error::corrupt(T::WHAT, "bytes follow its end"));
    }
    Ok(value)
}

/// Refuses a map that has a critical key of `known` or above.
pub(crate) fn check_keys(what: &str, known: u64, bytes: &[u8]) -> Result<()> {
    let bad = |e: minicbor::decode::Error| Error::corrupt(what, e.to_string());
    let mut decoder = Decoder::new(bytes);
    let entries = decoder.map().map_err(bad)?;
    let Some(entries) = entries else {
        return Err(Error::corrupt(what, "it is a map of unstated length"));
    };
    for _ in 0..entries {
        let key = decoder.u64().map_err(bad)?;
        if key >= known && key < FIRST_SKIPPABLE_KEY {
            return Err(Error::too_new(
                what,
                format!("critical field {key} is unknown"),
            ));
        }
        decoder.skip().map_err(bad)?;
    }
    Ok(())
}

/// The first bytes of every object: `holdfast`, its kind, its format level.
pub(crate) const MARK_LEN: usize = 10;

/// Which object a mark announces. The numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Header = 1,
    VaultKey = 2,
    SessionKey = 3,
    PackFooter = 4,
    Record = 5,
    Segment = 6,
    Checkpoint = 7,
    Bundle = 8,
}

impl Mark {
    /// The ten bytes.
    pub(crate) fn bytes(self) -> [u8; MARK_LEN] {
        let mut mark = *b"holdfast\0\0";
        mark[8] = self as u8;
        mark[9] = LEVEL;
        mark
    }

    /// Checks the mark and gives what follows it.
    pub(crate) fn strip<'b>(self, what: &str, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let (mark, rest) = bytes
            .split_at_checked(MARK_LEN)
            .ok_or_else(|| Error::corrupt(what, "it ends within its first bytes"))?;
        if &mark[..8] != b"holdfast" {
            return Err(Error::corrupt(
                what,
                "it does not start with the mark of a holdfast object",
            ));
        }
        if mark[8] != self as u8 {
            return Err(Error::Misplaced {
                object: what.into(),
                belongs_to: format!("another kind of object (kind {})", mark[8]),
            });
        }
        if mark[9] == 0 {
            return Err(Error::corrupt(what, "no format level is 0"));
        }
        if mark[9] > LEVEL {
            return Err(Error::too_new(
                what,
                format!("its format level is {}", mark[9]),
            ));
        }
        Ok(rest)
    }
}

/// Appends a variable-length number: seven bits a byte, low ones first, the top bit set on all but the last.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`put_varint`] wrote, and moves `bytes` past it.
pub(crate) fn take_varint(what: &str, bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes
            .split_first()
            .ok_or_else(|| Error::corrupt(what, "it ends within a number"))?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupt(what, "a number is too long"))
}

/// Takes `count` bytes off the front.
pub(crate) fn take_bytes<'b>(what: &str, bytes: &mut &'b [u8], count: usize) -> Result<&'b [u8]> {
    let (taken, rest) = bytes
        .split_at_checked(count)
        .ok_or_else(|| Error::corrupt(what, "it ends early"))?;
    *bytes = rest;
    Ok(taken)
}
