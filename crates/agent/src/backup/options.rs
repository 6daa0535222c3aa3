//! What to back up, and what came of it.

use std::path::PathBuf;

use holdfast_format::ChunkId;
use holdfast_format::tree::Problem;

use super::cache::{CacheOptions, PendingCache};
use super::exclude::Excludes;

/// How to back up file trees.
#[derive(Debug, Clone, Default)]
pub struct FilesOptions {
    /// What to back up: files, folders, anything. Relative ones are relative to the current folder. They are made
    /// absolute without resolving symlinks; one that is a symlink is backed up as a symlink.
    pub paths: Vec<PathBuf>,
    /// What to leave out.
    pub excludes: Excludes,
    /// Leave out what lies in folders that hold a `CACHEDIR.TAG`; the folder and the tag stay.
    pub exclude_caches: bool,
    /// Don't enter folders of other file systems than that of the given path above them; they stay as empty folders.
    /// (A btrfs subvolume is a file system of its own.)
    pub one_file_system: bool,
    /// The machine's name, as the snapshot says it. See [`super::host_name`].
    pub host: String,
    /// Take files of more than 4 MiB as made of pages of so many bytes, a power of two from 4 KiB to 64 KiB; PostgreSQL's and InnoDB's files are recognised
    /// without.
    pub page_bytes: Option<usize>,
    /// Where to remember unchanged files; `None` reads every file.
    pub cache: Option<CacheOptions>,
}

/// How to back up a stream as one file.
#[derive(Debug, Clone, Default)]
pub struct StreamOptions {
    /// The file's path in the snapshot; may have folders: `db/dump.sql`.
    pub filename: String,
    /// The machine's name, as the snapshot says it. See [`super::host_name`].
    pub host: String,
}

/// A backup whose chunks are all put. It becomes a snapshot by the session's commit.
#[derive(Debug)]
#[must_use = "commit its root, and finish its cache"]
pub struct BackupResult {
    /// The snapshot's root node.
    pub root: ChunkId,
    /// The top directory's node: two backups of the same tree have the same.
    pub top: ChunkId,
    /// Regular files in the snapshot; each name of a hard link counts.
    pub files: u64,
    /// Of these, files that were not read because they are unchanged.
    pub unchanged_files: u64,
    /// Directories in the snapshot.
    pub directories: u64,
    /// Bytes read from the source; what was read twice counts twice.
    pub bytes_read: u64,
    /// The sizes of all files in the snapshot together.
    pub bytes_logical: u64,
    /// How many paths could not be backed up as they should have been.
    pub problems_count: u64,
    /// The first thousands of these.
    pub problems: Vec<Problem>,
    /// Paths that vanished between being listed and being read. No problem, but worth a figure.
    pub vanished: u64,
    /// Must be told whether the snapshot was committed.
    pub cache: PendingCache,
}
