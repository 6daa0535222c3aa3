//! The way of a frame from an agent to a coordinator: the messages, streams and sockets of both, with nothing behind them.
//!
//! Client and server are tasks of this process, so its processor time is that of both ends.

use std::path::Path;
use std::pin::Pin;

use futures::Stream;
use holdfast_agent::client::{Endpoint, TlsFiles, channel};
use holdfast_context::Context;
use holdfast_coordinator::serve::{Address, Listener, Tls, serve_routes};
use holdfast_format::Frame;
use holdfast_proto::v1::backup_client::BackupClient;
use holdfast_proto::v1::backup_server::{Backup, BackupServer};
use holdfast_proto::v1::session_request::Kind;
use holdfast_proto::v1::{FrameUpload, SessionRequest, SessionResponse};
use holdfast_tests::certificates::Authority;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::steps::{Speed, measure, sealed_bytes};

/// As many messages wait for the stream as an agent lets wait.
const OUTBOUND_MESSAGES: usize = 4;

/// How both ends talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The coordinator's socket.
    Unix,
    /// Mutual TLS over loopback.
    Tls,
}

/// Takes frames and forgets them.
struct Sink;

type Answers = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Backup for Sink {
    type SessionStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut frames = request.into_inner();
        let all = async move {
            while frames.message().await?.is_some() {}
            Ok(SessionResponse::default())
        };
        Ok(Response::new(Box::pin(futures::stream::once(all))))
    }
}

/// Sends frames one way.
pub(crate) fn send(way: Way, frames: &[Frame]) -> Speed {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let (address, tls) = ends(way, folder.path());
    let mut client = runtime.block_on(async {
        let listener = Listener::bind(&address).await.unwrap();
        let endpoint: Endpoint = listener.address().parse().unwrap();
        let service = BackupServer::new(Sink).max_decoding_message_size(64 << 20);
        let serving = serve_routes(Routes::new(service), listener, stop.clone());
        drop(Context::system().spawn(serving));
        BackupClient::new(channel(&endpoint, &tls).await.unwrap())
    });
    let messages: Vec<SessionRequest> = frames.iter().map(message).collect();
    let speed = measure(sealed_bytes(frames), || {
        runtime.block_on(async {
            let (to, from) = mpsc::channel(OUTBOUND_MESSAGES);
            let messages = messages.clone();
            drop(Context::system().spawn(async move {
                for message in messages {
                    to.send(message).await.unwrap();
                }
            }));
            let answer = client.session(ReceiverStream::new(from)).await.unwrap();
            answer.into_inner().message().await.unwrap().unwrap();
        });
    });
    stop.cancel();
    speed
}

/// Where the server listens, and with what the client comes.
fn ends(way: Way, folder: &Path) -> (Address, TlsFiles) {
    if way == Way::Unix {
        return (Address::Unix(folder.join("s")), TlsFiles::default());
    }
    let authority = Authority::new(&folder.join("tls"), "authority");
    let (server, agent) = (authority.issue("server"), authority.issue("agent"));
    let read = |path: &Path| std::fs::read(path).unwrap();
    let tls = Tls {
        ca: read(&server.ca),
        certificate: read(&server.cert),
        key: read(&server.key),
    };
    let files = TlsFiles {
        ca: Some(agent.ca),
        cert: Some(agent.cert),
        key: Some(agent.key),
    };
    (Address::Tls("127.0.0.1:0".parse().unwrap(), tls), files)
}

fn message(frame: &Frame) -> SessionRequest {
    let ids: Vec<u8> = frame.chunks.iter().flat_map(|chunk| chunk.id.0).collect();
    let upload = FrameUpload {
        ids: ids.into(),
        lens: frame.chunks.iter().map(|chunk| chunk.len).collect(),
        sealed: frame.sealed.clone(),
        ..FrameUpload::default()
    };
    SessionRequest {
        kind: Some(Kind::Frame(upload)),
    }
}
