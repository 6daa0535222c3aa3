//! Gathers entries in walk order into directory nodes, puts these, and writes the next cache.
//!
//! State: the open directories from the top down, each with its open page only; the contents of files with several
//! names. Nodes are put here alone, one after the other, each after what it refers to.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_format::ChunkId;
use holdfast_format::tree::Entry;

use super::cache::PendingCache;
use super::cache::format::CachedFile;
use super::cache::writer::CacheWriter;
use super::metadata::StatKey;
use super::pipeline::Pipeline;
use super::taking::Taken;
use super::tree::{DirectoryBuilder, NamedEntry, empty_page};
use crate::error::{Error, Result};

/// Builds the tree.
pub(crate) struct Gatherer {
    pipeline: Arc<Pipeline>,
    top: DirectoryBuilder,
    /// From the outermost down to where we are.
    open: Vec<OpenDirectory>,
    cache: Option<CacheWriter>,
    /// The run's start, less the margin for coarse clocks: files whose times are not before it are not cached.
    racy_from: i128,
    /// The path of the innermost directory, as a cache key.
    key: Vec<u8>,
    links: HashMap<(u64, u64), LinkedFile>,
    /// Files, directories and bytes so far.
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes: u64,
}

struct OpenDirectory {
    entry: Entry,
    builder: DirectoryBuilder,
    /// Its node in the last snapshot, if that is known to the vault.
    before: Option<ChunkId>,
    /// Its slot in the next cache.
    slot: u64,
    key_len: usize,
}

struct LinkedFile {
    taken: Option<Taken>,
    names_left: u64,
}

/// What the whole came to.
pub(crate) struct Gathered {
    pub(crate) top: ChunkId,
    pub(crate) cache: PendingCache,
}

impl Gatherer {
    /// Starts with an empty top directory.
    pub(crate) fn new(
        pipeline: Arc<Pipeline>,
        cache: Option<CacheWriter>,
        racy_from: i128,
    ) -> Self {
        Self {
            pipeline,
            top: DirectoryBuilder::default(),
            open: Vec::new(),
            cache,
            racy_from,
            key: Vec::new(),
            links: HashMap::new(),
            files: 0,
            directories: 0,
            bytes: 0,
        }
    }

    /// A directory begins. `before` is its node in the last snapshot, if the vault has it still.
    pub(crate) fn enter(&mut self, entry: Entry, before: Option<ChunkId>) {
        let key_len = self.key.len();
        push_name(&mut self.key, &entry.name);
        let slot = self
            .cache
            .as_mut()
            .map_or(0, |cache| cache.add_directory(&self.key));
        let builder = DirectoryBuilder::default();
        self.open.push(OpenDirectory {
            entry,
            builder,
            before,
            slot,
            key_len,
        });
    }

