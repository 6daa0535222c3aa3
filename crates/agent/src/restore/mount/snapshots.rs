//! The snapshots of a mount, each opened when something first looks into it.
//!
//! State: their trees. All share one reader of nodes and its cache.

use std::sync::Arc;

use holdfast_format::{ChunkId, SnapshotId};
use tokio::sync::OnceCell;

use super::names::folder_name;
use crate::error::Result;
use crate::restore::nodes::NodeReader;
use crate::restore::tree::Tree;
use crate::source::ChunkSource;

/// A snapshot to be mounted.
#[derive(Debug, Clone)]
pub struct MountSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its time, milliseconds since 1970 UTC: its name in the folder and its top directory's time.
    pub time_millis: i64,
    /// Its root.
    pub root: ChunkId,
}

/// See the module header.
#[derive(Debug)]
pub(super) struct Snapshots {
    pub(super) nodes: Arc<NodeReader>,
    all: Vec<Snapshot>,
}

#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) time_millis: i64,
    root: ChunkId,
    tree: OnceCell<Tree>,
}

impl Snapshots {
    /// Snapshots in order of time.
    pub(super) fn new(source: Arc<dyn ChunkSource>, mut all: Vec<MountSnapshot>) -> Self {
        all.sort_by_key(|one| (one.time_millis, one.id));
        let named = all.into_iter().map(|one| Snapshot {
            name: folder_name(&one.id, one.time_millis),
            time_millis: one.time_millis,
            root: one.root,
            tree: OnceCell::new(),
        });
        let mut all: Vec<Snapshot> = named.collect();
        // Two of one second whose ids start alike; never seen, but two entries of one name would be wrong.
        for at in 1..all.len() {
            if all[at].name <= all[at - 1].name {
                all[at].name = format!("{}-{at}", all[at].name);
            }
        }
        Self {
            nodes: Arc::new(NodeReader::new(source)),
            all,
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Snapshot> {
        self.all.get(number)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.all.iter().position(|one| one.name.as_bytes() == name)
    }

    /// The first node of a snapshot's top directory. One that could not be read is tried again the next time.
    pub(super) async fn top(&self, number: usize) -> Result<Option<ChunkId>> {
        let Some(snapshot) = self.get(number) else {
            return Ok(None);
        };
        let open = || Tree::open_with(self.nodes.clone(), snapshot.root);
        let tree = snapshot.tree.get_or_try_init(open).await?;
        Ok(Some(tree.top()))
    }
}
