//! Reads one directory: its entries in order, page by page, or one of them by its name.
//!
//! State of a reader: the indexes above the page that it is at, and its place in each. A name is only handed out if it
//! comes after the one before and lies where its index says, so no name comes twice and a lookup finds what a listing
//! shows.

use std::sync::Arc;

use holdfast_format::ChunkId;

use super::flaw::{Flaw, Found, Trouble};
use super::item::Item;
use super::nodes::{BadEntry, INDEX_DEPTH_MAX, NodeReader, Parsed};
use super::path::shown;
use crate::error::{Error, Result};

/// What a directory gives, one at a time.
#[derive(Debug)]
pub(crate) enum DirectoryEvent {
    /// An entry.
    Item(Box<Item>),
    /// An entry, or without a name a run of them, that cannot be had.
    Flaw {
        /// Its name as recorded.
        name: Option<Vec<u8>>,
        /// What is wrong.
        flaw: Flaw,
    },
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct DirectoryReader {
    /// A node to be read next: the directory's own, or a child of the innermost index.
    next: Option<Child>,
    /// Indexes from the outermost to the innermost.
    indexes: Vec<Index>,
    page: Option<Page>,
    /// The name that was handed out last.
    last: Option<Vec<u8>>,
    /// Names before this one are passed over.
    from: Vec<u8>,
    /// Nodes that will be wanted after this directory: fetched with its first one.
    ahead: Vec<ChunkId>,
    whole: bool,
}

#[derive(Debug, Clone)]
struct Child {
    id: ChunkId,
    /// No entry of it comes before this name.
    lower: Vec<u8>,
    /// All entries of it come before this name.
    upper: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Index {
    node: Child,
    /// Absent while it is parked.
    parsed: Option<Arc<Parsed>>,
    at: usize,
}

#[derive(Debug)]
struct Page {
    node: Child,
    /// Absent while it is parked.
    parsed: Option<Arc<Parsed>>,
    at: usize,
}

impl DirectoryReader {
    /// A reader of the directory whose first node is `id`; of an empty directory without one.
    pub(crate) fn new(id: Option<ChunkId>) -> Self {
        Self::from_name(id, Vec::new())
    }

    /// A reader that starts at the first name that is not before `from`, and reads no page before it.
    pub(crate) fn from_name(id: Option<ChunkId>, from: Vec<u8>) -> Self {
        Self {
            next: id.map(|id| Child {
                id,
                lower: Vec::new(),
                upper: None,
            }),
            indexes: Vec::new(),
            page: None,
            last: None,
            from,
            ahead: Vec::new(),
            whole: true,
        }
    }

    /// Names nodes that will be wanted after this directory, so that they are fetched with it.
    pub(crate) fn with_ahead(mut self, ahead: Vec<ChunkId>) -> Self {
        self.ahead = ahead;
        self
    }

    /// Whether everything up to here could be read.
    pub(crate) fn whole(&self) -> bool {
        self.whole
    }

    /// Lets go of decoded nodes; they are read again when needed. For a reader that waits while others work.
    pub(crate) fn park(&mut self) {
        for index in &mut self.indexes {
            index.parsed = None;
        }
        if let Some(page) = &mut self.page {
            page.parsed = None;
        }
    }

    /// Directories that come after this place on the same page, for reading ahead.
    pub(crate) fn directories_ahead(&self) -> impl Iterator<Item = ChunkId> + '_ {
        let page = self.page.as_ref();
        let entries = match page.and_then(|page| page.parsed.as_deref()) {
            Some(Parsed::Page(entries)) => &entries[..],
            _ => &[],
        };
        let at = page.map_or(0, |page| page.at);
        entries
            .iter()
            .skip(at)
            .filter_map(|entry| entry.as_ref().ok()?.directory)
    }

    /// The next entry; none at the end. An error means that nothing more can be had at all.
    pub(crate) async fn next(&mut self, nodes: &NodeReader) -> Result<Option<DirectoryEvent>> {
        loop {
            match self.step(nodes).await {
                Ok(Step::Event(event)) => {
                    if matches!(event, DirectoryEvent::Flaw { .. }) {
                        self.whole = false;
                    }
                    return Ok(Some(event));
                }
                Ok(Step::Again) => {}
                Ok(Step::End) => return Ok(None),
                Err(Trouble::Stopped(error)) => return Err(error),
                Err(Trouble::Flawed(flaw)) => {
                    self.whole = false;
                    return Ok(Some(DirectoryEvent::Flaw { name: None, flaw }));
                }
            }
        }
    }

    async fn step(&mut self, nodes: &NodeReader) -> Found<Step> {
        if let Some(child) = self.next.take() {
            self.open(nodes, child).await?;
            return Ok(Step::Again);
        }
        if let Some(mut page) = self.page.take() {
            // If a parked page cannot be read again, it is left, and its flaw is told once.
            let parsed = match page.parsed.take() {
                Some(parsed) => parsed,
                None => nodes.get(page.node.id, []).await?,
            };
            let Parsed::Page(entries) = &*parsed else {
                return Err(Error::Bug("a page changed its kind".into()).into());
            };
            let Some(entry) = entries.get(page.at) else {
                return Ok(Step::Again);
            };
            page.at += 1;
            page.parsed = Some(parsed.clone());
            let step = take(entry, &page.node, &self.last, &self.from);
            self.page = Some(page);
            if let Step::Event(DirectoryEvent::Item(item)) = &step {
                self.last = Some(item.entry.name.clone());
            }
            return Ok(step);
        }
        let Some(mut index) = self.indexes.pop() else {
            return Ok(Step::End);
        };
        let parsed = match index.parsed.take() {
            Some(parsed) => parsed,
            None => nodes.get(index.node.id, []).await?,
        };
        if let Some(child) = child(&index.node, &parsed, index.at) {
            index.at += 1;
            index.parsed = Some(parsed);
            self.indexes.push(index);
            self.next = Some(child);
        }
        Ok(Step::Again)
    }

