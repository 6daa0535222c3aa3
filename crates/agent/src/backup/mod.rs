//! Reading sources into chunks and nodes, put into a [`crate::ChunkSink`] children first.
//!
//! [`backup_files`] takes file trees, [`backup_stdin`] a stream, [`backup_command`] what a command writes. Each ends
//! with the snapshot's root node put; the caller commits it, and tells the cache of unchanged files about that.
//!
//! | part | does |
//! |---|---|
//! | `paths`, `exclude`, `folder`, `walk` | what there is, in order |
//! | `read`, `taking` | regular files into chunks, many at once |
//! | `buffer`, `cutter`, `chunker`, `pipeline` | cutting, naming, bytes in flight |
//! | `content`, `extents`, `index`, `tree` | nodes; pure |
//! | `dispatch`, `gathering`, `files` | all of it together, in the walk's order |
//! | `cache`, `cached` | files that need not be read again |
//! | `pages` | files of pages, of which only what changed is stored |
//! | `stream`, `command` | one file from a pipe |

mod buffer;
mod cache;
mod cached;
mod chunker;
mod command;
mod content;
mod counting;
mod cutter;
mod dispatch;
mod exclude;
mod extents;
mod files;
mod folder;
mod gathering;
mod index;
pub mod limits;
mod metadata;
mod options;
mod owners;
mod pages;
mod paths;
mod pipeline;
mod problems;
mod progress;
mod read;
mod root;
mod stream;
mod taking;
mod tree;
mod turns;
mod walk;
mod xattrs;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use cache::{CacheOptions, PendingCache};
pub use command::{CommandOptions, OnStderr};
pub use counting::{CountingSink, Counts};
pub use cutter::Cutter;
pub use exclude::{Excludes, ExcludesBuilder};
pub use files::backup_files;
pub use options::{BackupResult, FilesOptions, StreamOptions};
pub use progress::{Progress, ProgressSnapshot};
pub use stream::{backup_command, backup_stdin, standard_input};

/// This machine's name, for [`FilesOptions::host`]; `unknown` where the system does not say.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    match name.trim() {
        "" => "unknown".into(),
        name => name.into(),
    }
}
