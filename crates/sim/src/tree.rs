//! What is backed up in a simulation: a small tree of files, and how it becomes chunks and nodes and back.
//!
//! Two levels: a root node refers to folders, a folder's node to the pieces of its files. The nodes' bodies are this
//! module's own: the coordinator sees sealed bytes and references only, and the real encoding is tested where it lives.

use std::collections::BTreeMap;

use bytes::Bytes;
use holdfast_agent::{ChunkSink, ChunkSource, Result};
use holdfast_format::{Chunk, ChunkId, ChunkKind, ScopeKeys};

use crate::chance::Chance;

/// Bytes of a piece of a file.
const PIECE_BYTES: usize = 4096;

/// Folder, file, content.
pub type Tree = BTreeMap<String, BTreeMap<String, Bytes>>;

/// Changes a tree: a few files come, go, grow or are another's copy.
pub fn change(tree: &mut Tree, chance: &Chance, who: &str) {
    let changes = 1 + chance.below(4, &["changes", who]);
    for _ in 0..changes {
        let folder = format!("d{}", chance.below(3, &["folder", who]));
        let file = format!("f{}", chance.below(4, &["file", who]));
        let folder = tree.entry(folder).or_default();
        match chance.below(10, &["change", who]) {
            0 => {
                folder.remove(&file);
            }
            // The same bodies in many places, and at many agents: what dedup is for.
            1..=4 => {
                let body = body(chance.below(12, &["shared", who]));
                folder.insert(file, body);
            }
            _ => {
                let body = body(1000 + chance.draw(&["own", who]) % 1_000_000);
                folder.insert(file, body);
            }
        }
    }
}

/// Bytes that do not compress, the same for the same number.
fn body(number: u64) -> Bytes {
    let len = (number.wrapping_mul(2_654_435_761) >> 7) % 20_000;
    let mut bytes = vec![0; len as usize];
    blake3::Hasher::new_derive_key("holdfast simulated file")
        .update(&number.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}

/// Puts a tree; gives its root. With `trusting`, a folder that the vault knows is not looked into, as an agent with a cache
/// does.
pub async fn put(
    sink: &impl ChunkSink,
    keys: &ScopeKeys,
    tree: &Tree,
    trusting: bool,
) -> Result<ChunkId> {
    let mut listing = Vec::new();
    let mut folders = Vec::new();
    for (name, files) in tree {
        let (node, pieces) = folder(keys, files);
        word(&mut listing, name.as_bytes());
        folders.push(node.id);
        if trusting && sink.known(vec![node.id]).await? == [true] {
            continue;
        }
        for piece in pieces {
            sink.put(piece).await?;
        }
        sink.put(node).await?;
    }
    let root = keys.node(listing.into(), folders);
    let id = root.id;
    sink.put(root).await?;
    Ok(id)
}

fn folder(keys: &ScopeKeys, files: &BTreeMap<String, Bytes>) -> (Chunk, Vec<Chunk>) {
    let (mut listing, mut pieces, mut refs) = (Vec::new(), Vec::new(), Vec::new());
    for (name, body) in files {
        word(&mut listing, name.as_bytes());
        listing.extend_from_slice(&(body.len() as u32).to_le_bytes());
        for from in (0..body.len()).step_by(PIECE_BYTES) {
            let to = (from + PIECE_BYTES).min(body.len());
            let piece = keys.data(body.slice(from..to));
            refs.push(piece.id);
            pieces.push(piece);
        }
    }
    (keys.node(listing.into(), refs), pieces)
}

fn word(into: &mut Vec<u8>, word: &[u8]) {
    into.push(word.len() as u8);
    into.extend_from_slice(word);
}

/// Reads a tree back. `Ok(Err(why))`: something of it cannot be had.
pub async fn get(
    source: &dyn ChunkSource,
    root: ChunkId,
) -> Result<std::result::Result<Tree, String>> {
    let mut tree = Tree::new();
    let fetched = source.fetch(vec![(root, ChunkKind::Node)]).await?;
    let root = match fetched.into_iter().next() {
        Some(Ok(root)) => root,
        lost => return Ok(Err(format!("the root: {lost:?}"))),
    };
    let mut names = Words(&root.bytes);
    for folder in &root.refs {
        let Some(name) = names.next() else {
            return Ok(Err("the root has more folders than names".into()));
        };
        let fetched = source.fetch(vec![(*folder, ChunkKind::Node)]).await?;
        let node = match fetched.into_iter().next() {
            Some(Ok(node)) => node,
            lost => return Ok(Err(format!("folder {name}: {lost:?}"))),
        };
        let wanted = node.refs.iter().map(|id| (*id, ChunkKind::Data));
        let mut pieces = Vec::new();
        for piece in source.fetch(wanted.collect()).await? {
            match piece {
                Ok(piece) => pieces.push(piece.bytes),
                Err(lost) => return Ok(Err(format!("a piece in {name}: {}", lost.why))),
            }
        }
        match files(&node.bytes, pieces) {
            Some(files) => tree.insert(name, files),
            None => return Ok(Err(format!("folder {name} does not add up"))),
        };
    }
    Ok(Ok(tree))
}

fn files(listing: &Bytes, pieces: Vec<Bytes>) -> Option<BTreeMap<String, Bytes>> {
    let mut pieces = pieces.into_iter();
    let mut words = Words(listing);
    let mut files = BTreeMap::new();
    while let Some(name) = words.next() {
        let (len, rest) = words.0.split_first_chunk::<4>()?;
        words.0 = rest;
        let len = u32::from_le_bytes(*len) as usize;
        let mut body = Vec::with_capacity(len);
        while body.len() < len {
            body.extend_from_slice(&pieces.next()?);
        }
        files.insert(name, body.into());
    }
    Some(files)
}

struct Words<'a>(&'a [u8]);

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let (len, rest) = self.0.split_first()?;
        let word = rest.get(..usize::from(*len))?;
        self.0 = &rest[usize::from(*len)..];
        String::from_utf8(word.to_vec()).ok()
    }
}
