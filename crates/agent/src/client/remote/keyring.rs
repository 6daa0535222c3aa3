//! Data keys of the sessions whose frames are met, each fetched and opened once.
//!
//! State: opened keys. A key object is believed only if it has the hash that the log gives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::{AgeIdentity, DataKey, KeyId, KeyRef, Scope, SessionKey, VaultId};
use tokio::sync::OnceCell;

use crate::client::{Admin, Connection};
use crate::error::Result;

/// See the module header.
pub(super) struct KeyRing {
    connection: Connection,
    vault: VaultId,
    scope: Scope,
    identity: AgeIdentity,
    keys: Mutex<HashMap<KeyId, Arc<OnceCell<DataKey>>>>,
}

impl KeyRing {
    /// A ring for one scope.
    pub(super) fn new(
        connection: &Connection,
        vault: VaultId,
        scope: Scope,
        identity: AgeIdentity,
    ) -> Self {
        Self {
            connection: connection.clone(),
            vault,
            scope,
            identity,
            keys: Mutex::new(HashMap::new()),
        }
    }

    /// The vault whose keys they are.
    pub(super) fn vault(&self) -> VaultId {
        self.vault
    }

    /// The key that a reference names.
    pub(super) async fn get(&self, reference: &KeyRef) -> Result<DataKey> {
        let cell = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(keys.entry(reference.key).or_default())
        };
        cell.get_or_try_init(|| self.fetch(reference))
            .await
            .cloned()
    }

    async fn fetch(&self, reference: &KeyRef) -> Result<DataKey> {
        let object = Admin::new(&self.connection)
            .key_object(
                &self.vault.to_string(),
                Some(reference.key),
                reference.generation,
            )
            .await?;
        let key = SessionKey::open(
            self.vault,
            reference,
            &self.scope,
            &object.object,
            &self.identity,
        )?;
        Ok(key)
    }
}
