//! Checks that a snapshot can be restored: all of its nodes, and all or a share of its data.
//!
//! Each distinct chunk is read once, also where several snapshots are verified after each other, and so is what lies below a node
//! that stands in a snapshot without damage. State: 128 bits of the id of every chunk met so far and what is known of its length, at
//! most [`SEEN_MAX`] of them (about 90 MB, 130 MB while the table grows); half of the ids of as many nodes of this snapshot, and of as
//! many of earlier ones without damage (about 70 MB each); what comes beyond is not remembered and may be read more than once. Bytes
//! under way are bounded as in a restore. If anything is found damaged, the nodes are gone through a second time to name every path that
//! it touches, also those whose subtree was met before.
//!
//! Which chunks a sample takes depends on their ids and the seed alone: the same seed takes the same ones again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_context::Context;
use holdfast_format::{ChunkId, ChunkKind};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::chunks_read::{Bad, ChunksRead, NodeKeys, SEEN_MAX, Seen, key};
use super::extents::ExtentReader;
use super::flaw::{Flaw, Trouble};
use super::item::{Extent, FileContent, Item};
use super::nodes::fetch;
use super::path::PathText;
use super::progress::RestoreProgress;
use super::select::Selection;
use super::tree::Tree;
use super::walk::{Event, Walk};
use crate::error::{Error, Result};
use crate::source::{ChunkSource, Fetched, Loss};

/// The most damaged paths that a result lists.
const LISTED_MAX: usize = 10_000;

/// What one batch comes to at most, bytes, as far as the snapshot tells.
const BATCH_BYTES: u64 = 8 << 20;

/// The most chunks in a batch.
const CHUNKS_MAX: usize = 512;

/// How many batches are under way.
const BATCHES: usize = 8;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VerifyDepth {
    /// Nodes: every directory and every list of extents. Data chunks are not asked for.
    Nodes,
    /// Nodes, and this share of the distinct data chunks, 0 to 1.
    Data {
        /// The share.
        share: f64,
        /// Which ones: another seed takes others.
        seed: u64,
    },
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyResult {
    /// Regular files looked at. What lies in a directory that is met again, in this snapshot or in one verified with it before, is
    /// not looked at again.
    pub files: u64,
    /// Directories looked at.
    pub directories: u64,
    /// Bytes of those files' content.
    pub bytes: u64,
    /// Distinct nodes read and checked.
    pub nodes: u64,
    /// Distinct data chunks read and checked.
    pub chunks: u64,
    /// Bytes of those nodes and chunks.
    pub bytes_read: u64,
    /// Data chunks that cannot be had, or that are shorter than an extent says.
    pub chunks_damaged: u64,
    /// Paths that cannot be restored, at most 10,000.
    pub damaged: Vec<Damaged>,
    /// How many there are.
    pub damaged_count: u64,
}

impl VerifyResult {
    /// Whether nothing is damaged.
    pub fn complete(&self) -> bool {
        self.damaged_count == 0 && self.chunks_damaged == 0
    }
}

/// A path that cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damaged {
    /// The file; of lost entries, their directory.
    #[serde(flatten)]
    pub path: PathText,
    /// What is wrong.
    #[serde(flatten)]
    pub flaw: Flaw,
}

/// Verifies. Damage is in the result; an error means that the verification did not come to its end.
pub async fn verify(
    ctx: &Context,
    source: Arc<dyn ChunkSource>,
    root: ChunkId,
    depth: VerifyDepth,
    read: &mut ChunksRead,
    cancel: CancellationToken,
    progress: Arc<RestoreProgress>,
) -> Result<VerifyResult> {
    if let VerifyDepth::Data { share, .. } = depth
        && !(0.0..=1.0).contains(&share)
    {
        return Err(Error::Invalid {
            what: format!("share {share}"),
            why: "give one between 0 and 1".into(),
        });
    }
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted),
        done = both_passes(ctx, source, root, depth, read, &progress) => done,
    }
}

