//! A coordinator's side of a session in memory, for tests of the client: it takes frames, remembers them, and breaks
//! the stream when it is told to. It checks what a real one relies on: numbers without gap, children first.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::{
    ChunkId, ChunkKind, DataKey, Frame, FrameChunk, KeyId, ScopeKeys, VaultId, open_frame,
};
use holdfast_proto::v1::session_request::Kind as Request;
use holdfast_proto::v1::session_response::Kind as Response;
use holdfast_proto::v1::{self, FrameUpload, Opened, SessionRequest, SessionResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::link::{Dial, Link};

/// What the coordinator knows and how it behaves.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Chunks that the vault had before.
    pub(super) had: HashSet<ChunkId>,
    /// Frames that it took, in order.
    pub(super) frames: Vec<FrameUpload>,
    /// Frames of these that are durable.
    pub(super) durable: u64,
    /// Frames are made durable as soon as there are so many that are not; 0: only on flush and finish.
    pub(super) durable_every: u64,
    /// Breaks the stream after so many more messages; each entry serves one stream.
    pub(super) breaks: Vec<usize>,
    /// Frames that are not durable are lost with the stream.
    pub(super) forgets: bool,
    /// Says that the session is unknown when it is resumed.
    pub(super) ended: bool,
    /// Answers the next commits with these.
    pub(super) missing: Vec<Vec<ChunkId>>,
    /// What it was asked, in words.
    pub(super) heard: Vec<String>,
    /// Streams so far.
    pub(super) streams: usize,
    /// Bytes of frames that were sent and not durable, at most.
    pub(super) waiting_max: usize,
    /// How many offers bore each id.
    pub(super) offered: HashMap<ChunkId, usize>,
    /// The window that it allows.
    pub(super) window_bytes: u64,
    /// Refuses the next frame: a site is full.
    pub(super) full: bool,
    /// Commits, and breaks the stream instead of telling it.
    silent_commit: bool,
    session: Bytes,
    committed: bool,
}

impl World {
    fn waiting(&self) -> usize {
        let sent = &self.frames[self.durable as usize..];
        sent.iter().map(|frame| frame.sealed.len()).sum()
    }

    /// Opens every frame and gives the plaintext by id, after checking children first.
    pub(super) fn open_all(
        &self,
        vault: VaultId,
        key: KeyId,
        secret: &DataKey,
        scope: &ScopeKeys,
    ) -> HashMap<ChunkId, Bytes> {
        let mut all = HashMap::new();
        for upload in &self.frames {
            let frame = read(upload, key);
            let plain = open_frame(vault, secret, scope, &frame).unwrap();
            for (chunk, bytes) in frame.chunks.iter().zip(plain) {
                for child in &chunk.refs {
                    assert!(
                        all.contains_key(child) || self.had.contains(child),
                        "child first"
                    );
                }
                assert!(
                    all.insert(chunk.id, bytes).is_none(),
                    "a chunk was sent twice"
                );
            }
        }
        all
    }
}

fn ids(bytes: &[u8]) -> Vec<ChunkId> {
    bytes
        .chunks(32)
        .map(|id| ChunkId::from_slice(id).unwrap())
        .collect()
}

fn read(upload: &FrameUpload, key: KeyId) -> Frame {
    let mut refs = ids(&upload.refs).into_iter();
    let chunks = ids(&upload.ids)
        .into_iter()
        .enumerate()
        .map(|(n, id)| FrameChunk {
            id,
            len: upload.lens[n],
            refs: refs
                .by_ref()
                .take(upload.ref_counts.get(n).copied().unwrap_or(0) as usize)
                .collect(),
        });
    Frame {
        key,
        kind: ChunkKind::from_byte(upload.kind as u8).unwrap(),
        chunks: chunks.collect(),
        sealed: upload.sealed.clone(),
    }
}

