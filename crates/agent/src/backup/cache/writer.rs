//! Writes the next cache beside the present one, and puts it in its place after the commit. Blocking.
//!
//! State: the open block, slots to be written, two files. A lock on the new file keeps a second run of the same
//! source from writing into it; that run then writes none. Whatever fails here costs the next run time, nothing else.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_format::ChunkId;
use minicbor::Encode;
use rustix::fs::{FlockOperation, flock};

use super::format::{
    BLOCK_HEAD, CHECKED_HEAD, CachedFile, Identity, MARK, SLOTS_PER_BLOCK, StoredRecord, Trailer,
    checked_head, checksum,
};
use crate::backup::limits::CACHE_BLOCK_BYTES;
use crate::backup::pages::maps::{MapName, PageMaps};

/// A cache being written.
#[derive(Debug)]
pub(crate) struct CacheWriter {
    file: File,
    pending: PendingCache,
    nonce: [u8; 16],
    /// Where the next block goes.
    place: u64,
    /// The open block's payload.
    block: Vec<u8>,
    /// The key of the block's last record.
    last_key: Vec<u8>,
    /// Slots in the order of directories; a file without a name.
    slots: File,
    slots_waiting: Vec<(u64, ChunkId)>,
    directories: u64,
}

impl CacheWriter {
    /// Starts one; `None` when another run is writing it.
    pub(crate) fn create(
        path: &Path,
        identity: &Identity,
        nonce: [u8; 16],
        maps: Arc<PageMaps>,
    ) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let new = with_suffix(path, ".new");
        let file = open_new(&new)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // Another run may have put the file in place between our opening and locking it.
        let (ours, named) = (file.metadata()?, std::fs::metadata(&new)?);
        if (ours.dev(), ours.ino()) != (named.dev(), named.ino()) {
            return Ok(None);
        }
        maps.take_turn();
        let slots_path = with_suffix(path, ".slots");
        let slots = open_new(&slots_path)?;
        std::fs::remove_file(&slots_path)?;
        slots.set_len(0)?;
        file.set_len(0)?;
        file.write_all_at(&[MARK, nonce].concat(), 0)?;
        let mut writer = Self {
            pending: PendingCache {
                written: Some(Written {
                    lock: file.try_clone()?,
                    new,
                    place: path.to_owned(),
                    maps,
                    named: HashSet::new(),
                }),
            },
            file,
            nonce,
            place: 32,
            block: Vec::new(),
            last_key: Vec::new(),
            slots,
            slots_waiting: Vec::new(),
            directories: 0,
        };
        writer.write_payload(identity)?;
        Ok(Some(writer))
    }

    /// Adds a directory; gives its slot.
    pub(crate) fn add_directory(&mut self, key: &[u8]) -> u64 {
        self.add(key, None);
        self.directories += 1;
        self.directories - 1
    }

    /// Sets a directory's top node.
    pub(crate) fn set_slot(&mut self, slot: u64, id: ChunkId) {
        self.slots_waiting.push((slot, id));
    }

    /// Adds a file.
    pub(crate) fn add_file(&mut self, key: &[u8], file: CachedFile) {
        if let Some(written) = &mut self.pending.written {
            written.named.extend(file.pages);
        }
        self.add(key, Some(file));
    }

    /// Whether [`Self::flush`] is due.
    pub(crate) fn is_full(&self) -> bool {
        self.block.len() >= CACHE_BLOCK_BYTES || self.slots_waiting.len() >= SLOTS_PER_BLOCK
    }

    /// Writes what waits.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            let block = std::mem::take(&mut self.block);
            self.write_block(&block)?;
            self.last_key.clear();
        }
        for (slot, id) in self.slots_waiting.drain(..) {
            self.slots.write_all_at(&id.0, slot * ChunkId::LEN as u64)?;
        }
        Ok(())
    }

    /// Completes it, to be put in place once the snapshot is committed.
    pub(crate) fn finish(
        mut self,
        top: ChunkId,
        files: u64,
        bytes: u64,
    ) -> io::Result<PendingCache> {
        self.flush()?;
        let slots_at = self.place;
        let all = self.directories * ChunkId::LEN as u64;
        // A directory without entries, last of all, leaves its slot unwritten.
        self.slots.set_len(all)?;
        let mut from = 0;
        while from < all {
            let mut block =
                vec![0; (all - from).min((SLOTS_PER_BLOCK * ChunkId::LEN) as u64) as usize];
            self.slots.read_exact_at(&mut block, from)?;
            self.write_block(&block)?;
            from += block.len() as u64;
        }
        let trailer_at = self.place;
        self.write_payload(&Trailer {
            slots_at,
            directories: self.directories,
            files,
            bytes,
            top,
        })?;
        self.file
            .write_all_at(&trailer_at.to_le_bytes(), self.place)?;
        Ok(self.pending)
    }

    fn add(&mut self, key: &[u8], file: Option<CachedFile>) {
        let shared = key
            .iter()
            .zip(&self.last_key)
            .take_while(|(a, b)| a == b)
            .count();
        let record = StoredRecord {
            shared: shared as u32,
            rest: key[shared..].to_vec(),
            file,
        };
        if let Err(error) = minicbor::encode(&record, &mut self.block) {
            unreachable!("writing to a vector does not fail: {error}");
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
    }

    fn write_payload<T: Encode<()>>(&mut self, payload: &T) -> io::Result<()> {
        let payload = minicbor::to_vec(payload).map_err(io::Error::other)?;
        self.write_block(&payload)
    }

    fn write_block(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut checked = checked_head(&self.nonce, self.place);
        checked.extend_from_slice(payload);
        let hash = checksum(&checked);
        let mut bytes = Vec::with_capacity(BLOCK_HEAD + payload.len());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(hash.as_bytes());
        bytes.extend_from_slice(&checked[CHECKED_HEAD..]);
        self.file.write_all_at(&bytes, self.place)?;
        self.place += bytes.len() as u64;
        Ok(())
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A cache that waits for its snapshot's commit.
#[derive(Debug, Default)]
#[must_use = "call finish once it is known whether the snapshot was committed"]
pub struct PendingCache {
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    /// Holds the lock.
    #[expect(dead_code, reason = "it is held, not used")]
    lock: File,
    new: PathBuf,
    place: PathBuf,
    maps: Arc<PageMaps>,
    /// The page maps that it names.
    named: HashSet<MapName>,
}

impl PendingCache {
    /// Puts the cache in place if the snapshot was committed, else throws it away; the one before stays. Two system
    /// calls; failures are logged, since they cost the next run time and nothing else.
    pub fn finish(mut self, committed: bool) {
        let Some(written) = self.written.take() else {
            return;
        };
        let result = if committed {
            // ORDER: only after the commit. A cache of a snapshot that was not committed would name chunks that
            // nothing holds, under a top node whose being known says nothing about them.
            std::fs::rename(&written.new, &written.place)
                // ORDER: the maps that the last cache names go after it.
                .map(|()| written.maps.keep_only(&written.named))
        } else {
            written.maps.discard();
            std::fs::remove_file(&written.new)
        };
        if let Err(error) = result {
            tracing::warn!(file = %written.new.display(), %error, "the next backup reads every file: its cache could not be kept");
        }
    }
}

impl Drop for PendingCache {
    fn drop(&mut self) {
        if let Some(written) = self.written.take() {
            // Best effort: a leftover is written over, and maps without a name removed, by the next run.
            written.maps.discard();
            let _ = std::fs::remove_file(&written.new);
        }
    }
}
