//! What a site was asked to do: requests and bytes, for metrics and for tests that assert what an operation costs.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what went to one site since it was opened, retries included.
///
/// At object stores these are HTTP requests; for `file:` and `memory:` they are operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that wrote: creates, parts of packs, and what begins and ends a pack in parts.
    pub puts: u64,
    /// Requests that read an object, whole or in part.
    pub gets: u64,
    /// Requests for an object's size and time.
    pub heads: u64,
    /// Requests for one page of names.
    pub lists: u64,
    /// Requests that deleted.
    pub deletes: u64,
    /// Bytes of objects sent.
    pub bytes_written: u64,
    /// Bytes of objects received.
    pub bytes_read: u64,
    /// Requests that got no useful answer: broken connections, time-outs, server errors, refusals.
    pub failures: u64,
    /// Of all requests, those that were sent again after a failure.
    pub retries: u64,
}

impl Counters {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.puts + self.gets + self.heads + self.lists + self.deletes
    }

    /// What was added since `before`, an earlier snapshot of the same site.
    pub fn since(&self, before: &Counters) -> Counters {
        Counters {
            puts: self.puts - before.puts,
            gets: self.gets - before.gets,
            heads: self.heads - before.heads,
            lists: self.lists - before.lists,
            deletes: self.deletes - before.deletes,
            bytes_written: self.bytes_written - before.bytes_written,
            bytes_read: self.bytes_read - before.bytes_read,
            failures: self.failures - before.failures,
            retries: self.retries - before.retries,
        }
    }
}

/// The kinds of requests that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Put,
    Get,
    Head,
    List,
    Delete,
}

/// The running counts behind a site.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    puts: AtomicU64,
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    bytes_written: AtomicU64,
    bytes_read: AtomicU64,
    failures: AtomicU64,
    retries: AtomicU64,
}

impl Tally {
    pub(crate) fn request(&self, request: Request) {
        let count = match request {
            Request::Put => &self.puts,
            Request::Get => &self.gets,
            Request::Head => &self.heads,
            Request::List => &self.lists,
            Request::Delete => &self.deletes,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Counters {
        Counters {
            puts: self.puts.load(Ordering::Relaxed),
            gets: self.gets.load(Ordering::Relaxed),
            heads: self.heads.load(Ordering::Relaxed),
            lists: self.lists.load(Ordering::Relaxed),
            deletes: self.deletes.load(Ordering::Relaxed),
            bytes_written: self.bytes_written.load(Ordering::Relaxed),
            bytes_read: self.bytes_read.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}
