//! The two sites of the demo, seen from outside: the files that lie in their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The site that is destroyed, and comes back.
pub(super) const ONSITE: &str = "onsite";

/// The site that is left.
pub(super) const OFFSITE: &str = "offsite";

/// Below a site's disk: the folder that its URL names. A disk that is gone takes it along.
const STORE: &str = "store";

/// What stands for the disk of a site, in the demo's folder.
pub(super) fn disk(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

/// A site's URL.
pub(super) fn url(folder: &Path, name: &str) -> String {
    format!("file:{}", disk(folder, name).join(STORE).display())
}

/// What lies at a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Packs, by their names below the site, with their sizes.
    pub(super) packs: BTreeMap<PathBuf, u64>,
}

impl Stored {
    /// Looks at a site's folder. One that is not there holds nothing.
    pub(super) fn look(folder: &Path, name: &str) -> io::Result<Self> {
        let mut stored = Self::default();
        let disk = disk(folder, name);
        stored.add(&disk, &disk)?;
        Ok(stored)
    }

    fn add(&mut self, top: &Path, folder: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // The coordinator goes on working there: what it has just taken away is not there.
            let facts = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if facts.is_dir() {
                self.add(top, &path)?;
                continue;
            }
            self.bytes += facts.len();
            let below = path.strip_prefix(top).unwrap_or(&path);
            if below.components().any(|part| part.as_os_str() == "packs") {
                self.packs.insert(below.to_owned(), facts.len());
            }
        }
        Ok(())
    }

    /// Bytes of its packs.
    pub(super) fn pack_bytes(&self) -> u64 {
        self.packs.values().sum()
    }

    /// Packs that were there `before` and are not now.
    pub(super) fn gone_since(&self, before: &Self) -> BTreeSet<PathBuf> {
        let gone = before
            .packs
            .keys()
            .filter(|pack| !self.packs.contains_key(*pack));
        gone.cloned().collect()
    }
}
