//! A snapshot read straight from one site, with no coordinator: what `rescue` stands on.
//!
//! State: the folded log of the vault as it stands there, the identity's keys, and the data keys met so far. It never
//! writes, and hands out nothing that does not hash to its id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_format::{
    ChunkId, ChunkKind, DataKey, Frame, Hash, Identity, KeyId, ObjectName, Scope, ScopeKeys,
    SessionKey, VaultId, VaultSecrets, open_frame,
};
use holdfast_store::SiteReader;
use holdfast_vault::fetch::{FrameReader, locate};
use holdfast_vault::{SegmentCache, State, open_readable};

use crate::error::{Error, Result};
use crate::source::{ChunkSource, Fetched, Loss};

/// A vault as it lies at one site, opened with an identity.
#[derive(Debug)]
pub struct DirectVault {
    context: Context,
    site: Arc<dyn SiteReader>,
    state: State,
    damage: Option<String>,
    secrets: VaultSecrets,
    identity: Identity,
    frames: FrameReader,
    keys: Mutex<HashMap<KeyId, Arc<DataKey>>>,
}

fn from_vault(error: holdfast_vault::Error) -> Error {
    use holdfast_vault::Error as Vault;
    let text = error.to_string();
    match error {
        Vault::Unavailable(_) | Vault::Fenced(_) | Vault::Full(_) | Vault::Elsewhere(_) => {
            Error::Unavailable {
                what: "the site".into(),
                why: text,
            }
        }
        Vault::Missing(_) => Error::Missing {
            what: text,
            why: "the site does not have it".into(),
        },
        Vault::Corrupt(_) => Error::Damaged {
            what: "the vault at this site".into(),
            why: text,
        },
        Vault::Denied(_) => Error::Denied {
            what: "the site".into(),
            why: text,
        },
        Vault::Invalid(_) | Vault::TooNew(_) => Error::Invalid {
            what: "the vault".into(),
            why: text,
        },
        Vault::Bug(_) => Error::Bug(text),
    }
}

impl DirectVault {
    /// Reads the vault's log at a site and opens its secrets.
    pub async fn open(
        context: Context,
        site: Arc<dyn SiteReader>,
        vault: VaultId,
        identity: Identity,
    ) -> Result<Arc<Self>> {
        let (state, wrong) = open_readable(&site, vault, &SegmentCache::Memory)
            .await
            .map_err(from_vault)?;
        if identity
            .root_public
            .is_some_and(|root| root != state.header.root)
        {
            return Err(Error::Denied {
                what: format!("vault {}", state.header.name),
                why: "its root key is not the one that the identity names; this is another vault, or a forged one; give the identity that belongs to it".into(),
            });
        }
        let Some(set) = state.catalog.recipients.clone() else {
            return Err(Error::Damaged {
                what: format!("vault {}", state.header.name),
                why: "its log names no recipients".into(),
            });
        };
        let name = ObjectName::vault_key(vault, set.generation);
        let object = site.get(&name).await.map_err(|e| from_vault(e.into()))?;
        let object = object.filter(|object| Hash::of(object) == set.vault_key).ok_or_else(|| Error::Damaged {
            what: "the vault's key object".into(),
            why: "it is missing at this site, or not the one that the log names; try another site".into(),
        })?;
        let secrets = VaultSecrets::open(vault, set.generation, &object, &identity.age)?;
        Ok(Arc::new(Self {
            context,
            frames: FrameReader::new(vault),
            site,
            damage: wrong.map(|error| error.to_string()),
            state,
            secrets,
            identity,
            keys: Mutex::default(),
        }))
    }

    /// What is wrong with the log behind what was folded: later snapshots may exist that cannot be seen here.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// The folded log.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The keys of a scope.
    pub fn scope_keys(&self, scope: &Scope) -> ScopeKeys {
        self.secrets.scope_keys(scope)
    }

    /// Where the chunks of a scope come from.
    pub fn source(self: &Arc<Self>, scope: &Scope) -> Arc<dyn ChunkSource> {
        Arc::new(DirectSource {
            keys: self.scope_keys(scope),
            vault: self.clone(),
            scope: scope.clone(),
        })
    }

    async fn data_key(&self, id: KeyId, scope: &Scope) -> Result<Arc<DataKey>> {
        if let Some(known) = self
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
        {
            return Ok(known.clone());
        }
        let vault = self.state.header.vault;
        let missing = |why: &str| Error::Damaged {
            what: format!("data key {id}"),
            why: why.into(),
        };
        let info = self
            .state
            .catalog
            .keys
            .get(&id)
            .ok_or_else(|| missing("the log does not name it"))?;
        let name = ObjectName::session_key(vault, id, info.reference.generation);
        let object = self
            .site
            .get(&name)
            .await
            .map_err(|e| from_vault(e.into()))?;
        let object = object.ok_or_else(|| missing("it is missing at this site"))?;
        let key = SessionKey::open(vault, &info.reference, scope, &object, &self.identity.age)?;
        let key = Arc::new(key);
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, key.clone());
        Ok(key)
    }
}

/// The chunks of one scope of a [`DirectVault`].
#[derive(Debug)]
struct DirectSource {
    vault: Arc<DirectVault>,
    scope: Scope,
    keys: ScopeKeys,
}

impl DirectSource {
    /// Opens a frame; what fails is lost, by chunk.
    async fn open(
        &self,
        frame: Frame,
        out: &mut HashMap<ChunkId, std::result::Result<Fetched, Loss>>,
    ) -> Result<()> {
        let ids: Vec<ChunkId> = frame.chunks.iter().map(|chunk| chunk.id).collect();
        let refs: Vec<Vec<ChunkId>> = frame
            .chunks
            .iter()
            .map(|chunk| chunk.refs.clone())
            .collect();
        let opened = match self.vault.data_key(frame.key, &self.scope).await {
            Ok(key) => {
                let (vault, keys) = (self.vault.state.header.vault, self.keys.clone());
                let work = move || open_frame(vault, &key, &keys, &frame).map_err(Error::from);
                self.vault.context.run_blocking(work).await
            }
            Err(error @ (Error::Damaged { .. } | Error::Denied { .. })) => Err(error),
            Err(error) => return Err(error),
        };
        match opened {
            Ok(chunks) => {
                for ((id, bytes), refs) in ids.into_iter().zip(chunks).zip(refs) {
                    out.insert(id, Ok(Fetched { bytes, refs }));
                }
            }
            Err(error) => {
                for id in ids {
                    out.insert(
                        id,
                        Err(Loss {
                            id,
                            why: error.to_string(),
                        }),
                    );
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ChunkSource for DirectSource {
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
        let ids: Vec<ChunkId> = wanted.iter().map(|(id, _)| *id).collect();
        let (reads, _) = locate(&self.vault.state, &self.scope, &ids);
        let sites = [self.vault.site.clone()];
        let mut found = HashMap::new();
        for read in reads {
            let fetched = self.vault.frames.fetch(&sites, &read).await;
            for frame in fetched.frames {
                self.open(frame, &mut found).await?;
            }
            for (id, why) in fetched.lost {
                found.insert(id, Err(Loss { id, why }));
            }
        }
        let answers = ids.into_iter().map(|id| {
            let unknown = || {
                Err(Loss {
                    id,
                    why: "the vault's log at this site does not name it".into(),
                })
            };
            found.get(&id).cloned().unwrap_or_else(unknown)
        });
        Ok(answers.collect())
    }
}
