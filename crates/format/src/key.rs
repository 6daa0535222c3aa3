//! Key objects: the vault's secrets and the sessions' data keys, sealed with age to the vault's recipients.
//!
//! Both objects are `mark ‖ body`; the body names its place in clear and carries one age file (age-encryption.org/v1)
//! whose plaintext repeats the place, so that a swapped object is found out.

use std::io::{Read, Write};
use std::str::FromStr;

use age::secrecy::SecretString;
use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::chunk::ScopeKeys;
use crate::cipher::{DataKey, Suite};
use crate::codec::{self, Body, Mark};
use crate::error::{Error, Result};
use crate::id::{Generation, Hash, KeyId, Scope, VaultId};
use crate::object::Sealed;

/// Whoever may open what is sealed: an age X25519 public key with the name that a person gave it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Recipient {
    /// For people: `operator`, `safe`.
    #[n(0)]
    pub name: String,
    /// `age1…`.
    #[n(1)]
    pub key: String,
}

impl Recipient {
    /// Checks that the key is one that age accepts.
    pub fn new(name: &str, key: &str) -> Result<Self> {
        parse_recipient(key)?;
        Ok(Self {
            name: name.into(),
            key: key.into(),
        })
    }
}

fn parse_recipient(key: &str) -> Result<age::x25519::Recipient> {
    age::x25519::Recipient::from_str(key.trim()).map_err(|why| {
        Error::invalid(
            format!("recipient {key:?}"),
            format!("{why}; give an age1… key"),
        )
    })
}

/// Seals a secret to all recipients.
fn seal_to(recipients: &[Recipient], plain: &[u8]) -> Result<Vec<u8>> {
    let keys = recipients
        .iter()
        .map(|r| parse_recipient(&r.key))
        .collect::<Result<Vec<_>>>()?;
    let refuse = |why: String| Error::invalid("the list of recipients", why);
    let encryptor =
        age::Encryptor::with_recipients(keys.iter().map(|key| key as &dyn age::Recipient))
            .map_err(|e| refuse(e.to_string()))?;
    let mut out = Vec::new();
    let mut writer = encryptor
        .wrap_output(&mut out)
        .map_err(|e| refuse(e.to_string()))?;
    writer
        .write_all(plain)
        .and_then(|()| writer.finish().map(drop))
        .map_err(|e| refuse(e.to_string()))?;
    Ok(out)
}

/// An age X25519 identity: what opens key objects. Never leaves the client.
#[derive(Clone)]
pub struct AgeIdentity(pub(crate) age::x25519::Identity);

impl std::fmt::Debug for AgeIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgeIdentity(of {})", self.recipient())
    }
}

impl AgeIdentity {
    /// Makes a new one from the system's randomness.
    pub fn generate() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// The public half, `age1…`.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The secret, `AGE-SECRET-KEY-1…`.
    pub fn secret(&self) -> SecretString {
        self.0.to_string()
    }

    /// Reads `AGE-SECRET-KEY-1…`.
    pub fn parse(text: &str) -> Result<Self> {
        age::x25519::Identity::from_str(text.trim())
            .map(Self)
            .map_err(|why| Error::invalid("the age secret key", why))
    }

    fn open(&self, what: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let refuse = |why: String| Error::denied(what, why);
        let decryptor =
            age::Decryptor::new(sealed).map_err(|e| Error::corrupt(what, e.to_string()))?;
        let mut reader = decryptor
            .decrypt(std::iter::once(&self.0 as &dyn age::Identity))
            .map_err(|e| match e {
                age::DecryptError::NoMatchingKeys => refuse(
                    "this identity is not one of its recipients; give the vault's identity file"
                        .into(),
                ),
                other => Error::corrupt(what, other.to_string()),
            })?;
        let mut plain = Zeroizing::new(Vec::new());
        reader
            .read_to_end(&mut plain)
            .map_err(|e| Error::corrupt(what, e.to_string()))?;
        Ok(plain)
    }
}

/// The vault's id secret and chunker secret: all scopes' keys derive from them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VaultSecrets {
    id: [u8; 32],
    chunker: [u8; 32],
}

impl std::fmt::Debug for VaultSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VaultSecrets(secret)")
    }
}

impl VaultSecrets {
    /// Takes random bytes as secrets.
    pub fn new(id: [u8; 32], chunker: [u8; 32]) -> Self {
        Self { id, chunker }
    }

    /// The keys of one scope.
    pub fn scope_keys(&self, scope: &Scope) -> ScopeKeys {
        ScopeKeys::derive(&self.id, &self.chunker, scope)
    }

