//! Takes regular files: opens, reads, cuts, names and puts them, many small ones in one step.
//!
//! One call handles a group of files that the walk found next to each other; calls run on all cores. What cannot be
//! read is a problem and left out; the backup goes on. Only a sink that fails ends it.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::tree::{Entry, EntryKind, INLINE_BYTES_MAX};
use holdfast_format::{Chunk, ChunkId};

use super::content::{ContentBuilder, FileContent};
use super::limits::{
    BUFFER_BYTES, GROUP_BYTES_MAX, READ_AGAIN_BYTES_MAX, SPARSE_FILE_BYTES_MIN,
    WHOLE_FILE_BYTES_MAX,
};
use super::metadata::{EntryMaker, FileStat, StatKey};
use super::pages;
use super::pages::maps::{MapName, PageMaps};
use super::pages::recognise::{self, LOOK_BYTES};
use super::pages::source::{PageSource, ReadPages};
use super::pipeline::{Assembly, Pipeline};
use super::read::{Failure, Files, Finished, OpenFile, Reading, open_regular};
use super::walk::FileStep;
use crate::error::Result;

/// A file that is in the vault.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// Its entry, with size and attributes.
    pub(crate) entry: Entry,
    /// Its content, all of it put or known.
    pub(crate) content: FileContent,
    /// What it was when it was read; `None` if that must not be relied on next time.
    pub(crate) key: Option<StatKey>,
    /// Its page map, if it is a page source.
    pub(crate) pages: Option<MapName>,
}

/// Takes files.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) maker: Arc<EntryMaker>,
    pub(crate) files: Arc<dyn Files>,
    /// Where page maps lie; none if nothing is remembered.
    pub(crate) maps: Option<Arc<PageMaps>>,
    /// The length of pages, as the user says.
    pub(crate) page_bytes: Option<usize>,
}

/// What the blocking part made of one file.
enum Outcome {
    LeftOut,
    Whole(Box<Whole>),
    /// To be read in buffers.
    Large(Box<dyn OpenFile>, FileStat),
}

/// A file that was read in one go.
struct Whole {
    entry: Entry,
    key: Option<StatKey>,
    inline: Option<Vec<u8>>,
    content: ContentBuilder,
    chunks: Vec<(ChunkId, u64)>,
}

impl Taker {
    /// Takes a group of files; one answer each, in order, `None` for those that are left out.
    pub(crate) async fn take(self: Arc<Self>, group: Vec<FileStep>) -> Result<Vec<Option<Taken>>> {
        if let Some(first) = group.first() {
            self.pipeline
                .progress
                .set_current(first.folder.path_of(&first.entry.name));
        }
        let group = Arc::new(group);
        let mut taken = Vec::with_capacity(group.len());
        while taken.len() < group.len() {
            let bytes = group[taken.len()..]
                .iter()
                .map(|step| step.stat.key.size)
                .filter(|size| *size <= WHOLE_FILE_BYTES_MAX)
                .sum();
            let permit = self.pipeline.permit(bytes).await?;
            let (taker, files, from) = (Arc::clone(&self), Arc::clone(&group), taken.len());
            let read = move || taker.read_some(&files[from..]);
            let (outcomes, chunks) = self.pipeline.ctx.run_blocking(read).await;
            if outcomes.is_empty() {
                return Err(crate::error::Error::Interrupted);
            }
            // Together: a restore reads what lies side by side in one go.
            self.pipeline.put_all(chunks).await?;
            let mut permit = Some(permit);
            for outcome in outcomes {
                let step = &group[taken.len()];
                taken.push(match outcome {
                    Outcome::LeftOut => None,
                    Outcome::Whole(whole) => Some(self.lay_whole(*whole).await?),
                    Outcome::Large(file, stat) => {
                        // Its buffers take permits of their own.
                        permit = None;
                        self.take_large(step, file, stat).await?
                    }
                });
            }
            drop(permit);
        }
        Ok(taken)
    }

    /// Reads files until enough bytes are in memory; gives the chunks of all that were read whole. Blocking.
    fn read_some(&self, group: &[FileStep]) -> (Vec<Outcome>, Vec<Chunk>) {
        let mut scratch = self.pipeline.pool.take();
        let (mut outcomes, mut chunks, mut bytes) = (Vec::new(), Vec::new(), 0);
        for step in group {
            if bytes > 2 * GROUP_BYTES_MAX || self.pipeline.stop.is_cancelled() {
                break;
            }
            let outcome = self
                .read_whole(step, scratch.room(), &mut chunks)
                .unwrap_or_else(|failure| {
                    self.note(step, failure);
                    Outcome::LeftOut
                });
            // What follows a large file waits for it, and must not lie in memory meanwhile.
            let large = matches!(outcome, Outcome::Large(..));
            if let Outcome::Whole(whole) = &outcome {
                bytes += whole.content.len();
            }
            outcomes.push(outcome);
            if large {
                break;
            }
        }
        (outcomes, chunks)
    }

