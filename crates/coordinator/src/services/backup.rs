//! `holdfast.v1.Backup`: one bidirectional stream is one session, or its continuation.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream as FutureStream, StreamExt};
use holdfast_format::{ChunkId, ChunkKind, Frame, FrameChunk, KeyId};
use holdfast_proto::v1;
use holdfast_proto::v1::backup_server::Backup;
use holdfast_proto::v1::session_request::Kind as Asked;
use holdfast_proto::v1::session_response::Kind as Told;
use holdfast_vault::Commit;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use tracing::field::{Empty, display};

use super::Service;
use super::convert::{self, chunk_ids, session_id, source_name};
use crate::error::{Error, Result, status};
use crate::vault::Vault;
use crate::vault::session::{self, OpenRequest, Opened, Stream, WINDOW_BYTES};

/// Answers that wait for the agent to take them.
const ANSWERS_MAX: usize = 64;

/// Most ids in one offer.
const OFFER_MAX: usize = 8192;

/// Where answers go.
pub type Sender = mpsc::Sender<std::result::Result<v1::SessionResponse, Status>>;

#[tonic::async_trait]
impl Backup for Service {
    type SessionStream = ReceiverStream<std::result::Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> std::result::Result<Response<Self::SessionStream>, Status> {
        let (to, from) = mpsc::channel(ANSWERS_MAX);
        let service = self.clone();
        self.node.context.spawn(async move {
            service.session_over(request.into_inner(), to).await;
        });
        Ok(Response::new(ReceiverStream::new(from)))
    }
}

async fn tell(to: &Sender, kind: Told) -> Result<()> {
    to.send(Ok(v1::SessionResponse { kind: Some(kind) }))
        .await
        .map_err(|_| Error::Unavailable("the agent is gone".into()))
}

/// The next request; `None` when the agent closed its side.
async fn next(requests: &mut impl Requests) -> Result<Option<Asked>> {
    match requests.next().await.transpose() {
        Ok(Some(message)) => message.kind.map(Some).ok_or_else(|| {
            Error::Invalid("a session's message says nothing that this release knows".into())
        }),
        Ok(None) => Ok(None),
        Err(broken) => Err(Error::Unavailable(format!(
            "the stream broke: {}",
            broken.message()
        ))),
    }
}

/// What an agent says.
pub trait Requests:
    FutureStream<Item = std::result::Result<v1::SessionRequest, Status>> + Unpin + Send
{
}

impl<S> Requests for S where
    S: FutureStream<Item = std::result::Result<v1::SessionRequest, Status>> + Unpin + Send
{
}

impl Service {
    /// Serves one stream of a session, to its end.
    pub async fn session_over(&self, requests: impl Requests, to: Sender) {
        // The agent's span bears the same id. An error's, so that it is there whatever else is shown.
        let span = tracing::error_span!("session", session = Empty, vault = Empty);
        let served = async {
            if let Err(error) = self.run_session(requests, &to).await {
                tracing::info!(%error, "a session's stream ended");
                let _ = to.send(Err(status(&error))).await;
            }
        };
        served.instrument(span).await;
    }

    async fn run_session(&self, mut requests: impl Requests, to: &Sender) -> Result<()> {
        let Some(Asked::Open(open)) = next(&mut requests).await? else {
            return Err(Error::Invalid("a session's first message opens it".into()));
        };
        let session = session_id(&open.session)?;
        let span = tracing::Span::current();
        span.record("session", display(session));
        let vault = self.node.reach(&open.vault).await?;
        span.record("vault", display(&vault.header.name));
        let request = OpenRequest {
            session,
            source: source_name(&open.source)?,
            agent: open.agent,
            scope: open.scope.parse().map_err(Error::from)?,
            tags: open.tags,
            key_object: open.key_object.to_vec(),
            resume: open.resume,
        };
        let recipients = vault
            .state()
            .catalog
            .recipients
            .as_ref()
            .map(|set| set.encode())
            .unwrap_or_default();
        let mut opened = v1::Opened {
            recipients: recipients.into(),
            durable: 0,
            window_bytes: WINDOW_BYTES,
            committed: None,
            frame_bytes_max: (holdfast_format::frame::FRAME_BYTES_MAX
                + holdfast_format::frame::FRAME_OVERHEAD) as u64,
        };
        let (source, agent) = (request.source.clone(), request.agent.clone());
        match session::open(&vault, request).await? {
            Opened::Committed(id) => {
                opened.committed = convert::snapshot(&vault, &id);
                tell(to, Told::Opened(opened)).await?;
                self.after_commit(&vault, id, true, to, &mut requests).await
            }
            Opened::Go(stream, durable) => {
                opened.durable = durable;
                tracing::info!(%source, agent, durable, "a session is open");
                tell(to, Told::Opened(opened)).await?;
                self.serve_session(&vault, *stream, requests, to).await
            }
        }
    }

