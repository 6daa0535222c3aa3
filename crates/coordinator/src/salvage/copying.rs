//! Copying what a snapshot of a branch needs and the primary lacks: frames as they are, sealed, children first.
//!
//! State: packs being filled. Frames are read from the site that was left behind alone, and verified.

use std::collections::{BTreeMap, HashMap, HashSet};

use holdfast_format::{ChunkId, ChunkKind, Frame, Ordinal, Pack, PackBuilder, PackOrdinal, Scope};
use holdfast_vault::fetch::PackRead;
use holdfast_vault::{Proposal, State};

use super::Salvage;
use crate::error::{Error, Result};
use crate::vault::upload::put_pack;

/// Frames of nodes that are read at once.
const NODES_AT_ONCE: usize = 512;

/// Frames of data that are read at once.
const DATA_AT_ONCE: usize = 256;

impl Salvage<'_> {
    pub(super) async fn copy_data(&mut self, scope: &Scope, missing: &Missing) -> Result<()> {
        let mut filling = Filling::new(ChunkKind::Data, scope);
        for (pack, frames) in &missing.data {
            let frames: Vec<(u32, Vec<ChunkId>)> = frames.clone().into_iter().collect();
            for some in frames.chunks(DATA_AT_ONCE) {
                for frame in self.read(*pack, some.iter().cloned().collect()).await? {
                    self.open_key(frame.key, None).await?;
                    let wanted = frame.chunks.iter().map(|chunk| chunk.id);
                    let wanted = wanted.filter(|id| missing.ids.contains(id)).collect();
                    filling.add(self, frame, wanted).await?;
                }
            }
        }
        filling.finish(self).await
    }

    /// Copies node frames so that each node comes after what it refers to. Mostly one pass in the order in which the
    /// branch named them; a frame whose nodes wait for another frame is copied once more for the rest.
    pub(super) async fn copy_nodes(&mut self, scope: &Scope, missing: &Missing) -> Result<()> {
        let mut ready: HashSet<ChunkId> = HashSet::new();
        let mut waiting: Vec<(Ordinal, PackOrdinal, u32, Vec<ChunkId>)> = missing.nodes.clone();
        while !waiting.is_empty() {
            let mut later = Vec::new();
            let before = ready.len();
            let mut filling = Filling::new(ChunkKind::Node, scope);
            for some in waiting.chunks(NODES_AT_ONCE) {
                let mut read: HashMap<(PackOrdinal, u32), Frame> = HashMap::new();
                let mut by_pack: BTreeMap<PackOrdinal, BTreeMap<u32, Vec<ChunkId>>> =
                    BTreeMap::new();
                for (_, pack, frame, ids) in some {
                    let frames = by_pack.entry(*pack).or_default();
                    frames.insert(*frame, ids.clone());
                }
                for (pack, frames) in by_pack {
                    let numbers: Vec<u32> = frames.keys().copied().collect();
                    for (number, frame) in numbers.iter().zip(self.read(pack, frames).await?) {
                        read.insert((pack, *number), frame);
                    }
                }
                for (ordinal, pack, number, ids) in some {
                    let Some(frame) = read.remove(&(*pack, *number)) else {
                        continue;
                    };
                    let waits = |id: &ChunkId, ready: &HashSet<ChunkId>| {
                        missing.ids.contains(id) && !missing.is_data(id) && !ready.contains(id)
                    };
                    let mut now = HashSet::new();
                    for chunk in frame.chunks.iter().filter(|chunk| waits(&chunk.id, &ready)) {
                        let blocked = chunk
                            .refs
                            .iter()
                            .any(|child| waits(child, &ready) && !now.contains(child));
                        if !blocked {
                            now.insert(chunk.id);
                        }
                    }
                    ready.extend(&now);
                    if ids.iter().any(|id| waits(id, &ready)) {
                        later.push((*ordinal, *pack, *number, ids.clone()));
                    }
                    if !now.is_empty() {
                        self.open_key(frame.key, None).await?;
                        filling.add(self, frame, now).await?;
                    }
                }
            }
            filling.finish(self).await?;
            if ready.len() == before {
                return Err(Error::Corrupt(format!(
                    "nodes of the branch at site {} refer to each other in a circle",
                    self.left.name()
                )));
            }
            waiting = later;
        }
        Ok(())
    }

    /// Reads frames of one pack of the branch, verified, in the order of their numbers.
    async fn read(
        &self,
        pack: PackOrdinal,
        frames: BTreeMap<u32, Vec<ChunkId>>,
    ) -> Result<Vec<Frame>> {
        let info = self.branch.state.catalog.packs.get(&pack).cloned();
        let info = info.ok_or_else(|| Error::Corrupt(format!("pack {pack:?} of the branch")))?;
        let read = PackRead {
            ordinal: pack,
            pack: info,
            frames,
        };
        let sites = [self.left.clone()];
        let fetched = self.frames.fetch(&sites, &read).await;
        if let Some((id, why)) = fetched.lost.first() {
            return Err(Error::Corrupt(format!(
                "chunk {id} of the branch cannot be read: {why}"
            )));
        }
        Ok(fetched.frames)
    }

    async fn place(&self, pack: Pack, fresh: HashSet<ChunkId>) -> Result<()> {
        put_pack(self.vault, &pack).await?;
        let packs = vec![pack.without_body()];
        self.vault.append(Proposal::Copies { packs, fresh }).await?;
        Ok(())
    }
}

