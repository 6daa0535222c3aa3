//! One file being restored, from the first of its bytes to its place under its real name.
//!
//! State: what stands there now, where its bytes go, how many are done, and why it failed if it did. Every piece that is
//! under way holds a share; whoever gives back the last one (see [`release`]) completes the file or gives it up.
//!
//! A file is written under a temporary name and moved to its real one only when it is complete. One exception: a large
//! file that a delta changes is changed where it stands, for a copy would need its space twice. If its content then
//! turns out to be lost, it is moved aside, so that no wrong byte stands under a real name; if the restore is
//! interrupted, the target stays marked as unfinished, and the next run goes on. It must never write to an inode that
//! has another name, since that name may lie outside the target.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, Result};

use super::direct::Out;
use super::level::{self, Level};
use super::links::{Settled, settle};
use super::local::{Stat, create_file, open_file, rename, stat_at, stat_fd, unlink};
use super::metadata::{Before, Place, apply};
use super::run::Run;
use crate::restore::flaw::Flaw;
use crate::restore::item::Item;
use crate::restore::progress::RestoreProgress;

/// A temporary file smaller than this is not worth going on with.
const REUSED_BYTES_MIN: u64 = 1 << 20;

/// What a damaged file that was changed in place is moved to: its name and this.
const ASIDE: &[u8] = b".holdfast-incomplete";

/// See the module header.
#[derive(Debug)]
pub(super) struct FileJob {
    pub(super) level: Arc<Level>,
    pub(super) item: Box<Item>,
    /// Whether its pieces lie in more than one batch. Settled before the first of them runs.
    spans: AtomicBool,
    state: Mutex<State>,
    kept: AtomicU64,
    written: AtomicU64,
    holes: AtomicU64,
    failure: OnceLock<Failure>,
}

#[derive(Debug, Default)]
struct State {
    base: Option<Base>,
    /// Where bytes are written, once any is.
    out: Option<Arc<Out>>,
    /// Whether anything of the file under its real name was changed.
    dirty: bool,
}

/// What the file is made from.
#[derive(Debug, Clone)]
pub(super) enum Base {
    /// Nothing: all of it is written to a temporary file.
    Fresh,
    /// What stands there and is small: kept if it is right, replaced as a whole if not. It is opened when it is looked
    /// at, since thousands of such files may be under way.
    Whole(Stat),
    /// What stands there and has other names: what is right in it is copied to a temporary file.
    Copy(Arc<File>),
    /// A large file that stands there, or a temporary one that an interrupted restore left: changed where it is.
    InPlace(Arc<File>, Stat, Where),
}

/// Which name a file that is changed in place has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    Real,
    Temporary,
}

/// Why a file is given up.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Its content is lost.
    Lost(Flaw),
    /// The target refused it; told already.
    Refused,
    /// The restore stops.
    Stopped,
}

/// What became of a byte range.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    Kept,
    Written,
    Hole,
}

impl FileJob {
    pub(super) fn new(level: Arc<Level>, item: Box<Item>) -> Arc<Self> {
        Arc::new(Self {
            level,
            item,
            spans: AtomicBool::new(false),
            state: Mutex::default(),
            kept: AtomicU64::new(0),
            written: AtomicU64::new(0),
            holes: AtomicU64::new(0),
            failure: OnceLock::new(),
        })
    }

    /// Its path in the snapshot.
    pub(super) fn path(&self) -> Vec<u8> {
        self.level.path(&self.item.entry.name)
    }

    /// Says that its pieces lie in more than one batch. Must come before any of them runs.
    pub(super) fn set_spans(&self) {
        self.spans.store(true, Ordering::SeqCst);
    }

    /// Gives it up; the first reason counts.
    pub(super) fn fail(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Gives it up because the target refused something.
    pub(super) fn refuse(&self, run: &Run, what: &str, errno: Errno) {
        if self.failure.set(Failure::Refused).is_ok() {
            run.failed(self.path(), what, errno);
        }
    }

    /// Whether it was given up.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Counts bytes that are done.
    pub(super) fn done(&self, run: &Run, how: Done, bytes: u64) {
        let counter = match how {
            Done::Kept => &self.kept,
            Done::Written => &self.written,
            Done::Hole => &self.holes,
        };
        counter.fetch_add(bytes, Ordering::Relaxed);
        RestoreProgress::add(&run.progress.bytes_done, bytes);
    }

    /// How many of its bytes are done.
    fn accounted(&self) -> u64 {
        [&self.kept, &self.written, &self.holes]
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    }

    /// What it is made from; looked up at the first call.
    pub(super) fn base(&self, run: &Run) -> Result<Base> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = &state.base {
            return Ok(base.clone());
        }
        let base = self.find_base(run)?;
        Ok(state.base.insert(base).clone())
    }

