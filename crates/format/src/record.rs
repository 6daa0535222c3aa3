//! Records: what stands in the log's slots.
//!
//! ```text
//! mark (10) ‖ body length (u32, little-endian) ‖ body ‖ signature (64) ‖ tail
//! ```
//!
//! The chain hashes bodies: each body holds BLAKE3 of the body before it. The tail is covered through its hash in the
//! body; the signature signs the body's hash.

use bytes::Bytes;
use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

use crate::codec::{self, Body, LEVEL, MARK_LEN, Mark};
use crate::error::{Error, Result};
use crate::fact::{Fact, decode_facts};
use crate::id::{ClaimNonce, Epoch, Hash, Position, Slot, VaultId};
use crate::object::Sealed;
use crate::sign::{PublicKey, Purpose, SecretKey, Signature, verify};

/// The most bytes of a record's body. A writer that has more to say says it in several records.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// A record's body.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecordBody {
    /// Format level that a reader needs.
    #[n(0)]
    pub level: u8,
    /// The vault.
    #[n(1)]
    pub vault: VaultId,
    /// Its epoch.
    #[n(2)]
    pub epoch: Epoch,
    /// Its slot.
    #[n(3)]
    pub slot: Slot,
    /// BLAKE3 of the body before it in the history; for the vault's first record, of the header's body.
    #[n(4)]
    pub previous: Hash,
    /// The nonce of the claim that its writer holds.
    #[n(5)]
    pub nonce: ClaimNonce,
    /// Log time: milliseconds since 1970 UTC, never less than the record before.
    #[n(6)]
    pub time_millis: i64,
    /// Who signs it.
    #[n(7)]
    pub writer: PublicKey,
    /// What it says.
    #[n(8)]
    pub facts: Facts,
    /// What rides behind it.
    #[n(9)]
    pub tail: Option<Tail>,
}

impl Body for RecordBody {
    const KEYS: u64 = 10;
    const WHAT: &'static str = "a record";
}

/// A record's facts, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts(pub Vec<Fact>);

impl<C> Encode<C> for Facts {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        ctx: &mut C,
    ) -> std::result::Result<(), EncodeError<W::Error>> {
        self.0.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Facts {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> std::result::Result<Self, DecodeError> {
        let start = d.position();
        d.skip()?;
        let bytes = &d.input()[start..d.position()];
        match decode_facts(bytes) {
            Ok(facts) => Ok(Self(facts)),
            Err(error @ Error::TooNew { .. }) => {
                Err(DecodeError::message(TOO_NEW).with_message(error))
            }
            Err(error) => Err(DecodeError::message(error)),
        }
    }
}

const TOO_NEW: &str = "too new";

/// Sealed frames and their key behind a record, so that a small commit is one request. Format only: no release
/// writes one yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tail {
    /// Its length, bytes.
    #[n(0)]
    pub len: u64,
    /// Its BLAKE3.
    #[n(1)]
    pub hash: Hash,
}

/// A record as it lies in a slot, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub body: RecordBody,
    /// BLAKE3 of the encoded body: what the next record links to.
    pub hash: Hash,
    /// The whole object.
    pub object: Bytes,
}

impl Record {
    /// Encodes and signs a record.
    pub fn make(body: RecordBody, key: &SecretKey) -> Result<Self> {
        let encoded = codec::encode(&body);
        if encoded.len() > RECORD_BYTES_MAX {
            return Err(Error::invalid(
                "a record",
                format!("it has {} bytes", encoded.len()),
            ));
        }
        let hash = Hash::of(&encoded);
        let mut out = Vec::with_capacity(MARK_LEN + 4 + encoded.len() + 64);
        out.extend_from_slice(&Mark::Record.bytes());
        out.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
        out.extend_from_slice(&encoded);
        out.extend_from_slice(&key.sign(Purpose::Record, &hash.0).0);
        Ok(Self {
            body,
            hash,
            object: out.into(),
        })
    }

