//! Checkpoints: saving a fold to a site and loading it back.
//!
//! A checkpoint is trusted only once the chain behind it names its hash: loading gives a candidate that the caller folds
//! on, and [`Made::counts`] says whether the record that makes it count was met.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::checkpoint::{Manifest, SegmentKind, SegmentRef, open_segment, seal_segment};
use holdfast_format::fact::CheckpointMade;
use holdfast_format::{Hash, ObjectName, Position, Sealed, VaultHeader};
use holdfast_store::{Opened, SiteReader};
use minicbor::{Decode, Encode};
use roaring::RoaringTreemap;

use crate::error::{Error, Result};
use crate::fold::{Catalog, State};
use crate::index::{Index, MEMORY_CHUNKS_MAX, Segment, SegmentBytes};
use crate::log::chain::Chain;
use crate::log::writer::put_same;

/// More small segments than this at the end of the index are merged into one.
const SEGMENTS_PER_TIER: usize = 8;

/// Segments are merged up to this many chunks: 240 MB, which a site takes, and gives, in one piece.
const MERGED_CHUNKS_MAX: u64 = 1 << 22;

/// Bytes of a segment's file that are written at once.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// Where index segments are kept on this machine: in a folder, which is a cache, or in memory.
#[derive(Debug, Clone)]
pub enum SegmentCache {
    /// Files named by their hash.
    Folder {
        /// The folder; made when it is needed.
        path: PathBuf,
        /// Where the work of sorting and writing them is done: beside what must not wait for it.
        context: Context,
    },
    /// Nothing on disk: rescue, tests.
    Memory,
}

impl SegmentCache {
    /// Keeps a segment's bytes and opens it.
    pub fn keep(&self, object: &Sealed) -> Result<Arc<Segment>> {
        let bytes = object.to_bytes();
        let segment = match self {
            Self::Memory => Segment::open(SegmentBytes::Held(bytes))?,
            Self::Folder { path: folder, .. } => {
                let path = folder.join(Hash::of(&bytes).to_string());
                // What a crash left under this name may be torn: it is compared, not trusted.
                match SegmentBytes::map(&path) {
                    Ok(there) if there[..] == bytes[..] => Segment::open(there)?,
                    _ => Segment::open(written(folder, &path, &bytes)?)?,
                }
            }
        };
        Ok(Arc::new(segment))
    }

