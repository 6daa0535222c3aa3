//! `LogWriter`: the one actor that appends to a vault's log.
//!
//! State: proposals that wait, and the writer while no append is under way. Proposals that arrive while one record is
//! on its way to the primary go into the next one together. It waits on the primary only; replies go up through oneshots.
//! Once fenced it stops this ownership and never appends again. Between two records it moves the index's memory into
//! segments, when there is much of it or when a checkpoint asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_context::{Context, Latest};
use holdfast_format::{Position, Record};
use holdfast_vault::index::MEMORY_CHUNKS_MAX;
use holdfast_vault::{Draft, Outcome, Promises, Proposal, Refusal, SegmentCache, State, Writer};
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::Infallible;
use kameo::message::{Context as MessageContext, Message};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Vault;
use crate::error::{Error, Result};

/// The most proposals that one record answers.
const PROPOSALS_PER_RECORD_MAX: usize = 256;

/// The primary is looked at so often, while nothing is appended: its being gone would show nowhere before the next backup.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why a proposal does not stand in the log.
#[derive(Debug)]
pub enum ProposeError {
    /// It was refused.
    Refused(Refusal),
    /// The ownership ended, or the record could not be written.
    Ended(Error),
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::Ended(error) => error,
            ProposeError::Refused(Refusal::Invalid(why)) => Self::Invalid(why),
            ProposeError::Refused(Refusal::Missing(what)) => Self::Missing(what),
            ProposeError::Refused(Refusal::Chunks(ids)) => Self::Missing(format!(
                "{} chunks that it refers to; the first is {:?}",
                ids.len(),
                ids.first()
            )),
        }
    }
}

/// Where an answer goes: the record's place, or nothing where nothing had to be appended.
pub type Reply = oneshot::Sender<std::result::Result<Option<Position>, ProposeError>>;

/// Something to append.
#[derive(Debug)]
pub struct Propose {
    /// What.
    pub proposal: Proposal,
    /// Told once it stands, or why it never will.
    pub reply: Reply,
}

/// What the actor starts from.
#[derive(Debug)]
pub struct Args {
    /// Clock, chance, tasks.
    pub context: Context,
    /// The claim.
    pub writer: Writer,
    /// What was promised to sessions.
    pub promises: Arc<Mutex<Promises>>,
    /// Where index segments are kept.
    pub cache: SegmentCache,
    /// Told of each record that stands.
    pub head: Latest<Option<Position>>,
    /// Cancelled by this actor when it is fenced.
    pub stop: CancellationToken,
}

/// See the module.
#[derive(Debug)]
pub struct LogWriter {
    context: Context,
    writer: Option<Writer>,
    promises: Arc<Mutex<Promises>>,
    cache: SegmentCache,
    head: Latest<Option<Position>>,
    stop: CancellationToken,
    waiting: VecDeque<Propose>,
    /// Those who wait for the index to be settled.
    settling: Vec<oneshot::Sender<Result<State>>>,
    /// The index holds more in memory than it should.
    overfull: bool,
}

impl Actor for LogWriter {
    type Args = Args;
    type Error = Infallible;

    async fn on_start(args: Args, _: ActorRef<Self>) -> std::result::Result<Self, Infallible> {
        Ok(Self {
            context: args.context,
            writer: Some(args.writer),
            promises: args.promises,
            cache: args.cache,
            head: args.head,
            stop: args.stop,
            waiting: VecDeque::new(),
            settling: Vec::new(),
            overfull: false,
        })
    }
}

impl Message<Propose> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, message: Propose, context: &mut MessageContext<Self, ()>) {
        self.waiting.push_back(message);
        self.begin(context.actor_ref());
    }
}

/// Is the primary still there? Asked when nothing is appended for a while.
struct Look;

impl Message<Look> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, _: Look, context: &mut MessageContext<Self, ()>) {
        // With an append under way that finds out.
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let this = context.actor_ref().clone();
        self.context.spawn(async move {
            let result = writer.look().await;
            let _ = this.tell(Looked { writer, result }).await;
        });
    }
}

/// Starts the clockwork that has the primary looked at.
pub(super) fn look_now_and_then(vault: &Arc<Vault>) {
    let (stop, context) = (vault.stop.clone(), vault.context.clone());
    let writer = vault.log_writer().downgrade();
    context.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let Some(writer) = writer.upgrade() else {
                return;
            };
            // A full mailbox is no idle writer.
            let _ = writer.tell(Look).try_send();
        }
    });
}

/// The primary was looked at.
struct Looked {
    writer: Writer,
    result: Result<()>,
}

impl Message<Looked> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, message: Looked, context: &mut MessageContext<Self, ()>) {
        match message.result {
            Ok(()) => {
                self.writer = Some(message.writer);
                self.begin(context.actor_ref());
            }
            Err(error) => self.stop_for(&error, Vec::new(), context.actor_ref()),
        }
    }
}

/// Move the index's memory into segments; answers with the state then.
#[derive(Debug)]
pub struct Settle {
    /// The state, whose index holds nothing in memory.
    pub reply: oneshot::Sender<Result<State>>,
}

impl Message<Settle> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, message: Settle, context: &mut MessageContext<Self, ()>) {
        self.settling.push(message.reply);
        self.begin(context.actor_ref());
    }
}

/// The index was settled, or not.
struct Settled {
    writer: Writer,
    result: Result<()>,
    replies: Vec<oneshot::Sender<Result<State>>>,
}

