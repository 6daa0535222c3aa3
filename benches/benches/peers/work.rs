//! The folders of one tool in one round: gone when this is dropped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holdfast_tests::Ground;
use rustix::fs::{Advice, fadvise, syncfs};
use tokio::time::Instant;

use crate::sets::Set;
use crate::settings::Settings;

/// See the module header.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) ground: Ground,
    /// Where the peers' programs are.
    pub(crate) peers: PathBuf,
    pub(crate) source: String,
    pub(crate) repository: String,
    /// Whether the source is an image of a disk, and a tool that asks is told so.
    pub(crate) is_image: bool,
    /// Where restores go.
    pub(crate) target: String,
    /// Keys and caches.
    pub(crate) home: String,
}

impl Work {
    pub(crate) fn new(settings: &Settings, set: &Set) -> Self {
        let ground = Ground::new();
        ground.folder("target");
        Self {
            peers: settings.peers.clone(),
            source: set.source.to_str().unwrap().to_owned(),
            repository: ground.text("repository"),
            is_image: set.letter == 'D',
            target: ground.text("target"),
            home: ground.text("home"),
            ground,
        }
    }

    /// What commands have said.
    pub(crate) fn log(&self) -> PathBuf {
        self.ground.at("commands.log")
    }

    /// Seconds until nothing that was written waits for the disk.
    pub(crate) fn sync(&self) -> f64 {
        let folder = fs::File::open(&self.target).unwrap();
        let began = Instant::now();
        syncfs(folder).unwrap();
        began.elapsed().as_secs_f64()
    }
}

/// What a folder takes on the disk, as `du` counts.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    let facts = fs::symlink_metadata(path).unwrap();
    let below: u64 = match facts.is_dir() {
        true => fs::read_dir(path)
            .unwrap()
            .map(|entry| disk_bytes(&entry.unwrap().path()))
            .sum(),
        false => 0,
    };
    facts.blocks() * 512 + below
}

/// Has the page cache let go of a repository that was synced: whoever restores or checks after a loss reads it from the disk. What a
/// tool writes past the cache would be read from the disk otherwise, and what another writes through it from memory.
pub(crate) fn cool(path: &Path) {
    let facts = fs::symlink_metadata(path).unwrap();
    if facts.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            cool(&entry.unwrap().path());
        }
    } else if facts.is_file() {
        fadvise(fs::File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
}