    /// The object `keys/vault/<generation>`.
    pub fn seal(
        &self,
        vault: VaultId,
        generation: Generation,
        recipients: &[Recipient],
    ) -> Result<Sealed> {
        let plain = Zeroizing::new(codec::encode(&VaultKeyPlain {
            vault,
            generation,
            id: self.id,
            chunker: self.chunker,
        }));
        let body = VaultKeyBody {
            vault,
            generation,
            sealed: seal_to(recipients, &plain)?,
        };
        Ok(object(Mark::VaultKey, &body))
    }

    /// Opens the object.
    pub fn open(
        vault: VaultId,
        generation: Generation,
        object: &[u8],
        identity: &AgeIdentity,
    ) -> Result<Self> {
        let what = "the vault's key object";
        let body: VaultKeyBody = codec::decode(Mark::VaultKey.strip(what, object)?)?;
        let plain = identity.open(what, &body.sealed)?;
        let plain: VaultKeyPlain = codec::decode(&plain)?;
        if (body.vault, body.generation, plain.vault, plain.generation)
            != (vault, generation, vault, generation)
        {
            return Err(Error::Misplaced {
                object: what.into(),
                belongs_to: format!("vault {} generation {}", plain.vault, plain.generation),
            });
        }
        Ok(Self {
            id: plain.id,
            chunker: plain.chunker,
        })
    }
}

