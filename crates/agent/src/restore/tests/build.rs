//! Builds snapshots for tests, from descriptions and from real directories, into a map of chunks.

use std::collections::{HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::tree::{
    Content, DirectoryIndex, DirectoryPage, Entry, EntryKind, ExtentsIndex, ExtentsPage,
    INLINE_BYTES_MAX, Node, Piece, Root, SourceKind, Xattr,
};
use holdfast_format::{Chunk, ChunkId, ChunkKind, Scope, ScopeKeys};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::source::{ChunkSource, Fetched, Loss};

/// A source over a map, that loses what it is told to.
#[derive(Default)]
pub(super) struct MapSource {
    pub(super) chunks: Mutex<HashMap<ChunkId, Chunk>>,
    lost: Mutex<HashSet<ChunkId>>,
    /// Data chunks handed out.
    pub(super) data_fetched: AtomicU64,
    /// Nodes handed out.
    pub(super) nodes_fetched: AtomicU64,
    /// Calls.
    pub(super) calls: AtomicU64,
    /// Most chunk bytes that one call gave.
    pub(super) bytes_max: AtomicU64,
    /// After that many calls the source is gone, if not 0.
    pub(super) gone_after: AtomicU64,
    /// Whether each call lets others run first.
    pub(super) slow: AtomicUsize,
}

impl MapSource {
    pub(super) fn put(&self, chunk: Chunk) -> ChunkId {
        let id = chunk.id;
        self.chunks.lock().unwrap().insert(id, chunk);
        id
    }

    pub(super) fn lose(&self, id: ChunkId) {
        self.lost.lock().unwrap().insert(id);
    }

    pub(super) fn regain_all(&self) {
        self.lost.lock().unwrap().clear();
    }

    pub(super) fn reset_counts(&self) {
        for counter in [
            &self.data_fetched,
            &self.nodes_fetched,
            &self.calls,
            &self.bytes_max,
        ] {
            counter.store(0, Ordering::SeqCst);
        }
    }

    pub(super) fn ids(&self, kind: ChunkKind) -> Vec<ChunkId> {
        let chunks = self.chunks.lock().unwrap();
        let mut ids: Vec<_> = chunks
            .values()
            .filter(|chunk| chunk.kind == kind)
            .map(|chunk| chunk.id)
            .collect();
        ids.sort();
        ids
    }
}

#[async_trait]
impl ChunkSource for MapSource {
    async fn fetch(
        &self,
        wanted: Vec<(ChunkId, ChunkKind)>,
    ) -> Result<Vec<std::result::Result<Fetched, Loss>>> {
        for _ in 0..self.slow.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let gone = self.gone_after.load(Ordering::SeqCst);
        if gone > 0 && call > gone {
            return Err(Error::Unavailable {
                what: "the map".into(),
                why: "it is gone".into(),
            });
        }
        let chunks = self.chunks.lock().unwrap();
        let lost = self.lost.lock().unwrap();
        let mut bytes = 0;
        let answers = wanted
            .into_iter()
            .map(|(id, kind)| match chunks.get(&id) {
                Some(chunk) if chunk.kind == kind && !lost.contains(&id) => {
                    let counter = match kind {
                        ChunkKind::Data => &self.data_fetched,
                        ChunkKind::Node => &self.nodes_fetched,
                    };
                    counter.fetch_add(1, Ordering::SeqCst);
                    bytes += chunk.bytes.len() as u64;
                    Ok(Fetched {
                        bytes: chunk.bytes.clone(),
                        refs: chunk.refs.clone(),
                    })
                }
                _ => Err(Loss {
                    id,
                    why: "bad at site a, missing at site b".into(),
                }),
            })
            .collect();
        self.bytes_max.fetch_max(bytes, Ordering::SeqCst);
        Ok(answers)
    }
}

/// An entry with the chunks that it refers to.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) entry: Entry,
    pub(super) refs: Vec<ChunkId>,
}

/// See the module header.
#[derive(Clone)]
pub(super) struct Builder {
    pub(super) keys: ScopeKeys,
    pub(super) source: Arc<MapSource>,
    /// How long chunks of files are.
    pub(super) chunk_len: usize,
    pub(super) pieces_per_entry: usize,
    pub(super) pieces_per_node: usize,
    pub(super) entries_per_page: usize,
    pub(super) pages_per_index: usize,
}

