//! A batch of pieces: compared with what stands there, fetched in one go, written.
//!
//! Pieces of many small files share a batch, and a large file is spread over many, so that a source always gets many
//! chunks at once and no batch takes more memory than [`BATCH_BYTES`] (chunks are at most as large). Only what differs
//! is fetched. It must never write a byte that does not come from a verified chunk.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{ChunkId, ChunkKind, ScopeKeys};

use super::file::{Base, Done, Failure, FileJob, release};
use super::hole;
use super::metadata::{Place, matches};
use super::run::Run;
use crate::error::Result;
use crate::restore::flaw::Flaw;
use crate::restore::item::Extent;
use crate::restore::nodes::fetch;
use crate::restore::progress::RestoreProgress;
use crate::source::{Fetched, Loss};

/// What the chunks of one batch come to at most, bytes.
pub(super) const BATCH_BYTES: u64 = 8 << 20;

/// The most chunks in a batch.
const CHUNKS_MAX: usize = 512;

/// The most pieces in a batch.
const PIECES_MAX: usize = 4096;

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pieces: Vec<Piece>,
    /// The chunks, each with how much of it is known to be there.
    chunks: HashMap<ChunkId, u64>,
    bytes: u64,
}

#[derive(Debug)]
struct Piece {
    job: Arc<FileJob>,
    /// Where in the file it starts.
    at: u64,
    extent: Extent,
    /// What stands there, if it was read and may be needed again.
    local: Option<Bytes>,
    /// Whether what stands there is right, if that is known.
    same: Option<bool>,
}

impl Batch {
    /// Whether it has nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether a piece must go into the next one.
    pub(super) fn is_full_for(&self, extent: &Extent) -> bool {
        let more = self.cost_of(extent);
        !self.pieces.is_empty()
            && (self.pieces.len() >= PIECES_MAX
                || self.bytes + more > BATCH_BYTES
                || (self.chunks.len() >= CHUNKS_MAX && self.is_new(extent)))
    }

    fn is_new(&self, extent: &Extent) -> bool {
        extent
            .chunk
            .is_some_and(|id| !self.chunks.contains_key(&id))
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, job: &Arc<FileJob>, at: u64, extent: Extent) {
        self.bytes += self.cost_of(&extent);
        if let Some(id) = extent.chunk {
            let end = self.chunks.entry(id).or_default();
            *end = (*end).max(extent.end_in_chunk());
        }
        self.pieces.push(Piece {
            job: job.clone(),
            at,
            extent,
            local: None,
            same: None,
        });
    }

    /// How many more bytes a piece needs.
    fn cost_of(&self, extent: &Extent) -> u64 {
        extent.chunk.map_or(0, |id| {
            let known = self.chunks.get(&id).copied().unwrap_or(0);
            extent.end_in_chunk().saturating_sub(known)
        })
    }

    /// Does all of it. What fails for one file fails that file; an error ends the restore.
    pub(super) async fn work(mut self, run: Arc<Run>) -> Result<()> {
        if run.may_exist && !run.stopped() {
            let shared = run.clone();
            self = run
                .ctx
                .run_blocking(move || {
                    self.compare(&shared);
                    self
                })
                .await;
        }
        let fetched = tokio::select! {
            biased;
            () = run.stop.cancelled() => Ok(None),
            fetched = self.fetch(&run) => fetched.map(Some),
        };
        let (fetched, error) = match fetched {
            Ok(fetched) => (fetched, None),
            Err(error) => {
                run.abort(error.clone());
                (None, Some(error))
            }
        };
        let shared = run.clone();
        run.ctx
            .run_blocking(move || self.finish(&shared, fetched))
            .await;
        error.map_or(Ok(()), Err)
    }

    /// Reads what stands there and judges it.
    fn compare(&mut self, run: &Run) {
        for group in self
            .pieces
            .chunk_by_mut(|one, next| Arc::ptr_eq(&one.job, &next.job))
        {
            if run.stopped() {
                return;
            }
            let job = group[0].job.clone();
            let opened = job.base(run).and_then(|base| {
                Ok(match base {
                    Base::Fresh => None,
                    Base::Whole(stat) => Some((Arc::new(job.whole(run, &stat)?), true)),
                    Base::Copy(file) => Some((file, true)),
                    Base::InPlace(file, _, _) => Some((file, false)),
                })
            });
            let (file, keep_local) = match opened {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(errno) => {
                    job.refuse(run, "what stands there could not be read", errno);
                    continue;
                }
            };
            for piece in group {
                piece.compare(&file, run.keys.as_ref(), keep_local);
            }
        }
    }

