//! The folder of page maps: one file for each page source's file, under a name that is never used again.
//!
//! The record of the cache names the map of its file. So a new map takes its place with the new cache, in one step, after the
//! commit; then what the cache does not name goes. Blocking.
//!
//! State: the names of what this run has made, which go if its snapshot is not committed.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use holdfast_context::Context;
use holdfast_format::ScopeKeys;
use minicbor::{Decode, Encode};

use super::map::{MapKey, MapReader, MapWriter};

/// A map's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(transparent)]
pub(crate) struct MapName(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) [u8; 16],
);

impl MapName {
    fn file(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// See the module header.
#[derive(Debug)]
pub(crate) struct PageMaps {
    folder: PathBuf,
    key: MapKey,
    context: Context,
    made: Mutex<Vec<MapName>>,
    /// What lay there when this run took its turn: what it may remove. Another run may begin while this one ends.
    found: Mutex<HashSet<String>>,
}

impl PageMaps {
    /// The maps beside a cache.
    pub(crate) fn beside(cache: &Path, keys: &ScopeKeys, context: &Context) -> Self {
        let mut folder = cache.as_os_str().to_owned();
        folder.push(".pages");
        Self {
            folder: folder.into(),
            key: MapKey(keys.page_map_key()),
            context: context.clone(),
            made: Mutex::default(),
            found: Mutex::default(),
        }
    }

    /// Begins a map, for its owner's eyes only.
    pub(crate) fn create(&self, page_bytes: usize) -> io::Result<(MapName, MapWriter)> {
        std::fs::create_dir_all(&self.folder)?;
        let name = MapName(self.context.random());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join(name.file()))?;
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(name);
        let writer = MapWriter::begin(file, self.key, self.context.random(), page_bytes)?;
        Ok((name, writer))
    }

    /// Opens a map; none if there is none that can be used.
    pub(crate) fn open(&self, name: MapName, page_bytes: usize) -> Option<MapReader> {
        let path = self.folder.join(name.file());
        let opened = match File::open(&path) {
            Ok(file) => MapReader::open(file, self.key, page_bytes).map_err(|why| why.to_string()),
            Err(error) => Err(error.to_string()),
        };
        opened
            .map_err(|why| {
                tracing::warn!(map = %path.display(), why, "a page map is not used; its file is read as if for the first time");
            })
            .ok()
    }

    /// Notes which maps there are. Whoever calls it is the only run that writes maps.
    pub(crate) fn take_turn(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        let names = entries
            .flatten()
            .filter_map(|one| one.file_name().into_string().ok());
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(names.filter(|name| name.len() == 32));
    }

    /// Removes all maps that there were, and those of this run, but these. What fails is left for the next time.
    pub(crate) fn keep_only(&self, kept: &HashSet<MapName>) {
        let kept: HashSet<String> = kept.iter().map(|name| name.file()).collect();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        found.extend(made.iter().map(|name| name.file()));
        for name in found.drain().filter(|name| !kept.contains(name)) {
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }

    /// Removes what this run has made.
    pub(crate) fn discard(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for name in made.drain(..) {
            let _ = std::fs::remove_file(self.folder.join(name.file()));
        }
    }
}