    /// The innermost directory ends.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        let Some(done) = self.open.pop() else {
            return Err(Error::Bug(
                "the walk left a folder that it had not entered".into(),
            ));
        };
        self.key.truncate(done.key_len);
        let mut nodes = Vec::new();
        let directory = done.builder.finish(&self.pipeline.keys, &mut nodes);
        if let (Some(cache), Some(id)) = (&mut self.cache, directory) {
            cache.set_slot(done.slot, id);
        }
        // A directory as it was, which the vault is known to have with all below it, need not be put.
        if directory.is_none() || directory != done.before {
            self.pipeline.put_all(nodes).await?;
        }
        self.directories += 1;
        self.pipeline.progress.done_directory();
        self.push(NamedEntry {
            directory,
            ..NamedEntry::plain(done.entry)
        })
        .await?;
        self.flush_cache().await;
        Ok(())
    }

    /// Something without content. A directory that was not entered counts as one.
    pub(crate) async fn leaf(&mut self, entry: Entry) -> Result<()> {
        if entry.kind == holdfast_format::tree::EntryKind::Directory {
            self.directories += 1;
            self.pipeline.progress.done_directory();
        }
        self.push(NamedEntry::plain(entry)).await
    }

    /// A file that was read now, or is unchanged.
    pub(crate) async fn file(&mut self, taken: Taken, unchanged: bool) -> Result<()> {
        let Taken {
            entry,
            content,
            key,
            pages,
        } = taken;
        self.files += 1;
        self.bytes += entry.size;
        self.pipeline.progress.done_file(unchanged);
        let key = key.filter(|key| key.is_older_than(self.racy_from));
        // A page map tells of content, whatever the times are worth.
        let key = key.or(pages.map(|_| StatKey::NEVER));
        if let (Some(cache), Some(key)) = (&mut self.cache, key) {
            let len = self.key.len();
            push_name(&mut self.key, &entry.name);
            let file = CachedFile {
                key,
                content: content.clone(),
                xattrs: entry.xattrs.clone(),
                pages,
            };
            cache.add_file(&self.key, file);
            self.key.truncate(len);
        }
        self.push(NamedEntry {
            content: Some(content),
            ..NamedEntry::plain(entry)
        })
        .await?;
        self.flush_cache().await;
        Ok(())
    }

    /// Remembers what became of the first name of an inode that has `names_left` more to come.
    pub(crate) fn remember_link(&mut self, key: &StatKey, taken: Option<Taken>, names_left: u64) {
        self.links
            .insert((key.device, key.inode), LinkedFile { taken, names_left });
    }

    /// Another name of an inode whose first name came before. `None` if that was left out.
    pub(crate) fn linked(&mut self, key: &StatKey, name: &[u8]) -> Option<Taken> {
        let inode = (key.device, key.inode);
        let link = self.links.get_mut(&inode)?;
        link.names_left -= 1;
        let mut taken = if link.names_left == 0 {
            self.links.remove(&inode)?.taken
        } else {
            link.taken.clone()
        };
        if let Some(taken) = &mut taken {
            taken.entry.name = name.to_vec();
        }
        taken
    }

    /// Completes the tree.
    pub(crate) async fn finish(mut self) -> Result<Gathered> {
        if !self.open.is_empty() {
            return Err(Error::Bug("the walk ended inside a folder".into()));
        }
        let mut nodes = Vec::new();
        let top = match std::mem::take(&mut self.top).finish(&self.pipeline.keys, &mut nodes) {
            Some(top) => top,
            None => {
                nodes.push(empty_page(&self.pipeline.keys));
                nodes[0].id
            }
        };
        self.pipeline.put_all(nodes).await?;
        let cache = match self.cache.take() {
            None => PendingCache::default(),
            Some(cache) => {
                let (files, bytes) = (self.files, self.bytes);
                let finish = move || cache.finish(top, files, bytes);
                self.pipeline
                    .ctx
                    .run_blocking(finish)
                    .await
                    .unwrap_or_else(|error| {
                        warn_unwritten(&error);
                        PendingCache::default()
                    })
            }
        };
        Ok(Gathered { top, cache })
    }

    async fn push(&mut self, entry: NamedEntry) -> Result<()> {
        let into = self
            .open
            .last_mut()
            .map_or(&mut self.top, |open| &mut open.builder);
        let mut nodes = Vec::new();
        into.push(&self.pipeline.keys, entry, &mut nodes);
        self.pipeline.put_all(nodes).await
    }

    async fn flush_cache(&mut self) {
        let Some(mut cache) = self.cache.take_if(|cache| cache.is_full()) else {
            return;
        };
        let flush = move || cache.flush().map(|()| cache);
        match self.pipeline.ctx.run_blocking(flush).await {
            Ok(cache) => self.cache = Some(cache),
            Err(error) => warn_unwritten(&error),
        }
    }
}

/// Appends a name to a cache key.
pub(crate) fn push_name(key: &mut Vec<u8>, name: &[u8]) {
    key.push(0);
    key.extend_from_slice(name);
}

fn warn_unwritten(error: &std::io::Error) {
    tracing::warn!(%error, "the cache of unchanged files cannot be written; the next backup reads every file");
}