    /// Fetches what is not known to be right.
    async fn fetch(
        &self,
        run: &Run,
    ) -> Result<HashMap<ChunkId, std::result::Result<Fetched, Loss>>> {
        let mut wanted = Vec::new();
        let mut seen = HashMap::new();
        for piece in &self.pieces {
            if let Some(id) = piece.extent.chunk
                && piece.same != Some(true)
                && !piece.job.has_failed()
                && seen.insert(id, ()).is_none()
            {
                wanted.push((id, ChunkKind::Data));
            }
        }
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<_> = wanted.iter().map(|(id, _)| *id).collect();
        let answers = fetch(run.nodes.source(), wanted).await?;
        let bytes = answers.iter().flatten().map(|one| one.bytes.len() as u64);
        RestoreProgress::add(&run.progress.bytes_fetched, bytes.sum());
        Ok(ids.into_iter().zip(answers).collect())
    }

    /// Writes, and gives back the shares of all files.
    fn finish(
        self,
        run: &Run,
        fetched: Option<HashMap<ChunkId, std::result::Result<Fetched, Loss>>>,
    ) {
        let mut pieces = self.pieces.into_iter().peekable();
        while let Some(first) = pieces.next() {
            let job = first.job.clone();
            let mut group = vec![first];
            while let Some(next) = pieces.next_if(|piece| Arc::ptr_eq(&piece.job, &job)) {
                group.push(next);
            }
            match &fetched {
                None => job.fail(Failure::Stopped),
                Some(_) if run.stopped() => job.fail(Failure::Stopped),
                Some(fetched) if !job.has_failed() => {
                    write_group(run, &job, &mut group, fetched);
                }
                Some(_) => {}
            }
            // One file after the other, so that not all of a batch are open at once.
            for piece in group {
                release(piece.job, run);
            }
            release(job, run);
        }
    }
}

impl Piece {
    fn compare(&mut self, file: &std::fs::File, keys: Option<&ScopeKeys>, keep_local: bool) {
        let Some(id) = self.extent.chunk else {
            self.same = Some(hole::reads_as_zeros(file, self.at, self.extent.len));
            return;
        };
        if hole::is_hole(file, self.at, self.extent.len) {
            // Not written yet, or zeros by now: either way the snapshot has a chunk here.
            self.same = Some(false);
            return;
        }
        let mut bytes = vec![0; self.extent.len as usize];
        if file.read_exact_at(&mut bytes, self.at).is_err() {
            self.same = Some(false);
            return;
        }
        // Only a whole chunk can be told by its id; of a part, or without keys, the bytes are compared once the chunk
        // is there.
        self.same = match keys {
            Some(keys) if self.extent.offset == 0 && keys.data_id(&bytes) == id => Some(true),
            _ => None,
        };
        if self.same.is_none() || (keep_local && self.same == Some(true)) {
            self.local = Some(bytes.into());
        }
    }
}

/// Writes the pieces of one file that lie in this batch.
fn write_group(
    run: &Run,
    job: &Arc<FileJob>,
    group: &mut [Piece],
    fetched: &HashMap<ChunkId, std::result::Result<Fetched, Loss>>,
) {
    // What follows each other in the file is written in one go, in whichever order its chunks were asked for.
    group.sort_by_key(|piece| piece.at);
    // ORDER: every chunk of the group is looked at before any byte is written, so that a file that is changed in place
    // is not touched for a batch that cannot be completed.
    let mut sources = Vec::with_capacity(group.len());
    for piece in group.iter_mut() {
        match piece.source(fetched) {
            Ok(bytes) => sources.push(bytes),
            Err(flaw) => return job.fail(Failure::Lost(flaw)),
        }
    }
    let base = match job.base(run) {
        Ok(base) => base,
        Err(errno) => return job.refuse(run, "what stands there could not be read", errno),
    };
    let all_same = group.iter().all(|piece| piece.same == Some(true));
    let keeps = match &base {
        Base::Fresh | Base::Copy(_) => false,
        Base::InPlace(..) => true,
        Base::Whole(stat) => {
            // The other names of a file that the snapshot knows of are fine; a name from elsewhere is not.
            let entry = &job.item.entry;
            let own = stat.nlink == 1
                || (entry.hard_link.is_some()
                    && job
                        .whole(run, stat)
                        .is_ok_and(|file| matches(run, Place::Open(file.as_fd()), entry)));
            all_same && stat.size == entry.size && own
        }
    };
    let in_place = matches!(base, Base::InPlace(..));
    let mut stretch = Stretch::default();
    for (piece, bytes) in group.iter().zip(sources) {
        let written = piece.write(run, job, bytes, keeps, in_place, &mut stretch);
        if let Err(errno) = written {
            return job.refuse(run, "it could not be written", errno);
        }
    }
    if let Err(errno) = stretch.write(run, job) {
        job.refuse(run, "it could not be written", errno);
    }
}

