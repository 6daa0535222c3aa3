//! Opens the frames that a verification gives, so that snapshots need not be read a second time for it.
//!
//! State: an opener for each scope met, frames being opened, and which chunks were proven right. It keeps no contents, and what does
//! not open it leaves to whoever reads the snapshots chunk by chunk: he can say what is lost by it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::{ChunkId, Identity, Scope, VaultSecrets};
use tokio::task::JoinSet;

use super::keyring::KeyRing;
use super::opener::Opener;
use super::sealed;
use crate::client::{Admin, Connection, VaultInfo, VerifiedFrame, keys};
use crate::error::{Error, Result};
use crate::restore::ChunksRead;

type Proven = Result<(Scope, Vec<(ChunkId, u32)>)>;

/// See the module header.
pub struct FrameProof {
    context: Context,
    connection: Connection,
    identity: Identity,
    vault: VaultInfo,
    secrets: VaultSecrets,
    openers: HashMap<Scope, Arc<Opener>>,
    opening: JoinSet<Proven>,
    read: HashMap<Scope, ChunksRead>,
}

impl std::fmt::Debug for FrameProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameProof({})", self.vault.name)
    }
}

impl FrameProof {
    /// Opens the vault's secrets.
    ///
    /// # Errors
    /// Denied if the identity does not open this vault.
    pub async fn open(
        context: &Context,
        connection: &Connection,
        identity: &Identity,
        vault: &str,
    ) -> Result<Self> {
        let vault = Admin::new(connection).vault(vault).await?;
        let secrets = keys::open_secrets(connection, &vault, identity, None).await?;
        Ok(Self {
            context: context.clone(),
            connection: connection.clone(),
            identity: identity.clone(),
            vault,
            secrets,
            openers: HashMap::new(),
            opening: JoinSet::new(),
            read: HashMap::new(),
        })
    }

    /// Takes a frame, once there is room for it.
    ///
    /// # Errors
    /// If the coordinator does not answer any more.
    pub async fn take(&mut self, given: VerifiedFrame) -> Result<()> {
        while let Some(done) = self.opening.try_join_next() {
            self.note(done)?;
        }
        let (frame, key) = sealed::read(given.frame)?;
        let opener = match self.openers.entry(given.scope.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let age = self.identity.age.clone();
                let scope = given.scope.clone();
                let ring = KeyRing::new(&self.connection, self.vault.id, scope, age);
                let scope = self.secrets.scope_keys(&given.scope);
                free.insert(Arc::new(Opener::new(&self.context, ring, scope)))
            }
        };
        opener.has_room().await;
        let opener = Arc::clone(opener);
        self.opening.spawn(async move {
            let proven = opener.prove(frame, key).await?;
            Ok((given.scope, proven))
        });
        Ok(())
    }

    /// What was proven right of each scope.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub async fn finish(mut self) -> Result<HashMap<Scope, ChunksRead>> {
        while let Some(done) = self.opening.join_next().await {
            self.note(done)?;
        }
        Ok(self.read)
    }

    fn note(&mut self, done: std::result::Result<Proven, tokio::task::JoinError>) -> Result<()> {
        let (scope, chunks) =
            done.map_err(|e| Error::Bug(format!("a frame's opening ended: {e}")))??;
        let read = self.read.entry(scope).or_default();
        chunks.iter().for_each(|(id, len)| read.add(id, *len));
        Ok(())
    }
}