    /// Reads a node and goes into it.
    async fn open(&mut self, nodes: &NodeReader, node: Child) -> Found<()> {
        let got = match self.indexes.last() {
            None => nodes.get(node.id, std::mem::take(&mut self.ahead)).await,
            Some(index) => {
                let ahead = match index.parsed.as_deref() {
                    Some(Parsed::Index(children)) => &children[index.at.min(children.len())..],
                    _ => &[],
                };
                nodes.get(node.id, ahead.iter().map(|(_, id)| *id)).await
            }
        };
        let parsed = match got {
            Ok(parsed) => parsed,
            Err(Trouble::Flawed(flaw)) => return Err(flaw.within(stretch(&node)).into()),
            Err(stopped) => return Err(stopped),
        };
        match &*parsed {
            Parsed::Page(_) => {
                self.page = Some(Page {
                    node,
                    parsed: Some(parsed),
                    at: 0,
                });
                Ok(())
            }
            Parsed::Index(children) => {
                if self.indexes.len() >= INDEX_DEPTH_MAX {
                    return Err(Flaw::new("its index is too deep").into());
                }
                let at = children.partition_point(|(name, _)| *name <= self.from);
                self.indexes.push(Index {
                    node,
                    parsed: Some(parsed),
                    at: at.saturating_sub(1),
                });
                Ok(())
            }
            _ => Err(Flaw::new("its entries are no list of entries")
                .within(stretch(&node))
                .into()),
        }
    }
}

/// Checks the place of an entry and hands it out.
fn take(
    entry: &std::result::Result<Item, BadEntry>,
    node: &Child,
    last: &Option<Vec<u8>>,
    from: &[u8],
) -> Step {
    let name = match entry {
        Ok(item) => &item.entry.name,
        Err(bad) => &bad.name,
    };
    if name.as_slice() < from {
        return Step::Again;
    }
    let flaw = match entry {
        Err(bad) => bad.flaw.clone(),
        Ok(item) => {
            let in_order = last.as_ref().is_none_or(|last| last < name);
            if in_order && node.holds(name) {
                return Step::Event(DirectoryEvent::Item(Box::new(item.clone())));
            }
            out_of_order()
        }
    };
    Step::Event(DirectoryEvent::Flaw {
        name: Some(name.clone()),
        flaw,
    })
}

enum Step {
    Event(DirectoryEvent),
    Again,
    End,
}

impl Child {
    fn holds(&self, name: &[u8]) -> bool {
        self.lower.as_slice() <= name
            && self
                .upper
                .as_ref()
                .is_none_or(|upper| name < upper.as_slice())
    }
}

/// The `at`th child of an index, with the bounds of its names.
fn child(node: &Child, parsed: &Parsed, at: usize) -> Option<Child> {
    let Parsed::Index(children) = parsed else {
        return None;
    };
    let (name, id) = children.get(at)?;
    Some(Child {
        id: *id,
        lower: name.clone().max(node.lower.clone()),
        upper: match children.get(at + 1) {
            Some((next, _)) => Some(match &node.upper {
                Some(upper) => next.clone().min(upper.clone()),
                None => next.clone(),
            }),
            None => node.upper.clone(),
        },
    })
}

fn out_of_order() -> Flaw {
    Flaw::new("its name comes twice or out of order")
}

fn stretch(node: &Child) -> String {
    let from = shown(&node.lower);
    match (&node.upper, node.lower.is_empty()) {
        (None, true) => "all its entries".into(),
        (None, false) => format!("its entries from {from} on"),
        (Some(upper), _) => format!("its entries from {from} to before {}", shown(upper)),
    }
}

/// The entry of that name, reading only the pages that can hold it. None if the directory has no such name.
pub(crate) async fn lookup(
    nodes: &NodeReader,
    directory: Option<ChunkId>,
    name: &[u8],
) -> Found<Option<Item>> {
    let Some(id) = directory else {
        return Ok(None);
    };
    let mut node = Child {
        id,
        lower: Vec::new(),
        upper: None,
    };
    for _ in 0..=INDEX_DEPTH_MAX {
        let parsed = match nodes.get(node.id, []).await {
            Ok(parsed) => parsed,
            Err(Trouble::Flawed(flaw)) => return Err(flaw.within(stretch(&node)).into()),
            Err(stopped) => return Err(stopped),
        };
        match &*parsed {
            Parsed::Page(entries) => return find(&node, entries, name),
            Parsed::Index(children) => {
                let at = children.partition_point(|(first, _)| first.as_slice() <= name);
                match at.checked_sub(1).and_then(|at| child(&node, &parsed, at)) {
                    Some(child) => node = child,
                    None => return Ok(None),
                }
            }
            _ => return Err(Flaw::new("its entries are no list of entries").into()),
        }
    }
    Err(Flaw::new("its index is too deep").into())
}

fn find(
    node: &Child,
    entries: &[std::result::Result<Item, BadEntry>],
    name: &[u8],
) -> Found<Option<Item>> {
    let mut last: Option<&[u8]> = None;
    for entry in entries {
        match entry {
            Ok(item) => {
                let this = item.entry.name.as_slice();
                let in_order = last.is_none_or(|last| last < this) && node.holds(this);
                if this == name {
                    return if in_order {
                        Ok(Some(item.clone()))
                    } else {
                        Err(out_of_order().into())
                    };
                }
                if in_order {
                    last = Some(this);
                }
            }
            Err(bad) if bad.name == name => return Err(bad.flaw.clone().into()),
            Err(_) => {}
        }
    }
    Ok(None)
}