pub(super) fn entry(name: impl AsRef<[u8]>, kind: EntryKind) -> Entry {
    Entry {
        name: name.as_ref().to_vec(),
        kind,
        mode: if kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        },
        uid: 0,
        gid: 0,
        user: Some("root".into()),
        group: Some("root".into()),
        mtime_seconds: 1_700_000_000,
        mtime_nanos: 123_456_789,
        size: 0,
        xattrs: None,
        hard_link: None,
        content: None,
        directory: None,
        target: None,
        device: None,
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            keys: ScopeKeys::derive(&[1; 32], &[2; 32], &Scope::vault()),
            source: Arc::default(),
            chunk_len: 1000,
            pieces_per_entry: 4,
            pieces_per_node: 8,
            entries_per_page: 16,
            pages_per_index: 4,
        }
    }

    pub(super) fn data(&self, bytes: &[u8]) -> ChunkId {
        self.source
            .put(self.keys.data(Bytes::copy_from_slice(bytes)))
    }

    pub(super) fn node(&self, node: &Node, refs: Vec<ChunkId>) -> ChunkId {
        self.source.put(self.keys.node(node.encode(), refs))
    }

    pub(super) fn file(&self, name: impl AsRef<[u8]>, bytes: &[u8]) -> Made {
        if bytes.len() <= INLINE_BYTES_MAX {
            let mut made = entry(name, EntryKind::File);
            made.size = bytes.len() as u64;
            made.content = Some(Content {
                inline: (!bytes.is_empty()).then(|| bytes.to_vec()),
                ..Content::default()
            });
            return Made {
                entry: made,
                refs: Vec::new(),
            };
        }
        self.file_of(name, &[(Some(bytes), bytes.len() as u64)])
    }

    /// A file of stretches, those without bytes being holes.
    pub(super) fn file_of(
        &self,
        name: impl AsRef<[u8]>,
        stretches: &[(Option<&[u8]>, u64)],
    ) -> Made {
        let mut refs = Vec::new();
        let mut pieces = Vec::new();
        for (bytes, len) in stretches {
            let Some(bytes) = bytes else {
                pieces.push(Piece {
                    chunk: None,
                    offset: 0,
                    len: *len,
                });
                continue;
            };
            for chunk in bytes.chunks(self.chunk_len) {
                pieces.push(Piece {
                    chunk: Some(refs.len() as u32),
                    offset: 0,
                    len: chunk.len() as u64,
                });
                refs.push(self.data(chunk));
            }
        }
        self.file_of_pieces(name, pieces, refs)
    }

    pub(super) fn file_of_pieces(
        &self,
        name: impl AsRef<[u8]>,
        pieces: Vec<Piece>,
        refs: Vec<ChunkId>,
    ) -> Made {
        let mut made = entry(name, EntryKind::File);
        made.size = pieces.iter().map(|piece| piece.len).sum();
        if pieces.len() <= self.pieces_per_entry {
            made.content = Some(Content {
                pieces: Some(pieces),
                ..Content::default()
            });
            return Made { entry: made, refs };
        }
        let mut level: Vec<(u64, ChunkId)> = pieces
            .chunks(self.pieces_per_node)
            .map(|run| self.extents_page(run, &refs))
            .collect();
        while level.len() > 1 {
            level = level
                .chunks(self.pieces_per_node)
                .map(|run| {
                    let lens = run.iter().map(|(len, _)| *len).collect::<Vec<_>>();
                    let sum = lens.iter().sum();
                    let children = run.iter().map(|(_, id)| *id).collect();
                    (
                        sum,
                        self.node(&Node::extents_index(ExtentsIndex { lens }), children),
                    )
                })
                .collect();
        }
        made.content = Some(Content {
            extents: Some(0),
            ..Content::default()
        });
        Made {
            entry: made,
            refs: vec![level[0].1],
        }
    }

    fn extents_page(&self, pieces: &[Piece], refs: &[ChunkId]) -> (u64, ChunkId) {
        let mut own = Vec::new();
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Piece {
                chunk: piece.chunk.map(|at| {
                    own.push(refs[at as usize]);
                    own.len() as u32 - 1
                }),
                ..*piece
            })
            .collect();
        let sum = pieces.iter().map(|piece| piece.len).sum();
        (sum, self.node(&Node::extents(ExtentsPage { pieces }), own))
    }

    pub(super) fn dir(&self, name: impl AsRef<[u8]>, entries: Vec<Made>) -> Made {
        let mut made = entry(name, EntryKind::Directory);
        if entries.is_empty() {
            return Made {
                entry: made,
                refs: Vec::new(),
            };
        }
        made.directory = Some(0);
        Made {
            entry: made,
            refs: vec![self.directory(entries)],
        }
    }

    pub(super) fn directory(&self, mut entries: Vec<Made>) -> ChunkId {
        entries.sort_by(|one, next| one.entry.name.cmp(&next.entry.name));
        let mut level: Vec<(Vec<u8>, ChunkId)> = entries
            .chunks(self.entries_per_page)
            .map(|run| (run[0].entry.name.clone(), self.page(run.to_vec())))
            .collect();
        while level.len() > 1 {
            level = level
                .chunks(self.pages_per_index)
                .map(|run| {
                    let first_names = run.iter().map(|(name, _)| name.clone()).collect();
                    let children = run.iter().map(|(_, id)| *id).collect();
                    let index = Node::directory_index(DirectoryIndex { first_names });
                    (run[0].0.clone(), self.node(&index, children))
                })
                .collect();
        }
        level[0].1
    }

    /// A page of entries exactly as they are given.
    pub(super) fn page(&self, made: Vec<Made>) -> ChunkId {
        let mut refs = Vec::new();
        let mut entries = Vec::new();
        for mut one in made {
            let base = refs.len() as u32;
            let entry = &mut one.entry;
            if let Some(at) = &mut entry.directory {
                *at += base;
            }
            if let Some(content) = &mut entry.content {
                if let Some(at) = &mut content.extents {
                    *at += base;
                }
                for piece in content.pieces.iter_mut().flatten() {
                    if let Some(at) = &mut piece.chunk {
                        *at += base;
                    }
                }
            }
            refs.extend(one.refs);
            entries.push(one.entry);
        }
        self.node(&Node::directory(DirectoryPage { entries }), refs)
    }

    pub(super) fn root(&self, top: ChunkId) -> ChunkId {
        let root = Root {
            top: 0,
            kind: SourceKind::Files,
            host: "test".into(),
            arguments: vec![b"/".to_vec()],
            started_millis: 1,
            finished_millis: 2,
            problems: Vec::new(),
            written_by: "test".into(),
        };
        self.node(&Node::root(root), vec![top])
    }

    pub(super) fn snapshot(&self, entries: Vec<Made>) -> ChunkId {
        let top = if entries.is_empty() {
            self.page(Vec::new())
        } else {
            self.directory(entries)
        };
        self.root(top)
    }

    /// All that is in a real directory.
    pub(super) fn import(&self, path: &Path) -> Vec<Made> {
        let mut links = HashMap::new();
        self.import_with(path, &mut links)
    }

    fn import_with(&self, path: &Path, links: &mut HashMap<(u64, u64), u64>) -> Vec<Made> {
        let mut all = Vec::new();
        for found in std::fs::read_dir(path).unwrap() {
            let path = found.unwrap().path();
            let name = path.file_name().unwrap().as_bytes().to_vec();
            let facts = std::fs::symlink_metadata(&path).unwrap();
            let kind = facts.file_type();
            let mut made = if kind.is_dir() {
                self.dir(&name, self.import_with(&path, links))
            } else if kind.is_file() {
                self.import_file(&name, &path)
            } else {
                let kind = if kind.is_symlink() {
                    EntryKind::Symlink
                } else if kind.is_fifo() {
                    EntryKind::Fifo
                } else if kind.is_block_device() {
                    EntryKind::BlockDevice
                } else if kind.is_char_device() {
                    EntryKind::CharDevice
                } else {
                    EntryKind::Socket
                };
                let mut one = entry(&name, kind);
                if kind == EntryKind::Symlink {
                    let target = std::fs::read_link(&path).unwrap();
                    one.target = Some(target.as_os_str().as_bytes().to_vec());
                }
                if matches!(kind, EntryKind::BlockDevice | EntryKind::CharDevice) {
                    one.device = Some(facts.rdev());
                }
                Made {
                    entry: one,
                    refs: Vec::new(),
                }
            };
            let one = &mut made.entry;
            one.mode = facts.mode() & 0o7777;
            one.uid = facts.uid();
            one.gid = facts.gid();
            one.mtime_seconds = facts.mtime();
            one.mtime_nanos = facts.mtime_nsec() as u32;
            if !facts.is_dir() && facts.nlink() > 1 {
                let next = links.len() as u64 + 1;
                let number = links.entry((facts.dev(), facts.ino())).or_insert(next);
                one.hard_link = Some(*number);
            }
            let mut xattrs: Vec<_> = xattr::list(&path)
                .unwrap()
                .map(|name| Xattr {
                    value: xattr::get(&path, &name).unwrap().unwrap(),
                    name: name.as_bytes().to_vec(),
                })
                .collect();
            xattrs.sort_by(|one, next| one.name.cmp(&next.name));
            one.xattrs = (!xattrs.is_empty()).then_some(xattrs);
            all.push(made);
        }
        all
    }

    fn import_file(&self, name: &[u8], path: &Path) -> Made {
        let file = std::fs::File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        let mut stretches: Vec<(Option<Vec<u8>>, u64)> = Vec::new();
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(_) => size,
            };
            if data > at {
                stretches.push((None, data - at));
            }
            if data >= size {
                break;
            }
            let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))
                .unwrap()
                .min(size);
            let mut bytes = vec![0; (end - data) as usize];
            file.read_exact_at(&mut bytes, data).unwrap();
            stretches.push((Some(bytes), end - data));
            at = end;
        }
        if let [(Some(bytes), _)] = &stretches[..] {
            return self.file(name, bytes);
        }
        let borrowed: Vec<_> = stretches
            .iter()
            .map(|(bytes, len)| (bytes.as_deref(), *len))
            .collect();
        self.file_of(name, &borrowed)
    }
}

/// Bytes that do not repeat.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
