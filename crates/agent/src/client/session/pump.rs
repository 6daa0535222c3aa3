//! Keeps one session going over however many streams it takes.
//!
//! State: the window of frames that are not durable, offers that are not answered, what waits to be written. It is the
//! only one that talks to the coordinator. While the stream does not take more it goes on listening, so that neither
//! end ever waits for the other to read. A broken stream is opened again, `resume` set; frames that are not durable and
//! offers that are not answered are sent again, and so are the ids that were promised to be kept, since a new owner of
//! the vault knows nothing of a promise. It must never number a frame twice or send frames out of order.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::ChunkId;
use holdfast_proto::v1::session_response::Kind as Response;
use holdfast_proto::v1::{self, FrameUpload, Opened, SessionRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use super::flight::{Flight, Offered};
use super::link::{self, Dial, Link, next};
use super::opening::Opening;
use super::progress::{LinkState, SessionProgress};
use super::settled::Settled;
use crate::client::SnapshotInfo;
use crate::client::outage::Outage;
use crate::client::status::{Reason, nonsense, refused, sentence};
use crate::error::{Error, Result};

/// Something to ask at once.
#[derive(Debug)]
pub(super) enum Ask {
    /// Which of these does the vault have? At most [`OFFER_IDS_MAX`].
    Offer {
        ids: Vec<ChunkId>,
        reply: oneshot::Sender<Vec<bool>>,
    },
    /// End the session without a snapshot.
    Abandon {
        why: String,
        reply: oneshot::Sender<()>,
    },
}

/// Something to send in order.
#[derive(Debug)]
pub(super) enum Feed {
    /// A frame, not numbered yet.
    Frame(FrameUpload),
    /// Everything was sent.
    Finish(Finishing),
}

/// A request to commit.
#[derive(Debug)]
pub(super) struct Finishing {
    /// The message.
    pub(super) message: v1::Finish,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<Ending>,
}

/// The answer to a request to commit.
#[derive(Debug)]
pub(super) enum Ending {
    /// The snapshot stands on the primary; the receiver, if it was asked for, tells when it stands everywhere.
    Committed(
        Box<SnapshotInfo>,
        Option<oneshot::Receiver<Box<SnapshotInfo>>>,
    ),
    /// It refers to chunks that are not live any more.
    Missing(Vec<ChunkId>),
}

/// See the module header.
pub(super) struct Pump {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) opening: Arc<Opening>,
    pub(super) settled: Arc<Mutex<Settled>>,
    pub(super) progress: Arc<SessionProgress>,
    pub(super) outage: Outage,
    /// The most bytes that this side keeps, whatever the coordinator allows.
    pub(super) window_bytes_max: usize,
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) feed: mpsc::Receiver<Feed>,
    /// What is under way.
    pub(super) flight: Flight,
}

/// Why one stream is not served any more.
enum Turn {
    /// The session is over.
    Over,
    /// The stream broke.
    Broken(Status),
}

impl Pump {
    /// Takes the window's size as a stream's opening tells it.
    pub(super) fn limit_window(&mut self, opened: &Opened) {
        let allowed = usize::try_from(opened.window_bytes).unwrap_or(usize::MAX);
        self.flight.limit(allowed.min(self.window_bytes_max));
    }

    /// Serves the session until it is committed (and protected, if someone waits for that), abandoned, or lost.
    pub(super) async fn run(&mut self, mut link: Link) -> Result<()> {
        loop {
            match self.serve(&mut link).await? {
                Turn::Over => return Ok(()),
                // Whoever waits for either finds out in another way.
                Turn::Broken(_)
                    if self.flight.protected.is_some() || self.flight.abandoning.is_some() =>
                {
                    return Ok(());
                }
                Turn::Broken(status) => {
                    let Some(again) = self.link_again(status).await? else {
                        return Ok(());
                    };
                    link = again;
                }
            }
        }
    }

    async fn serve(&mut self, link: &mut Link) -> Result<Turn> {
        let Link { outbound, inbound } = link;
        let mut open = true;
        loop {
            self.flight.stage();
            let has_room = self.flight.has_room();
            let takes_frames = self.flight.takes_frames();
            let flush_at = self.flight.flush_at();
            tokio::select! {
                // What comes in first: it makes room, and says why nothing goes out any more.
                biased;
                heard = next(inbound) => match heard {
                    Ok(message) => {
                        self.outage.over();
                        if self.hear(message)? {
                            return Ok(Turn::Over);
                        }
                    }
                    Err(status) => return Ok(Turn::Broken(status)),
                },
                slot = outbound.reserve(), if open && self.flight.has_words() => match slot {
                    Ok(slot) => slot.send(SessionRequest { kind: self.flight.next_word() }),
                    // Nothing goes out any more. Why, comes in.
                    Err(_) => open = false,
                },
                Some(ask) = self.asks.recv(), if has_room => self.flight.ask(ask),
                Some(item) = self.feed.recv(), if takes_frames => self.take(item),
                () = sleep_until(flush_at), if flush_at.is_some() => self.flight.flush(),
            }
        }
    }

    fn take(&mut self, item: Feed) {
        match item {
            Feed::Frame(frame) => {
                self.progress.sent(frame.sealed.len());
                self.flight.staged = Some(frame);
            }
            Feed::Finish(finishing) => self.flight.finish(finishing),
        }
    }