async fn both_passes(
    ctx: &Context,
    source: Arc<dyn ChunkSource>,
    root: ChunkId,
    depth: VerifyDepth,
    read: &mut ChunksRead,
    progress: &RestoreProgress,
) -> Result<VerifyResult> {
    let tree = match Tree::open(source, root).await {
        Ok(tree) => tree,
        Err(Error::Damaged { what, why }) => {
            let mut result = VerifyResult::default();
            result.add(
                b"/".to_vec(),
                Flaw::new(format!("{what} is damaged: {why}")),
            );
            return Ok(result);
        }
        Err(error) => return Err(error),
    };
    let mut verifier = Verifier {
        ctx,
        tree: &tree,
        depth,
        progress,
        nodes: NodeKeys::default(),
        read,
        bad_here: HashSet::new(),
        node_flaws: 0,
        batch: Vec::new(),
        batch_bytes: 0,
        under_way: VecDeque::new(),
        result: VerifyResult::default(),
    };
    verifier.read_all().await?;
    (verifier.result.nodes, _) = tree.nodes.totals();
    verifier.result.bytes_read += tree.nodes.totals().1;
    if verifier.node_flaws > 0 || !verifier.bad_here.is_empty() {
        verifier.name_damaged().await?;
    } else {
        let nodes = std::mem::take(&mut verifier.nodes);
        verifier.read.note_whole(nodes);
    }
    Ok(verifier.result)
}

impl VerifyResult {
    fn add(&mut self, path: Vec<u8>, flaw: Flaw) {
        self.damaged_count += 1;
        if self.damaged.len() < LISTED_MAX {
            self.damaged.push(Damaged {
                path: PathText(path),
                flaw,
            });
        }
    }
}

struct Verifier<'a> {
    ctx: &'a Context,
    tree: &'a Tree,
    depth: VerifyDepth,
    progress: &'a RestoreProgress,
    /// Nodes met so far.
    nodes: NodeKeys,
    read: &'a mut ChunksRead,
    /// Damaged data chunks of this snapshot.
    bad_here: HashSet<ChunkId>,
    node_flaws: u64,
    /// Chunks to be read next, each with the least length that it must have.
    batch: Vec<(ChunkId, u64)>,
    batch_bytes: u64,
    under_way: VecDeque<Task>,
    result: VerifyResult,
}

type Answers = Vec<((ChunkId, u64), std::result::Result<Fetched, Loss>)>;
type Task = AbortOnDropHandle<Result<Answers>>;