    fn find_base(&self, run: &Run) -> Result<Base> {
        if !run.may_exist {
            return Ok(Base::Fresh);
        }
        let dir = &*self.level.dir(run)?;
        let name = &self.item.entry.name;
        let spans = self.spans.load(Ordering::SeqCst);
        // Something else, or a file that cannot be read, is replaced. It is looked at before it is opened, because
        // opening a device can set it going.
        let stands = match stat_at(dir, name)? {
            Some(stat) if stat.kind == FileType::RegularFile => {
                open_file(dir, name, OFlags::RDONLY)
                    .ok()
                    .map(|(fd, stat)| (Arc::new(File::from(fd)), stat))
            }
            _ => None,
        };
        Ok(match stands {
            Some((_, stat)) if !spans => Base::Whole(stat),
            Some((file, stat)) if stat.nlink == 1 => Base::InPlace(file, stat, Where::Real),
            Some((file, _)) => Base::Copy(file),
            None if spans && run.keys.is_some() => {
                match open_file(dir, &run.temporary(name), OFlags::RDONLY) {
                    Ok((fd, stat)) if stat.nlink == 1 && stat.size >= REUSED_BYTES_MIN => {
                        Base::InPlace(Arc::new(File::from(fd)), stat, Where::Temporary)
                    }
                    _ => Base::Fresh,
                }
            }
            None => Base::Fresh,
        })
    }

    /// Opens a file that stands there, if it is still the same.
    pub(super) fn whole(&self, run: &Run, stat: &Stat) -> Result<File> {
        let dir = &*self.level.dir(run)?;
        let (fd, again) = open_file(dir, &self.item.entry.name, OFlags::RDONLY)?;
        if again == *stat {
            Ok(fd.into())
        } else {
            Err(Errno::STALE)
        }
    }

    /// Where its bytes are written; made ready at the first call.
    pub(super) fn out(&self, run: &Run) -> Result<Arc<Out>> {
        let base = self.base(run)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = &state.out {
            return Ok(out.clone());
        }
        let dir = &*self.level.dir(run)?;
        let temporary = run.temporary(&self.item.entry.name);
        let out = match &base {
            Base::InPlace(file, stat, place) => {
                let name = match place {
                    Where::Real => &self.item.entry.name,
                    Where::Temporary => &temporary,
                };
                state.dirty = *place == Where::Real;
                close_to_others(run, file, stat)?;
                let (fd, again) = open_file(dir, name, OFlags::RDWR)?;
                if again.identity != stat.identity || again.nlink != 1 {
                    return Err(Errno::STALE);
                }
                fd
            }
            _ => match create_file(dir, &temporary) {
                Err(Errno::EXIST) => {
                    unlink(dir, &temporary)?;
                    create_file(dir, &temporary)?
                }
                created => created?,
            },
        };
        // What stands there is read through the cache while its neighbours are written: not past it.
        let is_large =
            self.spans.load(Ordering::SeqCst) && !matches!(base, Base::InPlace(..) | Base::Copy(_));
        let out = Out::new(File::from(out), is_large);
        Ok(state.out.insert(out).clone())
    }

    /// Completes it: everything is done with it and nobody else holds it.
    fn finish(&mut self, run: &Run) -> Result<Settled> {
        let base = self.base(run)?;
        let size = self.item.entry.size;
        let holes = self.holes.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let kept = self.kept.load(Ordering::Relaxed);
        if self.accounted() != size {
            run.problem(
                self.path(),
                format!(
                    "internal check failed: {} of {size} bytes are accounted for",
                    self.accounted()
                ),
            );
            self.fail(Failure::Refused);
            return self.give_up(run);
        }
        let untouched = self.lock_state().out.is_none();
        let identity = match &base {
            // Right as it stands. If it has other names, its metadata were compared too and need no touch.
            Base::Whole(stat) if untouched => {
                if stat.nlink == 1 {
                    self.set_metadata(run, &self.whole(run, stat)?, Before::Any);
                }
                stat.identity
            }
            Base::InPlace(file, stat, place) => {
                if stat.size == size && untouched {
                    self.set_metadata(run, file, Before::Any);
                } else {
                    let out = self.out(run)?;
                    rustix::fs::ftruncate(out.file(), size)?;
                    self.set_metadata(run, out.file(), Before::Any);
                }
                if *place == Where::Temporary {
                    self.move_into_place(run)?;
                }
                stat.identity
            }
            _ => {
                let out = self.out(run)?;
                if holes > 0 {
                    rustix::fs::ftruncate(out.file(), size)?;
                }
                let before = if self.level.gives_acl {
                    Before::Any
                } else {
                    Before::New
                };
                self.set_metadata(run, out.file(), before);
                let identity = stat_fd(out.file())?.identity;
                self.move_into_place(run)?;
                identity
            }
        };
        run.report.count(|result| {
            result.files += 1;
            result.bytes_kept += kept;
            result.bytes_written += written;
            result.bytes_holes += holes;
        });
        let mut parts = Vec::new();
        if self.item.entry.hard_link.is_some() {
            parts = self.level.parts();
            parts.push(self.item.entry.name.clone());
        }
        Ok(Settled::Placed { parts, identity })
    }

