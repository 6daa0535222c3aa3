//! Signatures: the vault's root key, the keys that coordinators sign records with, and the certificates between them.

use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::codec;
use crate::error::{Error, Result};
use crate::id::VaultId;

/// An ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PublicKey(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 32],
);

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl std::str::FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(
                    format!("public key {text:?}"),
                    "it is 64 hexadecimal digits",
                )
            })
    }
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Signature(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub [u8; 64],
);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature")
    }
}

/// What a signature is for. Its text is signed before the message, so that none passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The vault header, by the root key.
    Header,
    /// A coordinator's certificate, by the root key.
    Certificate,
    /// The list of recipients, by the root key.
    Recipients,
    /// A record's body, by a certified coordinator.
    Record,
}

impl Purpose {
    fn text(self) -> &'static [u8] {
        match self {
            Self::Header => b"holdfast header\0",
            Self::Certificate => b"holdfast certificate\0",
            Self::Recipients => b"holdfast recipients\0",
            Self::Record => b"holdfast record\0",
        }
    }
}

/// A secret signing key: the vault's root, or a coordinator's.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// Takes 32 random bytes as a key.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The secret bytes, to be kept in a file that only its owner reads.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message for one purpose.
    pub fn sign(&self, purpose: Purpose, message: &[u8]) -> Signature {
        Signature(self.0.sign(&[purpose.text(), message].concat()).to_bytes())
    }
}

/// Checks a signature.
pub fn verify(key: &PublicKey, purpose: Purpose, message: &[u8], signature: &Signature) -> bool {
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| {
        key.verify_strict(
            &[purpose.text(), message].concat(),
            &DalekSignature::from_bytes(&signature.0),
        )
        .is_ok()
    })
}

/// The root key's word that a coordinator's key may write one vault's log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Certificate {
    /// The vault.
    #[n(0)]
    pub vault: VaultId,
    /// The coordinator's public key.
    #[n(1)]
    pub writer: PublicKey,
    /// What a person calls the coordinator or its cluster.
    #[n(2)]
    pub name: String,
    /// When it was made, by the client's clock: milliseconds since 1970 UTC. Information only.
    #[n(3)]
    pub made_millis: i64,
    /// The root key's signature over the other fields.
    #[n(4)]
    pub signature: Signature,
}

impl Certificate {
    /// Certifies a coordinator's key.
    pub fn make(
        root: &SecretKey,
        vault: VaultId,
        writer: PublicKey,
        name: &str,
        now_millis: i64,
    ) -> Self {
        let message = Self::message(vault, &writer, name, now_millis);
        Self {
            vault,
            writer,
            name: name.into(),
            made_millis: now_millis,
            signature: root.sign(Purpose::Certificate, &message),
        }
    }

    /// Checks it against the vault's root key.
    pub fn check(&self, vault: VaultId, root: &PublicKey) -> Result<()> {
        let message = Self::message(self.vault, &self.writer, &self.name, self.made_millis);
        if self.vault != vault {
            return Err(Error::Misplaced {
                object: format!("the certificate of {}", self.name),
                belongs_to: format!("vault {}", self.vault),
            });
        }
        if !verify(root, Purpose::Certificate, &message, &self.signature) {
            return Err(Error::corrupt(
                format!("the certificate of {}", self.name),
                "it is not signed by the vault's root key",
            ));
        }
        Ok(())
    }

    fn message(vault: VaultId, writer: &PublicKey, name: &str, made_millis: i64) -> Vec<u8> {
        codec::encode(&(vault, *writer, name.to_owned(), made_millis))
    }

    /// Encodes it.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes what [`Self::encode`] made; the signature is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }
}

impl codec::Body for Certificate {
    const KEYS: u64 = 5;
    const WHAT: &'static str = "a certificate";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_holds_for_its_vault_and_root_only() {
        let root = SecretKey::new(&[1; 32]);
        let writer = SecretKey::new(&[2; 32]).public();
        let vault = VaultId([3; 16]);
        let made = Certificate::make(&root, vault, writer, "c1", 5);
        let read = Certificate::decode(&made.encode()).unwrap();
        assert!(read.check(vault, &root.public()).is_ok());
        assert!(read.check(VaultId([4; 16]), &root.public()).is_err());
        assert!(read.check(vault, &writer).is_err());
        let forged = Certificate {
            name: "c2".into(),
            ..read
        };
        assert!(forged.check(vault, &root.public()).is_err());
    }

    #[test]
    fn a_signature_serves_one_purpose() {
        let key = SecretKey::new(&[1; 32]);
        let signature = key.sign(Purpose::Record, b"m");
        assert!(verify(&key.public(), Purpose::Record, b"m", &signature));
        assert!(!verify(&key.public(), Purpose::Header, b"m", &signature));
        assert!(!verify(&key.public(), Purpose::Record, b"n", &signature));
    }
}
