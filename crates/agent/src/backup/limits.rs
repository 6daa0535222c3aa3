//! Every size and bound of the backup side, in one place.
//!
//! The cut sizes and page sizes are no part of the format (a reader takes what it finds), but changing one makes the
//! next backup of every source store most of its data or nodes anew: that is what `CONTENT_RULES` counts.

/// Raised when cut points, inline rules or what an entry holds change, so that older caches are not used.
pub(crate) const CONTENT_RULES: u32 = 2;

/// No cut point is looked for before this many bytes of a chunk.
pub const CUT_BYTES_MIN: usize = 256 << 10;

/// What the cut points aim at.
pub const CUT_BYTES_AVERAGE: usize = 1 << 20;

/// A chunk is cut here at the latest.
pub const CUT_BYTES_MAX: usize = 4 << 20;

/// Large files and streams are read in buffers of this size. Twice the largest cut, so that the unfinished chunk at
/// a buffer's end always fits into the next one with room to spare.
pub(crate) const BUFFER_BYTES: usize = 2 * CUT_BYTES_MAX;

/// Files up to this size are read whole, many in one step; larger ones go through buffers of `BUFFER_BYTES`.
pub const WHOLE_FILE_BYTES_MAX: u64 = 4 << 20;

/// A region of a page source, bytes; the last one of a file may be shorter. A chunk of its own at first, and again when it is too
/// scattered.
pub const REGION_BYTES: usize = 1 << 20;

/// Holes are looked for in files of at least this size; below it a file is one chunk, zeros and all.
pub(crate) const SPARSE_FILE_BYTES_MIN: u64 = 64 << 10;

/// Bytes of file content in memory at once, read and not yet taken by the sink: a buffer for each core, within bounds. One for each
/// of two cores keeps both busy as well as three do.
pub(crate) fn in_flight_bytes_max(cores: usize) -> usize {
    cores.clamp(2, 4) * BUFFER_BYTES
}

/// Empty read buffers that are kept for the next large file.
pub(crate) const SPARE_BUFFERS_MAX: usize = 2;

/// A file that gives more bytes than its size says (as those of `/proc` do) is read up to this many.
pub(crate) const UNSIZED_BYTES_MAX: u64 = 1 << 30;

/// … in reads of this size: the kernel makes such files up in memory and refuses to make much at once.
pub(crate) const UNSIZED_READ_BYTES: usize = 64 << 10;

/// A file that changed while it was read is read again, once, if it is not larger than this. A larger one is written
/// all the time (a database, a disk image): reading it twice would double the backup and most likely end the same.
pub(crate) const READ_AGAIN_BYTES_MAX: u64 = 1 << 30;

/// One entry's extended attributes, names and values, may take this many bytes.
pub(crate) const XATTR_BYTES_MAX: usize = 1 << 20;

/// One read group: at most this many files, …
pub(crate) const GROUP_FILES_MAX: usize = 128;

/// … this many bytes (a larger file is a group of its own), …
pub(crate) const GROUP_BYTES_MAX: u64 = 4 << 20;

/// … this many entries of any kind, …
pub(crate) const GROUP_ITEMS_MAX: usize = 512;

/// … from this many folders, each of which is held open until the group has been read.
pub(crate) const GROUP_FOLDERS_MAX: usize = 16;

/// Folders that all groups being read may hold open together, so that 1024 descriptors are enough on many cores.
pub(crate) const GROUPS_FOLDERS_MAX: usize = 256;

/// Groups that may be read ahead of the first one that is not finished. Times [`GROUP_ITEMS_MAX`] entries of some
/// 400 bytes each, this bounds what one huge file in front of many small ones makes us hold.
pub(crate) const GROUPS_AHEAD_MAX: usize = 64;

/// The walk hands on its steps in batches of at most this many, …
pub(crate) const WALK_BATCH_STEPS: usize = 256;

/// … from at most this many folders, since each is held open.
pub(crate) const WALK_BATCH_FOLDERS: usize = 32;

/// Ancestors that the walk keeps open. Those further up are opened again on the way back, and checked to be the same.
pub(crate) const OPEN_FOLDERS_MAX: usize = 64;

/// A directory with no more entries than this is one page.
pub(crate) const PAGE_ENTRIES_AIM: usize = 512;

/// A directory page is cut here at the latest.
pub(crate) const PAGE_ENTRIES_MAX: usize = 4096;

/// A directory page is cut when its entries take about this many bytes.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;

/// Pieces of a page of extents, on average beyond [`EXTENTS_MIN`]; see `extents.rs` for why.
pub(crate) const EXTENTS_AIM: usize = 256;

/// No page of extents but the last has fewer pieces.
pub(crate) const EXTENTS_MIN: usize = 32;

/// Children of an index node, on average beyond [`INDEX_CHILDREN_MIN`].
pub(crate) const INDEX_CHILDREN_AIM: usize = 256;

/// No index node but the last of its level has fewer children.
pub(crate) const INDEX_CHILDREN_MIN: usize = 16;

/// An index node is cut here at the latest.
pub(crate) const INDEX_CHILDREN_MAX: usize = 4096;

/// Problems that are kept with their path and reason; beyond, they are counted only.
pub(crate) const PROBLEMS_KEPT_MAX: usize = 2000;

/// Bytes that kept problems may take: they stand in the snapshot's root, which is one chunk.
pub(crate) const PROBLEMS_BYTES_MAX: usize = 1 << 20;

/// Inodes with several names whose content is remembered, so that the other names are not read again.
pub(crate) const HARD_LINKS_KEPT_MAX: usize = 1 << 16;

/// Records of the cache that are asked about at once.
pub(crate) const CACHE_ASK_RECORDS: usize = 4096;

/// The cache is written and checked in blocks of about this size.
pub(crate) const CACHE_BLOCK_BYTES: usize = 128 << 10;

/// A file is trusted next time only if its times lie at least this long before the run began: the coarsest clock of
/// a file system that we know (FAT: 2 s).
pub(crate) const RACY_NANOS: i128 = 2_000_000_000;

/// Bytes of a command's standard error that are kept for the message when it fails.
pub(crate) const STDERR_KEPT_BYTES: usize = 4 << 10;

/// A command that is stopped gets this long between the polite signal and the other.
pub(crate) const COMMAND_GRACE_SECONDS: u64 = 2;
