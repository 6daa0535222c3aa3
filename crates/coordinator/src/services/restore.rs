//! `holdfast.v1.Restore`: snapshots and sealed frames for those who have the identity.

use std::sync::Arc;

use futures::{Stream as FutureStream, StreamExt};
use holdfast_format::fact::{Cover, HoldPlaced, HoldReleased};
use holdfast_format::{ChunkKind, Frame, HoldId, Ordinal, Scope, SiteName};
use holdfast_proto::v1;
use holdfast_proto::v1::fetch_response::Kind as Given;
use holdfast_proto::v1::restore_server::Restore;
use holdfast_store::SiteReader;
use holdfast_vault::Proposal;
use holdfast_vault::fetch::{Fetched, PackRead, locate};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use super::convert::{self, Answer, answer, chunk_ids, hold_id, session_id, site_name};
use crate::error::{Error, Result, status};
use crate::repair;
use crate::vault::Vault;
use crate::vault::reading::Reading;

/// How long a restore's hold lasts without being renewed.
const HOLD_MILLIS: i64 = 60 * 60 * 1000;

/// How long a restore waits for its hold to stand in the log.
const HOLD_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Reads under way at once for one client, of as many packs or places in one.
const READS_AT_ONCE: usize = 4;

/// Answers that wait for the client to take them.
const ANSWERS_MAX: usize = 8;

/// What the first message of a stream says: the vault, the scope, the sites to read from.
type Place = (Arc<Vault>, Scope, Vec<Arc<dyn SiteReader>>);

/// A part of answering a request.
enum Step {
    Read(PackRead),
    Say(Given),
}

/// The same, done.
enum Answered {
    Read(Fetched),
    Said(Given),
}

/// What a client asks.
pub trait Requests:
    FutureStream<Item = std::result::Result<v1::FetchRequest, Status>> + Unpin + Send
{
}

impl<S> Requests for S where
    S: FutureStream<Item = std::result::Result<v1::FetchRequest, Status>> + Unpin + Send
{
}

/// Where answers go.
pub type Sender = mpsc::Sender<std::result::Result<v1::FetchResponse, Status>>;

#[tonic::async_trait]
impl Restore for Service {
    type FetchStream = ReceiverStream<std::result::Result<v1::FetchResponse, Status>>;

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Answer<v1::ListSnapshotsResponse> {
        answer(self.list_own(request.get_ref()).await)
    }

    async fn open_restore(
        &self,
        request: Request<v1::OpenRestoreRequest>,
    ) -> Answer<v1::OpenRestoreResponse> {
        answer(self.open(request.into_inner()).await)
    }

    async fn close_restore(
        &self,
        request: Request<v1::CloseRestoreRequest>,
    ) -> Answer<v1::CloseRestoreResponse> {
        answer(self.close(request.into_inner()).await)
    }

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> std::result::Result<Response<Self::FetchStream>, Status> {
        let (to, from) = mpsc::channel(ANSWERS_MAX);
        let service = self.clone();
        self.node.context.spawn(async move {
            service.fetch_over(request.into_inner(), to).await;
        });
        Ok(Response::new(ReceiverStream::new(from)))
    }
}