    /// Reads a file in one go, twice if it changes; or finds that it must be read in buffers.
    fn read_whole(
        &self,
        step: &FileStep,
        scratch: &mut [u8],
        chunks: &mut Vec<Chunk>,
    ) -> std::result::Result<Outcome, Failure> {
        let failed = |error| Failure::Unreadable("it cannot be read", error);
        let (mut file, mut stat) = open_regular(&*self.files, &step.folder, &step.entry.name)?;
        let mut again = true;
        loop {
            let sparse = stat.key.size >= SPARSE_FILE_BYTES_MIN && stat.looks_sparse();
            if stat.key.size > WHOLE_FILE_BYTES_MAX || sparse {
                return Ok(Outcome::Large(file, stat));
            }
            let mut reading = Reading::start(file, stat);
            let filled = reading.fill(scratch).map_err(failed)?;
            self.pipeline.progress.read(filled.bytes as u64);
            if !filled.end {
                (file, stat) = reading.into_file();
                return Ok(Outcome::Large(file, stat));
            }
            let finished = reading.finish().map_err(failed)?;
            if !finished.unchanged && again {
                again = false;
                (file, stat) = (finished.file, finished.after);
                continue;
            }
            let (entry, key) = self.entry(step, &finished, filled.bytes as u64);
            let (inline, ids) = self.name(&scratch[..filled.bytes], chunks);
            let mut content = ContentBuilder::default();
            filled.runs.into_iter().for_each(|run| content.add_run(run));
            return Ok(Outcome::Whole(Box::new(Whole {
                entry,
                key,
                inline,
                content,
                chunks: ids,
            })));
        }
    }

    /// Cuts and names content that is all there, unless it is so little that its entry holds it.
    fn name(&self, bytes: &[u8], all: &mut Vec<Chunk>) -> (Option<Vec<u8>>, Vec<(ChunkId, u64)>) {
        if bytes.len() <= INLINE_BYTES_MAX && !bytes.is_empty() {
            return (Some(bytes.to_vec()), Vec::new());
        }
        // A copy of just its size: a small chunk must not keep a large buffer, wherever it waits.
        let chunks = (self.pipeline.cutter).cut_whole(Bytes::copy_from_slice(bytes));
        let chunks = chunks
            .into_iter()
            .map(|bytes| self.pipeline.keys.data(bytes));
        let first = all.len();
        all.extend(chunks);
        let ids = all[first..]
            .iter()
            .map(|chunk| (chunk.id, chunk.bytes.len() as u64));
        (None, ids.collect())
    }

    /// What a file becomes whose chunks were put.
    async fn lay_whole(&self, whole: Whole) -> Result<Taken> {
        let Whole {
            entry,
            key,
            inline,
            mut content,
            chunks,
        } = whole;
        if let Some(bytes) = inline {
            return Ok(Taken {
                entry,
                content: FileContent::Inline(bytes),
                key,
                pages: None,
            });
        }
        // ORDER: nodes of extents come after the chunks that they list, which were put.
        let mut nodes = Vec::new();
        for (id, len) in chunks {
            content.add_chunk(&self.pipeline.keys, id, len, &mut nodes);
        }
        let content = content.finish(&self.pipeline.keys, &mut nodes);
        self.pipeline.put_all(nodes).await?;
        Ok(Taken {
            entry,
            content,
            key,
            pages: None,
        })
    }

    /// Reads a large file in buffers, twice if it changes and is not too large for that.
    async fn take_large(
        &self,
        step: &FileStep,
        mut file: Box<dyn OpenFile>,
        mut stat: FileStat,
    ) -> Result<Option<Taken>> {
        self.pipeline
            .progress
            .set_current(step.folder.path_of(&step.entry.name));
        let (page_bytes, opened) = self.look_for_pages(file, stat).await;
        file = opened;
        let mut again = true;
        loop {
            // A database writes all the time: reading it twice would end the same.
            again &= stat.key.size <= READ_AGAIN_BYTES_MAX && page_bytes.is_none();
            let read = match page_bytes {
                Some(page_bytes) => {
                    let source = PageSource {
                        file,
                        stat,
                        page_bytes,
                        before: step.before,
                    };
                    pages::source::read(&self.pipeline, self.maps.as_ref(), source).await?
                }
                None => self.read_large(file, stat).await?,
            };
            let ReadPages {
                finished,
                content,
                size,
                map,
            } = match read {
                Ok(read) => read,
                Err(error) => {
                    self.note(step, Failure::Unreadable("it cannot be read", error));
                    return Ok(None);
                }
            };
            if !finished.unchanged && again {
                again = false;
                (file, stat) = (finished.file, finished.after);
                continue;
            }
            let (entry, key) = self.entry(step, &finished, size);
            return Ok(Some(Taken {
                entry,
                content,
                key,
                pages: map,
            }));
        }
    }

