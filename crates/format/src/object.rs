//! Where objects lie at a site, and the only bytes that a store accepts.
//!
//! An [`ObjectName`] is the path of one object below a site's URL. A [`Sealed`] body can be made only by this crate's
//! encoders, so that no path through the code can hand plaintext to a store.

use std::fmt;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{Epoch, Generation, Hash, KeyId, PackId, Position, Slot, VaultId};

/// The kinds of objects, in the order in which a site depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// `vault`: the header.
    Header,
    /// `keys/vault/<generation>`: the vault's secrets, sealed to its recipients.
    VaultKey,
    /// `keys/<key id>/<generation>`: a session's data key, sealed to the vault's recipients.
    SessionKey,
    /// `packs/<epoch>-<nonce>/<n>`.
    Pack,
    /// `log/<epoch>/<n>`.
    Record,
    /// `segments/<hash>`.
    Segment,
    /// `checkpoints/<epoch>-<n>`.
    Checkpoint,
    /// `archive/<epoch>-<from>-<to>`.
    Archive,
}

/// The path of one object below a site's URL: `/`-separated, no leading slash, only `[a-z0-9-./_]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// The vault's header.
    pub fn header(vault: VaultId) -> Self {
        Self(format!("{vault}/vault"))
    }

    /// The vault's secrets at one generation.
    pub fn vault_key(vault: VaultId, generation: Generation) -> Self {
        Self(format!("{vault}/keys/vault/{:010}", generation.0))
    }

    /// A session's data key at one generation.
    pub fn session_key(vault: VaultId, key: KeyId, generation: Generation) -> Self {
        Self(format!("{vault}/keys/{key}/{:010}", generation.0))
    }

    /// A pack.
    pub fn pack(vault: VaultId, pack: PackId) -> Self {
        Self(format!(
            "{vault}/packs/{:020}-{}/{:010}",
            pack.epoch.0, pack.nonce, pack.number.0
        ))
    }

    /// A record's slot.
    pub fn record(vault: VaultId, position: Position) -> Self {
        Self(format!(
            "{vault}/log/{:020}/{:020}",
            position.epoch.0, position.slot.0
        ))
    }

    /// A segment.
    pub fn segment(vault: VaultId, hash: Hash) -> Self {
        Self(format!("{vault}/segments/{hash}"))
    }

    /// A checkpoint's manifest.
    pub fn checkpoint(vault: VaultId, position: Position) -> Self {
        Self(format!(
            "{vault}/checkpoints/{:020}-{:020}",
            position.epoch.0, position.slot.0
        ))
    }

    /// Raw records of one epoch, from a slot up to and including another.
    pub fn archive(vault: VaultId, epoch: Epoch, from: Slot, to: Slot) -> Self {
        Self(format!(
            "{vault}/archive/{:020}-{:020}-{:020}",
            epoch.0, from.0, to.0
        ))
    }

    /// A scratch object of the probe that tests whether a site's create is atomic. No vault's id starts like this.
    pub fn probe(scratch: &str) -> Result<Self> {
        Self::parse(&format!("holdfast-probe/{scratch}"))
    }

    /// The prefix of everything that belongs to `vault`, with its trailing slash.
    pub fn vault_prefix(vault: VaultId) -> String {
        format!("{vault}/")
    }

    /// The prefix of the vault's records in one epoch.
    pub fn epoch_prefix(vault: VaultId, epoch: Epoch) -> String {
        format!("{vault}/log/{:020}/", epoch.0)
    }

    /// Checks a name that came from a listing.
    pub fn parse(text: &str) -> Result<Self> {
        let fine = !text.is_empty()
            && text.len() <= 512
            && text.split('/').all(|part| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part.bytes().all(|b| {
                        b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b)
                    })
            });
        if fine {
            Ok(Self(text.into()))
        } else {
            Err(Error::invalid(
                format!("object name {text:?}"),
                "it is not one that holdfast makes",
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The position of a record, if this names one of `vault`.
    pub fn as_record(&self, vault: VaultId) -> Option<Position> {
        let rest = self.0.strip_prefix(&format!("{vault}/log/"))?;
        let (epoch, slot) = rest.split_once('/')?;
        Some(Position {
            epoch: Epoch(number(epoch, 20)?),
            slot: Slot(number(slot, 20)?),
        })
    }

    /// The position that a checkpoint covers, if this names one of `vault`.
    pub fn as_checkpoint(&self, vault: VaultId) -> Option<Position> {
        let rest = self.0.strip_prefix(&format!("{vault}/checkpoints/"))?;
        let (epoch, slot) = rest.split_once('-')?;
        Some(Position {
            epoch: Epoch(number(epoch, 20)?),
            slot: Slot(number(slot, 20)?),
        })
    }

    /// The pack, if this names one of `vault`.
    pub fn as_pack(&self, vault: VaultId) -> Option<PackId> {
        let rest = self.0.strip_prefix(&format!("{vault}/packs/"))?;
        let (claim, n) = rest.split_once('/')?;
        let (epoch, nonce) = claim.split_once('-')?;
        Some(PackId {
            epoch: Epoch(number(epoch, 20)?),
            nonce: nonce.parse().ok()?,
            number: crate::id::PackNumber(number(n, 10)?),
        })
    }

    /// The vault whose header this names, if it names one.
    pub fn as_header(&self) -> Option<VaultId> {
        self.0.strip_suffix("/vault")?.parse().ok()
    }

    /// What kind of object lies there, by its path.
    pub fn kind(&self) -> Option<ObjectKind> {
        let (_, rest) = self.0.split_once('/')?;
        match rest.split_once('/') {
            None if rest == "vault" => Some(ObjectKind::Header),
            Some(("keys", name)) if name.starts_with("vault/") => Some(ObjectKind::VaultKey),
            Some(("keys", _)) => Some(ObjectKind::SessionKey),
            Some(("packs", _)) => Some(ObjectKind::Pack),
            Some(("log", _)) => Some(ObjectKind::Record),
            Some(("segments", _)) => Some(ObjectKind::Segment),
            Some(("checkpoints", _)) => Some(ObjectKind::Checkpoint),
            Some(("archive", _)) => Some(ObjectKind::Archive),
            _ => None,
        }
    }
}

fn number(text: &str, width: usize) -> Option<u64> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectName({:?})", self.0)
    }
}

/// The body of an object: bytes that are fit to leave the machine, because a sealing or encoding step of this
/// crate made them. A list of parts, so that a pack of frames is written without being copied together.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    parts: Vec<Bytes>,
    len: u64,
}

impl Sealed {
    pub(crate) fn from_parts(parts: Vec<Bytes>) -> Self {
        let len = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts, len }
    }

    pub(crate) fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self::from_parts(vec![bytes.into()])
    }

    /// A body whose bytes were let go: only its length is known. It has no parts, so a store refuses it.
    pub(crate) fn described(len: u64) -> Self {
        Self {
            parts: Vec::new(),
            len,
        }
    }

    /// An object that was read from a site, as it was: replication copies what is sealed already.
    /// The caller has verified it against the record that names it.
    pub fn copied(bytes: Bytes) -> Self {
        Self::from_bytes(bytes)
    }

    /// A scratch body for the site probe: public text.
    pub fn probe(racer: u64) -> Self {
        Self::from_bytes(format!("holdfast probe {racer}").into_bytes())
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// All bytes in one piece; copies unless there is one part.
    pub fn to_bytes(&self) -> Bytes {
        match self.parts.as_slice() {
            [one] => one.clone(),
            parts => parts.concat().into(),
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.len)
    }
}