    /// Takes what the coordinator says; `true` when the session is over.
    fn hear(&mut self, message: Response) -> Result<bool> {
        match message {
            Response::Opened(_) => Err(nonsense("the session was opened twice")),
            Response::Answer(answer) => self.hear_answer(answer).map(|()| false),
            Response::Durable(durable) => {
                self.flight.durable(durable.number).map_err(nonsense)?;
                self.progress.waiting(self.flight.waiting_bytes());
                Ok(false)
            }
            Response::Committed(committed) => {
                self.committed(SnapshotInfo::read_some(committed.snapshot)?)
            }
            Response::Missing(missing) => {
                let ids = split(&missing.ids)?;
                let finishing = self.flight.finishing.take();
                let finishing = finishing.ok_or_else(|| nonsense("it misses chunks unasked"))?;
                // Nobody waits any more if the person interrupted.
                let _ = finishing.reply.send(Ending::Missing(ids));
                Ok(false)
            }
            Response::Protected(protected) => {
                let info = SnapshotInfo::read_some(protected.snapshot)?;
                if let Some(waiting) = self.flight.protected.take() {
                    let _ = waiting.send(Box::new(info));
                }
                Ok(true)
            }
            Response::Abandoned(_) => {
                if let Some(reply) = self.flight.abandoning.take() {
                    let _ = reply.send(());
                }
                Ok(true)
            }
        }
    }

    /// Hands on the good news; `true` when nobody waits for more.
    fn committed(&mut self, info: SnapshotInfo) -> Result<bool> {
        let finishing = self.flight.finishing.take();
        let finishing = finishing.ok_or_else(|| nonsense("it committed unasked"))?;
        if info.id != self.opening.session {
            return Err(nonsense(format!("it committed {} instead", info.id)));
        }
        let wait = finishing.message.wait_protected;
        let (told, protected) = if wait {
            let (sender, receiver) = oneshot::channel();
            (Some(receiver), Some(sender))
        } else {
            (None, None)
        };
        self.flight.protected = protected;
        let _ = finishing
            .reply
            .send(Ending::Committed(Box::new(info), told));
        Ok(!wait)
    }

    fn hear_answer(&mut self, answer: v1::Answer) -> Result<()> {
        let offer = self.flight.offers.remove(&answer.number);
        let Offered { ids, reply } =
            offer.ok_or_else(|| nonsense("it answers what was not asked"))?;
        if answer.known.len() * 8 < ids.len() {
            return Err(nonsense("it answers for fewer chunks than were offered"));
        }
        let known: Vec<bool> = (0..ids.len())
            .map(|n| answer.known[n / 8] >> (n % 8) & 1 == 1)
            .collect();
        match reply {
            Some(reply) => drop(reply.send(known)),
            None => self.take_back(&ids, &known),
        }
        Ok(())
    }

    /// What was promised before the stream broke and is not kept any more is forgotten here too, so that it is sent if
    /// it comes again. If it does not, the commit will find it missing.
    fn take_back(&self, ids: &[ChunkId], known: &[bool]) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, known) in ids.iter().zip(known) {
            if !known {
                settled.remove(id);
            }
        }
    }

    /// Opens another stream; none if it turns out that the session was committed before the last one broke.
    async fn link_again(&mut self, mut status: Status) -> Result<Option<Link>> {
        self.outage.broke();
        loop {
            let reason = Reason::of(&status);
            if reason == Reason::Missing {
                return Err(Error::Unavailable {
                    what: "the upload session".into(),
                    why: "the coordinator has ended it; run the backup again: \
                          what was uploaded, and is not collected yet, is reused"
                        .into(),
                });
            }
            if !reason.may_pass() {
                return Err(refused("the upload", &status));
            }
            self.progress.link(LinkState::Reconnecting {
                attempts: self.outage.attempts(),
                why: sentence(&status),
            });
            // Said at once, then ever more rarely: nobody should wait for minutes without a word.
            let (attempts, why) = (self.outage.attempts(), sentence(&status));
            if attempts.is_power_of_two() {
                tracing::warn!(
                    attempts,
                    why,
                    "the connection to the coordinator is lost; it is tried again, for a quarter of an hour"
                );
            } else {
                tracing::info!(attempts, why, "the stream broke");
            }
            let goes_elsewhere = self.dial.turn(&status).await;
            if !self.outage.wait_unless(goes_elsewhere).await {
                return Err(Error::Unavailable {
                    what: "the coordinator".into(),
                    why: format!(
                        "{} (tried for {} s); run the backup again: what was uploaded is reused",
                        sentence(&status),
                        self.outage.lasted().as_secs()
                    ),
                });
            }
            match link::open(&*self.dial, self.opening.message(true)).await {
                Ok((link, opened)) => {
                    self.outage.linked();
                    self.progress.link(LinkState::Connected);
                    tracing::info!(durable = opened.durable, "the session goes on");
                    return self.resume(&opened).map(|goes_on| goes_on.then_some(link));
                }
                Err(next) => status = next,
            }
        }
    }

    /// Sends again what the coordinator may not have; `false` if the session was committed already.
    fn resume(&mut self, opened: &Opened) -> Result<bool> {
        if let Some(snapshot) = &opened.committed {
            let info = SnapshotInfo::read(snapshot.clone())?;
            self.committed(info)?;
            return Ok(false);
        }
        self.limit_window(opened);
        let promised = {
            let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            settled.promised()
        };
        self.flight
            .resume(opened.durable, &promised)
            .map_err(nonsense)?;
        Ok(true)
    }
}

fn split(ids: &[u8]) -> Result<Vec<ChunkId>> {
    ids.chunks(ChunkId::LEN)
        .map(|id| ChunkId::from_slice(id).map_err(nonsense))
        .collect()
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
