//! A vault of 100 snapshots, each of which shares 99 % with the one before: pages of 500 files of one chunk each, indexes of 256
//! pages above them. One page in a hundred is new in each snapshot, spread over all of the tree.

use std::path::Path;

use bytes::Bytes;
use holdfast_format::{Chunk, ChunkId, Epoch, ScopeKeys};
use holdfast_vault::index::MEMORY_CHUNKS_MAX;
use holdfast_vault::{LogReader, State, Writer};

use crate::filling::{Named, Session, id, scope};
use crate::founded::{Founded, VAULT, secrets};
use crate::part::{Figures, told};
use crate::resident::{Watch, anonymous};
use crate::stopwatch::Stopwatch;
use crate::{collection, index};

/// Snapshots.
const SNAPSHOTS: u64 = 100;

/// Files of a page, and chunks.
const PAGE_FILES: u64 = 500;

/// Children of an index node.
const INDEX_CHILDREN: usize = 256;

/// Bytes of a chunk.
const CHUNK_BYTES: u32 = 64 << 10;

/// Makes such a vault, reads it, opens it, each in a process of its own.
pub(crate) fn measured(chunks: u64) -> Figures {
    let folder = tempfile::tempdir().unwrap();
    let mut figures = told("forest-made", folder.path(), &[chunks]);
    figures.extend(told("forest-read", folder.path(), &[]));
    figures.extend(told("forest-opened", folder.path(), &[]));
    figures
}

/// The tree as it stands.
struct Forest<'v> {
    founded: &'v Founded,
    keys: ScopeKeys,
    pages: Vec<ChunkId>,
    named: Named,
    /// The next number that no chunk has.
    next: u64,
    settling: (f64, f64),
    appending: (f64, f64),
}

impl Forest<'_> {
    /// Names a page and its files' chunks; it takes the place of the page there.
    async fn page(&mut self, session: &mut Session<'_>, writer: &mut Writer, at: usize) {
        let files = self.next..self.next + PAGE_FILES;
        self.next = files.end;
        let refs: Vec<ChunkId> = files.map(id).collect();
        for &file in &refs {
            session.data(file, CHUNK_BYTES);
        }
        let page = self.keys.node(Bytes::from_static(b"page"), refs);
        self.pages[at] = page.id;
        session.node(page);
        if session.is_full() {
            session.flush(writer, &mut self.named).await;
            self.settle(writer);
        }
    }

    fn settle(&mut self, writer: &mut Writer) {
        let watch = Stopwatch::start();
        let held = writer.state().read().unwrap().index.in_memory();
        if held >= MEMORY_CHUNKS_MAX {
            writer.settle(&self.founded.cache).unwrap();
        }
        spent(&mut self.settling, watch.read());
    }

    /// Names the indexes above the pages, as far as they are new, and a root.
    fn root(&mut self, session: &mut Session<'_>, number: u64) -> ChunkId {
        let mut level = self.pages.clone();
        while level.len() > 1 {
            let nodes = level.chunks(INDEX_CHILDREN).map(|children| {
                let text = Bytes::from_static(b"index");
                self.keys.node(text, children.to_vec())
            });
            let nodes: Vec<Chunk> = nodes.collect();
            level = nodes.iter().map(|node| node.id).collect();
            let new = nodes.into_iter();
            new.filter(|node| !self.named.contains_key(&node.id))
                .for_each(|node| session.node(node));
        }
        let root = self.keys.node(format!("root {number}").into(), level);
        let root_id = root.id;
        session.node(root);
        root_id
    }

    async fn snapshot(&mut self, writer: &mut Writer, number: u64) {
        let mut session = Session::new(self.founded, writer, "forest");
        session.open(writer).await;
        for at in 0..self.pages.len() {
            if number == 0 || at as u64 % SNAPSHOTS == number {
                self.page(&mut session, writer, at).await;
            }
        }
        let root = self.root(&mut session, number);
        session.commit(writer, &mut self.named, root).await;
        self.settle(writer);
        spent(&mut self.appending, session.took);
    }
}

fn spent(all: &mut (f64, f64), more: (f64, f64)) {
    *all = (all.0 + more.0, all.1 + more.1);
}

/// Makes the vault.
pub(crate) async fn made(folder: &Path, chunks: u64) -> Figures {
    let (founded, mut writer) = Founded::new(folder).await;
    let pages = chunks * 100 / 199 / (PAGE_FILES + 1);
    let mut forest = Forest {
        founded: &founded,
        keys: secrets().scope_keys(&scope()),
        pages: vec![id(u64::MAX); usize::try_from(pages).unwrap()],
        named: Named::new(),
        next: 0,
        settling: (0.0, 0.0),
        appending: (0.0, 0.0),
    };
    for number in 0..SNAPSHOTS {
        forest.snapshot(&mut writer, number).await;
    }
    Figures::from([
        ("seconds appending".into(), forest.appending.0),
        ("processor appending".into(), forest.appending.1),
        ("seconds settling".into(), forest.settling.0),
        ("processor settling".into(), forest.settling.1),
        ("bytes of log".into(), founded.bytes_of("log").await as f64),
    ])
}

/// Reads its log from the first record, with an empty folder of segments, as a coordinator does that finds no checkpoint; then
/// saves one.
pub(crate) async fn read(folder: &Path) -> Figures {
    // A small one has none.
    let _ = std::fs::remove_dir_all(folder.join("segments"));
    let founded = Founded::at(folder).await;
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let mut reader = LogReader::new(founded.site.site.clone(), VAULT);
    let header = reader.header().await.unwrap().unwrap();
    let mut state = State::start(header);
    reader.follow(&mut state, &founded.cache).await.unwrap();
    let mut figures = watch.figures("reading");
    let peak = most.end().saturating_sub(before);
    figures.insert("peak reading".into(), peak as f64);
    let mut writer = founded.writer(state, Epoch(2)).await;
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    founded.save(&mut writer).await;
    figures.extend(watch.figures("saving"));
    let peak = most.end().saturating_sub(before);
    figures.insert("peak saving".into(), peak as f64);
    figures
}

/// Opens it from its checkpoint, as a coordinator does that starts again, and measures what it then does.
pub(crate) async fn opened(folder: &Path) -> Figures {
    let founded = Founded::at(folder).await;
    let before = anonymous();
    let (most, watch) = (Watch::start(), Stopwatch::start());
    let state = founded.state().await;
    let mut figures = watch.figures("opening");
    figures.extend([
        (
            "peak opening".into(),
            most.end().saturating_sub(before) as f64,
        ),
        (
            "memory open".into(),
            anonymous().saturating_sub(before) as f64,
        ),
    ]);
    figures.extend(index::figures(&founded, &state).await);
    figures.extend(collection::figures(&founded, state).await);
    figures
}
