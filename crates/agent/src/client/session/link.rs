//! One gRPC stream of a session, and how another one is opened when it breaks.

use std::pin::Pin;

use async_trait::async_trait;
use futures::Stream;
use holdfast_proto::v1::session_request::Kind as Request;
use holdfast_proto::v1::session_response::Kind as Response;
use holdfast_proto::v1::{Abandon, Open, Opened, SessionRequest, SessionResponse};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::client::Connection;

/// Messages that wait for the transport. A frame has up to 8.25 MiB, most have 256 KiB to 1 MiB.
const OUTBOUND_MESSAGES: usize = 4;

/// What the coordinator says on a stream.
pub type Inbound = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

/// A stream in both directions.
pub struct Link {
    /// To the coordinator.
    pub outbound: mpsc::Sender<SessionRequest>,
    /// From it.
    pub inbound: Inbound,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

/// The next message. A stream that ends is a broken one: the session ends it, never the coordinator.
pub(super) async fn next(inbound: &mut Inbound) -> Result<Response, Status> {
    match inbound.next().await {
        Some(Ok(SessionResponse { kind: Some(kind) })) => Ok(kind),
        Some(Ok(SessionResponse { kind: None })) => Err(Status::invalid_argument(
            "a message of unknown kind came; the coordinator is of a newer release",
        )),
        Some(Err(status)) => Err(status),
        None => Err(Status::unavailable("the coordinator ended the stream")),
    }
}

/// Opens streams: over a connection in production, in memory in a simulation.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A stream on which `first` is the first message.
    async fn dial(&self, first: SessionRequest) -> Result<Link, Status>;

    /// After a stream broke or was refused: turns to whom the refusal names, or to another one that was given. Whether the next
    /// stream goes elsewhere than the last.
    async fn turn(&self, _: &Status) -> bool {
        false
    }
}

/// Opens a stream and waits for the answer to its opening message.
pub(super) async fn open(dial: &dyn Dial, open: Open) -> Result<(Link, Opened), Status> {
    let mut link = dial
        .dial(SessionRequest {
            kind: Some(Request::Open(open)),
        })
        .await?;
    match next(&mut link.inbound).await? {
        Response::Opened(opened) => Ok((link, opened)),
        _ => Err(Status::invalid_argument(
            "the coordinator did not answer the opening of the session first",
        )),
    }
}

/// Ends a session without a snapshot, on a stream of its own: for when the one that served it is gone.
pub(super) async fn abandon(dial: &dyn Dial, resumed: Open, why: &str) -> Result<(), Status> {
    let (mut link, opened) = open(dial, resumed).await?;
    if opened.committed.is_some() {
        return Ok(());
    }
    let kind = Some(Request::Abandon(Abandon { why: why.into() }));
    // If it cannot be said any more, what comes in says why.
    let _ = link.outbound.send(SessionRequest { kind }).await;
    next(&mut link.inbound).await.map(drop)
}

#[async_trait]
impl Dial for Connection {
    async fn turn(&self, status: &Status) -> bool {
        Self::turn(self, status).await
    }

    async fn dial(&self, first: SessionRequest) -> Result<Link, Status> {
        let (outbound, requests) = mpsc::channel(OUTBOUND_MESSAGES);
        outbound
            .try_send(first)
            .map_err(|_| Status::internal("a new queue is full"))?;
        let inbound = self
            .backup()
            .session(ReceiverStream::new(requests))
            .await?
            .into_inner();
        Ok(Link {
            outbound,
            inbound: Box::pin(inbound),
        })
    }
}