    async fn serve_session(
        &self,
        vault: &Arc<Vault>,
        mut stream: Stream,
        mut requests: impl Requests,
        to: &Sender,
    ) -> Result<()> {
        let replaced = stream.replaced.clone();
        loop {
            let flush_at = stream.flush_at();
            let flush = async {
                match flush_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let ready = stream.is_ready();
            let asked = tokio::select! {
                biased;
                () = replaced.cancelled() => {
                    return Err(Error::Unavailable("the session goes on in another stream".into()));
                }
                () = vault.stop.cancelled() => {
                    return Err(Error::Unavailable("this coordinator stops or no longer owns the vault; connect again".into()));
                }
                batch = stream.next_batch(), if stream.is_busy() => {
                    let batch = batch?;
                    let number = stream.make_durable(batch).await?;
                    tell(to, Told::Durable(v1::Durable { number })).await?;
                    continue;
                }
                () = flush => {
                    stream.send_off();
                    continue;
                }
                asked = next(&mut requests), if ready => asked?,
            };
            match asked {
                None => return Ok(()),
                Some(Asked::Open(_)) => {
                    return Err(Error::Invalid(
                        "a session is opened once in a stream".into(),
                    ));
                }
                Some(Asked::Offer(offer)) => {
                    let ids = chunk_ids(&offer.ids, OFFER_MAX)?;
                    let known = bits(&stream.answer(&ids));
                    tell(
                        to,
                        Told::Answer(v1::Answer {
                            number: offer.number,
                            known,
                        }),
                    )
                    .await?;
                }
                Some(Asked::Frame(frame)) => {
                    let number = frame.number;
                    stream.room(frame.sealed.len()).await?;
                    stream.frame(number, own_frame(frame, stream.key())?)?;
                }
                Some(Asked::Flush(_)) => stream.send_off(),
                Some(Asked::Abandon(abandon)) => {
                    stream.abandon(&abandon.why, "agent").await?;
                    tracing::info!(why = abandon.why, "the session was given up");
                    tell(to, Told::Abandoned(v1::Abandoned {})).await?;
                    return Ok(());
                }
                Some(Asked::Finish(finish)) => {
                    let wait = finish.wait_protected;
                    let commit = Commit {
                        root: ChunkId::from_slice(&finish.root)?,
                        files: finish.files,
                        directories: finish.directories,
                        bytes: finish.bytes,
                        problems: finish.problems,
                    };
                    match stream.finish(commit).await? {
                        Ok(id) => {
                            drop(stream);
                            tracing::info!("the snapshot is committed");
                            let committed = v1::Committed {
                                snapshot: convert::snapshot(vault, &id),
                            };
                            tell(to, Told::Committed(committed)).await?;
                            return self.after_commit(vault, id, wait, to, &mut requests).await;
                        }
                        Err(missing) => {
                            let ids: Vec<u8> = missing.iter().flat_map(|id| id.0).collect();
                            tell(to, Told::Missing(v1::Missing { ids: ids.into() })).await?;
                        }
                    }
                }
            }
        }
    }

    async fn after_commit(
        &self,
        vault: &Arc<Vault>,
        id: holdfast_format::SnapshotId,
        wait: bool,
        to: &Sender,
        requests: &mut impl Requests,
    ) -> Result<()> {
        let at = vault
            .state()
            .catalog
            .snapshots
            .get(&id)
            .map(|snapshot| snapshot.committed_at);
        if let (true, Some(at)) = (wait, at) {
            let protected = async {
                vault.wait_everywhere(at).await?;
                vault.wait_said(id).await
            };
            tokio::select! {
                biased;
                protected = protected => protected?,
                // The agent waits no longer.
                _ = requests.next() => return Ok(()),
            }
            let snapshot = convert::snapshot(vault, &id);
            tell(to, Told::Protected(v1::Protected { snapshot })).await?;
        }
        Ok(())
    }
}

/// A bit for each answer, lowest bit first.
fn bits(answers: &[bool]) -> Bytes {
    let mut bytes = vec![0u8; answers.len().div_ceil(8)];
    for (n, _) in answers.iter().enumerate().filter(|(_, known)| **known) {
        bytes[n / 8] |= 1 << (n % 8);
    }
    bytes.into()
}

/// A frame as the format has it, after checking that its lists fit together.
fn own_frame(frame: v1::FrameUpload, key: KeyId) -> Result<Frame> {
    let ids = chunk_ids(&frame.ids, holdfast_format::frame::FRAME_CHUNKS_MAX)?;
    let kind = ChunkKind::from_byte(frame.kind.try_into().unwrap_or(u8::MAX))?;
    let bad = |why: &str| Error::Invalid(format!("frame {}: {why}", frame.number));
    if ids.is_empty() || ids.len() != frame.lens.len() {
        return Err(bad("it does not give one length for each chunk"));
    }
    let mut refs = frame.refs.chunks_exact(32);
    let mut chunks = Vec::with_capacity(ids.len());
    for (n, (id, len)) in ids.into_iter().zip(&frame.lens).enumerate() {
        let count = frame.ref_counts.get(n).copied().unwrap_or(0) as usize;
        if kind == ChunkKind::Data && count > 0 || count > holdfast_format::NODE_REFS_MAX {
            return Err(bad("a chunk has more references than it may"));
        }
        let own: Vec<ChunkId> = refs
            .by_ref()
            .take(count)
            .filter_map(|id| ChunkId::from_slice(id).ok())
            .collect();
        if own.len() != count || *len as usize > holdfast_format::CHUNK_BYTES_MAX {
            return Err(bad("its numbers do not add up"));
        }
        chunks.push(FrameChunk {
            id,
            len: *len,
            refs: own,
        });
    }
    if refs.next().is_some() || !frame.refs.len().is_multiple_of(32) {
        return Err(bad("it has references of no chunk"));
    }
    Ok(Frame {
        key,
        kind,
        chunks,
        sealed: frame.sealed,
    })
}
