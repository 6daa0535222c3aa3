//! What is under way in a session: frames in the window, offers without an answer, messages that wait for the stream.
//!
//! State: all of that. Pure: the pump moves it on, and it says what is to be said next.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use holdfast_format::ChunkId;
use holdfast_proto::v1::session_request::Kind as Request;
use holdfast_proto::v1::{Abandon, Flush, FrameUpload, Offer};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::pump::{Ask, Finishing};
use super::sealing::join;
use super::window::{Impossible, Window};
use crate::client::{OFFER_IDS_MAX, SnapshotInfo};

/// Messages that wait for the stream before nothing more is taken on.
const OUTBOX_MESSAGES: usize = 4;

/// When the window has been full for so long and nothing became durable, the coordinator is asked to make it so. It does
/// so by itself much earlier; asked too soon, it would make small packs.
const FULL_WAIT: Duration = Duration::from_secs(10);

/// See the module header.
#[derive(Debug)]
pub(super) struct Flight {
    window: Window,
    /// A frame that does not fit into the window yet.
    pub(super) staged: Option<FrameUpload>,
    /// Since when the window has been full, and whether a flush was asked for.
    full: Option<(Instant, bool)>,
    /// Offers without an answer, by number.
    pub(super) offers: BTreeMap<u64, Offered>,
    last_offer: u64,
    outbox: VecDeque<Request>,
    /// The commit that was asked for.
    pub(super) finishing: Option<Finishing>,
    /// Who waits for the session's end without a snapshot.
    pub(super) abandoning: Option<oneshot::Sender<()>>,
    /// Who waits for the committed snapshot to be protected.
    pub(super) protected: Option<oneshot::Sender<Box<SnapshotInfo>>>,
}

/// Ids that were offered, and who waits for the answer; for what is offered once more after a break, nobody does.
#[derive(Debug)]
pub(super) struct Offered {
    /// The ids.
    pub(super) ids: Vec<ChunkId>,
    /// Where the answer goes.
    pub(super) reply: Option<oneshot::Sender<Vec<bool>>>,
}

impl Flight {
    /// Nothing is under way.
    pub(super) fn new() -> Self {
        Self {
            window: Window::new(0),
            staged: None,
            full: None,
            offers: BTreeMap::new(),
            last_offer: 0,
            outbox: VecDeque::new(),
            finishing: None,
            abandoning: None,
            protected: None,
        }
    }

    /// Sets the window's size.
    pub(super) fn limit(&mut self, window_bytes: usize) {
        self.window.limit(window_bytes);
    }

    /// Whether there is something to say.
    pub(super) fn has_words(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What is to be said next.
    pub(super) fn next_word(&mut self) -> Option<Request> {
        self.outbox.pop_front()
    }

    /// Whether more may be taken on.
    pub(super) fn has_room(&self) -> bool {
        self.outbox.len() < OUTBOX_MESSAGES
    }

    /// Whether a frame, or the request to commit, may be taken on.
    pub(super) fn takes_frames(&self) -> bool {
        self.has_room() && self.staged.is_none() && self.finishing.is_none()
    }

    /// Numbers the waiting frame if the window has room for it.
    pub(super) fn stage(&mut self) {
        let window = &self.window;
        if let Some(frame) = self.staged.take_if(|frame| window.fits(frame)) {
            let numbered = self.window.take(frame);
            self.outbox.push_back(Request::Frame(numbered));
            self.full = None;
        } else if self.staged.is_some() {
            self.full.get_or_insert_with(|| (Instant::now(), false));
        }
    }

    /// When to ask for a flush, if the window stays full.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        match self.full {
            Some((since, false)) => Some(since + FULL_WAIT),
            _ => None,
        }
    }

    /// Asks for a flush.
    pub(super) fn flush(&mut self) {
        if let Some((_, asked)) = &mut self.full {
            *asked = true;
            self.outbox.push_back(Request::Flush(Flush {}));
        }
    }

    /// Takes on a question.
    pub(super) fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Offer { ids, reply } => self.offer(ids, Some(reply)),
            Ask::Abandon { why, reply } => {
                // Nothing else that waits needs to go any more.
                self.outbox.clear();
                self.outbox.push_back(Request::Abandon(Abandon { why }));
                self.abandoning = Some(reply);
            }
        }
    }

    fn offer(&mut self, ids: Vec<ChunkId>, reply: Option<oneshot::Sender<Vec<bool>>>) {
        self.last_offer += 1;
        self.outbox.push_back(offer(self.last_offer, &ids));
        self.offers.insert(self.last_offer, Offered { ids, reply });
    }

    /// Takes on the request to commit.
    pub(super) fn finish(&mut self, finishing: Finishing) {
        self.outbox
            .push_back(Request::Finish(finishing.message.clone()));
        self.finishing = Some(finishing);
    }

    /// Drops frames that are durable.
    pub(super) fn durable(&mut self, number: u64) -> Result<(), Impossible> {
        if self.window.durable(number)? > 0 {
            self.full = None;
        }
        Ok(())
    }

    /// Bytes that were sent and are not durable.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Begins a new stream: what the coordinator may not have is to be said again.
    pub(super) fn resume(&mut self, durable: u64, promised: &[ChunkId]) -> Result<(), Impossible> {
        self.window.durable(durable)?;
        self.full = None;
        // ORDER: frames in number order and before anything new. The coordinator takes frame n + 1 only after n; and a
        // chunk in a frame that is sent again must not be asked about before it, or it would be wanted twice.
        let frames = self.window.unacknowledged().cloned();
        self.outbox = frames.map(Request::Frame).collect();
        self.offers.retain(|_, offered| offered.reply.is_some());
        for (number, offered) in &self.offers {
            self.outbox.push_back(offer(*number, &offered.ids));
        }
        for ids in promised.chunks(OFFER_IDS_MAX) {
            self.offer(ids.to_vec(), None);
        }
        if let Some(finishing) = &self.finishing {
            self.outbox
                .push_back(Request::Finish(finishing.message.clone()));
        }
        Ok(())
    }
}