    /// Reads what lies at `position` of `vault`: well formed, signed by the writer that it names, and at home there.
    /// Whether that writer was allowed to, and the chain, are the fold's to check.
    pub fn open(vault: VaultId, position: Position, object: Bytes) -> Result<Self> {
        let what = || format!("record {position}");
        let mut rest = match Mark::Record.strip(&what(), &object) {
            // One wrong bit in the mark: with this release's level it is a whole record of this release.
            Err(error @ Error::TooNew { .. }) => {
                let mut bytes = object.to_vec();
                bytes[codec::MARK_LEN - 1] = LEVEL;
                return match Self::open(vault, position, bytes.into()) {
                    Ok(_) => Err(Error::corrupt(what(), "its mark is damaged")),
                    Err(_) => Err(error),
                };
            }
            stripped => stripped?,
        };
        let len = codec::take_bytes(&what(), &mut rest, 4)?;
        let len = len
            .iter()
            .rev()
            .fold(0usize, |all, &byte| all << 8 | usize::from(byte));
        if len > RECORD_BYTES_MAX {
            return Err(Error::corrupt(what(), "its length is impossible"));
        }
        let encoded = codec::take_bytes(&what(), &mut rest, len)?;
        let signature = codec::take_bytes(&what(), &mut rest, 64)?;
        let signature = Signature(
            signature
                .try_into()
                .map_err(|_| Error::corrupt(what(), "it ends early"))?,
        );
        let hash = Hash::of(encoded);
        // One wrong bit can look like a later release's record: that is believed only of what its writer signed.
        let body = decode_body(&what(), encoded).map_err(|error| match error {
            Error::TooNew { .. } if !is_signed(encoded, &hash, &signature) => {
                Error::corrupt(what(), "its signature does not verify")
            }
            error => error,
        })?;
        let home = (body.vault, body.position());
        if home != (vault, position) {
            return Err(Error::Misplaced {
                object: what(),
                belongs_to: format!("slot {} of vault {}", home.1, home.0),
            });
        }
        if !verify(&body.writer, Purpose::Record, &hash.0, &signature) {
            return Err(Error::corrupt(what(), "its signature does not verify"));
        }
        match body.tail {
            None if rest.is_empty() => {}
            Some(tail) if tail.len == rest.len() as u64 && tail.hash == Hash::of(rest) => {}
            _ => {
                return Err(Error::corrupt(
                    what(),
                    "what follows its signature is not its tail",
                ));
            }
        }
        Ok(Self { body, hash, object })
    }

    /// The object to put.
    pub fn sealed(&self) -> Sealed {
        Sealed::from_bytes(self.object.clone())
    }

    /// Its place.
    pub fn position(&self) -> Position {
        self.body.position()
    }

    /// The claim, if it is one.
    pub fn claim(&self) -> Option<&crate::fact::Claim> {
        match self.body.facts.0.as_slice() {
            [Fact::Claim(claim)] => Some(claim),
            _ => None,
        }
    }

    /// The seal, if it is one.
    pub fn seal(&self) -> Option<&crate::fact::Seal> {
        match self.body.facts.0.as_slice() {
            [Fact::Seal(seal)] => Some(seal),
            _ => None,
        }
    }
}

/// Whether a record's writer signed it, whatever else it holds: the field that names the writer stays where it is in every
/// release.
fn is_signed(encoded: &[u8], hash: &Hash, signature: &Signature) -> bool {
    #[derive(Decode)]
    #[cbor(map)]
    struct WriterOnly {
        #[n(7)]
        writer: PublicKey,
    }
    let peeked: std::result::Result<WriterOnly, _> = minicbor::decode(encoded);
    peeked.is_ok_and(|peeked| verify(&peeked.writer, Purpose::Record, &hash.0, signature))
}

