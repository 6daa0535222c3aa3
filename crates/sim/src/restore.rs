//! Reading snapshots back: through a coordinator's services as a client does, or straight from a site.
//!
//! State: the keys met so far. Nothing is handed out that does not hash to its id: that is the real code's doing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdfast_agent::direct::DirectVault;
use holdfast_agent::{ChunkSource, Error, Fetched, Loss, Result};
use holdfast_context::Context;
use holdfast_coordinator::services::Service;
use holdfast_format::{
    ChunkId, ChunkKind, DataKey, Frame, FrameChunk, Generation, Hash, KeyId, KeyRef, Scope,
    ScopeKeys, SessionKey, SnapshotId, open_frame,
};
use holdfast_proto::v1;
use holdfast_proto::v1::fetch_response::Kind;
use holdfast_proto::v1::restore_server::Restore;
use holdfast_proto::v1::vaults_server::Vaults;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use crate::disk::Disk;
use crate::route::{Route, TURNS_MAX};
use crate::tree::{self, Tree};
use crate::world::World;

/// What a restore gives: the tree, or what of it cannot be had.
pub type Restored = std::result::Result<Tree, String>;

fn unavailable(status: Status) -> Error {
    Error::Unavailable {
        what: "the coordinator".into(),
        why: status.message().into(),
    }
}

/// Restores through a coordinator.
pub async fn through(world: &Arc<World>, service: &Service, id: SnapshotId) -> Result<Restored> {
    let opened = open(world, service, id).await.map_err(unavailable)?;
    read(world, service, opened).await
}

/// Restores through whichever coordinator the one that was asked first leads to.
pub async fn following(world: &Arc<World>, client: &str, id: SnapshotId) -> Result<Restored> {
    let route = Route::new(client);
    let mut turns = 0;
    loop {
        let Some(process) = route.process(world) else {
            return Err(unavailable(Status::unavailable("nobody listens")));
        };
        match open(world, &process.service, id).await {
            Ok(opened) => return read(world, &process.service, opened).await,
            Err(status) if turns < TURNS_MAX && route.turn(world, &status) => turns += 1,
            Err(status) => return Err(unavailable(status)),
        }
    }
}

async fn open(
    world: &World,
    service: &Service,
    id: SnapshotId,
) -> std::result::Result<v1::OpenRestoreResponse, Status> {
    let request = v1::OpenRestoreRequest {
        vault: world.vault_name(),
        snapshot: id.0.to_vec().into(),
        hold: Default::default(),
        who: "simulation".into(),
    };
    let opened = service.open_restore(Request::new(request)).await?;
    Ok(opened.into_inner())
}

async fn read(
    world: &Arc<World>,
    service: &Service,
    opened: v1::OpenRestoreResponse,
) -> Result<Restored> {
    let snapshot = opened.snapshot.unwrap_or_default();
    let root = ChunkId::from_slice(&snapshot.root)?;
    let scope: Scope = snapshot.scope.parse()?;
    let source = Remote {
        world: world.clone(),
        service: service.clone(),
        keys: world.secrets.scope_keys(&scope),
        scope,
        known: Mutex::default(),
    };
    let restored = tree::get(&source, root).await;
    let close = v1::CloseRestoreRequest {
        vault: world.vault_name(),
        hold: opened.hold,
    };
    // It runs out by itself where it cannot be closed.
    let _ = service.close_restore(Request::new(close)).await;
    restored
}

/// Restores every snapshot from one site's disk alone, with the identity.
pub async fn from_site(
    world: &Arc<World>,
    disk: &Arc<Disk>,
) -> Result<Vec<(SnapshotId, Restored)>> {
    let context: &Context = &world.context;
    let identity = world.identity.clone();
    let vault = world.header.vault;
    let direct = DirectVault::open(context.clone(), disk.clone(), vault, identity).await?;
    if let Some(damage) = direct.damage() {
        return Err(Error::Damaged {
            what: format!("the log at {}", disk.site_name()),
            why: damage.into(),
        });
    }
    let mut all = Vec::new();
    let snapshots = direct.state().catalog.snapshots.clone();
    for (id, snapshot) in snapshots {
        let source = direct.source(&snapshot.scope);
        all.push((id, tree::get(source.as_ref(), snapshot.root_id).await?));
    }
    Ok(all)
}

/// Chunks through a coordinator's services.
struct Remote {
    world: Arc<World>,
    service: Service,
    scope: Scope,
    keys: ScopeKeys,
    known: Mutex<HashMap<KeyId, Arc<DataKey>>>,
}

