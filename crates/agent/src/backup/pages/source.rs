//! Reads a page source: regions in turn, compared with the map on any core, laid in order.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use holdfast_format::{Chunk, ChunkKind, ScopeKeys};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use super::laying::{Layer, Lying, Region};
use super::map::MapReader;
use super::maps::{MapName, PageMaps};
use super::region::{MappedRegion, Plan, Stretch, plan};
use crate::backup::content::{FileContent, NamedPiece};
use crate::backup::limits::{BUFFER_BYTES, REGION_BYTES};
use crate::backup::metadata::FileStat;
use crate::backup::pipeline::Pipeline;
use crate::backup::read::{Finished, OpenFile, Reading};
use crate::backup::turns::{Turn, Turns};
use crate::error::{Error, Result};

/// Buffers that are compared at once. Their changed pages are in memory beyond the bytes that are counted.
const COMPARING_MAX: usize = 3;

/// Hole regions that are skipped in one step.
const HOLES_MAX: u64 = 4096;

/// A page source's file, and what is known of it.
#[derive(Debug)]
pub(crate) struct PageSource {
    pub(crate) file: Box<dyn OpenFile>,
    pub(crate) stat: FileStat,
    pub(crate) page_bytes: usize,
    /// The map of the last backup.
    pub(crate) before: Option<MapName>,
}

/// What was read of it.
pub(crate) struct ReadPages {
    pub(crate) finished: Finished,
    pub(crate) content: FileContent,
    pub(crate) size: u64,
    /// Its next map.
    pub(crate) map: Option<MapName>,
}

type Compared = AbortOnDropHandle<Result<Vec<Region>>>;

/// Reads it from start to end. What cannot be read is the inner error.
pub(crate) async fn read(
    pipeline: &Arc<Pipeline>,
    maps: Option<&Arc<PageMaps>>,
    source: PageSource,
) -> Result<io::Result<ReadPages>> {
    let page_bytes = source.page_bytes;
    let mut layer = Layer::start(pipeline, maps, page_bytes).await;
    let mut reader = {
        let maps = maps.cloned();
        let open = move || RegionReader::open(source, maps.as_deref());
        pipeline.ctx.run_blocking(open).await
    };
    let mut comparing: FuturesOrdered<Compared> = FuturesOrdered::new();
    let mut turns = Turns::default();
    loop {
        let permit = pipeline.permit(BUFFER_BYTES as u64).await?;
        let shared = Arc::clone(pipeline);
        let step;
        (reader, step) = pipeline
            .ctx
            .run_blocking(move || {
                let step = reader.step(&shared);
                (reader, step)
            })
            .await;
        let (bytes, before) = match step {
            Err(error) => return Ok(Err(error)),
            Ok(Step::End) => break,
            Ok(Step::Holes(lens)) => {
                while let Some(done) = comparing.next().await {
                    lay(&mut layer, done).await?;
                }
                for len in lens {
                    pipeline.progress.passed_over(len);
                    layer.add(hole(len)).await?;
                }
                continue;
            }
            Ok(Step::Bytes(bytes, before)) => (bytes, before),
        };
        pipeline.progress.read(bytes.len() as u64);
        if comparing.len() >= COMPARING_MAX
            && let Some(done) = comparing.next().await
        {
            lay(&mut layer, done).await?;
        }
        let shared = Arc::clone(pipeline);
        let task = compare(shared, bytes, before, page_bytes, turns.next(), permit);
        comparing.push_back(AbortOnDropHandle::new(pipeline.ctx.spawn(task)));
    }
    while let Some(done) = comparing.next().await {
        lay(&mut layer, done).await?;
    }
    let finished = pipeline.ctx.run_blocking(move || reader.finish()).await;
    let (content, size, map) = layer.finish().await?;
    Ok(finished.map(|finished| ReadPages {
        finished,
        content,
        size,
        map,
    }))
}

async fn lay(
    layer: &mut Layer,
    done: std::result::Result<Result<Vec<Region>>, tokio::task::JoinError>,
) -> Result<()> {
    let regions = match done {
        Ok(regions) => regions?,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => return Err(Error::Interrupted),
        },
    };
    for region in regions {
        layer.add(region).await?;
    }
    Ok(())
}