impl Service {
    async fn list_own(
        &self,
        request: &v1::ListSnapshotsRequest,
    ) -> Result<v1::ListSnapshotsResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let ids: Vec<_> = {
            let state = vault.state();
            let mut found: Vec<_> = (state.catalog.snapshots.iter())
                .filter(|(_, s)| s.trash.is_some() == request.trash)
                .filter(|(_, s)| request.source.is_empty() || s.source.as_str() == request.source)
                .map(|(id, s)| (s.time_millis, s.committed_at, *id))
                .collect();
            found.sort();
            found.into_iter().map(|(_, _, id)| id).collect()
        };
        let snapshots = ids
            .iter()
            .filter_map(|id| convert::snapshot(&vault, id))
            .collect();
        Ok(v1::ListSnapshotsResponse { snapshots })
    }

    async fn open(&self, request: v1::OpenRestoreRequest) -> Result<v1::OpenRestoreResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let id = session_id(&request.snapshot)?;
        let snapshot = convert::snapshot(&vault, &id)
            .ok_or_else(|| Error::Missing(format!("snapshot {id}")))?;
        let hold = match request.hold.is_empty() {
            true => HoldId(self.node.context.random()),
            false => hold_id(&request.hold)?,
        };
        let until_millis = vault.state().next_time(self.node.context.now_millis()) + HOLD_MILLIS;
        let fact = HoldPlaced {
            hold,
            cover: Cover::Snapshot(id),
            why: "a restore or mount is running".into(),
            who: request.who,
            until_millis: Some(until_millis),
            by_restore: true,
        };
        self.hold(&vault, fact).await?;
        let (generation, vault_key) = repair::vault_key(&vault).await?;
        Ok(v1::OpenRestoreResponse {
            snapshot: Some(snapshot),
            vault_id: vault.header.vault.0.to_vec().into(),
            hold: hold.0.to_vec().into(),
            until_millis,
            vault_key,
            generation: generation.0,
        })
    }

    /// Places a restore's hold. While nothing can be appended to the log the restore goes on without waiting for it.
    ///
    /// ORDER: the proposal stays in the writer's queue, before anything that could give up what the restore needs. While it
    /// cannot be appended nothing can be condemned either; once it can, the hold comes first.
    async fn hold(&self, vault: &Arc<Vault>, fact: HoldPlaced) -> Result<()> {
        let placing = vault.append(Proposal::Hold(fact));
        match tokio::time::timeout(HOLD_WAIT, placing).await {
            Ok(placed) => placed.map(|_| ()),
            Err(_) => {
                tracing::warn!(vault = %vault.header.name, "the primary takes no record now; the restore goes on, its hold follows");
                Ok(())
            }
        }
    }

    async fn close(&self, request: v1::CloseRestoreRequest) -> Result<v1::CloseRestoreResponse> {
        let vault = self.node.reach(&request.vault).await?;
        let hold = hold_id(&request.hold)?;
        let own = vault
            .state()
            .catalog
            .holds
            .get(&hold)
            .is_some_and(|hold| hold.by_restore);
        if own {
            let releasing = vault.append(Proposal::Release(HoldReleased {
                hold,
                who: "restore".into(),
            }));
            // It runs out by itself where it cannot be released now.
            if let Ok(released) = tokio::time::timeout(HOLD_WAIT, releasing).await {
                released?;
            }
        }
        Ok(v1::CloseRestoreResponse {})
    }

    /// Serves one stream of requests for chunks, to its end.
    pub async fn fetch_over(&self, requests: impl Requests, to: Sender) {
        if let Err(error) = self.serve_fetch(requests, &to).await {
            let _ = to.send(Err(status(&error))).await;
        }
    }

    /// Answers go out in the order in which they were asked for; what comes next is read meanwhile.
    async fn serve_fetch(&self, requests: impl Requests, to: &Sender) -> Result<()> {
        let mut requests = requests.map(|request| {
            request.map_err(|broken| {
                Error::Unavailable(format!("the stream broke: {}", broken.message()))
            })
        });
        let Some(first) = requests.next().await.transpose()? else {
            return Ok(());
        };
        let (vault, scope, sites) = &self.reading_place(&first).await?;
        let steps = futures::stream::iter([Ok(first)])
            .chain(requests)
            .flat_map(|request| futures::stream::iter(steps(vault, scope, request)));
        let mut answers = steps
            .map(|step| answered(vault, sites, step))
            .buffered(READS_AT_ONCE);
        while let Some(answer) = answers.next().await {
            match answer? {
                (number, Answered::Read(fetched)) => {
                    // Asked of one site alone, nothing is known of the others.
                    if sites.len() == vault.state().catalog.members.len() {
                        name_lost(vault, scope, &fetched);
                    }
                    give(vault, to, number, fetched).await?;
                }
                (number, Answered::Said(kind)) => tell(to, number, kind).await?,
            }
        }
        Ok(())
    }

    /// What the first request of a stream says of all of them.
    async fn reading_place(&self, request: &v1::FetchRequest) -> Result<Place> {
        let vault = self.node.reach(&request.vault).await?;
        let only: Option<SiteName> = match request.site.is_empty() {
            true => None,
            false => Some(site_name(&request.site)?),
        };
        let sites = vault.read_sites(only.as_ref()).await?;
        let scope = request.scope.parse().map_err(Error::from)?;
        Ok((vault, scope, sites))
    }
}

