//! Compares two snapshots (`holdfast diff`).
//!
//! Both directories are read side by side in the order of names. A node's id stands for all below it, so two equal ids
//! are equal subtrees, and only what differs is read. Content is compared by chunks, so this tells nothing across two
//! dedup scopes: there every file counts as changed.

use futures::stream::{self, Stream};
use holdfast_format::ChunkId;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::directory::{DirectoryEvent, DirectoryReader};
use super::flaw::Flaw;
use super::item::Item;
use super::list::Listed;
use super::path::put_bytes;
use super::tree::Tree;
use super::walk::DEPTH_MAX;
use crate::error::Result;

/// One difference.
///
/// As JSON: `path` (and `path_bytes`), `change` as the names below in lower case with underscores, and `before`, `after`
/// as in a listing where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its path, with a leading slash.
    pub path: Vec<u8>,
    /// What is different.
    pub change: Change,
    /// The entry in the first snapshot.
    pub before: Option<Box<Listed>>,
    /// The entry in the second one.
    pub after: Option<Box<Listed>>,
}

/// How something is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second snapshot has it. All that is below an added directory is added too.
    Added,
    /// Only the first snapshot has it.
    Removed,
    /// It is of another kind.
    Kind,
    /// A file's bytes, a symlink's target or a device's number.
    Content,
    /// Owner, mode, time or extended attributes only.
    Metadata,
    /// One side cannot be read, so it cannot be compared.
    Damaged {
        /// Whether it is the second snapshot's side.
        after: bool,
        /// What is wrong.
        flaw: Flaw,
    },
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        put_bytes(&mut map, "path", "path_bytes", &self.path)?;
        let change = match &self.change {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Kind => "kind",
            Change::Content => "content",
            Change::Metadata => "metadata",
            Change::Damaged { .. } => "damaged",
        };
        map.serialize_entry("change", change)?;
        if let Change::Damaged { after, flaw } = &self.change {
            map.serialize_entry("side", if *after { "after" } else { "before" })?;
            map.serialize_entry("damaged", &flaw.what)?;
        }
        if let Some(before) = &self.before {
            map.serialize_entry("before", before)?;
        }
        if let Some(after) = &self.after {
            map.serialize_entry("after", after)?;
        }
        map.end()
    }
}

/// Compares all of two snapshots. Dropping the stream ends the work.
pub fn diff(before: &Tree, after: &Tree) -> impl Stream<Item = Result<Difference>> + Send + use<> {
    let mut walk = DiffWalk {
        before: before.clone(),
        after: after.clone(),
        frames: Vec::new(),
        path: Vec::new(),
    };
    walk.push(Some(before.top()), Some(after.top()));
    stream::try_unfold(walk, |mut walk| async move {
        let next = walk.next().await?;
        Ok(next.map(|difference| (difference, walk)))
    })
}

struct DiffWalk {
    before: Tree,
    after: Tree,
    frames: Vec<Frame>,
    path: Vec<u8>,
}

struct Frame {
    before: Side,
    after: Side,
    path_len: usize,
}

/// One of the two directories of a frame.
struct Side {
    reader: DirectoryReader,
    /// The entry that comes next.
    peeked: Option<Box<Item>>,
    ended: bool,
}

impl Side {
    fn new(directory: Option<ChunkId>) -> Self {
        Self {
            reader: DirectoryReader::new(directory),
            peeked: None,
            ended: false,
        }
    }

    /// Makes sure that the next entry is known; gives a flaw that lies before it.
    async fn peek(&mut self, tree: &Tree) -> Result<Option<(Option<Vec<u8>>, Flaw)>> {
        if self.peeked.is_some() || self.ended {
            return Ok(None);
        }
        match self.reader.next(&tree.nodes).await? {
            None => self.ended = true,
            Some(DirectoryEvent::Item(item)) => self.peeked = Some(item),
            Some(DirectoryEvent::Flaw { name, flaw }) => return Ok(Some((name, flaw))),
        }
        Ok(None)
    }
}

