//! What tests share: keys, content, a sink that is a map and checks the order, a reader of what was put.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_context::{Context, ManualClock};
use holdfast_format::tree::{Content, Entry, EntryKind, Node, Piece, Root};
use holdfast_format::{Chunk, ChunkId, ChunkKind, Scope, ScopeKeys, VaultId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::files::backup_files_by;
use super::read::{Files, SystemFiles};
use super::{BackupResult, CacheOptions, FilesOptions, Progress, backup_files};
use crate::error::{Error, Result};
use crate::sink::ChunkSink;

/// Keys of a scope.
pub(crate) fn keys(scope: &str) -> ScopeKeys {
    ScopeKeys::derive(&[1; 32], &[2; 32], &scope.parse::<Scope>().unwrap())
}

/// Bytes that do not compress and repeat for a seed.
pub(crate) fn noise(seed: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes.into()
}

/// An entry with nothing in it.
pub(crate) fn blank_entry(kind: EntryKind) -> Entry {
    Entry {
        name: b"x".to_vec(),
        kind,
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: None,
        group: None,
        mtime_seconds: 0,
        mtime_nanos: 0,
        size: 0,
        xattrs: None,
        hard_link: None,
        content: None,
        directory: None,
        target: None,
        device: None,
    }
}

/// The world, an hour later than it is: so that files just made are not racy.
pub(crate) fn later() -> Context {
    let now = Context::system().now_millis();
    Context::system().with_clock(Arc::new(ManualClock::at(now + 3_600_000)))
}

/// A vault: what was put, and what was promised. Checks that children come before nodes.
#[derive(Default)]
pub(crate) struct MapSink {
    pub(crate) chunks: Mutex<HashMap<ChunkId, Chunk>>,
    /// Put, or promised as known, since the last [`Self::new_session`].
    live: Mutex<HashSet<ChunkId>>,
    /// Chunks put in this session that were not there.
    pub(crate) fresh: Mutex<Vec<Chunk>>,
    pub(crate) puts: Mutex<u64>,
    pub(crate) questions: Mutex<Vec<usize>>,
    /// Fails all further puts.
    pub(crate) broken: Mutex<bool>,
}

impl MapSink {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What was promised to the last session counts no more.
    pub(crate) fn new_session(&self) {
        self.live.lock().unwrap().clear();
        self.fresh.lock().unwrap().clear();
        self.questions.lock().unwrap().clear();
        *self.puts.lock().unwrap() = 0;
    }

    /// Loses a chunk, and as the vault would, answers `want` for every node that reaches it.
    pub(crate) fn lose(&self, lost: &ChunkId) {
        let mut chunks = self.chunks.lock().unwrap();
        let mut gone = vec![*lost];
        while let Some(one) = gone.pop() {
            if chunks.remove(&one).is_some() {
                gone.extend(
                    chunks
                        .values()
                        .filter(|c| c.refs.contains(&one))
                        .map(|c| c.id),
                );
            }
        }
    }

    pub(crate) fn fresh_of(&self, kind: ChunkKind) -> usize {
        self.fresh
            .lock()
            .unwrap()
            .iter()
            .filter(|chunk| chunk.kind == kind)
            .count()
    }

    fn node(&self, id: &ChunkId) -> (Node, Vec<ChunkId>) {
        let chunks = self.chunks.lock().unwrap();
        let chunk = &chunks[id];
        assert_eq!(keys("vault").node_id(&chunk.bytes, &chunk.refs), *id);
        (Node::decode(&chunk.bytes).unwrap(), chunk.refs.clone())
    }

    /// The snapshot's root.
    pub(crate) fn root(&self, id: &ChunkId) -> Root {
        self.node(id).0.root.unwrap()
    }

    /// The node of one directory of a snapshot, which says all about what is in it. (The snapshot's top tells of
    /// `/tmp` too, which others write into.)
    pub(crate) fn folder(&self, root: &ChunkId, path: &Path) -> Option<ChunkId> {
        use std::os::unix::ffi::OsStrExt;
        let (node, refs) = self.node(root);
        let mut at = Some(refs[node.root.unwrap().top as usize]);
        for name in path.components().skip(1) {
            let mut pages = vec![at?];
            at = None;
            while let Some(page) = pages.pop() {
                let (node, refs) = self.node(&page);
                if node.directory_index.is_some() {
                    pages.extend(refs);
                    continue;
                }
                for entry in node.directory.unwrap().entries {
                    if entry.name == name.as_os_str().as_bytes() {
                        at = entry.directory.map(|number| refs[number as usize]);
                    }
                }
            }
        }
        at
    }

    /// All paths of a snapshot with what they are.
    pub(crate) fn tree(&self, root: &ChunkId) -> BTreeMap<PathBuf, Found> {
        let (node, refs) = self.node(root);
        let mut found = BTreeMap::new();
        self.directory(
            &refs[node.root.unwrap().top as usize],
            Path::new("/"),
            &mut found,
        );
        found
    }

    fn directory(&self, id: &ChunkId, path: &Path, found: &mut BTreeMap<PathBuf, Found>) {
        use std::os::unix::ffi::OsStrExt;
        let (node, refs) = self.node(id);
        if let Some(index) = node.directory_index {
            assert_eq!(index.first_names.len(), refs.len());
            refs.iter()
                .for_each(|page| self.directory(page, path, found));
            return;
        }
        let entries = node.directory.unwrap().entries;
        assert!(entries.is_sorted_by(|a, b| a.name < b.name));
        for entry in entries {
            let path = path.join(std::ffi::OsStr::from_bytes(&entry.name));
            if let Some(below) = entry.directory {
                self.directory(&refs[below as usize], &path, found);
            }
            let bytes = entry
                .content
                .as_ref()
                .map(|content| self.content(content, &refs));
            if let Some((bytes, _)) = &bytes {
                let len: u64 = bytes.iter().map(Part::len).sum();
                assert_eq!(len, entry.size, "{path:?}");
            }
            let (parts, pieces) = bytes.unwrap_or_default();
            assert!(
                found
                    .insert(
                        path,
                        Found {
                            entry,
                            parts,
                            pieces
                        }
                    )
                    .is_none()
            );
        }
    }

    fn content(&self, content: &Content, refs: &[ChunkId]) -> (Vec<Part>, Vec<Piece>) {
        if let Some(inline) = &content.inline {
            return (vec![Part::Data(inline.clone().into())], Vec::new());
        }
        let mut found = (Vec::new(), Vec::new());
        self.pieces(
            content.pieces.as_deref().unwrap_or_default(),
            refs,
            &mut found,
        );
        if let Some(top) = content.extents {
            self.extents(&refs[top as usize], &mut found);
        }
        found
    }

    fn extents(&self, id: &ChunkId, found: &mut (Vec<Part>, Vec<Piece>)) {
        let (node, refs) = self.node(id);
        if let Some(index) = node.extents_index {
            for (page, len) in refs.iter().zip(index.lens) {
                let before: u64 = found.0.iter().map(Part::len).sum();
                self.extents(page, found);
                let after: u64 = found.0.iter().map(Part::len).sum();
                assert_eq!(after - before, len);
            }
            return;
        }
        self.pieces(&node.extents.unwrap().pieces, &refs, found);
    }

    fn pieces(&self, pieces: &[Piece], refs: &[ChunkId], found: &mut (Vec<Part>, Vec<Piece>)) {
        let chunks = self.chunks.lock().unwrap();
        for piece in pieces {
            assert!(piece.len > 0);
            found.1.push(*piece);
            found.0.push(match piece.chunk {
                None => Part::Hole(piece.len),
                Some(number) => {
                    let chunk = &chunks[&refs[number as usize]];
                    assert_eq!(chunk.kind, ChunkKind::Data);
                    let (from, to) = (piece.offset as usize, (piece.offset + piece.len) as usize);
                    Part::Data(chunk.bytes.slice(from..to))
                }
            });
        }
    }

    fn closure(&self, id: &ChunkId, live: &mut HashSet<ChunkId>) {
        if live.insert(*id) {
            let refs = self.chunks.lock().unwrap()[id].refs.clone();
            refs.iter().for_each(|one| self.closure(one, live));
        }
    }
}

#[async_trait]
impl ChunkSink for MapSink {
    async fn known(&self, ids: Vec<ChunkId>) -> Result<Vec<bool>> {
        self.questions.lock().unwrap().push(ids.len());
        let mut live = self.live.lock().unwrap();
        let answer = |id: &ChunkId| {
            let known = self.chunks.lock().unwrap().contains_key(id);
            if known {
                self.closure(id, &mut live);
            }
            known
        };
        Ok(ids.iter().map(answer).collect())
    }

    async fn put(&self, chunk: Chunk) -> Result<()> {
        if *self.broken.lock().unwrap() {
            let (what, why) = ("the session".into(), "the test broke it".into());
            return Err(Error::Unavailable { what, why });
        }
        tokio::task::yield_now().await;
        *self.puts.lock().unwrap() += 1;
        let mut live = self.live.lock().unwrap();
        for one in &chunk.refs {
            assert!(live.contains(one), "{chunk:?} was put before {one}");
        }
        live.insert(chunk.id);
        if self
            .chunks
            .lock()
            .unwrap()
            .insert(chunk.id, chunk.clone())
            .is_none()
        {
            self.fresh.lock().unwrap().push(chunk);
        }
        Ok(())
    }
}

/// One path as it came out.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) parts: Vec<Part>,
    pub(crate) pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
pub(crate) enum Part {
    Data(Bytes),
    Hole(u64),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Hole(len) => *len,
        }
    }
}

