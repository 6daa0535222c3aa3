//! Reads one file's extents in order, from the start or from any byte on.
//!
//! State of a reader: the indexes above the run that it is at, and its place in each. Every node must cover exactly
//! the bytes that the one above says, so what comes out adds up to the file's size.

use std::sync::Arc;

use holdfast_format::ChunkId;

use super::flaw::{Flaw, Found};
use super::item::{Extent, FileContent, Item, check_sum};
use super::nodes::{INDEX_DEPTH_MAX, NodeReader, Parsed};

/// See the module header.
#[derive(Debug)]
pub(crate) struct ExtentReader {
    next: Option<Child>,
    indexes: Vec<Index>,
    run: Option<Run>,
    /// Extents that end at or before this byte are passed over.
    from: u64,
}

#[derive(Debug, Clone, Copy)]
struct Child {
    id: ChunkId,
    start: u64,
    len: u64,
}

#[derive(Debug)]
struct Index {
    parsed: Arc<Parsed>,
    at: usize,
    /// Where the child `at` starts in the file.
    start: u64,
}

#[derive(Debug)]
struct Run {
    extents: Extents,
    at: usize,
    /// Where the extent `at` starts in the file.
    start: u64,
}

#[derive(Debug)]
enum Extents {
    Node(Arc<Parsed>),
    Entry(Vec<Extent>),
}

impl Extents {
    fn get(&self, at: usize) -> Option<Extent> {
        match self {
            Self::Entry(extents) => extents.get(at).copied(),
            Self::Node(parsed) => match &**parsed {
                Parsed::Extents(extents) => extents.get(at).copied(),
                _ => None,
            },
        }
    }
}

impl ExtentReader {
    /// A reader of a file's extents; of a file without any, or with its bytes in its entry, it gives none.
    pub(crate) fn new(item: &Item) -> Self {
        Self::from_byte(item, 0)
    }

    /// A reader that starts at the extent that holds the byte `from`.
    pub(crate) fn from_byte(item: &Item, from: u64) -> Self {
        let (next, run) = match &item.content {
            FileContent::Empty | FileContent::Inline(_) => (None, None),
            FileContent::Extents(extents) => {
                let run = Run {
                    extents: Extents::Entry(extents.clone()),
                    at: 0,
                    start: 0,
                };
                (None, Some(run))
            }
            FileContent::Node(id) => {
                let child = Child {
                    id: *id,
                    start: 0,
                    len: item.entry.size,
                };
                (Some(child), None)
            }
        };
        Self {
            next,
            indexes: Vec::new(),
            run,
            from,
        }
    }

    /// The next extent and where in the file it starts; none at the end.
    pub(crate) async fn next(&mut self, nodes: &NodeReader) -> Found<Option<(u64, Extent)>> {
        loop {
            if let Some(run) = &mut self.run {
                if let Some(extent) = run.extents.get(run.at) {
                    let start = run.start;
                    run.at += 1;
                    run.start += extent.len;
                    if run.start > self.from {
                        return Ok(Some((start, extent)));
                    }
                    continue;
                }
                self.run = None;
            }
            if let Some(child) = self.next.take() {
                self.open(nodes, child).await?;
                continue;
            }
            let Some(index) = self.indexes.last_mut() else {
                return Ok(None);
            };
            let Parsed::ExtentsIndex(children) = &*index.parsed else {
                return Ok(None);
            };
            match children.get(index.at) {
                Some(&(len, id)) => {
                    let start = index.start;
                    index.at += 1;
                    index.start += len;
                    if index.start > self.from {
                        self.next = Some(Child { id, start, len });
                    }
                }
                None => {
                    self.indexes.pop();
                }
            }
        }
    }

    async fn open(&mut self, nodes: &NodeReader, child: Child) -> Found<()> {
        let ahead = match self.indexes.last() {
            Some(index) => match &*index.parsed {
                Parsed::ExtentsIndex(children) => &children[index.at..],
                _ => &[],
            },
            None => &[],
        };
        let parsed = nodes.get(child.id, ahead.iter().map(|(_, id)| *id)).await?;
        match &*parsed {
            Parsed::Extents(extents) => {
                check_sum(extents, child.len)?;
                self.run = Some(Run {
                    extents: Extents::Node(parsed),
                    at: 0,
                    start: child.start,
                });
            }
            Parsed::ExtentsIndex(children) => {
                let sum = children
                    .iter()
                    .try_fold(0u64, |sum, (len, _)| sum.checked_add(*len));
                if sum != Some(child.len) {
                    return Err(Flaw::new("the parts of its content do not add up").into());
                }
                if self.indexes.len() >= INDEX_DEPTH_MAX {
                    return Err(Flaw::new("its list of extents is too deep").into());
                }
                self.indexes.push(Index {
                    parsed,
                    at: 0,
                    start: child.start,
                });
            }
            _ => return Err(Flaw::new("its content is no list of extents").into()),
        }
        Ok(())
    }
}
