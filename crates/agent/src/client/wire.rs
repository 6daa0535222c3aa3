//! Both directions over real gRPC, on a unix socket: what a session sends, a remote source reads back and opens.
//!
//! The coordinator's side is a small one in memory: it keeps frames, gives them out again, and can break a stream or
//! damage a frame.
//!
//! Long because that side stands here too.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use holdfast_context::Context;
use holdfast_format::{
    Chunk, ChunkId, ChunkKind, Hash, Identity, PublicKey, SecretKey, SessionKey, VaultId,
};
use holdfast_proto::v1::backup_server::{Backup, BackupServer};
use holdfast_proto::v1::restore_server::{Restore, RestoreServer};
use holdfast_proto::v1::vaults_server::{Vaults, VaultsServer};
use holdfast_proto::v1::{self, session_request, session_response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::keys::{NewVault, VaultPlan, make_vault};
use super::*;
use crate::error::Error;
use crate::sink::ChunkSink;
use crate::source::ChunkSource;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Clone)]
struct Server {
    vault: v1::Vault,
    vault_key: Bytes,
    state: Arc<Mutex<State>>,
    /// Streams of chunks break after so many frames, as often as there are numbers.
    breaks: Arc<Mutex<Vec<usize>>>,
    frames_sent: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    key: Option<(Bytes, v1::Open)>,
    frames: Vec<v1::FrameUpload>,
    place: HashMap<ChunkId, usize>,
    holds: i32,
    spoiled: Option<usize>,
}

fn ids(bytes: &[u8]) -> Vec<ChunkId> {
    let read = |id| ChunkId::from_slice(id).unwrap();
    bytes.chunks(32).map(read).collect()
}

impl State {
    fn hear(&mut self, request: session_request::Kind) -> Vec<session_response::Kind> {
        use session_request::Kind as Ask;
        use session_response::Kind as Say;
        match request {
            Ask::Open(open) => {
                self.key = Some((open.key_object.clone(), open));
                vec![Say::Opened(v1::Opened {
                    window_bytes: 8 << 20,
                    ..Default::default()
                })]
            }
            Ask::Offer(offer) => {
                let count = ids(&offer.ids).len().div_ceil(8);
                let known = vec![0; count].into();
                let number = offer.number;
                vec![Say::Answer(v1::Answer { number, known })]
            }
            Ask::Frame(frame) => {
                let number = frame.number;
                for id in ids(&frame.ids) {
                    self.place.insert(id, self.frames.len());
                }
                self.frames.push(frame);
                vec![Say::Durable(v1::Durable { number })]
            }
            Ask::Finish(finish) => {
                let snapshot = Some(self.snapshot(finish.root));
                vec![Say::Committed(v1::Committed { snapshot })]
            }
            Ask::Flush(_) | Ask::Abandon(_) => Vec::new(),
        }
    }

    fn snapshot(&self, root: Bytes) -> v1::Snapshot {
        let open = self.key.as_ref().map(|(_, open)| open.clone());
        let open = open.unwrap_or_default();
        v1::Snapshot {
            id: open.session,
            source: open.source,
            scope: open.scope,
            state: "committed".into(),
            root,
            ..Default::default()
        }
    }

    fn sealed(&self, at: usize) -> v1::SealedFrame {
        let frame = self.frames[at].clone();
        let (object, open) = self.key.clone().unwrap();
        let vault = open.vault.parse().unwrap();
        let key = SessionKey::accept(vault, &object).unwrap().reference;
        let mut sealed = frame.sealed.to_vec();
        if self.spoiled == Some(at) {
            *sealed.last_mut().unwrap() ^= 1;
        }
        v1::SealedFrame {
            key: key.key.0.to_vec().into(),
            key_generation: key.generation.0,
            key_hash: key.hash.0.to_vec().into(),
            kind: frame.kind,
            ids: frame.ids,
            lens: frame.lens,
            ref_counts: frame.ref_counts,
            refs: frame.refs,
            sealed: sealed.into(),
        }
    }
}

