//! Opens a vault's secrets with an identity, and makes bundles of them.

use bytes::Bytes;
use holdfast_format::{
    Bundle, Generation, Hash, Identity, PublicKey, Scope, SecretKey, SourceName, VaultSecrets,
};

use crate::client::{Admin, Connection, VaultInfo};
use crate::error::{Error, Result};

/// The root key to believe: the one that the identity pins. An identity that pins none (a plain age identity) has to
/// take the coordinator's word.
pub fn trusted_root(vault: &VaultInfo, identity: &Identity) -> Result<PublicKey> {
    let root = identity.root_public.unwrap_or(vault.root_public);
    vault.require(identity.vault.unwrap_or(vault.id), &root, "the identity")?;
    Ok(root)
}

/// The root secret, which certifies coordinators and recipients.
pub fn require_root(identity: &Identity) -> Result<&SecretKey> {
    identity.root.as_ref().ok_or_else(|| Error::Denied {
        what: "the identity".into(),
        why: "it can only read: it holds no root secret; \
              give the identity file or the recovery kit that `holdfast vault create` made"
            .into(),
    })
}

/// Opens the vault's secrets. `object` is the key object if it was fetched already.
///
/// The object must be the one whose hash stands in the signed list of recipients: whoever knows a recipient's public
/// key can seal an object of his own to it.
pub async fn open_secrets(
    connection: &Connection,
    vault: &VaultInfo,
    identity: &Identity,
    object: Option<(Generation, Bytes)>,
) -> Result<VaultSecrets> {
    let root = trusted_root(vault, identity)?;
    let recipients = vault.recipients(&root)?;
    let object = match object {
        Some((generation, object)) if generation == recipients.generation => object,
        // The list changed in between, or nobody has fetched it yet.
        _ => {
            let id = vault.id.to_string();
            let admin = Admin::new(connection);
            admin
                .key_object(&id, None, recipients.generation)
                .await?
                .object
        }
    };
    if Hash::of(&object) != recipients.vault_key {
        return Err(Error::Denied {
            what: "the vault's key object".into(),
            why: "it is not the one that the vault's root key signed; \
                  do not use this coordinator until someone has looked into it"
                .into(),
        });
    }
    Ok(VaultSecrets::open(
        vault.id,
        recipients.generation,
        &object,
        &identity.age,
    )?)
}

/// A write-only bundle for one agent and scope.
pub async fn bundle(
    connection: &Connection,
    vault: &VaultInfo,
    identity: &Identity,
    agent: SourceName,
    scope: Scope,
) -> Result<Bundle> {
    let root = trusted_root(vault, identity)?;
    let secrets = open_secrets(connection, vault, identity, None).await?;
    Ok(Bundle {
        vault: vault.id,
        name: vault.name.parse()?,
        root,
        recipients: vault.recipients(&root)?,
        agent,
        keys: secrets.scope_keys(&scope),
        scope,
    })
}