impl DiffWalk {
    fn push(&mut self, before: Option<ChunkId>, after: Option<ChunkId>) {
        if before == after {
            return;
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.before.reader.park();
            frame.after.reader.park();
        }
        self.frames.push(Frame {
            before: Side::new(before),
            after: Side::new(after),
            path_len: self.path.len(),
        });
    }

    async fn next(&mut self) -> Result<Option<Difference>> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(frame.path_len);
            let flawed = match frame.before.peek(&self.before).await? {
                Some(flawed) => Some((false, flawed)),
                None => frame
                    .after
                    .peek(&self.after)
                    .await?
                    .map(|flawed| (true, flawed)),
            };
            if let Some((after, (name, flaw))) = flawed {
                if let Some(name) = name {
                    self.name(&name);
                }
                return Ok(Some(self.damaged(after, flaw)));
            }
            let (one, other) = (&mut frame.before.peeked, &mut frame.after.peeked);
            let order = match (&one, &other) {
                (None, None) => {
                    self.frames.pop();
                    continue;
                }
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(one), Some(other)) => one.entry.name.cmp(&other.entry.name),
            };
            let before = if order.is_le() { one.take() } else { None };
            let after = if order.is_ge() { other.take() } else { None };
            if let Some(difference) = self.compare(before, after) {
                return Ok(Some(difference));
            }
        }
    }

    /// Compares two entries of one name, and goes into them where they are directories.
    fn compare(
        &mut self,
        before: Option<Box<Item>>,
        after: Option<Box<Item>>,
    ) -> Option<Difference> {
        let name = before.as_ref().or(after.as_ref())?.entry.name.clone();
        self.name(&name);
        let directory = |item: &Option<Box<Item>>| item.as_ref().and_then(|item| item.directory);
        let inner = (directory(&before), directory(&after));
        let change = match (&before, &after) {
            (None, Some(_)) => Some(Change::Added),
            (Some(_), None) => Some(Change::Removed),
            (Some(before), Some(after)) => change(before, after),
            (None, None) => None,
        };
        let difference = change.map(|change| Difference {
            path: self.path.clone(),
            change,
            before: before.map(|item| self.listed(*item)),
            after: after.map(|item| self.listed(*item)),
        });
        if inner.0 == inner.1 {
            return difference;
        }
        if self.frames.len() > DEPTH_MAX {
            let flaw = Flaw::new(format!("it lies more than {DEPTH_MAX} directories deep"));
            return Some(self.damaged(inner.1.is_some(), flaw));
        }
        self.push(inner.0, inner.1);
        difference
    }

    fn damaged(&self, after: bool, flaw: Flaw) -> Difference {
        Difference {
            path: if self.path.is_empty() {
                b"/".to_vec()
            } else {
                self.path.clone()
            },
            change: Change::Damaged { after, flaw },
            before: None,
            after: None,
        }
    }

    fn listed(&self, item: Item) -> Box<Listed> {
        Box::new(Listed {
            path: self.path.clone(),
            entry: item.entry,
        })
    }

    fn name(&mut self, name: &[u8]) {
        self.path.push(b'/');
        self.path.extend_from_slice(name);
    }
}

/// How two entries of one name differ, what is inside directories apart.
fn change(before: &Item, after: &Item) -> Option<Change> {
    let (one, other) = (&before.entry, &after.entry);
    if one.kind != other.kind {
        return Some(Change::Kind);
    }
    let content = before.content != after.content
        || one.size != other.size
        || one.target != other.target
        || one.device != other.device;
    if content {
        return Some(Change::Content);
    }
    // The number of a hard link is the snapshot's own; only whether there is one is a fact about the file.
    let mut renumbered = other.clone();
    if one.hard_link.is_some() && other.hard_link.is_some() {
        renumbered.hard_link = one.hard_link;
    }
    (*one != renumbered).then_some(Change::Metadata)
}
