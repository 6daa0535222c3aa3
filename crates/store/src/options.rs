//! How a site is opened and spoken to; the defaults suit production.

use std::path::PathBuf;
use std::time::Duration;

/// How a site is opened and spoken to. All but `create` concern sites at object stores only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteOptions {
    /// Whether opening a `file:` site for writing makes a new one of a folder that is absent or empty. Off for a site that
    /// held something before: its disk is likely not mounted.
    pub create: bool,
    /// The file that `profile=` in a URL refers to. None: `$AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer to a request without a body, and longest pause within an answer. A request that
    /// carries a body may take a second longer for every [`SiteOptions::slow_bytes_per_second`] of it.
    pub answer_timeout: Duration,
    /// The slowest upload, per connection, that is not taken for a stall.
    pub slow_bytes_per_second: u64,
    /// Requests that are under way at once, where the site's URL does not say. Packs hold three quarters of them at most.
    pub requests_max: usize,
    /// How often one request is sent again after a server error or a connection that could not be made. All requests of
    /// a site share a budget besides: in ten seconds, half as many are sent again as there were, and ten each second.
    pub retries_max: usize,
    /// No request is sent again after this long.
    pub retry_timeout: Duration,
    /// Packs above this size are uploaded to S3 in parts of this size; at least 5 MiB, by S3's rules.
    pub part_bytes: u64,
    /// Parts of one pack that are under way at once.
    pub parts_in_flight: usize,
    /// Names per page of a listing. None: as many as the server gives.
    pub page_names_max: Option<usize>,
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            create: true,
            credentials_file: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            slow_bytes_per_second: 64 << 10,
            requests_max: 64,
            retries_max: 4,
            retry_timeout: Duration::from_secs(60),
            part_bytes: 8 << 20,
            parts_in_flight: 4,
            page_names_max: None,
        }
    }
}
