//! Directories as nodes: pages cut by content, and index nodes above them.
//!
//! A directory of up to [`PAGE_ENTRIES_AIM`] entries is one page. A larger one is cut behind each name whose keyed
//! hash says so (one in [`PAGE_ENTRIES_AIM`]), so that a name more or less writes about one page anew; bounds on
//! entries, references and bytes cut too, and what follows falls into step at the next such name.
//!
//! State: the open page's entries, and the open index nodes: never the whole directory. Pure, no I/O; entries must
//! come sorted by name.

use holdfast_format::tree::{DirectoryPage, Entry, Node};
use holdfast_format::{Chunk, ChunkId, NODE_REFS_MAX, ScopeKeys};

use super::content::FileContent;
use super::extents::References;
use super::index::{Child, FirstName, IndexBuilder};
use super::limits::{PAGE_BYTES_MAX, PAGE_ENTRIES_AIM, PAGE_ENTRIES_MAX};

/// An entry with what it refers to by id; its `content` and `directory` are filled in when its page is closed.
#[derive(Debug, Clone)]
pub(crate) struct NamedEntry {
    /// The entry, but for references.
    pub(crate) entry: Entry,
    /// Of a file: its content.
    pub(crate) content: Option<FileContent>,
    /// Of a directory that has entries: its top node.
    pub(crate) directory: Option<ChunkId>,
}

impl NamedEntry {
    /// An entry that refers to nothing.
    pub(crate) fn plain(entry: Entry) -> Self {
        Self {
            entry,
            content: None,
            directory: None,
        }
    }

    fn refs(&self) -> usize {
        let content = match &self.content {
            Some(FileContent::Pieces(pieces)) => pieces.len(),
            Some(FileContent::Extents(_)) => 1,
            _ => 0,
        };
        content + usize::from(self.directory.is_some())
    }

    /// About how many bytes it takes in a page.
    fn bytes(&self) -> usize {
        let content = match &self.content {
            Some(FileContent::Inline(bytes)) => bytes.len(),
            Some(FileContent::Pieces(pieces)) => 16 * pieces.len(),
            _ => 0,
        };
        let entry = &self.entry;
        let xattrs = entry.xattrs.as_ref().map_or(0, |all| {
            all.iter()
                .map(|one| one.name.len() + one.value.len() + 8)
                .sum()
        });
        80 + entry.name.len() + content + entry.target.as_ref().map_or(0, Vec::len) + xattrs
    }
}

/// Builds one directory.
#[derive(Debug, Default)]
pub(crate) struct DirectoryBuilder {
    page: Vec<NamedEntry>,
    page_bytes: usize,
    page_refs: usize,
    /// Whether it has outgrown a single page.
    paged: bool,
    index: IndexBuilder<FirstName>,
}

impl DirectoryBuilder {
    /// Adds the next entry; nodes that are complete are appended to `nodes`.
    pub(crate) fn push(&mut self, keys: &ScopeKeys, entry: NamedEntry, nodes: &mut Vec<Chunk>) {
        if self.paged {
            return self.place(keys, entry, nodes);
        }
        self.add(entry);
        if self.page.len() > PAGE_ENTRIES_AIM || self.page_bytes > PAGE_BYTES_MAX {
            self.paged = true;
            (self.page_bytes, self.page_refs) = (0, 0);
            for entry in std::mem::take(&mut self.page) {
                self.place(keys, entry, nodes);
            }
        }
    }

    /// Closes it and gives its top node; `None` when it has no entries.
    pub(crate) fn finish(mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) -> Option<ChunkId> {
        if !self.page.is_empty() {
            self.close(keys, nodes);
        }
        self.index.finish(keys, nodes)
    }

    /// Adds an entry to the open page of several, and closes it where it must be.
    fn place(&mut self, keys: &ScopeKeys, entry: NamedEntry, nodes: &mut Vec<Chunk>) {
        if self.page_refs + entry.refs() > NODE_REFS_MAX {
            self.close(keys, nodes);
        }
        let cut = keys
            .name_hash(&entry.entry.name)
            .is_multiple_of(PAGE_ENTRIES_AIM as u64);
        self.add(entry);
        if cut || self.page.len() >= PAGE_ENTRIES_MAX || self.page_bytes > PAGE_BYTES_MAX {
            self.close(keys, nodes);
        }
    }

    fn add(&mut self, entry: NamedEntry) {
        debug_assert!(
            self.page
                .last()
                .is_none_or(|last| last.entry.name < entry.entry.name),
            "names come in order, each once"
        );
        self.page_bytes += entry.bytes();
        self.page_refs += entry.refs();
        self.page.push(entry);
    }

    fn close(&mut self, keys: &ScopeKeys, nodes: &mut Vec<Chunk>) {
        let page = std::mem::take(&mut self.page);
        (self.page_bytes, self.page_refs) = (0, 0);
        let name = |entry: Option<&NamedEntry>| entry.map_or(Vec::new(), |e| e.entry.name.clone());
        let (first, last) = (name(page.first()), name(page.last()));
        let node = page_node(keys, page);
        let child = Child {
            id: node.id,
            label: FirstName(first),
            number: keys.name_hash(&last) >> PAGE_ENTRIES_AIM.ilog2(),
        };
        nodes.push(node);
        self.index.push(keys, child, nodes);
    }
}

