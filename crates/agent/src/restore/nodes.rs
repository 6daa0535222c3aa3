//! Reads nodes: fetched in batches, decoded, checked, kept for a while.
//!
//! State: a cache of decoded nodes, bounded by their size. Whoever walks names what it will want next, and a miss
//! fetches those nodes too. Nodes that are lost or that say something impossible are flaws, kept like nodes, so that
//! none is asked for twice.

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::tree::{Node, Root};
use holdfast_format::{ChunkId, ChunkKind};

use super::cache::Cache;
use super::flaw::{Flaw, Found, Trouble};
use super::item::{Extent, Item, reference, resolve_pieces};
use super::path;
use crate::error::{Error, Result};
use crate::source::{ChunkSource, Fetched, Loss};

/// What the cache of decoded nodes may take, bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// A decoded node takes about this many times its plaintext.
const DECODED_FACTOR: u64 = 4;

/// What one batch of nodes should take, bytes of plaintext, judged by the nodes read before.
const BATCH_BYTES: u64 = 2 << 20;

/// The most nodes in a batch.
const BATCH_NODES_MAX: u64 = 64;

/// The most levels that an index over one directory or one file may have.
pub(crate) const INDEX_DEPTH_MAX: usize = 8;

/// A node that passed its checks, references resolved.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A snapshot's root and its top directory.
    Root(Box<Root>, ChunkId),
    /// A page of a directory. Each entry stands for itself: a bad one leaves the others.
    Page(Vec<std::result::Result<Item, BadEntry>>),
    /// An index of a directory: each child with the name of its first entry, ascending.
    Index(Vec<(Vec<u8>, ChunkId)>),
    /// A run of a file.
    Extents(Vec<Extent>),
    /// An index of a file: each child with how many bytes it covers.
    ExtentsIndex(Vec<(u64, ChunkId)>),
}

/// An entry that cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct BadEntry {
    /// Its name as recorded, for the report.
    pub(crate) name: Vec<u8>,
    /// What is wrong with it.
    pub(crate) flaw: Flaw,
}

/// See the module header.
pub(crate) struct NodeReader {
    source: Arc<dyn ChunkSource>,
    state: Mutex<State>,
}

struct State {
    cache: Cache<ChunkId, std::result::Result<Arc<Parsed>, Flaw>>,
    /// Mean size of a node's plaintext, of late.
    mean_bytes: u64,
    nodes_read: u64,
    bytes_read: u64,
}

impl std::fmt::Debug for NodeReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeReader").finish_non_exhaustive()
    }
}

impl NodeReader {
    /// A reader of one source.
    pub(crate) fn new(source: Arc<dyn ChunkSource>) -> Self {
        Self {
            source,
            state: Mutex::new(State {
                cache: Cache::new(CACHE_BYTES),
                mean_bytes: 64 << 10,
                nodes_read: 0,
                bytes_read: 0,
            }),
        }
    }

    /// Where chunks come from.
    pub(crate) fn source(&self) -> &Arc<dyn ChunkSource> {
        &self.source
    }

    /// How many nodes were read, and their bytes of plaintext.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let state = self.lock();
        (state.nodes_read, state.bytes_read)
    }

    /// One node. If it has to be fetched, some of `ahead` are fetched with it, the first ones first.
    pub(crate) async fn get(
        &self,
        id: ChunkId,
        ahead: impl IntoIterator<Item = ChunkId>,
    ) -> Found<Arc<Parsed>> {
        let batch = {
            let mut state = self.lock();
            if let Some(known) = state.cache.get(&id) {
                return known.map_err(Trouble::Flawed);
            }
            let more = (BATCH_BYTES / state.mean_bytes.max(1)).clamp(1, BATCH_NODES_MAX) - 1;
            let mut batch = vec![id];
            for next in ahead.into_iter().take(more as usize) {
                if !state.cache.has(&next) && !batch.contains(&next) {
                    batch.push(next);
                }
            }
            batch
        };
        let wanted = batch.iter().map(|id| (*id, ChunkKind::Node)).collect();
        let answers = fetch(&self.source, wanted).await?;
        let mut first = None;
        let mut state = self.lock();
        // The wanted node goes in last, so that those ahead cannot push it out.
        for (id, answer) in batch.into_iter().zip(answers).rev() {
            let bytes = answer.as_ref().map_or(0, |one| one.bytes.len() as u64);
            if answer.is_ok() {
                state.mean_bytes = (state.mean_bytes * 7 + bytes) / 8;
                state.nodes_read += 1;
                state.bytes_read += bytes;
            }
            let parsed = match answer {
                Ok(fetched) => parse(&fetched).map(Arc::new),
                Err(loss) => Err(Flaw::lost("a node", loss)),
            };
            let cost = bytes * DECODED_FACTOR + 1024;
            state.cache.put(id, parsed.clone(), cost);
            first = Some(parsed);
        }
        match first {
            Some(parsed) => parsed.map_err(Trouble::Flawed),
            None => Err(Error::Bug("a batch of nodes was empty".into()).into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches, and requires one answer for each chunk.
pub(crate) async fn fetch(
    source: &Arc<dyn ChunkSource>,
    wanted: Vec<(ChunkId, ChunkKind)>,
) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
    let count = wanted.len();
    let answers = source.fetch(wanted).await?;
    if answers.len() != count {
        return Err(Error::Bug(format!(
            "{count} chunks were asked for and {} came",
            answers.len()
        )));
    }
    Ok(answers)
}

fn parse(fetched: &Fetched) -> std::result::Result<Parsed, Flaw> {
    let node = Node::decode(&fetched.bytes).map_err(Flaw::undecodable)?;
    let refs = &fetched.refs;
    match (
        node.root,
        node.directory,
        node.directory_index,
        node.extents,
        node.extents_index,
    ) {
        (Some(root), None, None, None, None) => {
            let top = reference(refs, root.top)?;
            Ok(Parsed::Root(Box::new(root), top))
        }
        (None, Some(page), None, None, None) => {
            let entries = page.entries.into_iter().map(|entry| {
                let name = entry.name.clone();
                Item::resolve(entry, refs).map_err(|flaw| BadEntry { name, flaw })
            });
            Ok(Parsed::Page(entries.collect()))
        }
        (None, None, Some(index), None, None) => {
            check_names(&index.first_names)?;
            Ok(Parsed::Index(zip(index.first_names, refs)?))
        }
        (None, None, None, Some(page), None) => {
            Ok(Parsed::Extents(resolve_pieces(&page.pieces, refs)?))
        }
        (None, None, None, None, Some(index)) => {
            if index.lens.contains(&0) {
                return Err(Flaw::new("an index of a file has an empty part"));
            }
            Ok(Parsed::ExtentsIndex(zip(index.lens, refs)?))
        }
        _ => Err(Flaw::new("a node says none or several things at once")),
    }
}

fn zip<T>(values: Vec<T>, refs: &[ChunkId]) -> std::result::Result<Vec<(T, ChunkId)>, Flaw> {
    if values.len() != refs.len() || values.is_empty() {
        return Err(Flaw::new(format!(
            "an index tells of {} parts and refers to {}",
            values.len(),
            refs.len()
        )));
    }
    Ok(values.into_iter().zip(refs.iter().copied()).collect())
}

fn check_names(names: &[Vec<u8>]) -> std::result::Result<(), Flaw> {
    let valid = names.iter().all(|name| path::check_name(name).is_ok());
    if valid && names.is_sorted_by(|one, next| one < next) {
        Ok(())
    } else {
        Err(Flaw::new("the names of an index are not in order"))
    }
}
