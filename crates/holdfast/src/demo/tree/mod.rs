//! The tree that the demo makes: every awkward kind of file that a backup may meet, the same on each run.
//!
//! State: what was made so far. What this machine, its file system or an ordinary user's rights forbid is left out, and
//! said. It never touches anything outside of its own folder.

mod attributes;
mod bulk;
mod kinds;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_context::{Context, ManualClock};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

pub(super) use bulk::{HUGE, PAGE, PER_FOLDER, Scale, log, page, small_path, small_text};

/// Bytes written at once.
const BLOCK: usize = 1 << 20;

/// What came of an attempt that may be forbidden.
type Attempt = rustix::io::Result<()>;

/// A tree in the making, and the tools for it.
#[derive(Debug)]
pub(super) struct Maker {
    top: PathBuf,
    /// Repeats: the same bytes on each run.
    chance: Context,
    cancel: CancellationToken,
    done_bytes: Arc<AtomicU64>,
    /// What was left out, and why.
    left_out: Vec<String>,
}

impl Maker {
    /// Tools for the tree at `top`. `seed` decides the bytes.
    pub(super) fn new(
        top: PathBuf,
        seed: u64,
        cancel: CancellationToken,
        done_bytes: Arc<AtomicU64>,
    ) -> Self {
        Self {
            top,
            chance: Context::seeded(seed, Arc::new(ManualClock::at(0))),
            cancel,
            done_bytes,
            left_out: Vec::new(),
        }
    }

    /// Makes all of it; gives what was left out.
    pub(super) fn make(mut self, scale: &Scale) -> io::Result<Vec<String>> {
        fs::create_dir(&self.top)?;
        bulk::make(&mut self, scale)?;
        kinds::make(&mut self)?;
        attributes::make(&mut self)?;
        Ok(self.left_out)
    }

    /// Something in the tree.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// A folder in the tree.
    pub(super) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.at(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Writes a file.
    pub(super) fn file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.go_on()?;
        fs::write(path, bytes)?;
        self.count(bytes.len() as u64);
        Ok(())
    }

    /// Writes a file that nothing can compress.
    pub(super) fn noise_file(&self, path: &Path, size: u64) -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut block = vec![0; BLOCK];
        let mut rest = size;
        while rest > 0 {
            self.go_on()?;
            let part = rest.min(BLOCK as u64);
            let bytes = &mut block[..part as usize];
            self.chance.fill_random(bytes);
            file.write_all(bytes)?;
            self.count(part);
            rest -= part;
        }
        Ok(())
    }

    /// Bytes that nothing can compress.
    pub(super) fn noise(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.chance.fill_random(&mut bytes);
        bytes
    }

    /// Takes note of an attempt: what is forbidden here is left out, anything else is an error.
    pub(super) fn try_to(&mut self, what: &str, attempt: Attempt) -> io::Result<()> {
        match attempt {
            Ok(()) => Ok(()),
            Err(
                errno @ (Errno::PERM
                | Errno::ACCESS
                | Errno::OPNOTSUPP
                | Errno::INVAL
                | Errno::ILSEQ
                | Errno::FBIG
                | Errno::NODEV
                | Errno::NOSPC),
            ) => {
                let why = io::Error::from(errno).to_string();
                let why = why.split(" (os error").next().unwrap_or_default();
                self.left_out.push(format!("{what}: {why}"));
                Ok(())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// An error once the demo was interrupted.
    pub(super) fn go_on(&self) -> io::Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::from(io::ErrorKind::Interrupted)),
            false => Ok(()),
        }
    }

    /// Takes note of bytes written.
    pub(super) fn count(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The same as an attempt, of what the standard library does.
fn attempt(result: io::Result<()>) -> Attempt {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