fn decode_body(what: &str, encoded: &[u8]) -> Result<RecordBody> {
    // The level comes first: a newer release may have changed everything behind it.
    #[derive(Decode)]
    #[cbor(map)]
    struct LevelOnly {
        #[n(0)]
        level: u8,
    }
    let peeked: LevelOnly =
        minicbor::decode(encoded).map_err(|e| Error::corrupt(what, e.to_string()))?;
    if peeked.level > LEVEL {
        return Err(Error::too_new(
            what,
            format!("its format level is {}", peeked.level),
        ));
    }
    codec::decode(encoded).map_err(|error| match error {
        Error::Corrupt { why, .. } if why.contains("needs a newer holdfast") => {
            Error::too_new(what, why)
        }
        Error::Corrupt { why, .. } => Error::corrupt(what, why),
        other => other,
    })
}

impl RecordBody {
    /// Its place.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            slot: self.slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fact::{PolicySet, SessionEnded};
    use crate::id::SessionId;

    fn body(facts: Vec<Fact>) -> RecordBody {
        RecordBody {
            level: LEVEL,
            vault: VaultId([1; 16]),
            epoch: Epoch(3),
            slot: Slot(4),
            previous: Hash([5; 32]),
            nonce: ClaimNonce([6; 16]),
            time_millis: -7,
            writer: SecretKey::new(&[8; 32]).public(),
            facts: Facts(facts),
            tail: None,
        }
    }

    fn record() -> Record {
        let facts = vec![
            Fact::PolicySet(PolicySet {
                text: "version = 1".into(),
                who: "me".into(),
            }),
            Fact::SessionEnded(SessionEnded {
                session: SessionId([9; 16]),
                why: "given up".into(),
                who: "agent".into(),
            }),
        ];
        Record::make(body(facts), &SecretKey::new(&[8; 32])).unwrap()
    }

    fn open(object: impl Into<Bytes>) -> Result<Record> {
        let position = Position {
            epoch: Epoch(3),
            slot: Slot(4),
        };
        Record::open(VaultId([1; 16]), position, object.into())
    }

    #[test]
    fn a_record_reads_back_in_its_place_only() {
        let made = record();
        assert_eq!(open(made.object.clone()).unwrap(), made);
        let elsewhere = Position {
            epoch: Epoch(3),
            slot: Slot(5),
        };
        assert!(Record::open(VaultId([1; 16]), elsewhere, made.object.clone()).is_err());
        assert!(Record::open(VaultId([2; 16]), made.position(), made.object).is_err());
    }

    #[test]
    fn a_record_signed_by_another_is_refused() {
        let forged = Record::make(body(vec![]), &SecretKey::new(&[9; 32])).unwrap();
        assert!(matches!(open(forged.object), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn what_is_newer_stops_the_reader() {
        let newer = RecordBody {
            level: LEVEL + 1,
            ..body(vec![])
        };
        let newer = Record::make(newer, &SecretKey::new(&[8; 32])).unwrap();
        assert!(matches!(open(newer.object), Err(Error::TooNew { .. })));

        let mut facts = Vec::new();
        let mut e = Encoder::new(&mut facts);
        e.array(1)
            .unwrap()
            .array(2)
            .unwrap()
            .u64(99)
            .unwrap()
            .map(0)
            .unwrap();
        assert!(matches!(decode_facts(&facts), Err(Error::TooNew { .. })));

        let fact = |key: u64| {
            let mut facts = Vec::new();
            let mut e = Encoder::new(&mut facts);
            e.array(1)
                .unwrap()
                .array(2)
                .unwrap()
                .u64(3)
                .unwrap()
                .map(2)
                .unwrap();
            e.u64(0)
                .unwrap()
                .u64(1)
                .unwrap()
                .u64(key)
                .unwrap()
                .str("x")
                .unwrap();
            decode_facts(&facts)
        };
        assert!(matches!(fact(5), Err(Error::TooNew { .. })));
        assert!(fact(64).is_ok());
    }

    proptest! {
        #[test]
        fn any_change_is_found(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
            let mut bytes = record().object.to_vec();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            // As damage, not as what a later release wrote: nobody mends that.
            let opened = open(bytes);
            prop_assert!(!matches!(opened, Ok(_) | Err(Error::TooNew { .. })), "{opened:?}");
        }
    }
}