impl Verifier<'_> {
    /// The first pass: reads every distinct node and the wanted data chunks.
    async fn read_all(&mut self) -> Result<()> {
        let mut walk = Walk::new(self.tree, Arc::new(Selection::all()));
        walk.pass_over(Arc::clone(&self.read.whole));
        while let Some(event) = walk.next().await? {
            match event {
                Event::Enter(item) => {
                    self.result.directories += 1;
                    RestoreProgress::add(&self.progress.directories_found, 1);
                    if item.directory.is_some_and(|id| self.met(&id)) {
                        walk.skip();
                    }
                }
                Event::Entry(item) => {
                    RestoreProgress::add(&self.progress.entries_found, 1);
                    if item.is_file() {
                        self.result.files += 1;
                        self.result.bytes += item.entry.size;
                        RestoreProgress::add(&self.progress.bytes_found, item.entry.size);
                        self.read_file(&item).await?;
                        RestoreProgress::add(&self.progress.bytes_done, item.entry.size);
                    }
                    RestoreProgress::add(&self.progress.entries_done, 1);
                }
                Event::Flaw(_) => self.node_flaws += 1,
                Event::Leave { .. } => {}
            }
        }
        self.progress.all_found.store(true, Ordering::Relaxed);
        self.send_batch().await?;
        while let Some(task) = self.under_way.pop_front() {
            self.take(task).await?;
        }
        Ok(())
    }

    /// Whether a node was met before; from now on it was.
    fn met(&mut self, id: &ChunkId) -> bool {
        if self.read.whole.contains(&key(id)) {
            return true;
        }
        if self.nodes.len() < SEEN_MAX {
            return !self.nodes.insert(key(id));
        }
        self.nodes.contains(&key(id))
    }

    async fn read_file(&mut self, item: &Item) -> Result<()> {
        if let FileContent::Node(id) = &item.content
            && self.met(id)
        {
            return Ok(());
        }
        let mut extents = ExtentReader::new(item);
        loop {
            match extents.next(&self.tree.nodes).await {
                Ok(None) => return Ok(()),
                Ok(Some((_, extent))) => self.read_extent(&extent).await?,
                Err(Trouble::Flawed(_)) => {
                    self.node_flaws += 1;
                    return Ok(());
                }
                Err(Trouble::Stopped(error)) => return Err(error),
            }
        }
    }

    async fn read_extent(&mut self, extent: &Extent) -> Result<()> {
        let Some(id) = extent.chunk else {
            return Ok(());
        };
        // Known from another snapshot: told, whether or not it is drawn here.
        let known = self.read.bad.get(&id);
        if known.is_some_and(|bad| bad.flaw_for(extent).is_some()) {
            self.bad_here.insert(id);
            return Ok(());
        }
        if !self.is_sampled(&id) {
            return Ok(());
        }
        let end = extent.end_in_chunk();
        let ChunksRead { seen, bad, .. } = &mut *self.read;
        if let Some(seen) = seen.get_mut(&key(&id)) {
            if seen.under_way() {
                *seen = Seen::asked(seen.bytes().max(end));
            } else if seen.bytes() < end {
                let len = seen.bytes();
                bad.entry(id).or_insert(Bad::Short(len));
            }
            if bad
                .get(&id)
                .is_some_and(|bad| bad.flaw_for(extent).is_some())
            {
                self.bad_here.insert(id);
            }
            return Ok(());
        }
        if seen.len() < SEEN_MAX {
            seen.insert(key(&id), Seen::asked(end));
        }
        let full = self.batch_bytes + end > BATCH_BYTES || self.batch.len() >= CHUNKS_MAX;
        if full {
            self.send_batch().await?;
        }
        self.batch.push((id, end));
        self.batch_bytes += end;
        Ok(())
    }

    fn is_sampled(&self, id: &ChunkId) -> bool {
        match self.depth {
            VerifyDepth::Nodes => false,
            VerifyDepth::Data { share, seed } => {
                let mut first = [0; 8];
                first.copy_from_slice(&id.0[..8]);
                let lot = mix(u64::from_le_bytes(first) ^ mix(seed));
                share >= 1.0 || (lot as f64) < share * 2f64.powi(64)
            }
        }
    }

    async fn send_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        if self.under_way.len() >= BATCHES
            && let Some(oldest) = self.under_way.pop_front()
        {
            self.take(oldest).await?;
        }
        let wanted = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let source = self.tree.nodes.source().clone();
        let task = self.ctx.spawn(async move {
            let ids = wanted.iter().map(|(id, _)| (*id, ChunkKind::Data));
            let answers = fetch(&source, ids.collect()).await?;
            Ok(wanted.into_iter().zip(answers).collect())
        });
        self.under_way.push_back(AbortOnDropHandle::new(task));
        Ok(())
    }

    async fn take(&mut self, task: Task) -> Result<()> {
        let answers = task
            .await
            .map_err(|e| Error::Bug(format!("a read ended: {e}")))??;
        for ((id, end), answer) in answers {
            let seen = self.read.seen.get_mut(&key(&id));
            let asked = seen.as_ref().map_or(0, |seen| seen.bytes()).max(end);
            let (len, bad) = match answer {
                Ok(fetched) => {
                    let len = fetched.bytes.len() as u64;
                    self.result.chunks += 1;
                    self.result.bytes_read += len;
                    RestoreProgress::add(&self.progress.bytes_fetched, len);
                    (len, (asked > len).then_some(Bad::Short(len)))
                }
                // So long that no extent adds another flaw to this one.
                Err(loss) => {
                    let flaw = Flaw::lost("its content", loss);
                    (u64::from(Seen::UNDER_WAY - 1), Some(Bad::Lost(flaw)))
                }
            };
            if let Some(seen) = seen {
                *seen = Seen::read(len);
            }
            if let Some(bad) = bad {
                self.read.bad.insert(id, bad);
                self.bad_here.insert(id);
            }
        }
        Ok(())
    }

    /// The second pass: names every path that something damaged touches. Reads nodes only.
    async fn name_damaged(&mut self) -> Result<()> {
        self.result.chunks_damaged = self.bad_here.len() as u64;
        let mut walk = Walk::new(self.tree, Arc::new(Selection::all()));
        while let Some(event) = walk.next().await? {
            let flaw = match event {
                Event::Flaw(flaw) => Some(flaw),
                Event::Entry(item) if item.is_file() => self.flaw_of(&item).await?,
                _ => None,
            };
            if let Some(flaw) = flaw {
                RestoreProgress::add(&self.progress.problems, 1);
                self.result.add(walk.path().to_vec(), flaw);
            }
        }
        Ok(())
    }

    async fn flaw_of(&self, item: &Item) -> Result<Option<Flaw>> {
        let mut extents = ExtentReader::new(item);
        loop {
            match extents.next(&self.tree.nodes).await {
                Ok(None) => return Ok(None),
                Ok(Some((_, extent))) => {
                    let bad = extent.chunk.and_then(|id| self.read.bad.get(&id));
                    if let Some(flaw) = bad.and_then(|bad| bad.flaw_for(&extent)) {
                        return Ok(Some(flaw));
                    }
                }
                Err(Trouble::Flawed(flaw)) => return Ok(Some(flaw)),
                Err(Trouble::Stopped(error)) => return Err(error),
            }
        }
    }
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", 2014).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
