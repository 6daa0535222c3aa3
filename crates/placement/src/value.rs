//! How entries are written: one byte of version, then CBOR.
//!
//! The CBOR structures are maps, so fields that older releases may ignore can be added without a new version.

use minicbor::{Decode, Decoder, Encode};

use crate::error::{Error, Result};

/// The version of entries, and of the whole layout, that this release writes and the highest that it reads.
pub(crate) const VERSION: u8 = 1;

/// Bytes of an entry.
pub(crate) fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    match minicbor::encode(value, &mut bytes) {
        Ok(()) => bytes,
        Err(error) => unreachable!("writing to a vector does not fail: {error}"),
    }
}

/// Reads an entry of `store`: known version, every byte used.
pub(crate) fn decode<T>(store: &str, key: &str, bytes: &[u8]) -> Result<T>
where
    T: for<'b> Decode<'b, ()>,
{
    let corrupt = |why: String| Error::Corrupt {
        store: store.into(),
        key: key.into(),
        why,
    };
    let (version, body) = bytes
        .split_first()
        .ok_or_else(|| corrupt("it is empty".into()))?;
    match *version {
        VERSION => {}
        0 => return Err(corrupt("it has version 0, which no release wrote".into())),
        newer => {
            return Err(Error::TooNew {
                what: format!("entry {key} of {store}"),
                found: newer.into(),
                known: VERSION.into(),
            });
        }
    }
    let mut decoder = Decoder::new(body);
    let value = decoder
        .decode()
        .map_err(|error| corrupt(error.to_string()))?;
    if decoder.position() != body.len() {
        return Err(corrupt("bytes follow its end".into()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CoordinatorInfo, ErrorKind};

    fn info() -> CoordinatorInfo {
        CoordinatorInfo {
            name: "c1".into(),
            addresses: vec!["127.0.0.1:7420".into()],
            public_key: [7; 32],
            level: 1,
            started_millis: -5,
            gone: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let read: CoordinatorInfo = decode("a test", "k", &encode(&info())).unwrap();
        assert_eq!(read, info());
    }

    #[test]
    fn a_field_of_a_later_release_is_skipped() {
        let mut bytes = encode(&info());
        assert_eq!(bytes[1], 0xa6, "a map of six");
        bytes[1] = 0xa7;
        bytes.extend_from_slice(&[0x18, 99, 0xf5]);
        let read: CoordinatorInfo = decode("a test", "k", &bytes).unwrap();
        assert_eq!(read, info());
    }

    #[test]
    fn a_field_that_an_earlier_release_lacks_is_filled_in() {
        let mut bytes = encode(&info());
        assert_eq!(bytes[bytes.len() - 2..], [5, 0x80], "no site is gone");
        bytes.truncate(bytes.len() - 2);
        bytes[1] = 0xa5;
        let read: CoordinatorInfo = decode("a test", "k", &bytes).unwrap();
        assert_eq!(read, info());
    }

    #[test]
    fn damage_and_newer_versions_are_told_apart() {
        let good = encode(&info());
        let kind = |bytes: &[u8]| {
            decode::<CoordinatorInfo>("a test", "k", bytes)
                .unwrap_err()
                .kind()
        };
        assert_eq!(kind(&[]), ErrorKind::Corrupt);
        assert_eq!(kind(&[0]), ErrorKind::Corrupt);
        assert_eq!(kind(&[2, 0xa0]), ErrorKind::TooNew);
        assert_eq!(kind(&good[..good.len() - 1]), ErrorKind::Corrupt);
        assert_eq!(kind(&[&good[..], &[0]].concat()), ErrorKind::Corrupt);
    }
}