/// The coordinator. Clones share the world.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) world: Arc<Mutex<World>>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let fake = Self::default();
        fake.world().window_bytes = 64 << 20;
        fake.world().durable_every = 3;
        fake
    }

    pub(super) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The next commit is made and not told.
    pub(super) fn commit_in_silence(&self) {
        self.world().silent_commit = true;
    }

    async fn serve(
        self,
        mut requests: mpsc::Receiver<SessionRequest>,
        answers: mpsc::Sender<Result<SessionResponse, Status>>,
    ) {
        let mut left = {
            let mut world = self.world();
            world.streams += 1;
            (!world.breaks.is_empty()).then(|| world.breaks.remove(0))
        };
        while let Some(SessionRequest {
            kind: Some(request),
        }) = requests.recv().await
        {
            if left == Some(0) {
                self.forget();
                let _ = answers
                    .send(Err(Status::unknown("the connection broke")))
                    .await;
                return;
            }
            left = left.map(|n| n - 1);
            for answer in self.answer(request) {
                let last = answer.is_err();
                let answer = answer.map(|kind| SessionResponse { kind: Some(kind) });
                if answers.send(answer).await.is_err() || last {
                    return;
                }
            }
        }
    }

    fn forget(&self) {
        let mut world = self.world();
        if world.forgets {
            let durable = world.durable as usize;
            world.frames.truncate(durable);
        }
    }

    fn answer(&self, request: Request) -> Vec<Result<Response, Status>> {
        let mut world = self.world();
        let world = &mut *world;
        match request {
            Request::Open(open) => {
                world.heard.push(format!("open {}", open.resume));
                if open.resume && world.ended {
                    return vec![Err(refusal(Code::NotFound, "MISSING", "no such session"))];
                }
                world.session = open.session;
                let committed = world
                    .committed
                    .then(|| snapshot(&world.session, "committed"));
                vec![Ok(Response::Opened(Opened {
                    window_bytes: world.window_bytes,
                    // A coordinator that kept the frames counts them as they become durable.
                    durable: if world.forgets {
                        world.durable
                    } else {
                        world.frames.len() as u64
                    },
                    committed,
                    ..Default::default()
                }))]
            }
            Request::Offer(offer) => {
                let mut known = vec![0u8; ids(&offer.ids).len().div_ceil(8)];
                for (n, id) in ids(&offer.ids).into_iter().enumerate() {
                    *world.offered.entry(id).or_default() += 1;
                    known[n / 8] |= u8::from(world.had.contains(&id)) << (n % 8);
                }
                vec![Ok(Response::Answer(v1::Answer {
                    number: offer.number,
                    known: known.into(),
                }))]
            }
            Request::Frame(_) if std::mem::take(&mut world.full) => {
                let refusal = refusal(Code::ResourceExhausted, "FULL", "the site is full");
                vec![Err(refusal)]
            }
            Request::Frame(frame) => {
                assert_eq!(
                    frame.number,
                    world.frames.len() as u64 + 1,
                    "numbers without gap"
                );
                world.frames.push(frame);
                world.waiting_max = world.waiting_max.max(world.waiting());
                let waiting = world.frames.len() as u64 - world.durable;
                if world.durable_every > 0 && waiting >= world.durable_every {
                    return vec![Ok(durable(world))];
                }
                Vec::new()
            }
            Request::Flush(_) => {
                world.heard.push("flush".into());
                vec![Ok(durable(world))]
            }
            Request::Finish(finish) => {
                world.heard.push("finish".into());
                if !world.missing.is_empty() {
                    let ids = world.missing.remove(0);
                    let ids = ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>().into();
                    return vec![Ok(Response::Missing(v1::Missing { ids }))];
                }
                world.committed = true;
                if std::mem::take(&mut world.silent_commit) {
                    return vec![Err(Status::unknown("the connection broke"))];
                }
                let of = |state| Some(snapshot(&world.session, state));
                let mut answers = vec![Ok(Response::Committed(v1::Committed {
                    snapshot: of("committed"),
                }))];
                if finish.wait_protected {
                    answers.push(Ok(Response::Protected(v1::Protected {
                        snapshot: of("protected"),
                    })));
                }
                answers
            }
            Request::Abandon(abandon) => {
                world.heard.push(format!("abandon {}", abandon.why));
                vec![Ok(Response::Abandoned(v1::Abandoned {}))]
            }
        }
    }
}

fn refusal(code: Code, reason: &str, sentence: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "holdfast", HashMap::new());
    Status::with_error_details(code, sentence, details)
}

fn durable(world: &mut World) -> Response {
    world.durable = world.frames.len() as u64;
    Response::Durable(v1::Durable {
        number: world.durable,
    })
}

fn snapshot(session: &Bytes, state: &str) -> v1::Snapshot {
    v1::Snapshot {
        id: session.clone(),
        state: state.into(),
        scope: "vault".into(),
        root: vec![0; 32].into(),
        ..Default::default()
    }
}

#[async_trait]
impl Dial for Fake {
    async fn dial(&self, first: SessionRequest) -> Result<Link, Status> {
        let (outbound, requests) = mpsc::channel(4);
        let (answers, inbound) = mpsc::channel(4);
        outbound.try_send(first).unwrap();
        drop(holdfast_context::Context::system().spawn(self.clone().serve(requests, answers)));
        Ok(Link {
            outbound,
            inbound: Box::pin(ReceiverStream::new(inbound)),
        })
    }
}