/// A pack being filled with copies, and which of its chunks become known by it.
struct Filling {
    kind: ChunkKind,
    scope: Scope,
    builder: Option<PackBuilder>,
    fresh: HashSet<ChunkId>,
}

impl Filling {
    fn new(kind: ChunkKind, scope: &Scope) -> Self {
        Self {
            kind,
            scope: scope.clone(),
            builder: None,
            fresh: HashSet::new(),
        }
    }

    async fn add(
        &mut self,
        salvage: &Salvage<'_>,
        frame: Frame,
        fresh: HashSet<ChunkId>,
    ) -> Result<()> {
        let vault = salvage.vault;
        let (kind, scope) = (self.kind, self.scope.clone());
        let builder = self.builder.get_or_insert_with(|| {
            PackBuilder::new(vault.header.vault, vault.new_pack_id(), kind, scope)
        });
        builder.add(frame)?;
        self.fresh.extend(fresh);
        match builder.is_full() {
            true => self.flush(salvage).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, salvage: &Salvage<'_>) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let fresh = std::mem::take(&mut self.fresh);
            salvage.place(builder.finish(), fresh).await?;
        }
        Ok(())
    }

    async fn finish(mut self, salvage: &Salvage<'_>) -> Result<()> {
        self.flush(salvage).await
    }
}

/// What of a snapshot's closure is not live here.
pub(super) struct Missing {
    ids: HashSet<ChunkId>,
    /// By pack and frame of the branch.
    data: BTreeMap<PackOrdinal, BTreeMap<u32, Vec<ChunkId>>>,
    data_ids: HashSet<ChunkId>,
    /// Frames of nodes in the order in which the branch named their first missing node.
    nodes: Vec<(Ordinal, PackOrdinal, u32, Vec<ChunkId>)>,
}

impl Missing {
    fn is_data(&self, id: &ChunkId) -> bool {
        self.data_ids.contains(id)
    }
}

/// Walks a snapshot of the branch down to what is live here: below that nothing is missing, since children came first.
pub(super) fn missing(here: &State, branch: &State, scope: &Scope, root: Ordinal) -> Missing {
    let mut found = Missing {
        ids: HashSet::new(),
        data: BTreeMap::new(),
        data_ids: HashSet::new(),
        nodes: Vec::new(),
    };
    let mut nodes: BTreeMap<(PackOrdinal, u32), (Ordinal, Vec<ChunkId>)> = BTreeMap::new();
    let mut open = vec![root];
    let mut seen: HashSet<Ordinal> = HashSet::new();
    while let Some(ordinal) = open.pop() {
        if !seen.insert(ordinal) {
            continue;
        }
        let (Some(id), Some(entry)) = (branch.index.id(ordinal), branch.index.entry(ordinal))
        else {
            continue;
        };
        let known = here.find(scope, &id);
        if known.is_some_and(|own| here.catalog.stale.binary_search(&own).is_err()) {
            continue;
        }
        found.ids.insert(id);
        let pack = branch.catalog.packs.get(&entry.pack);
        if pack.is_some_and(|pack| pack.chunk_kind() == ChunkKind::Data) {
            found.data_ids.insert(id);
            let frames = found.data.entry(entry.pack).or_default();
            frames.entry(entry.frame).or_default().push(id);
        } else {
            let frame = nodes
                .entry((entry.pack, entry.frame))
                .or_insert((ordinal, Vec::new()));
            frame.0 = frame.0.min(ordinal);
            frame.1.push(id);
            open.extend(branch.index.refs(ordinal));
        }
    }
    found.nodes = (nodes.into_iter())
        .map(|((pack, frame), (ordinal, ids))| (ordinal, pack, frame, ids))
        .collect();
    found.nodes.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
    found
}