    /// Keeps a segment that is written piece by piece, and opens it.
    fn keep_written(
        &self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<Arc<Segment>> {
        let Self::Folder { path: folder, .. } = self else {
            let mut bytes = Vec::new();
            write(&mut bytes)?;
            return Ok(Arc::new(Segment::open(SegmentBytes::Held(bytes.into()))?));
        };
        std::fs::create_dir_all(folder)?;
        let mut staging = tempfile::NamedTempFile::new_in(folder)?;
        let mut out = std::io::BufWriter::with_capacity(WRITTEN_AT_ONCE, &mut staging);
        write(&mut out)?;
        out.flush()?;
        drop(out);
        let segment = Segment::open(SegmentBytes::map_file(staging.as_file())?)?;
        named(staging, &folder.join(segment.hash().to_string()));
        Ok(Arc::new(segment))
    }

    /// Drops the files of segments that an index no longer has. Those who still read one keep it until they are done.
    pub fn prune(&self, index: &Index) -> Result<()> {
        let Self::Folder { path: folder, .. } = self else {
            return Ok(());
        };
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Ok(());
        };
        let kept: Vec<String> = (index.segments().iter())
            .map(|segment| segment.hash().to_string())
            .collect();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !kept.contains(&name) {
                match std::fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Drops the files of segments that were merged into another.
    fn drop_files(&self, parts: &[Arc<Segment>]) {
        if let Self::Folder { path, .. } = self {
            for part in parts {
                let _ = std::fs::remove_file(path.join(part.hash().to_string()));
            }
        }
    }

    /// A segment that is here already and whole.
    fn find(&self, reference: &SegmentRef) -> Option<Arc<Segment>> {
        let Self::Folder { path: folder, .. } = self else {
            return None;
        };
        let path = folder.join(reference.hash.to_string());
        let bytes = SegmentBytes::map(&path).ok()?;
        if open_segment(reference, &bytes).is_err() {
            // A cache: what is damaged is fetched again.
            let _ = std::fs::remove_file(&path);
            return None;
        }
        Segment::open(bytes).ok().map(Arc::new)
    }
}

/// Writes a segment's file, and maps what was written.
///
/// ORDER: mapped by the handle that wrote it, before it has its name. Another fold of the vault may drop the file at any moment, since its own
/// index lacks it: whoever has it mapped reads on.
fn written(folder: &Path, path: &Path, bytes: &[u8]) -> Result<SegmentBytes> {
    std::fs::create_dir_all(folder)?;
    // Gone with this if it does not get its name: what a full disk leaves of it would be in the way.
    let mut staging = tempfile::NamedTempFile::new_in(folder)?;
    staging.write_all(bytes)?;
    let mapped = SegmentBytes::map_file(staging.as_file())?;
    named(staging, path);
    Ok(mapped)
}

/// Gives a file of the cache that is written and mapped its name.
fn named(staging: tempfile::NamedTempFile, path: &Path) {
    if let Err(error) = staging.persist(path) {
        // It is a cache, and this one is read as it is until it is dropped.
        tracing::debug!(%error, "an index segment was not kept");
    }
}

/// A segment's bytes as they lie in memory or on disk, not copied.
struct Whole(Arc<Segment>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct CatalogBody {
    #[n(0)]
    chain: Chain,
    #[n(1)]
    catalog: Catalog,
}

/// Moves what the index holds in memory into segments, merging small ones; it answers as before.
pub fn settle(index: &mut Index, cache: &SegmentCache) -> Result<()> {
    if index.has_unwritten() {
        let segment = cache.keep(&index.memory_segment())?;
        if !index.take_segment(segment) {
            return Err(Error::Bug(
                "the index changed while a segment was cut from it".into(),
            ));
        }
    }
    loop {
        // Merge the last run whose members together are no larger than eight times the newest: each chunk is
        // rewritten a logarithmic number of times.
        let segments = index.segments();
        let mut from = segments.len();
        let mut sum = 0;
        while let Some(before) = from.checked_sub(1).map(|at| segments[at].count())
            && (from == segments.len() || before <= sum.max(1) * 2)
            && sum + before <= MERGED_CHUNKS_MAX
        {
            from -= 1;
            sum += before;
        }
        if segments.len() - from < SEGMENTS_PER_TIER {
            return Ok(());
        }
        let run = from..segments.len();
        let merged = cache.keep_written(|out| index.merge(run.clone(), out))?;
        let parts = index.segments()[run.clone()].to_vec();
        index.take_merged(run, merged);
        // Whoever else has them reads on: they are mapped.
        cache.drop_files(&parts);
    }
}

/// [`settle`] for an index that grows while a log is folded, whenever it holds much in memory.
#[derive(Debug)]
pub struct Settling {
    /// So many in memory are too many.
    at: usize,
}

impl Default for Settling {
    fn default() -> Self {
        Self {
            at: MEMORY_CHUNKS_MAX,
        }
    }
}

impl Settling {
    /// Settles it if it has grown. Where segments cannot be kept it stays in memory, answers all the same, and is tried again when as
    /// many more have come.
    ///
    /// Whoever gives up waiting for it has lost the index, and must not use the fold any more.
    pub async fn settle(&mut self, index: &mut Index, cache: &SegmentCache) {
        if index.in_memory() < self.at {
            return;
        }
        let mut grown = std::mem::take(index);
        let to = cache.clone();
        let work = move || {
            let settled = settle(&mut grown, &to);
            (grown, settled)
        };
        let (grown, settled) = match cache {
            SegmentCache::Folder { context, .. } => context.run_blocking(work).await,
            SegmentCache::Memory => work(),
        };
        *index = grown;
        self.at = index.in_memory() + MEMORY_CHUNKS_MAX;
        if let Err(error) = settled {
            tracing::warn!(%error, "the index of a log that is being read stays in memory for now");
        }
    }
}

/// Writes a checkpoint of `state`, whose index holds nothing in memory (see [`settle`]). The fact that makes it count
/// is the caller's to append. Segments are shared with earlier checkpoints: one that lies there damaged is replaced if its
/// length shows it, and with `thorough` if its bytes do.
///
/// ORDER: segments before the manifest that names them, the manifest before the record that makes it count.
pub async fn save(state: &State, site: &Opened, thorough: bool) -> Result<CheckpointMade> {
    let covers = state
        .chain
        .head
        .ok_or_else(|| Error::Bug("there is nothing to save".into()))?;
    let vault = state.header.vault;
    let mut segments = Vec::new();
    for segment in state.index.segments() {
        let object = Sealed::copied(bytes::Bytes::from_owner(Whole(segment.clone())));
        let mut reference = put_segment(site, state, SegmentKind::Index, object, thorough).await?;
        reference.first = Some(segment.first());
        reference.count = Some(segment.count());
        segments.push(reference);
    }
    let mut absent = Vec::new();
    state.index.absent().serialize_into(&mut absent)?;
    let object = seal_segment(SegmentKind::Bitmap, &absent);
    let mut reference = put_segment(site, state, SegmentKind::Bitmap, object, thorough).await?;
    reference.name = Some("absent".into());
    segments.push(reference);
    let body = CatalogBody {
        chain: state.chain.clone(),
        catalog: state.catalog.clone(),
    };
    let object = seal_segment(SegmentKind::Catalog, &holdfast_format::codec::encode(&body));
    segments.push(put_segment(site, state, SegmentKind::Catalog, object, thorough).await?);
    let manifest = Manifest {
        vault,
        covers,
        record: state.chain.hash,
        state: state.hash,
        segments,
        next_ordinal: state.index.next(),
    };
    let object = manifest.seal();
    let hash = Hash::of(&object.to_bytes());
    let name = ObjectName::checkpoint(vault, covers);
    put_same(site.site.as_ref(), &name, &object).await?;
    Ok(CheckpointMade {
        covers,
        manifest: hash,
        state: state.hash,
    })
}

async fn put_segment(
    site: &Opened,
    state: &State,
    kind: SegmentKind,
    object: Sealed,
    thorough: bool,
) -> Result<SegmentRef> {
    let hash = Hash::of(&object.to_bytes());
    let name = ObjectName::segment(state.header.vault, hash);
    // Named by its hash: what is there was put by an earlier checkpoint.
    let is_right = match site.site.head(&name).await? {
        None => None,
        Some(info) if info.size != object.len() => Some(false),
        Some(_) if !thorough => Some(true),
        Some(_) => Some(site.site.get(&name).await? == Some(object.to_bytes())),
    };
    match is_right {
        Some(true) => {}
        Some(false) => {
            tracing::error!(site = %site.site.name(), %name, "a bad copy was found; it is replaced");
            site.sweeper.replace_damaged(&name, object.clone()).await?;
        }
        None => put_same(site.site.as_ref(), &name, &object).await?,
    }
    Ok(SegmentRef {
        kind,
        hash,
        len: object.len(),
        first: None,
        count: None,
        name: None,
    })
}

/// A checkpoint that was loaded and does not count yet.
#[derive(Debug)]
pub struct Loaded {
    /// The state there.
    pub state: State,
    /// What must be named for it to count.
    pub made: Made,
}

/// What names a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Made {
    covers: Position,
    manifest: Hash,
}

impl Made {
    /// Whether the chain behind it names it: call when the rest of the log was folded into `state`.
    pub fn counts(&self, state: &State) -> bool {
        state
            .catalog
            .checkpoints
            .iter()
            .any(|c| c.covers == self.covers && c.manifest == self.manifest)
    }
}

/// Loads the newest checkpoint at a site, or the `skip`-th older one. `None`: there is none. A checkpoint that does
/// not read is no error of the vault's: the caller takes an older one, or folds from the first record.
pub async fn load(
    header: &VaultHeader,
    site: &dyn SiteReader,
    cache: &SegmentCache,
    skip: usize,
) -> Result<Option<Loaded>> {
    let prefix = format!("{}checkpoints/", ObjectName::vault_prefix(header.vault));
    let listed = site.list(&prefix, None).await?;
    let Some(info) = listed.iter().rev().nth(skip) else {
        return Ok(None);
    };
    let covers = info
        .name
        .as_checkpoint(header.vault)
        .ok_or_else(|| Error::Corrupt(format!("{} is no checkpoint's name", info.name)))?;
    let gone = || {
        Error::Corrupt(format!(
            "checkpoint {covers} at site {} is not whole",
            site.name()
        ))
    };
    let object = site.get(&info.name).await?.ok_or_else(gone)?;
    let hash = Hash::of(&object);
    let manifest = Manifest::open(header.vault, covers, hash, &object)?;
    let mut segments = Vec::new();
    let mut absent = RoaringTreemap::new();
    let mut body: Option<CatalogBody> = None;
    for reference in &manifest.segments {
        if reference.kind == SegmentKind::Index
            && let Some(found) = cache.find(reference)
        {
            segments.push(found);
            continue;
        }
        let object = site
            .get(&ObjectName::segment(header.vault, reference.hash))
            .await?
            .ok_or_else(gone)?;
        let inside = open_segment(reference, &object)?;
        match reference.kind {
            SegmentKind::Index => segments.push(cache.keep(&Sealed::copied(object))?),
            SegmentKind::Bitmap => {
                absent = RoaringTreemap::deserialize_from(inside).map_err(|_| gone())?;
            }
            SegmentKind::Catalog => {
                body = Some(minicbor::decode(inside).map_err(|_| gone())?);
            }
        }
    }
    segments.sort_by_key(|segment| segment.first());
    let index = Index::open(segments, absent).ok_or_else(gone)?;
    let CatalogBody { chain, catalog } = body.ok_or_else(gone)?;
    if index.next() != manifest.next_ordinal
        || chain.hash != manifest.record
        || chain.head != Some(covers)
    {
        return Err(gone());
    }
    let state = State {
        header: header.clone(),
        chain,
        catalog,
        index,
        hash: manifest.state,
    };
    let made = Made {
        covers,
        manifest: hash,
    };
    Ok(Some(Loaded { state, made }))
}

#[cfg(test)]
mod tests {
    use holdfast_format::{ChunkId, PackOrdinal};

    use super::*;
    use crate::index::Entry;

    fn id(n: u64) -> ChunkId {
        ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
    }

    fn grown() -> Index {
        let mut index = Index::default();
        for n in 0..MEMORY_CHUNKS_MAX as u64 {
            let entry = Entry {
                pack: PackOrdinal(7),
                frame: n as u32,
                len: 5,
            };
            index.add(id(n), entry, Vec::new());
        }
        index
    }

    fn answers(index: &Index) -> bool {
        (0..MEMORY_CHUNKS_MAX as u64)
            .step_by(1009)
            .all(|n| index.find(&id(n)).map(|at| at.0).eq([n]))
    }

    #[tokio::test]
    async fn an_index_that_has_grown_is_moved_out_of_memory() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SegmentCache::Folder {
            path: folder.path().join("segments"),
            context: Context::system(),
        };
        for cache in [cache, SegmentCache::Memory] {
            let mut index = grown();
            let mut settling = Settling::default();
            settling.settle(&mut index, &cache).await;
            assert_eq!(index.in_memory(), 0);
            assert!(answers(&index));
            // What came since is little.
            index.add(
                id(0),
                index.entry(holdfast_format::Ordinal(1)).unwrap(),
                Vec::new(),
            );
            settling.settle(&mut index, &cache).await;
            assert_eq!(index.in_memory(), 1);
        }
    }

    #[tokio::test]
    async fn an_index_stays_where_it_cannot_be_moved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, "").unwrap();
        let cache = SegmentCache::Folder {
            path: file,
            context: Context::system(),
        };
        let mut index = grown();
        let mut settling = Settling::default();
        settling.settle(&mut index, &cache).await;
        assert_eq!(index.in_memory(), MEMORY_CHUNKS_MAX);
        assert!(answers(&index));
        // It is tried again, though not for each record.
        assert_eq!(settling.at, 2 * MEMORY_CHUNKS_MAX);
    }

    #[test]
    fn a_segment_outlives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SegmentCache::Folder {
            path: folder.path().to_owned(),
            context: Context::system(),
        };
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let entry = Entry {
            pack: PackOrdinal(7),
            frame: 1,
            len: 5,
        };
        let mut index = Index::default();
        for n in 0..u64::try_from(SEGMENTS_PER_TIER).unwrap() {
            index.add(id(n), entry, Vec::new());
            settle(&mut index, &cache).unwrap();
        }
        // Eight were merged into one, and theirs are gone.
        assert_eq!((index.segments().len(), files()), (1, 1));
        cache.prune(&Index::default()).unwrap();
        assert_eq!(files(), 0);
        assert!((0..8).all(|n| index.find(&id(n)).count() == 1));
        // What somebody else's fold left half-written is not in the way.
        let again = cache.keep(&Sealed::copied(bytes::Bytes::copy_from_slice(
            index.segments()[0].bytes(),
        )));
        assert_eq!((again.unwrap().count(), files()), (8, 1));
    }
}
