//! Talks to the coordinator about chunks: sends requests, hands frames to be opened, asks again when the stream broke.
//!
//! State: the requests that are not answered, by number. Frames are opened in tasks of their own, so that no caller who
//! is slow to look keeps others waiting. The stream is read on only while there is room to open more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::ChunkId;
use holdfast_proto::v1::fetch_response::Kind;
use holdfast_proto::v1::{FetchRequest, FetchResponse};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::errand::{Answers, Errand};
use super::opener::Opener;
use super::sealed;
use crate::client::Connection;
use crate::client::outage::Outage;
use crate::client::status::{Reason, nonsense, refused, sentence};
use crate::error::{Error, Result};
use crate::source::Loss;

/// Requests at the coordinator at once; more wait.
const ERRANDS_MAX: usize = 16;

/// Chunks that someone wants.
#[derive(Debug)]
pub(super) struct Wish {
    /// Each once.
    pub(super) ids: Vec<ChunkId>,
    /// Where the answers go.
    pub(super) reply: oneshot::Sender<Result<Answers>>,
}

/// Where chunks are looked for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) vault: String,
    pub(super) scope: String,
    /// Empty: the best.
    pub(super) site: String,
}

/// See the module header.
pub(super) struct Desk {
    context: Context,
    connection: Connection,
    opener: Arc<Opener>,
    place: Place,
    outage: Outage,
    errands: BTreeMap<u64, Arc<Errand>>,
    last: u64,
}

struct Stream {
    requests: mpsc::Sender<FetchRequest>,
    frames: Streaming<FetchResponse>,
}

impl Desk {
    /// A desk for one scope of a vault.
    pub(super) fn new(
        context: &Context,
        connection: &Connection,
        opener: Arc<Opener>,
        place: Place,
        outage_max: Duration,
    ) -> Self {
        Self {
            context: context.clone(),
            connection: connection.clone(),
            opener,
            place,
            outage: Outage::new(context, outage_max),
            errands: BTreeMap::new(),
            last: 0,
        }
    }

