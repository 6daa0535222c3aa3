//! A snapshot to read: verified chunks over `Restore.Fetch`, opened with the identity on this machine.
//!
//! State: the keys of the snapshot's scope and of the sessions met so far, one stream of requests, a bounded cache of
//! chunks that came along in frames that were fetched for others, a hold at the coordinator that is renewed while this
//! lives. The coordinator sees which chunks are wanted and no plaintext; nothing is handed out that does not hash to
//! its id.

mod desk;
mod errand;
mod hold;
mod keyring;
mod neighbours;
mod opener;
mod proof;
mod sealed;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_format::{ChunkId, ChunkKind, Identity, ScopeKeys, SnapshotId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use self::desk::{Desk, Wish};
use self::hold::Hold;
use self::keyring::KeyRing;
use self::opener::Opener;
pub use self::proof::FrameProof;
use super::{Admin, Connection, SnapshotInfo, VaultInfo, keys};
use crate::error::{Error, Result};
use crate::source::{ChunkSource, Fetched, Loss};

/// The most ids in one request; the coordinator takes 1024. Each frame is sent once for a request, so many ids that lie
/// side by side should be in the same one.
const REQUEST_IDS_MAX: usize = 512;

/// Requests that wait for the stream.
const WISHES: usize = 4;

/// How to read a snapshot.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Read from this site only; none: from the best that answers, each chunk by itself.
    pub site: Option<String>,
    /// Who reads, for the log.
    pub who: String,
    /// How long a broken connection is tried again.
    pub outage_max: Duration,
}

impl RemoteOptions {
    /// From the best site, a quarter of an hour for a coordinator to come back.
    pub fn new(who: impl Into<String>) -> Self {
        Self {
            site: None,
            who: who.into(),
            outage_max: Duration::from_secs(900),
        }
    }
}

/// See the module header.
pub struct RemoteSource {
    snapshot: SnapshotInfo,
    vault: VaultInfo,
    opener: Arc<Opener>,
    keys: ScopeKeys,
    wishes: mpsc::Sender<Wish>,
    holds: Mutex<Vec<Hold>>,
    context: Context,
    connection: Connection,
    who: String,
    _desk: AbortOnDropHandle<()>,
}

impl std::fmt::Debug for RemoteSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteSource({})", self.snapshot.id)
    }
}

impl RemoteSource {
    /// Opens a snapshot: places the hold, opens the vault's secrets with the identity.
    ///
    /// # Errors
    /// Denied if the identity does not open this vault, or if the vault's key object is not the one that the root key
    /// signed; missing if there is no such snapshot.
    pub async fn open(
        context: &Context,
        connection: &Connection,
        identity: &Identity,
        vault: &str,
        snapshot: SnapshotId,
        options: RemoteOptions,
    ) -> Result<Self> {
        let opened = hold::open(connection, vault, snapshot, &options.who, None).await?;
        let lease = opened.hold.clone();
        let hold = Hold::keep(context, connection, vault, snapshot, &options.who, lease);
        match Self::open_held(context, connection, identity, options, opened).await {
            Ok(mut source) => {
                source.holds = Mutex::new(vec![hold]);
                Ok(source)
            }
            Err(error) => {
                hold.release().await;
                Err(error)
            }
        }
    }

    async fn open_held(
        context: &Context,
        connection: &Connection,
        identity: &Identity,
        options: RemoteOptions,
        opened: hold::Opened,
    ) -> Result<Self> {
        let info = Admin::new(connection)
            .vault(&opened.vault.to_string())
            .await?;
        let secrets = keys::open_secrets(
            connection,
            &info,
            identity,
            Some((opened.generation, opened.vault_key)),
        )
        .await?;
        let scope = opened.snapshot.scope.clone();
        let ring = KeyRing::new(connection, info.id, scope.clone(), identity.age.clone());
        let keys = secrets.scope_keys(&scope);
        let opener = Arc::new(Opener::new(context, ring, keys.clone()));
        let (wishes, wishes_in) = mpsc::channel(WISHES);
        let desk = Desk::new(
            context,
            connection,
            Arc::clone(&opener),
            desk::Place {
                vault: info.id.to_string(),
                scope: scope.to_string(),
                site: options.site.unwrap_or_default(),
            },
            options.outage_max,
        );
        let desk = context.spawn(desk.run(wishes_in));
        Ok(Self {
            snapshot: opened.snapshot,
            vault: info,
            opener,
            keys,
            wishes,
            holds: Mutex::default(),
            context: context.clone(),
            connection: connection.clone(),
            who: options.who,
            _desk: AbortOnDropHandle::new(desk),
        })
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &SnapshotInfo {
        &self.snapshot
    }

    /// Its vault.
    pub fn vault(&self) -> &VaultInfo {
        &self.vault
    }

    /// The keys of its scope: with them, what lies in a restore's target is judged without fetching it.
    pub fn scope_keys(&self) -> &ScopeKeys {
        &self.keys
    }

    /// Places a hold on another snapshot of the same scope, which is then read through this source too.
    pub async fn also_hold(&self, snapshot: SnapshotId) -> Result<()> {
        let vault = self.vault.id.to_string();
        let opened = hold::open(&self.connection, &vault, snapshot, &self.who, None).await?;
        let (context, connection) = (&self.context, &self.connection);
        let hold = Hold::keep(
            context,
            connection,
            &vault,
            snapshot,
            &self.who,
            opened.hold,
        );
        self.lock_holds().push(hold);
        Ok(())
    }

    /// Gives the holds back. A source that is just dropped leaves them to end by themselves.
    pub async fn close(&self) {
        let holds = std::mem::take(&mut *self.lock_holds());
        for hold in holds {
            hold.release().await;
        }
    }

    fn lock_holds(&self) -> std::sync::MutexGuard<'_, Vec<Hold>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ChunkSource for RemoteSource {
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
        let mut have: HashMap<ChunkId, std::result::Result<Fetched, Loss>> = HashMap::new();
        let mut open = Vec::new();
        let mut seen = HashSet::new();
        for (id, _) in &wanted {
            if !seen.insert(*id) {
                continue;
            }
            match self.opener.neighbour(id) {
                Some(fetched) => drop(have.insert(*id, Ok(fetched))),
                None => open.push(*id),
            }
        }
        let gone = || Error::Bug("the desk that fetches chunks is gone".into());
        let mut answers = Vec::new();
        for ids in open.chunks(REQUEST_IDS_MAX) {
            let (reply, answer) = oneshot::channel();
            let ids = ids.to_vec();
            self.wishes
                .send(Wish { ids, reply })
                .await
                .map_err(|_| gone())?;
            answers.push(answer);
        }
        for answer in answers {
            have.extend(answer.await.map_err(|_| gone())??);
        }
        wanted
            .iter()
            .map(|(id, _)| {
                have.get(id)
                    .cloned()
                    .ok_or_else(|| Error::Bug(format!("chunk {id} was not answered")))
            })
            .collect()
    }
}
