//! An open directory of a mount: its entries by their place, as the kernel asks for them.
//!
//! State: a window of entries around the place that was asked for last, and the names at some places before it. The
//! kernel asks on, a little back, or from anywhere; a directory of any size takes a small window and a name for each
//! thousand entries.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_format::ChunkId;

use crate::error::Result;
use crate::restore::directory::{DirectoryEvent, DirectoryReader};
use crate::restore::flaw::Flaw;
use crate::restore::item::Item;
use crate::restore::nodes::NodeReader;

/// A name is noted for each so many entries.
const MARK_EVERY: u64 = 1024;

/// See the module header.
#[derive(Debug)]
pub(super) struct Listing {
    nodes: Arc<NodeReader>,
    directory: Option<ChunkId>,
    reader: DirectoryReader,
    window: VecDeque<Arc<Item>>,
    /// Place of the window's first entry.
    base: u64,
    /// Names at places 0, [`MARK_EVERY`], and so on.
    marks: Vec<Vec<u8>>,
    ended: bool,
    /// What could not be read, not told yet.
    pub(super) flaws: Vec<Flaw>,
}

impl Listing {
    pub(super) fn new(nodes: Arc<NodeReader>, directory: Option<ChunkId>) -> Self {
        Self {
            nodes,
            directory,
            reader: DirectoryReader::new(directory),
            window: VecDeque::new(),
            base: 0,
            marks: Vec::new(),
            ended: false,
            flaws: Vec::new(),
        }
    }

    /// Moves to a place: from now on nothing before it will be asked for, unless by another call of this.
    pub(super) async fn seek(&mut self, place: u64) -> Result<()> {
        if place < self.base {
            let mark = place / MARK_EVERY;
            let from = self.marks.get(mark as usize).cloned().unwrap_or_default();
            self.reader = DirectoryReader::from_name(self.directory, from);
            self.window.clear();
            self.base = mark * MARK_EVERY;
            self.ended = false;
        }
        while self.base < place {
            if self.window.is_empty() && !self.fill().await? {
                break;
            }
            self.window.pop_front();
            self.base += 1;
        }
        Ok(())
    }

    /// The entry at a place at or after the one that was moved to; none at the end.
    pub(super) async fn get(&mut self, place: u64) -> Result<Option<Arc<Item>>> {
        let Some(at) = place.checked_sub(self.base) else {
            return Ok(None);
        };
        while self.window.len() as u64 <= at {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(self.window.get(at as usize).cloned())
    }

    /// Whether all entries up to here could be read.
    pub(super) fn whole(&self) -> bool {
        self.reader.whole()
    }

    /// Reads one more entry into the window; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        while !self.ended {
            match self.reader.next(&self.nodes).await? {
                None => self.ended = true,
                Some(DirectoryEvent::Flaw { name, flaw }) => {
                    self.flaws.push(match name {
                        Some(name) => flaw.within(crate::restore::path::shown(&name)),
                        None => flaw,
                    });
                }
                Some(DirectoryEvent::Item(item)) => {
                    let place = self.base + self.window.len() as u64;
                    if place == self.marks.len() as u64 * MARK_EVERY {
                        self.marks.push(item.entry.name.clone());
                    }
                    self.window.push_back(Arc::from(item));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