impl Message<Settled> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, message: Settled, context: &mut MessageContext<Self, ()>) {
        let Settled {
            writer,
            result,
            replies,
        } = message;
        if let Err(error) = &result {
            // The fold is as it was: only memory is short. It is tried again when more has come.
            tracing::warn!(%error, "the index stays in memory");
        }
        for reply in replies {
            let state = || {
                let state = writer.state().read();
                state.unwrap_or_else(PoisonError::into_inner).clone()
            };
            let _ = reply.send(match &result {
                Ok(()) => Ok(state()),
                Err(error) => Err(again(error)),
            });
        }
        self.writer = Some(writer);
        self.begin(context.actor_ref());
    }
}

/// An append came to its end.
struct Ended {
    writer: Writer,
    result: Result<Record>,
    answered: Vec<Reply>,
}

impl Message<Ended> for LogWriter {
    type Reply = ();

    async fn handle(&mut self, message: Ended, context: &mut MessageContext<Self, ()>) {
        // Whatever was being condemned stands in the state by now, or never will.
        self.promises
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .condemned();
        match message.result {
            Ok(record) => {
                self.writer = Some(message.writer);
                let at = record.position();
                self.overfull = self.is_overfull();
                self.head.set(Some(at));
                for reply in message.answered {
                    let _ = reply.send(Ok(Some(at)));
                }
                self.begin(context.actor_ref());
            }
            // Nothing was put: the record could not be made, for example since it would be too large.
            Err(error) if !message.writer.has_ended() => {
                tracing::error!(%error, "a record could not be made");
                self.writer = Some(message.writer);
                for reply in message.answered {
                    let _ = reply.send(Err(ProposeError::Ended(again(&error))));
                }
                self.begin(context.actor_ref());
            }
            Err(error) => self.stop_for(&error, message.answered, context.actor_ref()),
        }
    }
}

impl LogWriter {
    /// Ends this ownership.
    fn stop_for(&mut self, error: &Error, answered: Vec<Reply>, this: &ActorRef<Self>) {
        tracing::error!(%error, "the log writer stops");
        self.stop.cancel();
        let waiting = self.waiting.drain(..).map(|proposed| proposed.reply);
        for reply in answered.into_iter().chain(waiting) {
            let _ = reply.send(Err(ProposeError::Ended(again(error))));
        }
        this.kill();
    }

    fn is_overfull(&self) -> bool {
        let Some(writer) = &self.writer else {
            return false;
        };
        let state = writer.state().read();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        state.index.in_memory() >= MEMORY_CHUNKS_MAX
    }

    /// Moves the index's memory into segments, if that is wanted and no append is under way.
    fn settle(&mut self, this: &ActorRef<Self>, mut writer: Writer) {
        let replies = std::mem::take(&mut self.settling);
        self.overfull = false;
        let (this, cache, context) = (this.clone(), self.cache.clone(), self.context.clone());
        self.context.spawn(async move {
            let work = move || {
                let result = writer.settle(&cache);
                (writer, result)
            };
            let (writer, result) = context.run_blocking(work).await;
            let settled = Settled {
                writer,
                result,
                replies,
            };
            let _ = this.tell(settled).await;
        });
    }

    /// Drafts the next record from what waits, if no append is under way, and sends it off.
    fn begin(&mut self, this: &ActorRef<Self>) {
        if self.stop.is_cancelled() {
            // Fenced elsewhere, or being given up: what is still asked for would only make a branch longer.
            let ended = Error::Fenced("this coordinator no longer owns the vault".into());
            for waiting in self.waiting.drain(..) {
                let _ = waiting.reply.send(Err(ProposeError::Ended(again(&ended))));
            }
            return;
        }
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        if self.overfull || !self.settling.is_empty() {
            self.settle(this, writer);
            return;
        }
        let mut draft = Draft::default();
        let mut answered = Vec::new();
        let mut later = VecDeque::new();
        let clock = self.context.now_millis();
        {
            let state = writer
                .state()
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(Propose { proposal, reply }) = self.waiting.pop_front() {
                if answered.len() >= PROPOSALS_PER_RECORD_MAX {
                    later.push_back(Propose { proposal, reply });
                    continue;
                }
                match draft.add(&state, &mut promises, clock, &proposal) {
                    Outcome::Taken => answered.push(reply),
                    Outcome::Later => later.push_back(Propose { proposal, reply }),
                    Outcome::Refused(refusal) => {
                        let _ = reply.send(Err(ProposeError::Refused(refusal)));
                    }
                    Outcome::Nothing => {
                        let _ = reply.send(Ok(None));
                    }
                }
            }
        }
        self.waiting = later;
        if draft.is_empty() {
            self.writer = Some(writer);
            return;
        }
        let this = this.clone();
        self.context.spawn(async move {
            let result = writer.append(draft.into_facts()).await;
            let _ = this
                .tell(Ended {
                    writer,
                    result,
                    answered,
                })
                .await;
        });
    }
}

/// The same error once more, for each of several who wait.
fn again(error: &Error) -> Error {
    let text = error.to_string();
    match error {
        Error::Fenced(_) => Error::Fenced(text),
        Error::Full(_) => Error::Full(text),
        Error::Bug(_) => Error::Bug(text),
        _ => Error::Unavailable(text),
    }
}
