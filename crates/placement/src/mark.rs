//! The entry that says which layout a store has, and which birth of it this is.

use holdfast_context::Context;
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};
use crate::value::{self, VERSION};

/// Written once, by whoever opens a store first.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Mark {
    /// Version of the layout.
    #[n(0)]
    version: u64,
    /// Random: a store that was emptied and begun again has another.
    #[n(1)]
    born: Option<ByteArray<16>>,
}

impl Mark {
    /// The mark of a new store.
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            version: VERSION.into(),
            born: Some(context.random().into()),
        }
    }

    /// Reads the mark of `store` and refuses one of a newer release.
    pub(crate) fn read(store: &str, key: &str, bytes: &[u8]) -> Result<Self> {
        let mark: Self = value::decode(store, key, bytes)?;
        let known = u64::from(VERSION);
        match mark.version {
            0 => Err(Error::Corrupt {
                store: store.into(),
                key: key.into(),
                why: "it says version 0, which no release wrote".into(),
            }),
            found if found > known => Err(Error::TooNew {
                what: store.into(),
                found,
                known,
            }),
            _ => Ok(mark),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_context::ManualClock;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_mark_is_read_unless_it_is_newer() {
        let context = Context::seeded(1, Arc::new(ManualClock::at(0)));
        let mark = Mark::new(&context);
        assert_ne!(mark, Mark::new(&context));
        let read = |bytes: &[u8]| Mark::read("a test", "version", bytes);
        assert_eq!(read(&value::encode(&mark)).unwrap(), mark);
        assert_eq!(
            read(&[1, 0xa1, 0, 2]).unwrap_err().kind(),
            ErrorKind::TooNew
        );
        assert_eq!(
            read(&[1, 0xa1, 0, 0]).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        assert_eq!(read(&[1, 0xa1, 0, 1]).unwrap().born, None);
    }
}
