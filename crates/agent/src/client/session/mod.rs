//! An upload: chunks in, one snapshot out.
//!
//! [`SessionSink`] is what the backup writes to. Behind it stand four tasks, joined by bounded queues:
//!
//! ```text
//! put → batch (offer ids) → route (answers; gather; seal on all cores) → forward (rate) → pump (window, stream, resume)
//! known ─────────────────────────────────────────────────────────────────────────────────↗
//! ```
//!
//! State: the tasks, the memory that chunks in clear may take, the ids that are settled. It must never send plaintext,
//! nor seal to a list of recipients that the vault's root key did not sign.

mod failure;
mod flight;
mod gather;
mod held;
mod link;
mod offering;
mod opening;
mod options;
mod progress;
mod pump;
mod rate;
mod sealing;
mod settled;
mod start;
mod window;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod story;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::{Bundle, Chunk, ChunkId, SessionId};
use holdfast_proto::v1;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

pub use link::{Dial, Inbound, Link};
pub use options::SessionOptions;
pub use progress::{LinkState, SessionFigures, SessionProgress};

use self::failure::Failure;
use self::held::Held;
use self::offering::Put;
use self::opening::Opening;
use self::pump::{Ask, Ending, Finishing};
use self::settled::{Settled, Why};
use super::{Connection, OFFER_IDS_MAX, SnapshotInfo, protection};
use crate::error::Result;
use crate::sink::ChunkSink;

/// Plaintext that was put and is neither known to be there nor sealed, bytes.
const MEMORY_BYTES: usize = 16 << 20;

/// Memory is granted in units of this many bytes.
const MEMORY_UNIT: usize = 1 << 10;

/// What a chunk takes besides its bytes.
const CHUNK_OVERHEAD: usize = 256;

/// The coordinator has this long to acknowledge that a session is given up.
const ABANDON_WAIT: Duration = Duration::from_secs(3);

/// What a snapshot says of its contents, in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Paths that could not be read.
    pub problems: u64,
}

/// How an upload ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// The snapshot stands on the primary.
    Committed(Box<SnapshotInfo>),
    /// The snapshot refers to chunks that are not live any more: something that was taken as known has been collected
    /// meanwhile. Nothing is committed. Read the source again without a cache, into another session; abandon this one
    /// only then, so that what it sent stays.
    Missing(Vec<ChunkId>),
}

/// See the module header.
pub struct SessionSink {
    connection: Option<Connection>,
    dial: Arc<dyn Dial>,
    vault: String,
    opening: Arc<Opening>,
    puts: mpsc::Sender<Put>,
    asks: mpsc::Sender<Ask>,
    memory: Arc<Semaphore>,
    settled: Arc<Mutex<Settled>>,
    progress: Arc<SessionProgress>,
    failure: Failure,
    /// Tells when the committed snapshot is protected.
    protected: Mutex<Option<oneshot::Receiver<Box<SnapshotInfo>>>>,
    span: tracing::Span,
    /// Stop with this sink.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl std::fmt::Debug for SessionSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionSink({})", self.opening.session)
    }
}

impl SessionSink {
    /// Opens a session: checks whom to seal to, makes its key, agrees with the coordinator.
    ///
    /// # Errors
    /// Denied if the bundle is for another vault or the list of recipients is not what it should be; unavailable if
    /// the coordinator cannot serve the vault within a minute.
    pub async fn open(
        context: &Context,
        connection: &Connection,
        bundle: &Bundle,
        options: SessionOptions,
    ) -> Result<Self> {
        start::open(context, connection, bundle, options).await
    }

