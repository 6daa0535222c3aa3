//! Identifiers and small numbers, each a type of its own so that none is taken for another.
//!
//! Binary ids print as lowercase hex and are CBOR byte strings; numbers print zero-padded, so that a listing in
//! name order is a listing in number order.

use std::fmt;
use std::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Reads the bytes of one id.
            pub fn from_slice(bytes: &[u8]) -> Result<Self> {
                bytes
                    .try_into()
                    .map(Self)
                    .map_err(|_| Error::invalid($what, concat!("it has ", $len, " bytes")))
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| {
                    Error::invalid(
                        format!("{} {text:?}", $what),
                        concat!("it is written as lowercase hexadecimal digits of ", $len, " bytes"),
                    )
                })?;
                bytes.as_slice().try_into().map(Self).map_err(|_| {
                    Error::invalid(
                        format!("{} {text:?}", $what),
                        concat!("it is written as lowercase hexadecimal digits of ", $len, " bytes"),
                    )
                })
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> std::result::Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> std::result::Result<Self, DecodeError> {
                d.bytes()?.try_into().map(Self).map_err(|_| {
                    DecodeError::message(concat!($what, " has the wrong length"))
                })
            }
        }
    };
}

bytes_id!(
    /// One vault. Random; names the vault's folder at every site.
    VaultId, 16, "vault id"
);
bytes_id!(
    /// One upload. Chosen at random by the agent; the snapshot that it commits bears the same id.
    SessionId, 16, "session id"
);
bytes_id!(
    /// One data key. Random.
    KeyId, 16, "key id"
);
bytes_id!(
    /// One hold. Random.
    HoldId, 16, "hold id"
);
bytes_id!(
    /// The random number of one claim; in every record and pack name of its epoch.
    ClaimNonce, 16, "claim nonce"
);
bytes_id!(
    /// BLAKE3 of an object's bytes, unkeyed.
    Hash, 32, "hash"
);
bytes_id!(
    /// A chunk's name: BLAKE3 keyed with its scope's id key.
    ChunkId, 32, "chunk id"
);

/// A snapshot bears the id of the session that committed it.
pub type SnapshotId = SessionId;

impl Hash {
    /// BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[n(0)] pub $inner);

        impl $name {
            /// The number after this one.
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number!(
    /// Fencing number of one ownership of a vault. Issued by placement, enforced by the sites.
    Epoch, u64, "epoch"
);
number!(
    /// A record's place within its epoch; 0 is the claim.
    Slot, u64, "slot"
);
number!(
    /// A pack's number within its epoch and claim.
    PackNumber, u64, "pack number"
);
number!(
    /// A chunk's number: the order in which the log first names chunks. Never reused.
    Ordinal, u64, "ordinal"
);
number!(
    /// A pack's number over the whole vault: the order in which the log names packs. Never reused.
    PackOrdinal, u32, "pack ordinal"
);
number!(
    /// Generation of a key's wrapping: raised when recipients change.
    Generation, u32, "generation"
);

/// One pack, by the claim that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct PackId {
    /// Epoch that wrote it.
    #[n(0)]
    pub epoch: Epoch,
    /// The claim's nonce, so that no two owners ever name the same pack.
    #[n(1)]
    pub nonce: ClaimNonce,
    /// Its number within the claim.
    #[n(2)]
    pub number: PackNumber,
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}/{}", self.epoch, self.nonce, self.number)
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackId({self})")
    }
}

/// One place in the log. Orders as the log does along one history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Position {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// The slot within it.
    #[n(1)]
    pub slot: Slot,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.slot)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a name: 1 to
            #[doc = concat!(stringify!($max), " characters of `a-z A-Z 0-9 . _ -`, not starting with `.` or `-`.")]
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                let fine = !text.is_empty()
                    && text.len() <= $max
                    && !text.starts_with(['.', '-'])
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                if fine {
                    Ok(Self(text))
                } else {
                    Err(Error::invalid(
                        format!("{} {text:?}", $what),
                        concat!("use 1 to ", $max, " of the characters a-z A-Z 0-9 . _ - and start with a letter, a digit or _"),
                    ))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> std::result::Result<(), EncodeError<W::Error>> {
                e.str(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> std::result::Result<Self, DecodeError> {
                Self::new(d.str()?).map_err(|_| DecodeError::message(concat!($what, " is not a valid name")))
            }
        }
    };
}

text_name!(
    /// A vault's name, unique within a cluster.
    VaultName, "vault name", 128
);
text_name!(
    /// A site's name, unique within a cluster.
    SiteName, "site name", 64
);
text_name!(
    /// A source's name, unique within a vault.
    SourceName, "source name", 128
);

/// The dedup scope of a session: chunks are known to each other only within one.
///
/// Written as `agent/<name>`, `source/<name>` or `vault`. Its keys derive from this text and the vault's id secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

impl Scope {
    /// The scope that all agents of the vault share.
    pub fn vault() -> Self {
        Self("vault".into())
    }

    /// The scope of one agent.
    pub fn agent(name: &SourceName) -> Self {
        Self(format!("agent/{name}"))
    }

    /// The scope of one source.
    pub fn source(name: &SourceName) -> Self {
        Self(format!("source/{name}"))
    }

    /// The scope as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", self.0)
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fine = match text.split_once('/') {
            None => text == "vault",
            Some(("agent" | "source", name)) => SourceName::new(name).is_ok(),
            Some(_) => false,
        };
        if fine {
            Ok(Self(text.into()))
        } else {
            Err(Error::invalid(
                format!("scope {text:?}"),
                "use vault, agent/NAME or source/NAME",
            ))
        }
    }
}

impl<C> Encode<C> for Scope {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> std::result::Result<(), EncodeError<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Scope {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> std::result::Result<Self, DecodeError> {
        d.str()?
            .parse()
            .map_err(|_| DecodeError::message("scope is not valid"))
    }
}
