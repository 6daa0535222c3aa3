//! Reads byte ranges of files, and tells where their holes are.

use std::sync::Arc;

use bytes::BytesMut;
use holdfast_format::ChunkId;

use super::chunks::Chunks;
use crate::restore::extents::ExtentReader;
use crate::restore::flaw::{Flaw, Found};
use crate::restore::item::{Extent, FileContent, Item};
use crate::restore::nodes::NodeReader;

/// How far ahead of a reader that reads on chunks are fetched, bytes.
const AHEAD_BYTES: u64 = 8 << 20;

/// The most extents that are looked at for it.
const AHEAD_EXTENTS: usize = 64;

/// What files are read with.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) nodes: Arc<NodeReader>,
    pub(super) chunks: Chunks,
}

impl Contents {
    /// Up to `len` bytes from `at` on, fewer only at the file's end.
    pub(super) async fn read(&self, item: &Item, at: u64, len: u64) -> Found<BytesMut> {
        let end = at.saturating_add(len).min(item.entry.size);
        if at >= end {
            return Ok(BytesMut::new());
        }
        if let FileContent::Inline(bytes) = &item.content {
            return Ok(BytesMut::from(&bytes[at as usize..end as usize]));
        }
        let mut reader = ExtentReader::from_byte(item, at);
        let mut extents: Vec<(u64, Extent)> = Vec::new();
        while let Some((start, extent)) = reader.next(&self.nodes).await? {
            extents.push((start, extent));
            if start + extent.len >= end {
                break;
            }
        }
        let ids: Vec<ChunkId> = extents.iter().filter_map(|(_, one)| one.chunk).collect();
        let chunks = self.chunks.get(&ids).await?;
        let chunks = chunks.map_err(|loss| Flaw::lost("its content", loss))?;
        let mut out = BytesMut::zeroed((end - at) as usize);
        for (start, extent) in extents {
            let Some(id) = extent.chunk else { continue };
            let Some(chunk) = chunks.get(&id) else {
                return Err(Flaw::new(format!("chunk {id} was not fetched")).into());
            };
            let bytes = extent.slice(chunk)?;
            let (from, to) = (start.max(at), (start + extent.len).min(end));
            out[(from - at) as usize..(to - at) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
        }
        Ok(out)
    }

    /// Starts fetching what comes after `at`.
    pub(super) async fn read_ahead(&self, item: &Item, at: u64) {
        if at >= item.entry.size {
            return;
        }
        let mut reader = ExtentReader::from_byte(item, at);
        let mut ids = Vec::new();
        for _ in 0..AHEAD_EXTENTS {
            // Whatever is wrong ahead shows when it is read.
            let Ok(Some((start, extent))) = reader.next(&self.nodes).await else {
                break;
            };
            if start >= at + AHEAD_BYTES {
                break;
            }
            ids.extend(extent.chunk);
        }
        self.chunks.read_ahead(&ids);
    }

    /// The next byte at or after `at` that lies in data (`hole` false) or in a hole (`hole` true; the end of a file is
    /// one). None if there is none.
    pub(super) async fn seek(&self, item: &Item, at: u64, hole: bool) -> Found<Option<u64>> {
        let size = item.entry.size;
        if at >= size {
            return Ok(None);
        }
        if matches!(item.content, FileContent::Inline(_)) {
            return Ok(Some(if hole { size } else { at }));
        }
        let mut reader = ExtentReader::from_byte(item, at);
        while let Some((start, extent)) = reader.next(&self.nodes).await? {
            if extent.chunk.is_none() == hole {
                return Ok(Some(start.max(at)));
            }
        }
        Ok(hole.then_some(size))
    }
}