impl Found {
    /// The content, holes as zeros.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for part in &self.parts {
            match part {
                Part::Data(bytes) => all.extend_from_slice(bytes),
                Part::Hole(len) => all.resize(all.len() + *len as usize, 0),
            }
        }
        all
    }

    pub(crate) fn hole_bytes(&self) -> u64 {
        let holes = self
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Hole(_)));
        holes.map(Part::len).sum()
    }
}

/// Options for some paths, without a cache.
pub(crate) fn options<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> FilesOptions {
    FilesOptions {
        paths: paths
            .into_iter()
            .map(|path| path.as_ref().to_owned())
            .collect(),
        host: "test".into(),
        ..FilesOptions::default()
    }
}

/// A cache of the test's vault.
pub(crate) fn cache(file: &Path) -> CacheOptions {
    CacheOptions {
        file: file.to_owned(),
        vault: VaultId([3; 16]),
        scope: Scope::vault(),
        source: "test".parse().unwrap(),
    }
}

/// Backs up; the world is an hour later.
pub(crate) async fn run(options: FilesOptions, sink: &Arc<MapSink>) -> Result<BackupResult> {
    run_by(options, sink, Arc::new(SystemFiles)).await
}

/// Likewise, with files injected.
pub(crate) async fn run_by(
    options: FilesOptions,
    sink: &Arc<MapSink>,
    files: Arc<dyn Files>,
) -> Result<BackupResult> {
    sink.new_session();
    let progress = Arc::<Progress>::default();
    let sink: Arc<dyn ChunkSink> = sink.clone();
    let cancel = CancellationToken::new();
    let result = backup_files_by(
        &later(),
        &keys("vault"),
        options,
        sink,
        cancel,
        Arc::clone(&progress),
        files,
    )
    .await?;
    let counters = progress.snapshot();
    assert_eq!(
        (counters.files, counters.directories),
        (result.files, result.directories)
    );
    assert!(counters.total_is_exact);
    Ok(result)
}

/// Backs up in a seeded world, where blocking work runs inline.
pub(crate) async fn run_seeded(options: FilesOptions, sink: &Arc<MapSink>) -> Result<BackupResult> {
    sink.new_session();
    let ctx = Context::seeded(1, Arc::new(ManualClock::at(1 << 42)));
    let sink: Arc<dyn ChunkSink> = sink.clone();
    backup_files(
        &ctx,
        &keys("vault"),
        options,
        sink,
        CancellationToken::new(),
        Arc::default(),
    )
    .await
}
