//! How a session is to be.

use std::time::Duration;

use holdfast_format::{SourceName, Suite};

/// What the caller of a session chooses.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The source that is backed up.
    pub source: SourceName,
    /// Tags of the snapshot; they stand in clear.
    pub tags: Vec<String>,
    /// Sealed bytes a second that may leave; none for no limit.
    pub rate_bytes_per_second: Option<u64>,
    /// The most bytes of frames that are kept for sending again, if the coordinator allows that many.
    pub window_bytes_max: usize,
    /// How long a broken connection is tried again.
    pub outage_max: Duration,
    /// Compression level.
    pub zstd_level: i32,
    /// What its data key seals with.
    pub suite: Suite,
    /// How many frames are sealed at once.
    pub sealers: usize,
}

impl SessionOptions {
    /// The usual options for a source: no limit of the rate, all cores, a window of 80 MiB, a quarter of an hour for
    /// a coordinator to come back.
    pub fn new(source: SourceName) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            source,
            tags: Vec::new(),
            rate_bytes_per_second: None,
            window_bytes_max: 80 << 20,
            outage_max: Duration::from_secs(900),
            zstd_level: 1,
            suite: Suite::fastest(),
            sealers: cores,
        }
    }
}