    /// The same over streams that `dial` opens: the list of recipients is the bundle's, or a newer one that the coordinator
    /// shows and the root key signed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_over(
        context: &Context,
        dial: Arc<dyn Dial>,
        bundle: &Bundle,
        options: SessionOptions,
    ) -> Result<Self> {
        start::open_over(context, dial, bundle, options).await
    }

    /// The session's id, which the snapshot will bear.
    pub fn session(&self) -> SessionId {
        self.opening.session
    }

    /// The span of what is logged on its behalf: it bears the session's id, as the coordinator's does.
    pub fn span(&self) -> tracing::Span {
        self.span.clone()
    }

    /// The list of recipients that it is sealed to: perhaps newer than the bundle's.
    pub fn recipients(&self) -> &RecipientsSet {
        &self.opening.recipients
    }

    /// Counters, for whoever shows them.
    pub fn progress(&self) -> Arc<SessionProgress> {
        Arc::clone(&self.progress)
    }

    /// Sends what is left and commits the snapshot whose top node is `root`, which was put like any chunk.
    /// With `wait_protected`, [`Self::protected`] can be called afterwards.
    pub async fn finish(
        &self,
        root: ChunkId,
        totals: Totals,
        wait_protected: bool,
    ) -> Result<Finished> {
        let message = v1::Finish {
            root: root.0.to_vec().into(),
            files: totals.files,
            directories: totals.directories,
            bytes: totals.bytes,
            problems: totals.problems,
            wait_protected,
        };
        let (reply, ending) = oneshot::channel();
        let put = Put::End(Finishing { message, reply });
        let ended = |_| self.failure.error();
        self.puts
            .send(put)
            .await
            .map_err(|_| self.failure.error())?;
        match ending.await.map_err(ended)? {
            Ending::Missing(ids) => Ok(Finished::Missing(ids)),
            Ending::Committed(info, protected) => {
                let span = &self.span;
                span.in_scope(|| {
                    tracing::info!(state = info.state.as_str(), "the snapshot is committed")
                });
                *self
                    .protected
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = protected;
                Ok(Finished::Committed(info))
            }
        }
    }

    /// Waits until the committed snapshot stands on every member. Set a time limit around it.
    pub async fn protected(&self) -> Result<SnapshotInfo> {
        let waiting = self
            .protected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waiting) = waiting
            && let Ok(info) = waiting.await
        {
            return protection::unless_damaged(*info);
        }
        // The stream broke after the commit: the catalog knows.
        match &self.connection {
            Some(connection) => {
                protection::wait(connection, &self.vault, self.opening.session).await
            }
            None => Err(self.failure.error()),
        }
    }

    /// Ends the session without a snapshot, so that what it sent can be collected: on its stream, or on another if
    /// that one is gone. Best effort: a session that is left open ends by itself, days later.
    pub async fn abandon(&self, why: &str) {
        let (reply, done) = oneshot::channel();
        let ask = Ask::Abandon {
            why: why.into(),
            reply,
        };
        let told = async {
            if self.asks.send(ask).await.is_ok() && done.await.is_ok() {
                return;
            }
            let resumed = self.opening.message(true);
            if let Err(status) = link::abandon(&*self.dial, resumed, why).await {
                tracing::debug!(why = %status.message(), "the session stays open");
            }
        };
        if tokio::time::timeout(ABANDON_WAIT, told).await.is_err() {
            tracing::debug!("the coordinator did not acknowledge the end of the session");
        }
    }

    fn lock_settled(&self) -> std::sync::MutexGuard<'_, Settled> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, ids: Vec<ChunkId>) -> Result<oneshot::Receiver<Vec<bool>>> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask::Offer { ids, reply };
        self.asks
            .send(ask)
            .await
            .map_err(|_| self.failure.error())?;
        Ok(answer)
    }
}

#[async_trait]
impl ChunkSink for SessionSink {
    async fn known(&self, ids: Vec<ChunkId>) -> Result<Vec<bool>> {
        self.failure.check()?;
        let mut known: Vec<bool> = {
            let settled = self.lock_settled();
            ids.iter().map(|id| settled.has(id)).collect()
        };
        let open: Vec<usize> = (0..ids.len()).filter(|n| !known[*n]).collect();
        let mut answers = Vec::new();
        for places in open.chunks(OFFER_IDS_MAX) {
            let asked = places.iter().map(|n| ids[*n]).collect();
            answers.push((places, self.ask(asked).await?));
        }
        for (places, answer) in answers {
            let answer = answer.await.map_err(|_| self.failure.error())?;
            let mut settled = self.lock_settled();
            for (place, is_known) in places.iter().zip(answer) {
                known[*place] = is_known;
                if is_known {
                    settled.add(ids[*place], Why::Known);
                }
            }
        }
        self.progress.reused(known.iter().filter(|k| **k).count());
        Ok(known)
    }

    async fn put(&self, chunk: Chunk) -> Result<()> {
        self.failure.check()?;
        if self.lock_settled().has(&chunk.id) {
            self.progress.reused(1);
            return Ok(());
        }
        let bytes = chunk.bytes.len() + chunk.refs.len() * ChunkId::LEN + CHUNK_OVERHEAD;
        let units = bytes.div_ceil(MEMORY_UNIT).min(MEMORY_BYTES / MEMORY_UNIT) as u32;
        let memory = Arc::clone(&self.memory);
        let Ok(memory) = memory.acquire_many_owned(units).await else {
            return Err(self.failure.error());
        };
        let place = self
            .puts
            .reserve()
            .await
            .map_err(|_| self.failure.error())?;
        // ORDER: noting the chunk and queueing it are one step. If it were noted first, another task that puts the
        // same chunk would be told that it is taken, and could queue a node that refers to it before it.
        let mut settled = self.lock_settled();
        if settled.has(&chunk.id) {
            self.progress.reused(1);
            return Ok(());
        }
        settled.add(chunk.id, Why::Taken);
        place.send(Put::Chunk(Held::new(chunk, memory)));
        Ok(())
    }
}
