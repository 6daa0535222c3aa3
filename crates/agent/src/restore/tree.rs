//! A snapshot, opened: its root, and finding a path in it.
//!
//! State: the root and the reader of nodes. `walk.rs` goes through all of it, `directory.rs` and `extents.rs` read one
//! directory and one file.

use std::sync::Arc;

use holdfast_format::ChunkId;
use holdfast_format::tree::Root;

use super::directory::lookup;
use super::item::Item;
use super::nodes::{NodeReader, Parsed};
use super::path::{components, joined, shown};
use crate::error::{Error, Result};
use crate::source::ChunkSource;

/// See the module header. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(crate) nodes: Arc<NodeReader>,
    id: ChunkId,
    root: Arc<Root>,
    top: ChunkId,
}

impl Tree {
    /// Reads a snapshot's root. One that is lost or says something impossible is [`Error::Damaged`].
    pub async fn open(source: Arc<dyn ChunkSource>, id: ChunkId) -> Result<Self> {
        Self::open_with(Arc::new(NodeReader::new(source)), id).await
    }

    /// Like [`Self::open`], sharing another tree's reader and cache.
    pub(crate) async fn open_with(nodes: Arc<NodeReader>, id: ChunkId) -> Result<Self> {
        let parsed = nodes
            .get(id, [])
            .await
            .map_err(|trouble| trouble.into_error("the snapshot's root"))?;
        let Parsed::Root(root, top) = &*parsed else {
            return Err(Error::Damaged {
                what: "the snapshot's root".into(),
                why: format!("chunk {id} is another kind of node"),
            });
        };
        let (root, top) = (Arc::new((**root).clone()), *top);
        Ok(Self {
            nodes,
            id,
            root,
            top,
        })
    }

    /// The chunk id of the root.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// What the root says.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The first node of the top directory.
    pub fn top(&self) -> ChunkId {
        self.top
    }

    /// What stands at a path; none for the top itself. A path that is not there is [`Error::Missing`], one that
    /// cannot be read [`Error::Damaged`].
    pub async fn find(&self, path: &[u8]) -> Result<Option<Item>> {
        let parts = components(path)?;
        let mut directory = Some(self.top);
        let mut found: Option<Item> = None;
        for (depth, name) in parts.iter().enumerate() {
            let here = joined(parts[..depth].iter().map(Vec::as_slice));
            if found.as_ref().is_some_and(|item| !item.is_directory()) {
                return Err(Error::Missing {
                    what: shown(path),
                    why: format!("in this snapshot {} is no directory", shown(&here)),
                });
            }
            let item = lookup(&self.nodes, directory, name)
                .await
                .map_err(|trouble| trouble.into_error(shown(path)))?;
            let Some(item) = item else {
                return Err(Error::Missing {
                    what: shown(path),
                    why: format!("in this snapshot {} has no such name", shown(&here)),
                });
            };
            directory = item.directory;
            found = Some(item);
        }
        Ok(found)
    }
}