    /// Serves until nobody can wish any more. When nothing more can be had, everyone is told so.
    pub(super) async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        let error = match self.serve(&mut wishes).await {
            Ok(()) => return,
            Err(error) => error,
        };
        for errand in self.errands.values() {
            errand.fail(error.clone());
        }
        while let Some(wish) = wishes.recv().await {
            let _ = wish.reply.send(Err(error.clone()));
        }
    }

    async fn serve(&mut self, wishes: &mut mpsc::Receiver<Wish>) -> Result<()> {
        loop {
            // The stream is opened by the first wish, and again by the first after it broke in silence.
            if self.errands.is_empty() {
                match wishes.recv().await {
                    Some(wish) => drop(self.note(wish)),
                    None => return Ok(()),
                }
            }
            let mut stream = self.connect().await?;
            let status = match self.converse(&mut stream, wishes).await {
                Ok(()) => return Ok(()),
                Err(Talk::Nonsense(error)) => return Err(error),
                Err(Talk::Broken(status)) => status,
            };
            self.outage.broke();
            self.judge(&status)?;
            let goes_elsewhere = self.connection.turn(&status).await;
            if !self.outage.wait_unless(goes_elsewhere).await {
                return Err(self.given_up(&status));
            }
        }
    }

    /// Opens a stream and asks for everything that has not come.
    async fn connect(&mut self) -> Result<Stream> {
        loop {
            self.errands.retain(|_, errand| !errand.is_over());
            let again: Vec<FetchRequest> = self
                .errands
                .iter()
                .map(|(number, errand)| self.request(*number, &errand.open()))
                .collect();
            let (requests, outbound) = mpsc::channel(ERRANDS_MAX + 1);
            for request in again {
                requests
                    .try_send(request)
                    .map_err(|_| Error::Bug("a new queue is full".into()))?;
            }
            let answer = self
                .connection
                .restore()
                .fetch(ReceiverStream::new(outbound))
                .await;
            match answer {
                Ok(frames) => {
                    self.outage.linked();
                    let frames = frames.into_inner();
                    return Ok(Stream { requests, frames });
                }
                Err(status) => {
                    self.outage.broke();
                    self.judge(&status)?;
                    let goes_elsewhere = self.connection.turn(&status).await;
                    if !self.outage.wait_unless(goes_elsewhere).await {
                        return Err(self.given_up(&status));
                    }
                }
            }
        }
    }

    fn judge(&self, status: &Status) -> Result<()> {
        if Reason::of(status).may_pass() {
            tracing::info!(why = %sentence(status), "the stream of chunks broke");
            return Ok(());
        }
        Err(refused("the snapshot's data", status))
    }

    fn given_up(&self, status: &Status) -> Error {
        Error::Unavailable {
            what: "the coordinator".into(),
            why: format!(
                "{} (tried for {} s); run this again when it is back",
                sentence(status),
                self.outage.lasted().as_secs()
            ),
        }
    }

    async fn converse(&mut self, stream: &mut Stream, wishes: &mut mpsc::Receiver<Wish>) -> Heard {
        loop {
            let opener = Arc::clone(&self.opener);
            let frames = &mut stream.frames;
            let next = async move {
                opener.has_room().await;
                frames.message().await
            };
            tokio::select! {
                message = next => match message {
                    Ok(Some(message)) => {
                        self.outage.over();
                        self.hear(message)?;
                    }
                    Ok(None) => return Err(Talk::Broken(ended())),
                    Err(status) => return Err(Talk::Broken(status)),
                },
                wish = wishes.recv(), if self.errands.len() < ERRANDS_MAX => match wish {
                    None => return Ok(()),
                    Some(wish) => {
                        let number = self.note(wish);
                        let open = self.errands[&number].open();
                        // If it does not go out, the stream is broken, and it is asked for again on the next one.
                        let _ = stream.requests.try_send(self.request(number, &open));
                    }
                },
            }
        }
    }

    fn note(&mut self, wish: Wish) -> u64 {
        self.last += 1;
        let errand = Arc::new(Errand::new(wish.ids, wish.reply));
        self.errands.insert(self.last, errand);
        self.last
    }

    fn request(&self, number: u64, ids: &[ChunkId]) -> FetchRequest {
        let mut joined = Vec::with_capacity(ids.len() * ChunkId::LEN);
        ids.iter().for_each(|id| joined.extend_from_slice(&id.0));
        FetchRequest {
            number,
            vault: self.place.vault.clone(),
            scope: self.place.scope.clone(),
            site: self.place.site.clone(),
            ids: joined.into(),
        }
    }

    fn hear(&mut self, message: FetchResponse) -> Heard {
        let Some(errand) = self.errands.get(&message.number) else {
            return Err(nonsense("it sends chunks that were not asked for").into());
        };
        match message.kind {
            Some(Kind::Frame(frame)) => {
                let (frame, key) = sealed::read(frame)?;
                let (errand, opener) = (Arc::clone(errand), Arc::clone(&self.opener));
                errand.begin();
                drop(self.context.spawn(async move {
                    let opened = opener.open(frame, key, &errand.wanted).await;
                    errand.end(opened);
                }));
            }
            Some(Kind::Lost(lost)) => {
                let id = ChunkId::from_slice(&lost.id).map_err(nonsense)?;
                errand.lost(Loss { id, why: lost.why });
            }
            Some(Kind::Done(_)) => {
                errand.done();
                self.errands.remove(&message.number);
            }
            None => return Err(nonsense("a message of unknown kind came").into()),
        }
        Ok(())
    }
}

fn ended() -> Status {
    Status::unavailable("the coordinator ended the stream")
}

/// A conversation so far.
type Heard = std::result::Result<(), Talk>;

/// Why a conversation ended.
enum Talk {
    Broken(Status),
    Nonsense(Error),
}

impl From<Error> for Talk {
    fn from(error: Error) -> Self {
        Self::Nonsense(error)
    }
}