/// The page of a directory without entries: only a snapshot's top needs one.
pub(crate) fn empty_page(keys: &ScopeKeys) -> Chunk {
    page_node(keys, Vec::new())
}

fn page_node(keys: &ScopeKeys, page: Vec<NamedEntry>) -> Chunk {
    let mut refs = References::default();
    let entries = page
        .into_iter()
        .map(|named| Entry {
            content: named.content.map(|content| content.numbered(&mut refs)),
            directory: named.directory.map(|id| refs.number(id)),
            ..named.entry
        })
        .collect();
    keys.node(
        Node::directory(DirectoryPage { entries }).encode(),
        refs.ids,
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use holdfast_format::CHUNK_BYTES_MAX;
    use holdfast_format::tree::{EntryKind, Xattr};

    use super::*;
    use crate::backup::content::NamedPiece;
    use crate::backup::testing::{blank_entry, keys};

    fn file(number: u64) -> NamedEntry {
        let mut entry = blank_entry(EntryKind::File);
        entry.name = format!("{number:012}.txt").into_bytes();
        let piece = NamedPiece {
            chunk: Some(keys("vault").data_id(&entry.name)),
            offset: 0,
            len: 5,
        };
        NamedEntry {
            content: Some(FileContent::Pieces(vec![piece])),
            ..NamedEntry::plain(entry)
        }
    }

    fn build(entries: Vec<NamedEntry>) -> (Option<ChunkId>, Vec<Chunk>) {
        let keys = keys("vault");
        let (mut directory, mut nodes) = (DirectoryBuilder::default(), Vec::new());
        for entry in entries {
            directory.push(&keys, entry, &mut nodes);
        }
        (directory.finish(&keys, &mut nodes), nodes)
    }

    #[test]
    fn small_is_one_page_and_nothing_is_nothing() {
        assert_eq!(build(Vec::new()).0, None);
        for count in [1, 2, PAGE_ENTRIES_AIM as u64] {
            let (top, nodes) = build((0..count).map(file).collect());
            assert_eq!(nodes.len(), 1);
            assert_eq!(top, Some(nodes[0].id));
        }
        assert!(build((0..2000).map(file).collect()).1.len() > 2);
    }

    #[test]
    fn a_name_more_in_a_hundred_thousand_writes_about_one_page() {
        let before: HashSet<_> = build((0..100_000).map(|n| file(2 * n)).collect())
            .1
            .into_iter()
            .map(|n| n.id)
            .collect();
        println!("{} nodes", before.len());
        assert!((120..350).contains(&before.len()), "{} nodes", before.len());
        for place in [0, 1, 50_001, 77_777, 199_999, 200_001] {
            let mut entries: Vec<_> = (0..100_000).map(|n| file(2 * n)).collect();
            entries.push(file(place));
            entries.sort_by(|a, b| a.entry.name.cmp(&b.entry.name));
            entries.dedup_by(|a, b| a.entry.name == b.entry.name);
            let fresh = build(entries)
                .1
                .iter()
                .filter(|n| !before.contains(&n.id))
                .count();
            assert!(fresh <= 4, "{fresh} nodes are new after {place}");
        }
    }

    #[test]
    fn pages_keep_the_bounds_of_the_format() {
        let mut entries: Vec<_> = (0..3000).map(file).collect();
        for named in &mut entries {
            named.entry.xattrs = Some(vec![Xattr {
                name: b"user.x".into(),
                value: vec![7; 60_000],
            }]);
            let piece = |n: u64| NamedPiece {
                chunk: Some(
                    keys("vault").data_id(&[&named.entry.name[..], &n.to_le_bytes()].concat()),
                ),
                offset: 0,
                len: 1,
            };
            named.content = Some(FileContent::Pieces((0..16).map(piece).collect()));
        }
        for node in build(entries).1 {
            assert!(node.bytes.len() <= CHUNK_BYTES_MAX / 2, "{node:?}");
            assert!(node.refs.len() <= NODE_REFS_MAX);
        }
    }

    #[test]
    fn names_that_never_cut_are_cut_by_the_bound() {
        let keys = keys("vault");
        let dull = (0..).filter(|n| {
            !keys
                .name_hash(&file(*n).entry.name)
                .is_multiple_of(PAGE_ENTRIES_AIM as u64)
        });
        let (_, nodes) = build(dull.take(2 * PAGE_ENTRIES_MAX + 1).map(file).collect());
        assert_eq!(nodes.len(), 4);
    }

    #[test]
    fn equal_content_is_referred_to_once() {
        let mut entries: Vec<_> = (0..10).map(file).collect();
        for named in &mut entries {
            named.content = file(1).content;
        }
        assert_eq!(build(entries).1[0].refs.len(), 1);
    }
}