fn object<T: Encode<()>>(mark: Mark, body: &T) -> Sealed {
    let mut out = mark.bytes().to_vec();
    out.extend_from_slice(&codec::encode(body));
    Sealed::from_bytes(out)
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct VaultKeyBody {
    #[n(0)]
    vault: VaultId,
    #[n(1)]
    generation: Generation,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

impl Body for VaultKeyBody {
    const KEYS: u64 = 3;
    const WHAT: &'static str = "the vault's key object";
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct VaultKeyPlain {
    #[n(0)]
    #[zeroize(skip)]
    vault: VaultId,
    #[n(1)]
    #[zeroize(skip)]
    generation: Generation,
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    id: [u8; 32],
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    chunker: [u8; 32],
}

impl Body for VaultKeyPlain {
    const KEYS: u64 = 4;
    const WHAT: &'static str = "the vault's secrets";
}

/// Where a session's data key lies, as a record names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct KeyRef {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// Which generation of recipients it is sealed to.
    #[n(1)]
    pub generation: Generation,
    /// BLAKE3 of the key object.
    #[n(2)]
    pub hash: Hash,
}

/// A session's data key as it lies at a site.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// Its name and hash.
    pub reference: KeyRef,
    /// The object `keys/<key id>/<generation>`.
    pub object: Sealed,
}

impl SessionKey {
    /// Seals a data key to the vault's recipients.
    pub fn seal(
        vault: VaultId,
        key: KeyId,
        generation: Generation,
        scope: &Scope,
        secret: &DataKey,
        recipients: &[Recipient],
    ) -> Result<Self> {
        let plain = Zeroizing::new(codec::encode(&SessionKeyPlain {
            vault,
            key,
            scope: scope.clone(),
            secret: *secret.secret(),
            suite: suite_byte(secret.suite()),
        }));
        let body = SessionKeyBody {
            vault,
            key,
            generation,
            sealed: seal_to(recipients, &plain)?,
        };
        let object = object(Mark::SessionKey, &body);
        let hash = Hash::of(&object.to_bytes());
        Ok(Self {
            reference: KeyRef {
                key,
                generation,
                hash,
            },
            object,
        })
    }

    /// Takes an object that an agent sent, after checking that it is a key object of this vault and in no wrong
    /// place. Nobody but a recipient can check more.
    pub fn accept(vault: VaultId, object: &[u8]) -> Result<Self> {
        let what = "the session's key object";
        let body: SessionKeyBody = codec::decode(Mark::SessionKey.strip(what, object)?)?;
        if body.vault != vault {
            return Err(Error::Misplaced {
                object: what.into(),
                belongs_to: format!("vault {}", body.vault),
            });
        }
        let reference = KeyRef {
            key: body.key,
            generation: body.generation,
            hash: Hash::of(object),
        };
        Ok(Self {
            reference,
            object: Sealed::from_bytes(object.to_vec()),
        })
    }

    /// Opens an object that a record names.
    pub fn open(
        vault: VaultId,
        reference: &KeyRef,
        scope: &Scope,
        object: &[u8],
        identity: &AgeIdentity,
    ) -> Result<DataKey> {
        let what = format!("key object {}", reference.key);
        if Hash::of(object) != reference.hash {
            return Err(Error::corrupt(
                what,
                "it does not have the hash that the record gives",
            ));
        }
        let body: SessionKeyBody = codec::decode(Mark::SessionKey.strip(&what, object)?)?;
        let plain = identity.open(&what, &body.sealed)?;
        let plain: SessionKeyPlain = codec::decode(&plain)?;
        if (plain.vault, plain.key) != (vault, reference.key) || plain.scope != *scope {
            return Err(Error::Misplaced {
                object: what,
                belongs_to: format!("key {} of vault {}", plain.key, plain.vault),
            });
        }
        let suite = match plain.suite {
            Some(byte) => Suite::from_byte(&what, byte)?,
            None => Suite::XChaCha20Poly1305,
        };
        Ok(DataKey::new(suite, plain.secret))
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SessionKeyBody {
    #[n(0)]
    vault: VaultId,
    #[n(1)]
    key: KeyId,
    #[n(2)]
    generation: Generation,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    sealed: Vec<u8>,
}

impl Body for SessionKeyBody {
    const KEYS: u64 = 4;
    const WHAT: &'static str = "a key object";
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
struct SessionKeyPlain {
    #[n(0)]
    #[zeroize(skip)]
    vault: VaultId,
    #[n(1)]
    #[zeroize(skip)]
    key: KeyId,
    #[n(2)]
    #[zeroize(skip)]
    scope: Scope,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    secret: [u8; 32],
    /// Absent for the first suite.
    #[n(4)]
    #[zeroize(skip)]
    suite: Option<u8>,
}

/// As it stands beside a data key.
fn suite_byte(suite: Suite) -> Option<u8> {
    (suite != Suite::XChaCha20Poly1305).then(|| suite.byte())
}

impl Body for SessionKeyPlain {
    const KEYS: u64 = 5;
    const WHAT: &'static str = "a data key";
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId([1; 16]);

    fn recipients(of: &[&AgeIdentity]) -> Vec<Recipient> {
        of.iter()
            .map(|i| Recipient::new("r", &i.recipient()).unwrap())
            .collect()
    }

    #[test]
    fn every_recipient_opens_and_nobody_else() {
        let (one, two, other) = (
            AgeIdentity::generate(),
            AgeIdentity::generate(),
            AgeIdentity::generate(),
        );
        let secrets = VaultSecrets::new([2; 32], [3; 32]);
        let object = secrets
            .seal(VAULT, Generation(1), &recipients(&[&one, &two]))
            .unwrap()
            .to_bytes();
        for identity in [&one, &two] {
            let opened = VaultSecrets::open(VAULT, Generation(1), &object, identity).unwrap();
            assert_eq!((opened.id, opened.chunker), ([2; 32], [3; 32]));
        }
        let denied = VaultSecrets::open(VAULT, Generation(1), &object, &other);
        assert!(matches!(denied, Err(Error::Denied { .. })));
        assert!(VaultSecrets::open(VAULT, Generation(2), &object, &one).is_err());
        assert!(VaultSecrets::open(VaultId([9; 16]), Generation(1), &object, &one).is_err());
    }

    #[test]
    fn a_session_key_opens_in_its_place_only() {
        for suite in [Suite::XChaCha20Poly1305, Suite::Aes256Gcm] {
            let one = AgeIdentity::generate();
            let scope: Scope = "agent/a".parse().unwrap();
            let key = SessionKey::seal(
                VAULT,
                KeyId([4; 16]),
                Generation(1),
                &scope,
                &DataKey::new(suite, [5; 32]),
                &recipients(&[&one]),
            )
            .unwrap();
            let object = key.object.to_bytes();
            let accepted = SessionKey::accept(VAULT, &object).unwrap();
            assert_eq!(accepted.reference, key.reference);
            let opened = SessionKey::open(VAULT, &key.reference, &scope, &object, &one).unwrap();
            assert_eq!((opened.suite(), opened.secret()), (suite, &[5; 32]));
            let other: Scope = "agent/b".parse().unwrap();
            assert!(SessionKey::open(VAULT, &key.reference, &other, &object, &one).is_err());
            let mut bad = object.to_vec();
            *bad.last_mut().unwrap() ^= 1;
            assert!(SessionKey::open(VAULT, &key.reference, &scope, &bad, &one).is_err());
        }
    }

    #[test]
    fn a_key_for_nobody_is_refused() {
        assert!(
            VaultSecrets::new([2; 32], [3; 32])
                .seal(VAULT, Generation(1), &[])
                .is_err()
        );
        assert!(Recipient::new("r", "age1nonsense").is_err());
    }
}
