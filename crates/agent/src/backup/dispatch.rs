//! Between the walk and the gathering: compares files with the cache, forms groups, starts the taking of each.
//!
//! State: the group being formed, the cursor into the cache, inodes with several names. It bounds how many groups are
//! taken at once (lanes) and, by the queue it fills, how many wait to be gathered.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_format::ChunkId;
use holdfast_format::tree::Entry;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::cached::CacheCursor;
use super::gathering::push_name;
use super::limits::{
    GROUP_BYTES_MAX, GROUP_FILES_MAX, GROUP_FOLDERS_MAX, GROUP_ITEMS_MAX, GROUPS_FOLDERS_MAX,
    HARD_LINKS_KEPT_MAX,
};
use super::metadata::{FileStat, StatKey};
use super::taking::{Taken, Taker};
use super::walk::{FileStep, Step};
use crate::error::{Error, Result};

/// A run of steps, with the files in it being taken by one task.
pub(crate) struct Group {
    /// What the walk came to.
    pub(crate) items: Vec<Item>,
    /// Gives one answer for each [`Item::Taken`]; `None` when there is none.
    pub(crate) taking: Option<AbortOnDropHandle<Result<Vec<Option<Taken>>>>>,
}

/// One step, as it is gathered.
pub(crate) enum Item {
    /// A directory begins. With its node in the last snapshot, if the vault has that still.
    Enter(Entry, Option<ChunkId>),
    /// The innermost directory ends.
    Leave,
    /// Something without content.
    Leaf(Entry),
    /// A file that the cache knows.
    Unchanged(Box<Taken>),
    /// The next of the files being taken. `names_left` more names of its inode will come as [`Item::Link`].
    Taken { key: StatKey, names_left: u64 },
    /// Another name of an inode that was taken before.
    Link(Box<DistantFile>),
}

/// A file whose folder is not held open.
pub(crate) struct DistantFile {
    pub(crate) entry: Entry,
    pub(crate) stat: FileStat,
    pub(crate) folder: Vec<u8>,
    pub(crate) folder_identity: (u64, u64),
}

/// Forms groups, compares with the cache, starts the taking.
pub(crate) struct Dispatcher {
    taker: Arc<Taker>,
    cursor: CacheCursor,
    groups: Sender<Group>,
    /// How many groups may be read at once.
    lanes: Arc<Semaphore>,
    items: Vec<Item>,
    files: Vec<FileStep>,
    bytes: u64,
    folders: usize,
    /// How many folders one group may hold open.
    folders_max: usize,
    /// Inodes with several names: how many are still to come.
    links: HashMap<(u64, u64), (StatKey, u64)>,
    /// The path of the innermost folder, as a cache key.
    key: Vec<u8>,
    key_lens: Vec<usize>,
}

impl Dispatcher {
    /// Starts. Groups go to `groups`, in order.
    pub(crate) fn new(taker: Arc<Taker>, cursor: CacheCursor, groups: Sender<Group>) -> Self {
        let lanes = std::thread::available_parallelism().map_or(2, usize::from) + 1;
        Self {
            taker,
            cursor,
            groups,
            lanes: Arc::new(Semaphore::new(lanes)),
            items: Vec::new(),
            files: Vec::new(),
            bytes: 0,
            folders: 0,
            folders_max: (GROUPS_FOLDERS_MAX / lanes).clamp(2, GROUP_FOLDERS_MAX),
            links: HashMap::new(),
            key: Vec::new(),
            key_lens: Vec::new(),
        }
    }

