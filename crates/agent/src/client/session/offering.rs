//! From chunks that were put to frames: offer their ids in batches, seal and send what the coordinator wants.
//!
//! Three tasks in a row, each the only reader of a bounded queue, so that chunks keep the order in which they were put:
//! [`batch`] gathers ids into offers, [`route`] takes the answers in order, gathers what is wanted into frames and
//! begins to seal them, [`forward`] hands sealed frames to the pump. A chunk's memory is given back when it is known to
//! be there, or sealed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_format::ChunkId;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::gather::Gather;
use super::held::Held;
use super::progress::SessionProgress;
use super::pump::{Ask, Feed, Finishing};
use super::rate::RateLimit;
use super::sealing::{Job, Sealing, upload};
use super::settled::{Settled, Why};
use crate::error::Error;

/// Ids of one offer of chunks that were put.
const BATCH_IDS_MAX: usize = 1024;

/// Plaintext bytes of one such offer.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An offer waits this long for more ids.
const BATCH_WAIT: Duration = Duration::from_millis(8);

/// What comes in.
#[derive(Debug)]
pub(super) enum Put {
    /// A chunk.
    Chunk(Held),
    /// All chunks were put.
    End(Finishing),
}

/// What was offered, in order.
#[derive(Debug)]
pub(super) enum Offered {
    /// Chunks and, in time, which of them are known.
    Chunks(Vec<Held>, oneshot::Receiver<Vec<bool>>),
    /// All chunks were offered.
    End(Finishing),
}

/// What is to be sent, in order.
#[derive(Debug)]
pub(super) enum Sealed {
    /// A frame, when it is sealed.
    Frame(Job),
    /// All frames were begun.
    End(Finishing),
}

/// Gathers chunks into offers. Ends when no more can come, or the pump is gone.
pub(super) async fn batch(
    mut puts: mpsc::Receiver<Put>,
    asks: mpsc::Sender<Ask>,
    offers: mpsc::Sender<Offered>,
) {
    loop {
        let mut end = None;
        let mut held: Vec<Held> = Vec::new();
        let mut bytes = 0;
        let mut until = None;
        while held.len() < BATCH_IDS_MAX && bytes < BATCH_BYTES_MAX {
            let next = match until {
                None => puts.recv().await,
                Some(until) => match tokio::time::timeout_at(until, puts.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Some(Put::Chunk(chunk)) => {
                    until.get_or_insert_with(|| tokio::time::Instant::now() + BATCH_WAIT);
                    bytes += chunk.chunk.bytes.len();
                    held.push(chunk);
                }
                Some(Put::End(finishing)) => {
                    end = Some(finishing);
                    break;
                }
                None => return,
            }
        }
        if !held.is_empty() && offer(held, &asks, &offers).await.is_none() {
            return;
        }
        if let Some(finishing) = end
            && offers.send(Offered::End(finishing)).await.is_err()
        {
            return;
        }
    }
}

async fn offer(
    held: Vec<Held>,
    asks: &mpsc::Sender<Ask>,
    offers: &mpsc::Sender<Offered>,
) -> Option<()> {
    let (reply, answer) = oneshot::channel();
    let ids: Vec<ChunkId> = held.iter().map(|held| held.chunk.id).collect();
    asks.send(Ask::Offer { ids, reply }).await.ok()?;
    offers.send(Offered::Chunks(held, answer)).await.ok()
}

/// What [`route`] needs besides its queues.
#[derive(Debug)]
pub(super) struct Routing {
    /// The open frames.
    pub(super) gather: Gather,
    /// What need not be offered again.
    pub(super) settled: Arc<Mutex<Settled>>,
    /// Counters.
    pub(super) progress: Arc<SessionProgress>,
}

/// Takes answers in the order of the offers and begins to seal what is wanted.
pub(super) async fn route(
    mut offers: mpsc::Receiver<Offered>,
    mut routing: Routing,
    sealing: Sealing,
    sealed: mpsc::Sender<Sealed>,
) {
    while let Some(offered) = offers.recv().await {
        let (frames, end) = match offered {
            Offered::Chunks(held, answer) => match answer.await {
                Ok(known) => (routing.take(held, &known), None),
                Err(_) => return,
            },
            Offered::End(finishing) => (routing.gather.close(), Some(finishing)),
        };
        for frame in frames {
            let job = sealing.begin(frame).await;
            if sealed.send(Sealed::Frame(job)).await.is_err() {
                return;
            }
        }
        if let Some(finishing) = end
            && sealed.send(Sealed::End(finishing)).await.is_err()
        {
            return;
        }
    }
}

impl Routing {
    fn take(&mut self, held: Vec<Held>, known: &[bool]) -> Vec<Vec<Held>> {
        let mut frames = Vec::new();
        for (held, known) in held.into_iter().zip(known) {
            if *known {
                self.progress.reused(1);
                self.settled
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(held.chunk.id, Why::Known);
            } else {
                self.progress.new_chunk(held.chunk.bytes.len());
                frames.extend(self.gather.add(held));
            }
        }
        frames
    }
}

/// Hands frames to the pump as they are sealed, in order, at the rate that was asked for.
pub(super) async fn forward(
    mut sealed: mpsc::Receiver<Sealed>,
    mut rate: RateLimit,
    frame_bytes_max: usize,
    feed: mpsc::Sender<Feed>,
    failure: Failure,
) {
    while let Some(next) = sealed.recv().await {
        let item = match next {
            Sealed::End(finishing) => Feed::Finish(finishing),
            Sealed::Frame(job) => match frame(job, frame_bytes_max).await {
                Ok(frame) => {
                    rate.pass(frame.sealed.len()).await;
                    Feed::Frame(frame)
                }
                Err(error) => {
                    failure.set(error);
                    return;
                }
            },
        };
        if feed.send(item).await.is_err() {
            return;
        }
    }
}

async fn frame(job: Job, frame_bytes_max: usize) -> Result<holdfast_proto::v1::FrameUpload, Error> {
    let frame = job
        .await
        .map_err(|error| Error::Bug(format!("sealing a frame failed: {error}")))??;
    if frame.sealed.len() > frame_bytes_max {
        return Err(Error::Invalid {
            what: format!("a frame of {} bytes", frame.sealed.len()),
            why: format!("the coordinator takes frames of at most {frame_bytes_max} bytes"),
        });
    }
    Ok(upload(frame))
}