/// What a request comes to, in the order in which it is answered.
fn steps(
    vault: &Vault,
    scope: &Scope,
    request: Result<v1::FetchRequest>,
) -> Vec<Result<(u64, Step)>> {
    let number_and_ids = request.and_then(|request| {
        let ids = chunk_ids(&request.ids, 1024)?;
        Ok((request.number, ids))
    });
    let (number, ids) = match number_and_ids {
        Ok(both) => both,
        Err(error) => return vec![Err(error)],
    };
    let (reads, unknown) = locate(&vault.state(), scope, &ids);
    let lost = unknown.into_iter().map(|id| {
        Step::Say(Given::Lost(v1::Lost {
            id: id.0.to_vec().into(),
            why: "the vault does not have it".into(),
        }))
    });
    let reads = reads.into_iter().map(Step::Read);
    let done = Step::Say(Given::Done(v1::Done {}));
    let all = lost.chain(reads).chain([done]);
    all.map(|step| Ok((number, step))).collect()
}

/// Does a step. Reads are tasks of their own, so that they go on while the client takes what came before.
async fn answered(
    vault: &Arc<Vault>,
    sites: &[Arc<dyn SiteReader>],
    step: Result<(u64, Step)>,
) -> Result<(u64, Answered)> {
    let (number, step) = step?;
    let read = match step {
        Step::Read(read) => read,
        Step::Say(kind) => return Ok((number, Answered::Said(kind))),
    };
    let (_, fetched) = Reading::start(vault, sites, read).end().await?;
    Ok((number, Answered::Read(fetched)))
}

async fn tell(to: &Sender, number: u64, kind: Given) -> Result<()> {
    to.send(Ok(v1::FetchResponse {
        number,
        kind: Some(kind),
    }))
    .await
    .map_err(|_| Error::Unavailable("the client is gone".into()))
}

/// What no site can give is named, beside the restore, so that the next backup sends it again.
fn name_lost(vault: &Arc<Vault>, scope: &Scope, fetched: &Fetched) {
    let lost: Vec<Ordinal> = {
        let state = vault.state();
        let certain = fetched.lost.iter().map(|(id, _)| id);
        let certain = certain.filter(|id| !fetched.doubtful.contains(id));
        let known = certain.filter_map(|id| state.find(scope, id));
        known
            .filter(|ordinal| state.catalog.stale.binary_search(ordinal).is_err())
            .collect()
    };
    if lost.is_empty() {
        return;
    }
    let (vault, context) = (vault.clone(), vault.context.clone());
    context.spawn(async move {
        if let Err(error) = repair::name_lost(&vault, lost, "restore").await {
            tracing::error!(vault = %vault.header.name, %error, "what was lost is not named yet; `holdfast verify --read-data` names it");
        }
    });
}

async fn give(vault: &Arc<Vault>, to: &Sender, number: u64, fetched: Fetched) -> Result<()> {
    for bad in &fetched.bad {
        repair::mend_beside(vault, bad);
    }
    for frame in fetched.frames {
        let kind = wire_frame(vault, frame)?;
        tell(to, number, Given::Frame(kind)).await?;
    }
    for (id, why) in fetched.lost {
        tell(
            to,
            number,
            Given::Lost(v1::Lost {
                id: id.0.to_vec().into(),
                why,
            }),
        )
        .await?;
    }
    Ok(())
}

/// A frame as it goes over the wire, with the key object that opens it.
pub(super) fn wire_frame(vault: &Vault, frame: Frame) -> Result<v1::SealedFrame> {
    let key = vault
        .state()
        .catalog
        .keys
        .get(&frame.key)
        .map(|info| info.reference);
    let key = key.ok_or_else(|| Error::Corrupt(format!("key {} is not in the log", frame.key)))?;
    let nodes = frame.kind == ChunkKind::Node;
    let ids: Vec<u8> = frame.chunks.iter().flat_map(|chunk| chunk.id.0).collect();
    let refs: Vec<u8> = frame
        .chunks
        .iter()
        .flat_map(|chunk| &chunk.refs)
        .flat_map(|id| id.0)
        .collect();
    Ok(v1::SealedFrame {
        key: frame.key.0.to_vec().into(),
        key_generation: key.generation.0,
        key_hash: key.hash.0.to_vec().into(),
        kind: u32::from(frame.kind.byte()),
        ids: ids.into(),
        lens: frame.chunks.iter().map(|chunk| chunk.len).collect(),
        ref_counts: if nodes {
            frame
                .chunks
                .iter()
                .map(|chunk| chunk.refs.len() as u32)
                .collect()
        } else {
            vec![]
        },
        refs: refs.into(),
        sealed: frame.sealed,
    })
}