/// Compares the regions of one buffer, and puts those that are chunks.
async fn compare(
    pipeline: Arc<Pipeline>,
    bytes: Bytes,
    before: Vec<Option<MappedRegion>>,
    page_bytes: usize,
    turn: Turn,
    permit: OwnedSemaphorePermit,
) -> Result<Vec<Region>> {
    let shared = Arc::clone(&pipeline);
    let work = move || {
        let (mut regions, mut chunks) = (Vec::new(), Vec::new());
        let mut rest = bytes;
        for before in before {
            let bytes = rest.split_to(REGION_BYTES.min(rest.len()));
            regions.push(region(&shared.keys, bytes, page_bytes, before, &mut chunks));
        }
        (regions, chunks)
    };
    let (regions, chunks) = pipeline.ctx.run_blocking(work).await;
    turn.put(&pipeline, chunks).await?;
    drop(permit);
    Ok(regions)
}

/// One region; if it is a chunk of its own that is appended to `chunks`.
fn region(
    keys: &ScopeKeys,
    bytes: Bytes,
    page_bytes: usize,
    before: Option<MappedRegion>,
    chunks: &mut Vec<Chunk>,
) -> Region {
    let planned = plan(keys, &bytes, page_bytes, before.as_ref());
    let (pages, plan) = match planned {
        Ok(planned) => planned,
        Err(wrong) => {
            tracing::error!(
                "a page map says of a region what is not so; the region is stored anew ({wrong:?})"
            );
            let (id, pages) = keys.data_id_and_pages(&bytes, page_bytes);
            (pages, Plan::Whole(id))
        }
    };
    let pieces = match plan {
        Plan::AsBefore => {
            let pieces = before.map(|before| before.pieces).unwrap_or_default();
            pieces.into_iter().map(Lying::At).collect()
        }
        Plan::Whole(id) => {
            let piece = NamedPiece {
                chunk: Some(id),
                offset: 0,
                len: bytes.len() as u64,
            };
            chunks.push(Chunk {
                id,
                kind: ChunkKind::Data,
                bytes,
                refs: Vec::new(),
            });
            vec![Lying::At(piece)]
        }
        Plan::Mixed(stretches) => stretches
            .into_iter()
            .map(|stretch| match stretch {
                Stretch::Kept(piece) => Lying::At(piece),
                // A copy of just its size: a page must not keep a large buffer.
                Stretch::Changed(range) => Lying::New(Bytes::copy_from_slice(&bytes[range])),
            })
            .collect(),
    };
    Region { pages, pieces }
}

fn hole(len: u64) -> Region {
    Region {
        pages: Vec::new(),
        pieces: vec![Lying::At(NamedPiece {
            chunk: None,
            offset: 0,
            len,
        })],
    }
}

/// The file and its last map, read side by side. Blocking.
#[derive(Debug)]
struct RegionReader {
    reading: Reading,
    before: Option<MapReader>,
}

enum Step {
    /// Bytes of several regions, each full but for the file's last, and what each was.
    Bytes(Bytes, Vec<Option<MappedRegion>>),
    /// The lengths of regions that are holes.
    Holes(Vec<u64>),
    End,
}

impl RegionReader {
    fn open(source: PageSource, maps: Option<&PageMaps>) -> Self {
        source.file.will_read_all();
        let before = source
            .before
            .zip(maps)
            .and_then(|(name, maps)| maps.open(name, source.page_bytes));
        Self {
            reading: Reading::start(source.file, source.stat),
            before,
        }
    }

    fn step(&mut self, pipeline: &Pipeline) -> io::Result<Step> {
        let most = HOLES_MAX * REGION_BYTES as u64;
        let holes = self.reading.pass_hole(REGION_BYTES as u64, most)?;
        if !holes.is_empty() {
            holes.iter().for_each(|_| drop(self.region_before()));
            return Ok(Step::Holes(holes));
        }
        let mut buffer = pipeline.pool.take();
        let room = buffer.room();
        let whole = room.len() - room.len() % REGION_BYTES;
        let bytes = self
            .reading
            .fill_densely(REGION_BYTES as u64, &mut room[..whole])?;
        buffer.advance(bytes);
        if bytes == 0 {
            return Ok(Step::End);
        }
        let before = (0..bytes.div_ceil(REGION_BYTES))
            .map(|_| self.region_before())
            .collect();
        Ok(Step::Bytes(buffer.freeze(), before))
    }

    fn region_before(&mut self) -> Option<MappedRegion> {
        match self.before.as_mut()?.next() {
            Ok(Some(region)) => return Some(region),
            Ok(None) => {}
            Err(why) => {
                tracing::warn!(%why, "a page map is not used from here on; its file is read as if for the first time");
            }
        }
        self.before = None;
        None
    }

    fn finish(self) -> io::Result<Finished> {
        self.reading.finish()
    }
}
