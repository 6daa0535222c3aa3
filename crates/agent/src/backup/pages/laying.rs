//! Lays the regions of a page source in order, and gathers the changed pages of many into chunks of their own.
//!
//! State: the gathered bytes whose chunk is not full, and the regions that wait for its name. Both are bounded: the chunk is
//! closed when it is full, and when too many regions wait.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::PageHash;

use super::map::MapWriter;
use super::maps::{MapName, PageMaps};
use super::region::MappedRegion;
use crate::backup::content::{ContentBuilder, FileContent, NamedPiece};
use crate::backup::pipeline::Pipeline;
use crate::error::Result;

/// Changed pages are gathered into chunks of so many bytes. Each is fetched whole by whoever restores one page of it.
const GATHERED_BYTES: usize = 256 << 10;

/// So many regions wait at most: a GiB of a file in which hardly anything changed.
const WAITING_MAX: usize = 1024;

/// Regions are written to the map so many at a time.
const MAP_REGIONS: usize = 64;

/// A region that was read and compared.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) pages: Vec<PageHash>,
    pub(crate) pieces: Vec<Lying>,
}

/// Where a stretch of a region lies.
#[derive(Debug)]
pub(crate) enum Lying {
    /// In a chunk that was put, or known.
    At(NamedPiece),
    /// Nowhere yet.
    New(Bytes),
    /// At this offset of the chunk that is gathered now.
    Gathered {
        /// Offset, bytes.
        offset: u64,
        /// Length, bytes.
        len: u64,
    },
}

/// See the module header.
pub(crate) struct Layer {
    pipeline: Arc<Pipeline>,
    content: ContentBuilder,
    gathered: Vec<u8>,
    waiting: VecDeque<Region>,
    map: NewMap,
}

impl Layer {
    /// Starts a file, and its next map if there is a place for one.
    pub(crate) async fn start(
        pipeline: &Arc<Pipeline>,
        maps: Option<&Arc<PageMaps>>,
        page_bytes: usize,
    ) -> Self {
        Self {
            pipeline: Arc::clone(pipeline),
            content: ContentBuilder::default(),
            gathered: Vec::new(),
            waiting: VecDeque::new(),
            map: NewMap::begin(pipeline, maps, page_bytes).await,
        }
    }

    /// Takes the next region. Chunks that it lies in were put.
    pub(crate) async fn add(&mut self, mut region: Region) -> Result<()> {
        for piece in &mut region.pieces {
            if let Lying::New(bytes) = piece {
                let (offset, len) = (self.gathered.len() as u64, bytes.len() as u64);
                self.gathered.extend_from_slice(bytes);
                *piece = Lying::Gathered { offset, len };
            }
        }
        self.waiting.push_back(region);
        let is_due = self.gathered.len() >= GATHERED_BYTES || self.waiting.len() >= WAITING_MAX;
        if is_due && !self.gathered.is_empty() {
            self.close().await?;
        }
        self.lay().await
    }

    /// The content, its length, and the map's name if it could be written.
    pub(crate) async fn finish(mut self) -> Result<(FileContent, u64, Option<MapName>)> {
        if !self.gathered.is_empty() {
            self.close().await?;
        }
        self.lay().await?;
        let len = self.content.len();
        let mut nodes = Vec::new();
        let content = self.content.finish(&self.pipeline.keys, &mut nodes);
        self.pipeline.put_all(nodes).await?;
        let map = self.map.finish(&self.pipeline).await;
        Ok((content, len, map))
    }

    /// Puts what was gathered; whoever waited for it knows where it lies.
    async fn close(&mut self) -> Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.gathered));
        let chunk = self.pipeline.keys.data(bytes);
        let id = chunk.id;
        self.pipeline.sink.put(chunk).await?;
        for piece in self.waiting.iter_mut().flat_map(|one| &mut one.pieces) {
            if let Lying::Gathered { offset, len } = *piece {
                *piece = Lying::At(NamedPiece {
                    chunk: Some(id),
                    offset,
                    len,
                });
            }
        }
        Ok(())
    }

    /// Lays every region whose place is known, up to the first whose is not.
    async fn lay(&mut self) -> Result<()> {
        while let Some(region) = self.waiting.pop_front_if(|one| one.is_placed()) {
            let region = region.placed();
            // ORDER: nodes of extents come after the chunks that they list, which were put.
            let mut nodes = Vec::new();
            for piece in &region.pieces {
                self.content
                    .add_placed(&self.pipeline.keys, *piece, &mut nodes);
            }
            self.pipeline.put_all(nodes).await?;
            self.map.add(&self.pipeline, region).await;
        }
        Ok(())
    }
}

impl Region {
    fn is_placed(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Lying::At(_)))
    }

    /// With pieces that go on in one chunk joined.
    fn placed(self) -> MappedRegion {
        let mut pieces: Vec<NamedPiece> = Vec::new();
        for piece in self.pieces {
            let Lying::At(piece) = piece else { continue };
            match pieces.last_mut() {
                Some(last)
                    if last.chunk == piece.chunk
                        && (piece.chunk.is_none() || last.offset + last.len == piece.offset) =>
                {
                    last.len += piece.len;
                }
                _ => pieces.push(piece),
            }
        }
        MappedRegion {
            pages: self.pages,
            pieces,
        }
    }
}

/// The map being written. What fails here costs the next run time, nothing else.
struct NewMap {
    open: Option<(MapName, MapWriter)>,
    regions: Vec<MappedRegion>,
}

impl NewMap {
    async fn begin(pipeline: &Pipeline, maps: Option<&Arc<PageMaps>>, page_bytes: usize) -> Self {
        let open = match maps.cloned() {
            None => None,
            Some(maps) => {
                let create = move || maps.create(page_bytes);
                let created = pipeline.ctx.run_blocking(create).await;
                created.map_err(|error| warn_unwritten(&error)).ok()
            }
        };
        Self {
            open,
            regions: Vec::new(),
        }
    }

    async fn add(&mut self, pipeline: &Pipeline, region: MappedRegion) {
        if self.open.is_some() {
            self.regions.push(region);
            if self.regions.len() >= MAP_REGIONS {
                self.write(pipeline).await;
            }
        }
    }

    async fn write(&mut self, pipeline: &Pipeline) {
        let regions = std::mem::take(&mut self.regions);
        let Some((name, mut writer)) = self.open.take() else {
            return;
        };
        let write = move || {
            let written = regions.iter().try_for_each(|region| writer.add(region));
            written.map(|()| writer)
        };
        self.open = match pipeline.ctx.run_blocking(write).await {
            Ok(writer) => Some((name, writer)),
            Err(error) => {
                warn_unwritten(&error);
                None
            }
        };
    }

    async fn finish(mut self, pipeline: &Pipeline) -> Option<MapName> {
        self.write(pipeline).await;
        let (name, writer) = self.open?;
        let finished = pipeline.ctx.run_blocking(move || writer.finish()).await;
        finished
            .map_err(|error| warn_unwritten(&error))
            .ok()
            .map(|()| name)
    }
}

fn warn_unwritten(error: &std::io::Error) {
    tracing::warn!(%error, "no page map can be written; the next backup cannot tell this file's changed pages from others");
}