    /// The length of a file's pages, if it is a page source; and the file again.
    async fn look_for_pages(
        &self,
        file: Box<dyn OpenFile>,
        stat: FileStat,
    ) -> (Option<usize>, Box<dyn OpenFile>) {
        let (size, said) = (stat.key.size, self.page_bytes);
        if size <= WHOLE_FILE_BYTES_MAX {
            return (None, file);
        }
        let look = move || {
            let mut start = [0; LOOK_BYTES];
            // What cannot be read now is found when it is read.
            let is_read = file
                .read_at(&mut start, 0)
                .is_ok_and(|len| len == start.len());
            let found = said.or_else(|| recognise::page_bytes(&start, size).filter(|_| is_read));
            // A file that has more bytes than its size says is read to its end, as any other of its kind.
            let has_more = file.read_at(&mut [0; 1], size).is_ok_and(|len| len > 0);
            let knows_size = !has_more || file.stat().is_ok_and(|now| now.key.size > size);
            (found.filter(|_| knows_size), file)
        };
        self.pipeline.ctx.run_blocking(look).await
    }

    async fn read_large(
        &self,
        file: Box<dyn OpenFile>,
        stat: FileStat,
    ) -> Result<std::io::Result<ReadPages>> {
        let ctx = &self.pipeline.ctx;
        file.will_read_all();
        let mut reading = Reading::start(file, stat);
        let mut assembly = Assembly::new(&self.pipeline);
        let mut cutter = assembly.cutter();
        loop {
            let permit = self.pipeline.permit(BUFFER_BYTES as u64).await?;
            let step = move || {
                let mut buffer = cutter.buffer();
                let filled = reading.fill(buffer.room());
                let filled = filled.map(|filled| {
                    buffer.advance(filled.bytes);
                    let chunks = cutter.cut(buffer, filled.end);
                    (filled, chunks)
                });
                (reading, cutter, filled)
            };
            let filled;
            (reading, cutter, filled) = ctx.run_blocking(step).await;
            let (filled, chunks) = match filled {
                Ok(filled) => filled,
                Err(error) => return Ok(Err(error)),
            };
            self.pipeline.progress.read(filled.bytes as u64);
            assembly
                .add(filled.runs, chunks, permit, filled.end)
                .await?;
            if filled.end {
                break;
            }
        }
        let finished = ctx.run_blocking(move || reading.finish()).await;
        let (content, size) = assembly.finish().await?;
        Ok(finished.map(|finished| ReadPages {
            finished,
            content,
            size,
            map: None,
        }))
    }

    /// The entry of a file that was read, and whether its times can be relied on.
    fn entry(&self, step: &FileStep, finished: &Finished, size: u64) -> (Entry, Option<StatKey>) {
        let path = || step.folder.path_of(&step.entry.name);
        if !finished.unchanged {
            let what = "it changed while it was read; what was read last is kept";
            self.pipeline.problems.add(path(), what);
        } else if finished.endless {
            let what =
                "it goes on beyond 1 GiB though its size says otherwise; the rest is left out";
            self.pipeline.problems.add(path(), what);
        }
        let mut entry = self
            .maker
            .entry(&step.entry.name, EntryKind::File, &finished.before);
        entry.size = size;
        match &finished.xattrs {
            Ok(xattrs) => entry.xattrs = xattrs.clone(),
            Err(error) => {
                let what = "its extended attributes cannot be read";
                self.pipeline.problems.add_error(path(), what, error);
            }
        }
        let key = finished.before.key;
        // A size that is not the content's is that of a pseudo file, whose times tell nothing.
        let reliable = finished.unchanged && key.size == size && size > 0;
        (entry, reliable.then_some(key))
    }

    fn note(&self, step: &FileStep, failure: Failure) {
        let path = step.folder.path_of(&step.entry.name);
        let problems = &self.pipeline.problems;
        match failure {
            Failure::Vanished => problems.vanished(&path),
            Failure::OtherKind => {
                problems.add(
                    path,
                    "it was a file and became something else before it was read; left out",
                );
            }
            Failure::Unreadable(what, error) => {
                problems.add_error(path, &format!("{what}; left out"), &error);
            }
        }
    }
}
