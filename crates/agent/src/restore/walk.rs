//! Goes through a snapshot depth first, in the order of names.
//!
//! State: one reader for each directory on the way down. Far up ones let go of their pages, so that memory is bounded
//! by the width of a page and not by depth times width. It must never go deeper than [`DEPTH_MAX`].

use std::sync::Arc;

use holdfast_format::ChunkId;

use super::chunks_read::{NodeKeys, key};
use super::directory::{DirectoryEvent, DirectoryReader, lookup};
use super::flaw::{Flaw, Trouble};
use super::item::Item;
use super::nodes::NodeReader;
use super::select::{Reach, Selection};
use super::tree::Tree;
use crate::error::Result;

/// The most directories one inside the other that are gone into.
pub(crate) const DEPTH_MAX: usize = 4096;

/// How many directories on the way keep their pages decoded.
const DECODED_LEVELS: usize = 16;

/// How many sibling directories are named for reading ahead.
const AHEAD: usize = 63;

/// What a walk comes across.
#[derive(Debug)]
pub(crate) enum Event {
    /// A directory. What is in it follows, then [`Event::Leave`].
    Enter(Box<Item>),
    /// Anything else.
    Entry(Box<Item>),
    /// The end of the innermost directory that was entered.
    Leave {
        /// Whether all of its entries could be read.
        whole: bool,
    },
    /// Something that cannot be had: the entry that [`Walk::path`] names, or some entries of that directory.
    Flaw(Flaw),
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct Walk {
    nodes: Arc<NodeReader>,
    selection: Arc<Selection>,
    frames: Vec<Frame>,
    path: Vec<u8>,
    selected: bool,
    whole: bool,
    passed_over: Arc<NodeKeys>,
}

#[derive(Debug)]
struct Frame {
    entries: Entries,
    reach: Reach,
    /// Length of the directory's own path.
    path_len: usize,
}

#[derive(Debug)]
enum Entries {
    /// All of them.
    All(Box<DirectoryReader>),
    /// Those of certain names.
    Named {
        directory: Option<ChunkId>,
        names: std::vec::IntoIter<Vec<u8>>,
    },
}

impl Walk {
    /// A walk through the selected part of a snapshot.
    pub(crate) fn new(tree: &Tree, selection: Arc<Selection>) -> Self {
        Self::from(tree, Some(tree.top()), Vec::new(), selection)
    }

    /// A walk through what is below one directory, whose path is `path` (empty for the top).
    pub(crate) fn below(tree: &Tree, directory: Option<ChunkId>, path: Vec<u8>) -> Self {
        Self::from(tree, directory, path, Arc::new(Selection::all()))
    }

    fn from(
        tree: &Tree,
        directory: Option<ChunkId>,
        path: Vec<u8>,
        selection: Arc<Selection>,
    ) -> Self {
        let reach = selection.start();
        let mut walk = Self {
            nodes: tree.nodes.clone(),
            selection,
            frames: Vec::new(),
            path,
            selected: reach.selected,
            whole: true,
            passed_over: Arc::default(),
        };
        walk.push(directory, reach, Vec::new());
        walk
    }

    /// Does not read ahead into directories that will be skipped.
    pub(crate) fn pass_over(&mut self, directories: Arc<NodeKeys>) {
        self.passed_over = directories;
    }

    /// The path of the last event, with a leading slash.
    pub(crate) fn path(&self) -> &[u8] {
        if self.path.is_empty() {
            b"/"
        } else {
            &self.path
        }
    }

    /// Whether the entry of the last event is wanted itself, and not only passed on the way to something wanted.
    pub(crate) fn selected(&self) -> bool {
        self.selected
    }

    /// Whether all entries of the top directory could be read, once the walk has ended.
    pub(crate) fn whole(&self) -> bool {
        self.whole
    }

    /// Leaves the directory that was just entered, without an [`Event::Leave`].
    pub(crate) fn skip(&mut self) {
        self.frames.pop();
    }

    /// The next event; none at the end. An error means that nothing more can be had.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(frame) = self.frames.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(frame.path_len);
            self.selected = frame.reach.selected;
            let event = match &mut frame.entries {
                Entries::All(reader) => reader.next(&self.nodes).await?,
                Entries::Named { directory, names } => match names.next() {
                    None => None,
                    Some(name) => match lookup(&self.nodes, *directory, &name).await {
                        Ok(None) => continue,
                        Ok(Some(item)) => Some(DirectoryEvent::Item(Box::new(item))),
                        Err(Trouble::Flawed(flaw)) => Some(DirectoryEvent::Flaw {
                            name: Some(name),
                            flaw,
                        }),
                        Err(Trouble::Stopped(error)) => return Err(error),
                    },
                },
            };
            match event {
                None => {
                    let whole = match &frame.entries {
                        Entries::All(reader) => reader.whole(),
                        Entries::Named { .. } => false,
                    };
                    self.frames.pop();
                    if self.frames.is_empty() {
                        self.whole = whole;
                        return Ok(None);
                    }
                    return Ok(Some(Event::Leave { whole }));
                }
                Some(DirectoryEvent::Flaw { name, flaw }) => {
                    if let Some(name) = name {
                        let Some(reach) = self.selection.step(&frame.reach, &name) else {
                            continue;
                        };
                        self.selected = reach.selected;
                        self.name(&name);
                    }
                    return Ok(Some(Event::Flaw(flaw)));
                }
                Some(DirectoryEvent::Item(item)) => {
                    let Some(reach) = self.selection.step(&frame.reach, &item.entry.name) else {
                        continue;
                    };
                    if !item.is_directory() && !reach.selected {
                        continue;
                    }
                    self.selected = reach.selected;
                    self.name(&item.entry.name);
                    return Ok(Some(self.item(item, reach)));
                }
            }
        }
    }

    fn item(&mut self, item: Box<Item>, reach: Reach) -> Event {
        if !item.is_directory() {
            return Event::Entry(item);
        }
        if self.frames.len() > DEPTH_MAX {
            return Event::Flaw(Flaw::new(format!(
                "it lies more than {DEPTH_MAX} directories deep"
            )));
        }
        let ahead = match self.frames.last().map(|frame| &frame.entries) {
            Some(Entries::All(reader)) if reach.selected => {
                let ahead = reader.directories_ahead();
                let wanted = ahead.filter(|id| !self.passed_over.contains(&key(id)));
                wanted.take(AHEAD).collect()
            }
            _ => Vec::new(),
        };
        self.push(item.directory, reach, ahead);
        Event::Enter(item)
    }

    fn push(&mut self, directory: Option<ChunkId>, reach: Reach, ahead: Vec<ChunkId>) {
        if let Some(far) = self.frames.len().checked_sub(DECODED_LEVELS)
            && let Entries::All(reader) = &mut self.frames[far].entries
        {
            reader.park();
        }
        let entries = match self.selection.only_names(&reach) {
            Some(names) => Entries::Named {
                directory,
                names: names.into_iter(),
            },
            None => Entries::All(Box::new(DirectoryReader::new(directory).with_ahead(ahead))),
        };
        self.frames.push(Frame {
            entries,
            reach,
            path_len: self.path.len(),
        });
    }

    fn name(&mut self, name: &[u8]) {
        self.path.push(b'/');
        self.path.extend_from_slice(name);
    }
}