#[tonic::async_trait]
impl Backup for Server {
    type SessionStream = Answers<v1::SessionResponse>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let state = Arc::clone(&self.state);
        let answers = request.into_inner().flat_map(move |message| {
            let kinds = match message {
                Ok(message) => state.lock().unwrap().hear(message.kind.unwrap()),
                Err(_) => Vec::new(),
            };
            let say = |kind| Ok(v1::SessionResponse { kind: Some(kind) });
            futures::stream::iter(kinds.into_iter().map(say).collect::<Vec<_>>())
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl Restore for Server {
    type FetchStream = Answers<v1::FetchResponse>;

    async fn list_snapshots(
        &self,
        _: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn open_restore(
        &self,
        request: Request<v1::OpenRestoreRequest>,
    ) -> Result<Response<v1::OpenRestoreResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.holds += i32::from(request.get_ref().hold.is_empty());
        Ok(Response::new(v1::OpenRestoreResponse {
            snapshot: Some(state.snapshot(vec![0; 32].into())),
            vault_id: self.vault.id.clone(),
            hold: vec![5; 16].into(),
            until_millis: i64::MAX,
            vault_key: self.vault_key.clone(),
            generation: 1,
        }))
    }

    async fn close_restore(
        &self,
        _: Request<v1::CloseRestoreRequest>,
    ) -> Result<Response<v1::CloseRestoreResponse>, Status> {
        self.state.lock().unwrap().holds -= 1;
        Ok(Response::new(Default::default()))
    }

    async fn fetch(
        &self,
        request: Request<Streaming<v1::FetchRequest>>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let (answers, out) = mpsc::channel(1);
        let (this, mut requests) = (self.clone(), request.into_inner());
        let left = this.breaks.lock().unwrap().pop();
        drop(Context::system().spawn(async move {
            let mut left = left;
            while let Ok(Some(request)) = requests.message().await {
                for kind in this.answer(&request) {
                    if left == Some(0) {
                        let _ = answers.send(Err(Status::unknown("broken"))).await;
                        return;
                    }
                    left = left.map(|n| n - 1);
                    let number = request.number;
                    let kind = Some(kind);
                    let _ = answers.send(Ok(v1::FetchResponse { number, kind })).await;
                }
            }
        }));
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

impl Server {
    fn answer(&self, request: &v1::FetchRequest) -> Vec<v1::fetch_response::Kind> {
        use v1::fetch_response::Kind;
        let state = self.state.lock().unwrap();
        let mut frames = Vec::new();
        let mut answers = Vec::new();
        for id in ids(&request.ids) {
            match state.place.get(&id) {
                Some(at) if !frames.contains(at) => frames.push(*at),
                Some(_) => {}
                None => answers.push(Kind::Lost(v1::Lost {
                    id: id.0.to_vec().into(),
                    why: "it is nowhere".into(),
                })),
            }
        }
        self.frames_sent.fetch_add(frames.len(), Ordering::SeqCst);
        answers.extend(frames.into_iter().map(|at| Kind::Frame(state.sealed(at))));
        answers.push(Kind::Done(v1::Done {}));
        answers
    }
}

/// What this coordinator cannot do.
fn refuse<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl Vaults for Server {
    async fn get_vault(
        &self,
        _: Request<v1::GetVaultRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        Ok(Response::new(self.vault.clone()))
    }

    async fn get_key_object(
        &self,
        request: Request<v1::GetKeyObjectRequest>,
    ) -> Result<Response<v1::GetKeyObjectResponse>, Status> {
        let object = match request.get_ref().key.is_empty() {
            true => self.vault_key.clone(),
            false => self.state.lock().unwrap().key.clone().unwrap().0,
        };
        Ok(Response::new(v1::GetKeyObjectResponse {
            hash: Hash::of(&object).0.to_vec().into(),
            object,
            generation: 1,
        }))
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        refuse()
    }

    async fn list_vaults(
        &self,
        _: Request<v1::ListVaultsRequest>,
    ) -> Result<Response<v1::ListVaultsResponse>, Status> {
        refuse()
    }

    async fn create_vault(
        &self,
        _: Request<v1::CreateVaultRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        refuse()
    }

    async fn attach_vault(
        &self,
        _: Request<v1::AttachVaultRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        refuse()
    }

    async fn add_site(
        &self,
        _: Request<v1::AddSiteRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        refuse()
    }

    async fn remove_site(
        &self,
        _: Request<v1::RemoveSiteRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        refuse()
    }

    async fn set_recipients(
        &self,
        _: Request<v1::SetRecipientsRequest>,
    ) -> Result<Response<v1::Vault>, Status> {
        refuse()
    }
}

impl Server {
    /// A coordinator that has nothing.
    fn empty() -> Self {
        Self {
            vault: v1::Vault::default(),
            vault_key: Bytes::new(),
            state: Arc::default(),
            breaks: Arc::default(),
            frames_sent: Arc::default(),
        }
    }
}

/// The reading side of a coordinator that has nothing.
pub(super) fn empty_restore() -> RestoreServer<impl Restore> {
    RestoreServer::new(Server::empty())
}

struct Stage {
    server: Server,
    new: NewVault,
    connection: Connection,
    context: Context,
    _folder: tempfile::TempDir,
}

async fn stage() -> Stage {
    let context = Context::system();
    let coordinator = Description {
        coordinator: "c1".into(),
        writer: PublicKey([9; 32]),
        version: String::new(),
        level: 1,
        sites: Vec::new(),
    };
    let plan = VaultPlan {
        name: "db".parse().unwrap(),
        recipients: Vec::new(),
        agent: "web1".parse().unwrap(),
        scope: "agent/web1".parse().unwrap(),
    };
    let new = make_vault(&context, plan, &coordinator).unwrap();
    let server = Server {
        vault: v1::Vault {
            id: new.bundle.vault.0.to_vec().into(),
            name: "db".into(),
            root_public: new.bundle.root.0.to_vec().into(),
            recipients: new.objects.recipients.clone(),
            ..Default::default()
        },
        vault_key: new.objects.vault_key.clone(),
        ..Server::empty()
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("h.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(BackupServer::new(server.clone()).max_decoding_message_size(16 << 20))
        .add_service(RestoreServer::new(server.clone()).max_encoding_message_size(16 << 20))
        .add_service(VaultsServer::new(server.clone()))
        .serve_with_incoming(UnixListenerStream::new(listener));
    drop(context.spawn(serving));
    let endpoint = Endpoint::Unix(socket);
    let connection = Connection::open(&[endpoint], &TlsFiles::default())
        .await
        .unwrap();
    Stage {
        server,
        new,
        connection,
        context,
        _folder: folder,
    }
}

impl Stage {
    /// Uploads `count` small chunks, one of 8 MiB and a node over all; gives them, the node last.
    async fn upload(&self, count: u32) -> Vec<Chunk> {
        let keys = &self.new.bundle.keys;
        let mut chunks: Vec<Chunk> = (0..count)
            .map(|n| keys.data(format!("chunk {n}").repeat(50).into()))
            .collect();
        let mut large = vec![0; 8 << 20];
        self.context.fill_random(&mut large);
        chunks.push(keys.data(large.into()));
        let refs = chunks.iter().map(|chunk| chunk.id).collect();
        chunks.push(keys.node(Bytes::from_static(b"top"), refs));
        let options = SessionOptions::new("web".parse().unwrap());
        let sink = SessionSink::open(&self.context, &self.connection, &self.new.bundle, options)
            .await
            .unwrap();
        for chunk in &chunks {
            sink.put(chunk.clone()).await.unwrap();
        }
        let root = chunks[chunks.len() - 1].id;
        let finished = sink.finish(root, Totals::default(), false).await.unwrap();
        assert!(matches!(finished, Finished::Committed(_)));
        chunks
    }

    async fn source(&self, identity: &Identity) -> crate::Result<RemoteSource> {
        let snapshot = holdfast_format::SessionId([1; 16]);
        let options = RemoteOptions::new("test");
        let (context, connection) = (&self.context, &self.connection);
        RemoteSource::open(context, connection, identity, "db", snapshot, options).await
    }
}

fn wanted(chunks: &[Chunk]) -> Vec<(ChunkId, ChunkKind)> {
    chunks.iter().map(|chunk| (chunk.id, chunk.kind)).collect()
}

#[tokio::test]
async fn what_was_sent_is_read_back() {
    let stage = stage().await;
    let chunks = stage.upload(2000).await;
    let source = stage.source(&stage.new.identity).await.unwrap();
    let fetched = source.fetch(wanted(&chunks)).await.unwrap();
    for (chunk, fetched) in chunks.iter().zip(fetched) {
        let fetched = fetched.unwrap();
        assert_eq!((&fetched.bytes, &fetched.refs), (&chunk.bytes, &chunk.refs));
    }
    // Small chunks lie side by side: what came along is not fetched again.
    let before = stage.server.frames_sent.load(Ordering::SeqCst);
    source.fetch(wanted(&chunks[..100])).await.unwrap();
    assert_eq!(stage.server.frames_sent.load(Ordering::SeqCst), before);
    assert_eq!(stage.server.state.lock().unwrap().holds, 1);
    source.close().await;
    assert_eq!(stage.server.state.lock().unwrap().holds, 0);
}

#[tokio::test]
async fn broken_streams_are_opened_again() {
    let stage = stage().await;
    let chunks = stage.upload(600).await;
    *stage.server.breaks.lock().unwrap() = vec![2, 0, 1];
    let source = stage.source(&stage.new.identity).await.unwrap();
    let fetched = source.fetch(wanted(&chunks)).await.unwrap();
    assert!(fetched.iter().all(Result::is_ok));
    assert!(stage.server.breaks.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_bad_or_missing_is_a_loss() {
    let stage = stage().await;
    let chunks = stage.upload(10).await;
    {
        let mut state = stage.server.state.lock().unwrap();
        state.spoiled = state.place.get(&chunks[10].id).copied();
    }
    let nowhere = (ChunkId([7; 32]), ChunkKind::Data);
    let mut all = wanted(&chunks);
    all.push(nowhere);
    let source = stage.source(&stage.new.identity).await.unwrap();
    let fetched = source.fetch(all).await.unwrap();
    let lost: Vec<usize> = (0..fetched.len())
        .filter(|n| fetched[*n].is_err())
        .collect();
    assert_eq!(lost, [10, 12]);
    let why = |n: usize| fetched[n].as_ref().unwrap_err().why.clone();
    assert!(why(10).contains("damaged"), "{}", why(10));
    assert_eq!(why(12), "it is nowhere");
}

#[tokio::test]
async fn only_the_right_identity_reads() {
    let stage = stage().await;
    stage.upload(1).await;
    let mut other = stage.new.identity.clone();
    other.age = holdfast_format::AgeIdentity::generate();
    let denied = stage.source(&other).await.unwrap_err();
    assert!(matches!(denied, Error::Denied { .. }), "{denied}");
    let mut other = stage.new.identity.clone();
    other.root_public = Some(SecretKey::new(&[3; 32]).public());
    let denied = stage.source(&other).await.unwrap_err();
    assert!(denied.to_string().contains("another root key"), "{denied}");
    let mut other = stage.new.identity.clone();
    other.vault = Some(VaultId([3; 16]));
    assert!(stage.source(&other).await.is_err());
}

#[tokio::test]
async fn a_key_object_that_nobody_signed_is_refused() {
    let mut stage = stage().await;
    stage.upload(1).await;
    // A thief who knows the recipients can seal secrets of his own to them, but not sign them.
    let secrets = holdfast_format::VaultSecrets::new([1; 32], [2; 32]);
    let recipients = &stage.new.bundle.recipients.recipients;
    let generation = holdfast_format::Generation(1);
    let forged = secrets.seal(stage.new.bundle.vault, generation, recipients);
    stage.server.vault_key = forged.unwrap().to_bytes();
    let object = stage.server.vault_key.clone();
    let info = Admin::new(&stage.connection).vault("db").await.unwrap();
    let identity = &stage.new.identity;
    let opened = keys::open_secrets(
        &stage.connection,
        &info,
        identity,
        Some((generation, object)),
    )
    .await;
    assert!(opened.unwrap_err().to_string().contains("not the one"));
}