/// Bytes that follow each other in a file, to be written in one go.
#[derive(Debug, Default)]
struct Stretch {
    at: u64,
    len: u64,
    parts: Vec<Bytes>,
    /// What is told when they are written.
    done: Vec<(Done, u64)>,
}

impl Stretch {
    /// Adds bytes; what does not go before them is written first.
    fn add(
        &mut self,
        run: &Run,
        job: &FileJob,
        at: u64,
        bytes: Bytes,
        done: Done,
    ) -> rustix::io::Result<()> {
        if at != self.at + self.len {
            self.write(run, job)?;
            self.at = at;
        }
        self.len += bytes.len() as u64;
        self.done.push((done, bytes.len() as u64));
        self.parts.push(bytes);
        Ok(())
    }

    fn write(&mut self, run: &Run, job: &FileJob) -> rustix::io::Result<()> {
        let Self {
            at,
            len,
            parts,
            done,
        } = std::mem::take(self);
        if parts.is_empty() {
            return Ok(());
        }
        job.out(run)?
            .write(&run.buffers, &parts, at)
            .map_err(|e| rustix::io::Errno::from_io_error(&e).unwrap_or(rustix::io::Errno::IO))?;
        for (how, bytes) in done {
            job.done(run, how, bytes);
        }
        self.at = at + len;
        Ok(())
    }
}

impl Piece {
    /// The bytes that belong here, and whether those that stand here are the same; none for a hole and for bytes that
    /// are known to be right and were not kept.
    fn source(
        &mut self,
        fetched: &HashMap<ChunkId, std::result::Result<Fetched, Loss>>,
    ) -> std::result::Result<Option<Bytes>, Flaw> {
        let Some(id) = self.extent.chunk else {
            return Ok(None);
        };
        if self.same == Some(true) {
            return Ok(self.local.take());
        }
        let bytes = match fetched.get(&id) {
            Some(Ok(fetched)) => self.extent.slice(&fetched.bytes)?,
            Some(Err(loss)) => return Err(Flaw::lost("its content", loss.clone())),
            None => return Err(Flaw::new(format!("chunk {id} was not fetched"))),
        };
        if self.same.is_none() {
            self.same = Some(self.local.take().is_some_and(|local| local == bytes));
        }
        Ok(Some(bytes))
    }

    fn write(
        &self,
        run: &Run,
        job: &FileJob,
        bytes: Option<Bytes>,
        keeps: bool,
        in_place: bool,
        stretch: &mut Stretch,
    ) -> rustix::io::Result<()> {
        let len = self.extent.len;
        let same = self.same == Some(true);
        if self.extent.chunk.is_none() {
            if in_place && !same {
                hole::punch(job.out(run)?.file(), self.at, len)?;
            } else if !in_place && !keeps {
                // A hole writes nothing: without a file begun for it, what stands there would be taken for right.
                job.out(run)?;
            }
            job.done(run, Done::Hole, len);
            return Ok(());
        }
        if keeps && same {
            job.done(run, Done::Kept, len);
            return Ok(());
        }
        let Some(bytes) = bytes else {
            return Err(rustix::io::Errno::INVAL);
        };
        // What was copied from the file that stood there was kept, though under another inode.
        let done = if same { Done::Kept } else { Done::Written };
        stretch.add(run, job, self.at, bytes, done)
    }
}
