//! The directory that a restore writes into: opened, checked, marked as unfinished until the end.
//!
//! State: a marker file at its top, locked while a restore runs. It tells an interrupted restore of this snapshot,
//! which may go on, from files that are somebody's. It must never be followed through a symlink, and one that is there
//! is never written to.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use holdfast_format::ChunkId;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::local::{create_file, open_file, stat_at, stat_fd, unlink};
use crate::error::{Error, Result};

/// The marker's name, at the top of the target. A snapshot's own entry of this name is not restored.
pub(super) const MARKER: &[u8] = b".holdfast-restore-unfinished";

/// See the module header.
#[derive(Debug)]
pub(super) struct Target {
    dir: OwnedFd,
    /// Holds the lock.
    _marker: std::fs::File,
    /// Whether anything may stand there already.
    pub(super) may_exist: bool,
}

impl Target {
    /// Opens the target, creating it if it is absent. Without `delta` it must be empty or hold an unfinished restore
    /// of the same snapshot.
    pub(super) fn open(path: &Path, root: ChunkId, delta: bool) -> Result<Self> {
        let local = |why: String| Error::Local {
            what: path.display().to_string(),
            why,
        };
        std::fs::create_dir_all(path)
            .map_err(|e| local(format!("the target cannot be created: {e}")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| local(format!("the target cannot be opened: {e}")))?;
        let failed = |e: Errno| local(format!("the restore cannot be started: {e}"));
        let taken = is_taken(&dir).map_err(failed)?;
        let marker = match open_file(&dir, MARKER, OFlags::RDONLY) {
            Ok((fd, _)) => Some(std::fs::File::from(fd)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed(errno)),
        };
        if let Some(marker) = marker {
            lock(&marker).map_err(|errno| match errno {
                Errno::WOULDBLOCK => local("another restore is running there: wait for it".into()),
                errno => failed(errno),
            })?;
            let stands = stat_at(&dir, MARKER).map_err(failed)?;
            let same = stat_fd(&marker).map_err(failed)?.identity;
            if stands.is_some_and(|stat| stat.identity == same) {
                if text_of(&marker) == marker_text(root) {
                    return Ok(Self {
                        dir,
                        _marker: marker,
                        may_exist: true,
                    });
                }
                if taken && !delta {
                    return Err(Error::Invalid {
                        what: format!("target {}", path.display()),
                        why: "it holds an unfinished restore of another snapshot; finish that one, give an empty \
                              directory, or bring it to this snapshot's state with --delta"
                            .into(),
                    });
                }
            }
            unlink(&dir, MARKER).map_err(failed)?;
        } else if taken && !delta {
            return Err(Error::Invalid {
                what: format!("target {}", path.display()),
                why: "it is not empty; give an empty or new directory, or bring what is there to the snapshot's state \
                      with --delta"
                    .into(),
            });
        }
        let mut marker = std::fs::File::from(create_file(&dir, MARKER).map_err(failed)?);
        lock(&marker).map_err(failed)?;
        marker
            .write_all(marker_text(root).as_bytes())
            .map_err(|e| local(format!("the restore cannot be started: {e}")))?;
        Ok(Self {
            dir,
            _marker: marker,
            may_exist: taken,
        })
    }

    /// The target's descriptor.
    pub(super) fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Brings everything to the disk if `sync`, and takes the marker away.
    pub(super) fn finish(self, sync: bool) -> std::result::Result<(), Errno> {
        // ORDER: first the data, then the marker; a crash in between leaves a restore that goes on, never one that
        // only looks finished.
        if sync {
            rustix::fs::syncfs(&self.dir)?;
        }
        unlink(&self.dir, MARKER)?;
        if sync {
            rustix::fs::fsync(&self.dir)?;
        }
        Ok(())
    }
}

fn lock(marker: &std::fs::File) -> std::result::Result<(), Errno> {
    rustix::fs::flock(marker, FlockOperation::NonBlockingLockExclusive)
}

fn marker_text(root: ChunkId) -> String {
    format!(
        "root {root}\nA holdfast restore into this directory is not finished. Run it again to go on.\n"
    )
}

fn text_of(marker: &std::fs::File) -> String {
    let mut text = Vec::new();
    // One that cannot be read says nothing, and is then not ours.
    let _ = marker.take(4096).read_to_end(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Whether anything but a marker stands there. A fresh file system's `lost+found` does not count.
fn is_taken(dir: &OwnedFd) -> std::result::Result<bool, Errno> {
    let mut names = rustix::fs::Dir::read_from(dir)?;
    let free: [&[u8]; 4] = [b".", b"..", b"lost+found", MARKER];
    while let Some(entry) = names.read() {
        if !free.contains(&entry?.file_name().to_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}
