//! The cache as the walk meets it: a cursor that moves along with the walk, fed by a task that reads, checks and asks
//! ahead.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_format::ChunkId;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::task::AbortOnDropHandle;

use super::cache::answers::Answers;
use super::cache::format::{CachedFile, Identity};
use super::cache::reader::{CacheReader, CacheRecord, Cached, Unusable};
use super::limits::CACHE_ASK_RECORDS;
use super::pipeline::{Pipeline, join};
use crate::error::Result;

/// Finds paths in the cache; they must be asked for in walk order.
pub(crate) struct CacheCursor {
    feed: Option<Feed>,
    batch: VecDeque<CacheRecord>,
}

struct Feed {
    batches: Receiver<Vec<CacheRecord>>,
    task: AbortOnDropHandle<Result<()>>,
}

impl CacheCursor {
    /// Opens the cache, if there is one that can be used. Fails only if the sink does.
    pub(crate) async fn start(
        pipeline: &Arc<Pipeline>,
        cache: Option<(PathBuf, Identity)>,
    ) -> Result<Self> {
        let none = Self {
            feed: None,
            batch: VecDeque::new(),
        };
        let Some((file, identity)) = cache else {
            return Ok(none);
        };
        let path = file.clone();
        let open = move || CacheReader::open(&path, &identity);
        let reader = match pipeline.ctx.run_blocking(open).await {
            Ok(Some(reader)) => reader,
            Ok(None) => {
                tracing::info!(file = %file.display(), "there is no cache of unchanged files; every file is read");
                return Ok(none);
            }
            Err(why) => {
                warn(&file, &why);
                return Ok(none);
            }
        };
        pipeline
            .progress
            .expect_as_before(reader.trailer.files, reader.trailer.bytes);
        let answers = Answers::start(Arc::clone(&pipeline.sink), reader.trailer.top).await?;
        let (sender, batches) = mpsc::channel(2);
        let task = pipeline
            .ctx
            .spawn(feed(Arc::clone(pipeline), file, reader, answers, sender));
        let feed = Feed {
            batches,
            task: AbortOnDropHandle::new(task),
        };
        Ok(Self {
            feed: Some(feed),
            batch: VecDeque::new(),
        })
    }

    /// What a file was, if the vault has all of its chunks.
    pub(crate) async fn file(&mut self, key: &[u8]) -> Result<Option<CachedFile>> {
        Ok(match self.find(key).await? {
            Some(Cached::File(file)) => Some(file),
            _ => None,
        })
    }

    /// A directory's node, if the vault has it.
    pub(crate) async fn directory(&mut self, key: &[u8]) -> Result<Option<ChunkId>> {
        Ok(match self.find(key).await? {
            Some(Cached::Directory(id)) => id,
            _ => None,
        })
    }

    async fn find(&mut self, key: &[u8]) -> Result<Option<Cached>> {
        loop {
            while let Some(record) = self
                .batch
                .pop_front_if(|record| record.key.as_slice() <= key)
            {
                if record.key == key {
                    return Ok(Some(record.what));
                }
            }
            if !self.batch.is_empty() {
                return Ok(None);
            }
            let Some(feed) = &mut self.feed else {
                return Ok(None);
            };
            match feed.batches.recv().await {
                Some(batch) => self.batch = batch.into(),
                None => {
                    if let Some(feed) = self.feed.take() {
                        join(feed.task).await??;
                    }
                }
            }
        }
    }
}

async fn feed(
    pipeline: Arc<Pipeline>,
    file: PathBuf,
    mut reader: CacheReader,
    mut answers: Answers,
    batches: Sender<Vec<CacheRecord>>,
) -> Result<()> {
    loop {
        let read;
        (reader, read) = pipeline
            .ctx
            .run_blocking(move || {
                let read = reader.next(CACHE_ASK_RECORDS);
                (reader, read)
            })
            .await;
        let records = match read {
            Ok(records) if records.is_empty() => return Ok(()),
            Ok(records) => records,
            Err(why) => {
                warn(&file, &why);
                return Ok(());
            }
        };
        if batches.send(answers.usable(records).await?).await.is_err() {
            return Ok(());
        }
    }
}

fn warn(file: &std::path::Path, why: &Unusable) {
    tracing::warn!(file = %file.display(), %why, "the cache of unchanged files is not used (from here on); files are read");
}