fn offer(number: u64, ids: &[ChunkId]) -> Request {
    Request::Offer(Offer {
        number,
        ids: join(ids.iter()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> FrameUpload {
        FrameUpload {
            sealed: vec![0; len].into(),
            ..Default::default()
        }
    }

    fn words(flight: &mut Flight) -> Vec<String> {
        std::iter::from_fn(|| flight.next_word())
            .map(|word| match word {
                Request::Open(_) => "open".into(),
                Request::Offer(offer) => format!("offer {}", offer.number),
                Request::Frame(frame) => format!("frame {}", frame.number),
                Request::Flush(_) => "flush".into(),
                Request::Finish(_) => "finish".into(),
                Request::Abandon(_) => "abandon".into(),
            })
            .collect()
    }

    fn put(flight: &mut Flight, len: usize) {
        assert!(flight.staged.is_none());
        flight.staged = Some(frame(len));
        flight.stage();
    }

    fn ask(flight: &mut Flight, n: u8) -> oneshot::Receiver<Vec<bool>> {
        let (reply, answer) = oneshot::channel();
        flight.ask(Ask::Offer {
            ids: vec![ChunkId([n; 32])],
            reply,
        });
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_window_holds_frames_back_and_asks_for_a_flush_once() {
        let mut flight = Flight::new();
        flight.limit(1000);
        put(&mut flight, 500);
        put(&mut flight, 500);
        assert!(flight.staged.is_some() && !flight.takes_frames());
        let at = flight.flush_at().unwrap();
        tokio::time::sleep_until(at).await;
        flight.flush();
        flight.stage();
        assert_eq!(flight.flush_at(), None);
        assert_eq!(words(&mut flight), ["frame 1", "flush"]);
        flight.durable(1).unwrap();
        flight.stage();
        assert_eq!(words(&mut flight), ["frame 2"]);
        assert!(flight.takes_frames());
    }

    #[tokio::test]
    async fn what_may_be_lost_is_said_again_in_order() {
        let mut flight = Flight::new();
        flight.limit(1 << 20);
        let _first = ask(&mut flight, 1);
        for _ in 0..3 {
            put(&mut flight, 10);
        }
        let _second = ask(&mut flight, 2);
        let (reply, _ending) = oneshot::channel();
        flight.finish(Finishing {
            message: Default::default(),
            reply,
        });
        words(&mut flight);
        flight.offers.remove(&1);
        flight.resume(1, &[ChunkId([3; 32])]).unwrap();
        assert_eq!(
            words(&mut flight),
            ["frame 2", "frame 3", "offer 2", "offer 3", "finish"]
        );
        // A second break before any answer: the promise is offered anew, not twice.
        flight.resume(3, &[ChunkId([3; 32])]).unwrap();
        assert_eq!(words(&mut flight), ["offer 2", "offer 4", "finish"]);
        assert!(flight.resume(9, &[]).is_err());
    }

    #[tokio::test]
    async fn an_abandoned_session_says_nothing_else() {
        let mut flight = Flight::new();
        flight.limit(1 << 20);
        put(&mut flight, 10);
        let (reply, _done) = oneshot::channel();
        let why = "interrupted".to_owned();
        flight.ask(Ask::Abandon { why, reply });
        assert_eq!(words(&mut flight), ["abandon"]);
    }
}