    fn set_metadata(&self, run: &Run, file: &File, before: Before) {
        let place = Place::Open(file.as_fd());
        apply(run, place, before, &self.item.entry, &|| self.path());
    }

    fn move_into_place(&self, run: &Run) -> Result<()> {
        let dir = &*self.level.dir(run)?;
        let name = &self.item.entry.name;
        rename(dir, &run.temporary(name), name, run.may_exist)
    }

    /// Takes away what cannot be completed.
    fn give_up(&mut self, run: &Run) -> Result<Settled> {
        let failure = self.failure.get().cloned().unwrap_or(Failure::Stopped);
        let settled = match &failure {
            Failure::Lost(flaw) => {
                run.lost(self.path(), flaw);
                Settled::Lost(flaw.clone())
            }
            Failure::Refused | Failure::Stopped => Settled::Failed,
        };
        let (base, dirty, out) = {
            let mut state = self.lock_state();
            (state.base.take(), state.dirty, state.out.take())
        };
        let dir = &*self.level.dir(run)?;
        let name = &self.item.entry.name;
        let goes_on = matches!(failure, Failure::Stopped);
        match base {
            Some(Base::InPlace(_, _, Where::Real)) if dirty && !goes_on => {
                let aside = aside(name);
                rustix::fs::renameat(dir, name.as_slice(), dir, aside.as_slice())?;
                self.level.remember(&aside);
                run.problem(
                    self.path(),
                    "it was already partly changed: what there is of it was moved to the same name with \
                     .holdfast-incomplete at its end",
                );
            }
            Some(Base::InPlace(_, _, Where::Real)) => {}
            Some(_) if out.is_some() => {
                let reusable = goes_on && self.spans.load(Ordering::SeqCst) && run.keys.is_some();
                if !reusable {
                    unlink(dir, &run.temporary(name))?;
                }
            }
            _ => {}
        }
        Ok(settled)
    }

    fn lock_state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives back a share of a file. The last one completes it or gives it up, and settles names that wait for it.
pub(super) fn release(job: Arc<FileJob>, run: &Run) {
    let Some(mut job) = Arc::into_inner(job) else {
        return;
    };
    if run.stopped() {
        job.fail(Failure::Stopped);
    }
    let settled = if job.has_failed() {
        job.give_up(run)
    } else {
        job.finish(run).or_else(|errno| {
            let what = match errno {
                Errno::EXIST => {
                    "another entry stands there already (does the target's file system ignore case?)"
                }
                _ => "it could not be completed",
            };
            job.refuse(run, what, errno);
            job.give_up(run)
        })
    };
    let settled = settled.unwrap_or_else(|errno| {
        run.failed(job.path(), "it could not be cleaned up", errno);
        Settled::Failed
    });
    let accounted = job.accounted();
    RestoreProgress::add(
        &run.progress.bytes_done,
        job.item.entry.size.saturating_sub(accounted),
    );
    RestoreProgress::add(&run.progress.entries_done, 1);
    if let Some(number) = job.item.entry.hard_link {
        settle(run, number, settled);
    }
    level::release(job.level, run);
}

/// What a name is moved aside to.
fn aside(name: &[u8]) -> Vec<u8> {
    let keep = name.len().min(255 - ASIDE.len());
    [&name[..keep], ASIDE].concat()
}

/// Closes a file to everyone else before the snapshot's bytes go into it; its own owner and mode come at the end.
fn close_to_others(run: &Run, file: &File, stat: &Stat) -> Result<()> {
    if run.is_root && (stat.uid, stat.gid) != (0, 0) {
        rustix::fs::fchown(file, Some(Uid::ROOT), Some(Gid::ROOT))?;
    }
    if stat.mode != 0o600 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(0o600))?;
    }
    Ok(())
}
