//! What all sources share: naming chunks on any core, handing them to the sink, and a bound on the bytes in between.
//!
//! State: the permits for bytes in flight. A permit is taken before bytes are read and given back once the sink has
//! taken them; nobody who holds one waits for another, so they cannot wait for each other in a circle.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use holdfast_context::Context;
use holdfast_format::tree::INLINE_BYTES_MAX;
use holdfast_format::{Chunk, ChunkId, ScopeKeys};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::buffer::BufferPool;
use super::chunker::StreamCutter;
use super::content::{ContentBuilder, FileContent, Run};
use super::cutter::Cutter;
use super::limits::in_flight_bytes_max;
use super::problems::Problems;
use super::progress::Progress;
use super::turns::Turns;
use crate::error::{Error, Result};
use crate::sink::ChunkSink;

/// Bytes in flight are counted in units of this size, rounded up.
const UNIT_BYTES: usize = 4 << 10;

/// Buffers of one stream that are being named or put at once.
const NAMING_MAX: usize = 8;

/// One backup's shared parts.
pub(crate) struct Pipeline {
    pub(crate) ctx: Context,
    pub(crate) keys: ScopeKeys,
    pub(crate) cutter: Cutter,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) sink: Arc<dyn ChunkSink>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) problems: Arc<Problems>,
    /// Cancelled when the backup ends early, whoever ends it: blocking work looks at it now and then.
    pub(crate) stop: CancellationToken,
    in_flight: Arc<Semaphore>,
    /// All permits there are.
    in_flight_units: u32,
    /// Held by whoever puts chunks that belong together.
    putting: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// Sets one up.
    pub(crate) fn new(
        ctx: &Context,
        keys: &ScopeKeys,
        sink: Arc<dyn ChunkSink>,
        stop: CancellationToken,
        progress: Arc<Progress>,
    ) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let in_flight_units = in_flight_bytes_max(cores) / UNIT_BYTES;
        Arc::new(Self {
            ctx: ctx.clone(),
            keys: keys.clone(),
            cutter: Cutter::new(keys),
            pool: Arc::default(),
            sink,
            progress,
            problems: Arc::default(),
            stop,
            in_flight: Arc::new(Semaphore::new(in_flight_units)),
            in_flight_units: in_flight_units as u32,
            putting: tokio::sync::Mutex::default(),
        })
    }

    /// Waits until this many bytes more may be in memory.
    pub(crate) async fn permit(&self, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let units = bytes
            .div_ceil(UNIT_BYTES as u64)
            .clamp(1, self.in_flight_units.into());
        Arc::clone(&self.in_flight)
            .acquire_many_owned(units as u32)
            .await
            .map_err(|_| Error::Bug("the permits for bytes in flight are never closed".into()))
    }

    /// Puts chunks one after the other, with no other's in between: what belongs together lies together in a pack, and
    /// is read in one go.
    pub(crate) async fn put_all(&self, chunks: Vec<Chunk>) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let _putting = self.putting.lock().await;
        for chunk in chunks {
            self.sink.put(chunk).await?;
        }
        Ok(())
    }
}

/// Waits for a task; a panic in it goes on in the caller.
pub(crate) async fn join<T>(task: AbortOnDropHandle<T>) -> Result<T> {
    task.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::Interrupted,
    })
}

type Named = AbortOnDropHandle<Result<Vec<(ChunkId, u64)>>>;

/// One large file or stream on its way: its buffers are named in tasks of their own, in any order, then put and laid into
/// its content in the order they came.
pub(crate) struct Assembly {
    pipeline: Arc<Pipeline>,
    naming: FuturesOrdered<Named>,
    turns: Turns,
    content: ContentBuilder,
    /// Set when all of it was tiny.
    inline: Option<Vec<u8>>,
    started: bool,
}

impl Assembly {
    /// Starts with nothing.
    pub(crate) fn new(pipeline: &Arc<Pipeline>) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            naming: FuturesOrdered::new(),
            turns: Turns::default(),
            content: ContentBuilder::default(),
            inline: None,
            started: false,
        }
    }

    /// A cutter for it.
    pub(crate) fn cutter(&self) -> StreamCutter {
        StreamCutter::new(
            self.pipeline.cutter.clone(),
            Arc::clone(&self.pipeline.pool),
        )
    }

    /// Adds what one buffer gave. `permit` covers the buffer; `last` says that nothing follows.
    pub(crate) async fn add(
        &mut self,
        runs: Vec<Run>,
        chunks: Vec<Bytes>,
        permit: OwnedSemaphorePermit,
        last: bool,
    ) -> Result<()> {
        for run in runs {
            if let Run::Hole(len) = run {
                self.pipeline.progress.passed_over(len);
            }
            self.content.add_run(run);
        }
        if let (true, false, [only]) = (last, self.started, chunks.as_slice())
            && only.len() <= INLINE_BYTES_MAX
            && !self.content.has_holes()
        {
            self.inline = Some(only.to_vec());
            return Ok(());
        }
        if chunks.is_empty() {
            return Ok(());
        }
        self.started = true;
        if self.naming.len() >= NAMING_MAX {
            self.lay_next().await?;
        }
        let pipeline = Arc::clone(&self.pipeline);
        let turn = self.turns.next();
        let task = self.pipeline.ctx.spawn(async move {
            let named = name_chunks(&pipeline, chunks).await;
            let ids = named
                .iter()
                .map(|chunk| (chunk.id, chunk.bytes.len() as u64))
                .collect();
            turn.put(&pipeline, named).await?;
            drop(permit);
            Ok(ids)
        });
        self.naming.push_back(AbortOnDropHandle::new(task));
        Ok(())
    }

    /// Waits until all of it was put; gives the content and its length.
    pub(crate) async fn finish(mut self) -> Result<(FileContent, u64)> {
        while !self.naming.is_empty() {
            self.lay_next().await?;
        }
        let len = self.content.len();
        if let Some(bytes) = self.inline {
            return Ok((FileContent::Inline(bytes), len));
        }
        let mut nodes = Vec::new();
        let content = self.content.finish(&self.pipeline.keys, &mut nodes);
        self.pipeline.put_all(nodes).await?;
        Ok((content, len))
    }

    async fn lay_next(&mut self) -> Result<()> {
        let Some(done) = self.naming.next().await else {
            return Ok(());
        };
        let ids = match done {
            Ok(ids) => ids?,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(Error::Interrupted),
            },
        };
        let mut nodes = Vec::new();
        for (id, len) in ids {
            self.content
                .add_chunk(&self.pipeline.keys, id, len, &mut nodes);
        }
        self.pipeline.put_all(nodes).await
    }
}

async fn name_chunks(pipeline: &Arc<Pipeline>, chunks: Vec<Bytes>) -> Vec<Chunk> {
    let inner = Arc::clone(pipeline);
    let name = move || {
        chunks
            .into_iter()
            .map(|bytes| inner.keys.data(bytes))
            .collect()
    };
    pipeline.ctx.run_blocking(name).await
}
