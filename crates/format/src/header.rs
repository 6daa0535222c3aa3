//! The vault header: the object `vault`, written once, signed by the root key.

use minicbor::{Decode, Encode};

use crate::codec::{self, Body, LEVEL, Mark};
use crate::error::{Error, Result};
use crate::id::{Hash, VaultId, VaultName};
use crate::object::Sealed;
use crate::sign::{PublicKey, Purpose, SecretKey, Signature, verify};

/// See [`VaultHeader::suite`].
const SUITE: u8 = 1;

/// What every reader of a vault needs first. Public.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VaultHeader {
    /// Format level that the vault was created at.
    #[n(0)]
    pub level: u8,
    /// The vault's id.
    #[n(1)]
    pub vault: VaultId,
    /// The name it was created under.
    #[n(2)]
    pub name: VaultName,
    /// 1: hashes are BLAKE3, and each data key says what it seals with (see [`crate::cipher`]).
    #[n(3)]
    pub suite: u8,
    /// The root key that certifies coordinators and signs the list of recipients.
    #[n(4)]
    pub root: PublicKey,
    /// When it was created, by the client's clock: milliseconds since 1970 UTC.
    #[n(5)]
    pub created_millis: i64,
}

impl Body for VaultHeader {
    const KEYS: u64 = 6;
    const WHAT: &'static str = "the vault header";
}

impl VaultHeader {
    /// A header for a new vault.
    pub fn new(vault: VaultId, name: VaultName, root: PublicKey, created_millis: i64) -> Self {
        Self {
            level: LEVEL,
            vault,
            name,
            suite: SUITE,
            root,
            created_millis,
        }
    }

    /// The object: mark ‖ signature (64) ‖ body.
    pub fn seal(&self, root: &SecretKey) -> Sealed {
        let body = codec::encode(self);
        let mut out = Mark::Header.bytes().to_vec();
        out.extend_from_slice(&root.sign(Purpose::Header, &body).0);
        out.extend_from_slice(&body);
        Sealed::from_bytes(out)
    }

    /// Reads the object and checks its signature and that it is this vault's.
    pub fn open(vault: VaultId, object: &[u8]) -> Result<Self> {
        let header = Self::open_any(object)?;
        if header.vault != vault {
            return Err(Error::Misplaced {
                object: "the vault header".into(),
                belongs_to: format!("vault {}", header.vault),
            });
        }
        Ok(header)
    }

    /// Reads the object of whichever vault it is and checks its signature.
    pub fn open_any(object: &[u8]) -> Result<Self> {
        let what = "the vault header";
        let mut rest = Mark::Header.strip(what, object)?;
        let signature = codec::take_bytes(what, &mut rest, 64)?;
        let signature = Signature(
            signature
                .try_into()
                .map_err(|_| Error::corrupt(what, "it ends early"))?,
        );
        let header: Self = codec::decode(rest)?;
        if header.level > LEVEL {
            return Err(Error::too_new(
                what,
                format!("its format level is {}", header.level),
            ));
        }
        if !verify(&header.root, Purpose::Header, rest, &signature) {
            return Err(Error::corrupt(what, "its signature does not verify"));
        }
        if header.suite != SUITE {
            let why = format!("suite {} is unknown", header.suite);
            return Err(Error::too_new(what, why));
        }
        // The chain starts with the hash of these very bytes: a reader that skipped a key would start another chain.
        if codec::encode(&header) != rest {
            return Err(Error::too_new(
                what,
                "it holds what this release does not know",
            ));
        }
        Ok(header)
    }

    /// The first link of the log's chain: BLAKE3 of the header's body.
    pub fn chain_hash(&self) -> Hash {
        Hash::of(&codec::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_opens_as_itself_only() {
        let root = SecretKey::new(&[1; 32]);
        let vault = VaultId([2; 16]);
        let header = VaultHeader::new(vault, "db".parse().unwrap(), root.public(), 7);
        let object = header.seal(&root).to_bytes();
        assert_eq!(VaultHeader::open(vault, &object).unwrap(), header);
        assert!(VaultHeader::open(VaultId([3; 16]), &object).is_err());
        for at in 0..object.len() {
            let mut bad = object.to_vec();
            bad[at] ^= 1;
            assert!(VaultHeader::open(vault, &bad).is_err(), "byte {at}");
            assert!(
                VaultHeader::open(vault, &object[..at]).is_err(),
                "cut at {at}"
            );
        }
    }
}
