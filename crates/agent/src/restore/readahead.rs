//! Reads the content of files in order, ahead of whoever takes it.
//!
//! State: a few batches of chunks under way. What comes out is in order and verified; memory is bounded by
//! [`BATCHES`] batches of [`BATCH_BYTES`]. Used where bytes leave in order (`stdout.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_context::Context;
use holdfast_format::{ChunkId, ChunkKind};
use tokio_util::task::AbortOnDropHandle;

use super::extents::ExtentReader;
use super::flaw::{Flaw, Found, Trouble};
use super::item::{Extent, FileContent, Item};
use super::nodes::{NodeReader, fetch};
use crate::error::{Error, Result};
use crate::source::{Fetched, Loss};

/// What one batch comes to at most, bytes.
const BATCH_BYTES: u64 = 8 << 20;

/// The most chunks in a batch.
const CHUNKS_MAX: usize = 512;

/// How many batches are under way.
const BATCHES: usize = 6;

/// A stretch of a file.
#[derive(Debug)]
pub(super) enum Stretch {
    /// Bytes.
    Data(Bytes),
    /// That many zeros.
    Hole(u64),
}

type Answers = Result<Vec<std::result::Result<Fetched, Loss>>>;

/// See the module header.
pub(super) struct ReadAhead {
    ctx: Context,
    nodes: Arc<NodeReader>,
    extents: ExtentReader,
    /// An extent that did not fit into the last batch.
    left_over: Option<Extent>,
    /// What the walk over the extents ran into; comes out after all that came before it.
    trouble: Option<Trouble>,
    ended: bool,
    under_way: VecDeque<Batch>,
    ready: VecDeque<Found<Stretch>>,
}

struct Batch {
    /// Each extent with the place of its chunk among the answers.
    extents: Vec<(Extent, usize)>,
    task: AbortOnDropHandle<Answers>,
}

impl ReadAhead {
    /// Starts reading a file from its beginning.
    pub(super) fn new(ctx: &Context, nodes: Arc<NodeReader>, item: &Item) -> Self {
        let mut ready = VecDeque::new();
        if let FileContent::Inline(bytes) = &item.content {
            ready.push_back(Ok(Stretch::Data(bytes.clone())));
        }
        Self {
            ctx: ctx.clone(),
            nodes,
            extents: ExtentReader::new(item),
            left_over: None,
            trouble: None,
            ended: false,
            under_way: VecDeque::new(),
            ready,
        }
    }

    /// The next stretch; none at the end. After trouble nothing more comes.
    pub(super) async fn next(&mut self) -> Found<Option<Stretch>> {
        loop {
            match self.ready.pop_front() {
                Some(Ok(stretch)) => return Ok(Some(stretch)),
                Some(Err(trouble)) => {
                    self.stop();
                    return Err(trouble);
                }
                None => {}
            }
            while !self.ended && self.under_way.len() < BATCHES {
                self.start_batch().await;
            }
            let Some(batch) = self.under_way.pop_front() else {
                return match self.trouble.take() {
                    Some(trouble) => Err(trouble),
                    None => Ok(None),
                };
            };
            let answers = batch
                .task
                .await
                .map_err(|e| Error::Bug(format!("a read ended: {e}")))??;
            let stretches = batch.extents.into_iter().map(|(extent, at)| {
                if extent.chunk.is_none() {
                    return Ok(Stretch::Hole(extent.len));
                }
                match answers.get(at) {
                    Some(Ok(fetched)) => Ok(Stretch::Data(extent.slice(&fetched.bytes)?)),
                    Some(Err(loss)) => Err(Flaw::lost("its content", loss.clone()).into()),
                    None => Err(Error::Bug("a chunk was not fetched".into()).into()),
                }
            });
            self.ready.extend(stretches);
        }
    }

    fn stop(&mut self) {
        self.ended = true;
        self.trouble = None;
        self.under_way.clear();
        self.ready.clear();
    }

    async fn start_batch(&mut self) {
        let mut extents: Vec<(Extent, usize)> = Vec::new();
        let mut wanted: Vec<(ChunkId, ChunkKind)> = Vec::new();
        let mut bytes = 0;
        loop {
            let extent = match self.left_over.take() {
                Some(extent) => extent,
                None => match self.extents.next(&self.nodes).await {
                    Ok(Some((_, extent))) => extent,
                    Ok(None) => {
                        self.ended = true;
                        break;
                    }
                    Err(trouble) => {
                        self.ended = true;
                        self.trouble = Some(trouble);
                        break;
                    }
                },
            };
            let Some(id) = extent.chunk else {
                extents.push((extent, 0));
                if extents.len() >= CHUNKS_MAX {
                    break;
                }
                continue;
            };
            let again = wanted.last().is_some_and(|(last, _)| *last == id);
            let full = bytes + extent.end_in_chunk() > BATCH_BYTES || wanted.len() >= CHUNKS_MAX;
            if !again && full && !wanted.is_empty() {
                self.left_over = Some(extent);
                break;
            }
            if !again {
                wanted.push((id, ChunkKind::Data));
                bytes += extent.end_in_chunk();
            }
            extents.push((extent, wanted.len() - 1));
        }
        if extents.is_empty() {
            return;
        }
        let source = self.nodes.source().clone();
        let task = self.ctx.spawn(async move {
            if wanted.is_empty() {
                return Ok(Vec::new());
            }
            fetch(&source, wanted).await
        });
        self.under_way.push_back(Batch {
            extents,
            task: AbortOnDropHandle::new(task),
        });
    }
}