    /// Goes on until the walk ends.
    pub(crate) async fn run(mut self, mut steps: Receiver<Vec<Step>>) -> Result<()> {
        loop {
            let batch = match steps.try_recv() {
                Ok(batch) => batch,
                Err(_) => {
                    // The walk is behind: what it has found need not wait for more.
                    self.send().await?;
                    match steps.recv().await {
                        Some(batch) => batch,
                        None => return Ok(()),
                    }
                }
            };
            for step in batch {
                self.step(step).await?;
                if self.is_full() {
                    self.send().await?;
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= GROUP_ITEMS_MAX
            || self.files.len() >= GROUP_FILES_MAX
            || self.bytes >= GROUP_BYTES_MAX
            || self.folders >= self.folders_max
    }

    async fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Enter(entry) => {
                self.key_lens.push(self.key.len());
                push_name(&mut self.key, &entry.name);
                let before = self.cursor.directory(&self.key).await?;
                self.items.push(Item::Enter(entry, before));
            }
            Step::Leave => {
                self.key.truncate(self.key_lens.pop().unwrap_or(0));
                self.items.push(Item::Leave);
            }
            Step::Leaf(entry) => self.items.push(Item::Leaf(entry)),
            Step::File(file) => self.file(file).await?,
        }
        Ok(())
    }

    async fn file(&mut self, mut step: FileStep) -> Result<()> {
        let key = step.stat.key;
        let len = self.key.len();
        push_name(&mut self.key, &step.entry.name);
        let cached = self.cursor.file(&self.key).await?;
        self.key.truncate(len);
        step.before = cached.as_ref().and_then(|cached| cached.pages);
        if let Some(cached) = cached.filter(|cached| cached.key == key) {
            self.taker.pipeline.progress.passed_over(key.size);
            let entry = Entry {
                xattrs: cached.xattrs,
                ..step.entry
            };
            let taken = Taken {
                entry,
                content: cached.content,
                key: Some(key),
                pages: cached.pages,
            };
            self.items.push(Item::Unchanged(Box::new(taken)));
            return Ok(());
        }
        let names_left = match self.another_name(&step) {
            Some(item) => {
                self.taker.pipeline.progress.passed_over(key.size);
                self.items.push(item);
                return Ok(());
            }
            None => self.names_to_come(&step),
        };
        // Files of one folder come together; only a change of folder is one more to be held open.
        let same = self
            .files
            .last()
            .is_some_and(|last| Arc::ptr_eq(&last.folder, &step.folder));
        self.folders += usize::from(!same);
        self.bytes += key.size;
        self.items.push(Item::Taken { key, names_left });
        self.files.push(step);
        Ok(())
    }

    /// The item for a file whose inode was seen, as it is, under another name.
    fn another_name(&mut self, step: &FileStep) -> Option<Item> {
        let key = step.stat.key;
        let inode = (key.device, key.inode);
        let (first, left) = self.links.get_mut(&inode)?;
        if *first != key {
            return None;
        }
        *left -= 1;
        if *left == 0 {
            self.links.remove(&inode);
        }
        Some(Item::Link(Box::new(DistantFile {
            entry: step.entry.clone(),
            stat: step.stat,
            folder: step.folder.path.clone(),
            folder_identity: step.folder.identity(),
        })))
    }

    /// How many more names of this inode are to be given its content without reading.
    fn names_to_come(&mut self, step: &FileStep) -> u64 {
        let key = step.stat.key;
        let inode = (key.device, key.inode);
        let left = step.stat.links.saturating_sub(1);
        let room = self.links.len() < HARD_LINKS_KEPT_MAX;
        // Changed since its first name was seen: that one's promise stands, and this name is read by itself.
        if left == 0 || !room || self.links.contains_key(&inode) {
            return 0;
        }
        self.links.insert(inode, (key, left));
        left
    }

    /// Starts the taking of what was formed, and hands it on in order.
    async fn send(&mut self) -> Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        let taking = if files.is_empty() {
            None
        } else {
            let lane = Arc::clone(&self.lanes)
                .acquire_owned()
                .await
                .map_err(|_| Error::Bug("the lanes are never closed".into()))?;
            let taker = Arc::clone(&self.taker);
            let task = self.taker.pipeline.ctx.spawn(take(taker, files, lane));
            Some(AbortOnDropHandle::new(task))
        };
        let items = std::mem::take(&mut self.items);
        (self.bytes, self.folders) = (0, 0);
        // Nobody receives: the backup has ended, and says why itself.
        self.groups
            .send(Group { items, taking })
            .await
            .map_err(|_| Error::Interrupted)
    }
}

async fn take(
    taker: Arc<Taker>,
    files: Vec<FileStep>,
    lane: OwnedSemaphorePermit,
) -> Result<Vec<Option<Taken>>> {
    let taken = taker.take(files).await;
    drop(lane);
    taken
}