#[async_trait]
impl ChunkSource for Remote {
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
        let (to, requests) = mpsc::channel(1);
        let (answers, from) = mpsc::channel(8);
        let ids: Vec<u8> = wanted.iter().flat_map(|(id, _)| id.0).collect();
        let request = v1::FetchRequest {
            number: 1,
            vault: self.world.vault_name(),
            scope: self.scope.to_string(),
            site: String::new(),
            ids: ids.into(),
        };
        let _ = to.send(Ok(request)).await;
        let service = self.service.clone();
        drop(self.world.context.spawn(async move {
            service
                .fetch_over(ReceiverStream::new(requests), answers)
                .await;
        }));
        let mut found: HashMap<ChunkId, std::result::Result<Fetched, Loss>> = HashMap::new();
        let mut from = ReceiverStream::new(from);
        while let Some(answer) = from.next().await {
            match answer.map_err(unavailable)?.kind {
                Some(Kind::Frame(frame)) => self.open(frame, &mut found).await?,
                Some(Kind::Lost(lost)) => {
                    let id = ChunkId::from_slice(&lost.id)?;
                    found.insert(id, Err(Loss { id, why: lost.why }));
                }
                Some(Kind::Done(_)) => break,
                None => {}
            }
        }
        let missing = |id| Loss {
            id,
            why: "the coordinator did not answer for it".into(),
        };
        let answers = wanted.iter().map(|(id, _)| {
            let found = found.get(id).cloned();
            found.unwrap_or_else(|| Err(missing(*id)))
        });
        Ok(answers.collect())
    }
}

impl Remote {
    async fn open(
        &self,
        wire: v1::SealedFrame,
        found: &mut HashMap<ChunkId, std::result::Result<Fetched, Loss>>,
    ) -> Result<()> {
        let reference = KeyRef {
            key: KeyId::from_slice(&wire.key)?,
            generation: Generation(wire.key_generation),
            hash: Hash::from_slice(&wire.key_hash)?,
        };
        let ids = wire.ids.chunks(32).map(ChunkId::from_slice);
        let ids = ids.collect::<std::result::Result<Vec<_>, _>>()?;
        let refs = wire.refs.chunks(32).map(ChunkId::from_slice);
        let mut refs = refs
            .collect::<std::result::Result<Vec<_>, _>>()?
            .into_iter();
        let mut chunks = Vec::new();
        for (n, id) in ids.iter().enumerate() {
            let count = wire.ref_counts.get(n).copied().unwrap_or(0) as usize;
            chunks.push(FrameChunk {
                id: *id,
                len: wire.lens.get(n).copied().unwrap_or(0),
                refs: refs.by_ref().take(count).collect(),
            });
        }
        let frame = Frame {
            key: reference.key,
            kind: ChunkKind::from_byte(wire.kind as u8)?,
            chunks,
            sealed: wire.sealed,
        };
        let key = match self.key(reference).await {
            Ok(key) => key,
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            Err(error) => {
                for id in ids {
                    let why = error.to_string();
                    found.insert(id, Err(Loss { id, why }));
                }
                return Ok(());
            }
        };
        match open_frame(self.world.header.vault, &key, &self.keys, &frame) {
            Ok(bodies) => {
                for (chunk, bytes) in frame.chunks.into_iter().zip(bodies) {
                    let (id, refs) = (chunk.id, chunk.refs);
                    found.insert(id, Ok(Fetched { bytes, refs }));
                }
            }
            Err(error) => {
                for id in ids {
                    let why = error.to_string();
                    found.insert(id, Err(Loss { id, why }));
                }
            }
        }
        Ok(())
    }

    async fn key(&self, reference: KeyRef) -> Result<Arc<DataKey>> {
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = known.get(&reference.key) {
                return Ok(key.clone());
            }
        }
        let request = v1::GetKeyObjectRequest {
            vault: self.world.vault_name(),
            key: reference.key.0.to_vec().into(),
            generation: reference.generation.0,
        };
        let object = self.service.get_key_object(Request::new(request)).await;
        let object = object.map_err(unavailable)?.into_inner().object;
        let (vault, age) = (self.world.header.vault, &self.world.identity.age);
        let key = SessionKey::open(vault, &reference, &self.scope, &object, age)?;
        let key = Arc::new(key);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(reference.key, key.clone());
        Ok(key)
    }
}
