//! The signed list of recipients: checked by every agent against the root key that its bundle pins, so that a stolen
//! coordinator cannot add one.

use crate::codec;
use crate::error::{Error, Result};
use crate::fact::RecipientsSet;
use crate::id::{Generation, Hash, VaultId};
use crate::key::Recipient;
use crate::sign::{PublicKey, Purpose, SecretKey, verify};

impl RecipientsSet {
    /// Signs a list of recipients. `vault_key` is BLAKE3 of the object `keys/vault/<generation>`.
    pub fn sign(
        root: &SecretKey,
        vault: VaultId,
        generation: Generation,
        recipients: Vec<Recipient>,
        vault_key: Hash,
        made_millis: i64,
    ) -> Self {
        let message = message(vault, generation, &recipients, vault_key, made_millis);
        let signature = root.sign(Purpose::Recipients, &message);
        Self {
            generation,
            recipients,
            vault_key,
            made_millis,
            signature,
        }
    }

    /// Checks the signature.
    pub fn check(&self, vault: VaultId, root: &PublicKey) -> Result<()> {
        let message = message(
            vault,
            self.generation,
            &self.recipients,
            self.vault_key,
            self.made_millis,
        );
        if verify(root, Purpose::Recipients, &message, &self.signature) {
            Ok(())
        } else {
            Err(Error::corrupt(
                "the list of recipients",
                "it is not signed by the vault's root key; do not back up until someone has looked into it",
            ))
        }
    }

    /// Encodes it, for the agent bundle and the wire.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Decodes it; the signature is not checked.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode(bytes)
    }
}

fn message(
    vault: VaultId,
    generation: Generation,
    recipients: &[Recipient],
    vault_key: Hash,
    made_millis: i64,
) -> Vec<u8> {
    codec::encode(&(
        vault,
        generation,
        recipients.to_vec(),
        vault_key,
        made_millis,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::AgeIdentity;

    #[test]
    fn a_list_that_was_added_to_is_refused() {
        let root = SecretKey::new(&[1; 32]);
        let vault = VaultId([2; 16]);
        let one = Recipient::new("one", &AgeIdentity::generate().recipient()).unwrap();
        let set = RecipientsSet::sign(
            &root,
            vault,
            Generation(1),
            vec![one.clone()],
            Hash([3; 32]),
            4,
        );
        let read = RecipientsSet::decode(&set.encode()).unwrap();
        assert!(read.check(vault, &root.public()).is_ok());
        let thief = Recipient::new("thief", &AgeIdentity::generate().recipient()).unwrap();
        let added = RecipientsSet {
            recipients: vec![one, thief],
            ..read
        };
        assert!(added.check(vault, &root.public()).is_err());
    }
}
