//! Read-only bytes of a segment: mapped from a local file, or held in memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use bytes::Bytes;

use crate::error::Result;

/// Bytes that do not change while they are read.
pub enum SegmentBytes {
    /// Mapped from the coordinator's cache of segments.
    Mapped(memmap2::Mmap),
    /// In memory: rescue, tests.
    Held(Bytes),
}

impl SegmentBytes {
    /// Maps a file of the segment cache, which is not written any more.
    #[expect(
        unsafe_code,
        reason = "a mapped file is undefined behaviour only if it changes; files of the segment cache are named by \
                  their hash, checked when opened, written under another name, renamed and never written again"
    )]
    pub fn map_file(file: &File) -> Result<Self> {
        // SAFETY: see the reason above.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self::Mapped(map))
    }

    /// Maps a file of the segment cache by its path.
    pub fn map(path: &Path) -> Result<Self> {
        Self::map_file(&File::open(path)?)
    }
}

impl Deref for SegmentBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for SegmentBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentBytes({} bytes)", self.len())
    }
}
