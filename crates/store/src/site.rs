//! What every site can do, whatever it is made of.
//!
//! Three traits, so that who may do what shows in the types: [`SiteReader`] for those who restore, verify and
//! rescue; [`Site`] for those who write; [`Sweeper`] for the collector alone.
//!
//! The contract that the vault's log stands on:
//!
//! - **Create-only.** [`Site::put_new`] makes an object or leaves the one that is there, in one linearizable
//!   namespace. Objects never change.
//! - **Durable.** What was answered [`Put::Created`], and what a read has shown, survives a crash of the site.
//!   (So a replicator never carries on what its source may yet lose.)
//! - **Whole.** An object is visible with all of its bytes or not at all.
//! - **Three-valued.** `Ok(None)` is the site's own word that an object is absent. A site that did not answer, is
//!   not mounted, or has lost its bucket gives an error. A site that is unreachable is not a site that lacks an object.
//! - **`Exists` is not "someone else".** Requests are sent again below this trait, so a first one that landed
//!   unseen makes the second answer [`Put::Exists`] for one's own write. Whoever must know reads the object and
//!   compares: that is the log's business, not the site's.
//! - **Cancelling is indeterminate.** A write whose future is dropped may still land.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_format::{ObjectName, Sealed, SiteName};

use crate::counters::Counters;
use crate::error::Result;

/// What a listing or a look says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its name below the site's URL.
    pub name: ObjectName,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the site's clock: milliseconds since 1970-01-01 UTC. Object stores give whole seconds.
    pub modified_millis: i64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is there, durably, and this write made it.
    Created,
    /// An object of this name was there, or is by now: perhaps this very write, sent twice. Nothing was changed.
    Exists,
}

/// Room at a site that has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes that there are in all.
    pub total_bytes: u64,
    /// Bytes below which packs are refused, so that a full site can still be emptied.
    pub reserve_bytes: u64,
}

impl Space {
    /// The reserve of a site of `total_bytes`: 2 % of it, at most 1 GiB.
    pub fn reserve_of(total_bytes: u64) -> u64 {
        (total_bytes / 50).min(1 << 30)
    }
}

/// Reads a site.
#[async_trait]
pub trait SiteReader: Debug + Send + Sync {
    /// The site's name in the cluster.
    fn name(&self) -> &SiteName;

    /// The site's URL, which never holds credentials.
    fn url(&self) -> &str;

    /// A whole object. `None`: the site answered that it is absent.
    async fn get(&self, name: &ObjectName) -> Result<Option<Bytes>>;

    /// Exactly the bytes `range` of an object; `Corrupt` if it ends before that. `None`: the site answered that it is
    /// absent. An empty range asks only whether it is there.
    async fn get_range(&self, name: &ObjectName, range: Range<u64>) -> Result<Option<Bytes>>;

    /// An object's size and time. `None`: the site answered that it is absent.
    async fn head(&self, name: &ObjectName) -> Result<Option<ObjectInfo>>;

    /// All objects whose names start with `prefix` (any text, not only a folder) and, if `after` is given, sort behind
    /// it: in name order, complete. What is written or deleted meanwhile may or may not be in it. Names that
    /// holdfast does not make are left out.
    async fn list(&self, prefix: &str, after: Option<&ObjectName>) -> Result<Vec<ObjectInfo>>;

    /// The names of the folders right below `prefix`, in order, each of which holds some object. `prefix` is `""`, the
    /// site's root, or ends with `/`.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>>;
}

/// Writes a site.
#[async_trait]
pub trait Site: SiteReader {
    /// Creates a small object: a record, a key, a checkpoint. May use the site's reserve.
    async fn put_new(&self, name: &ObjectName, body: Sealed) -> Result<Put>;

    /// Writes a bulk object whose name is never used twice: a pack, an archive. Refused with `Full` where it would
    /// eat into the reserve. Create-only where that is free; an S3 server that takes the pack in parts and knows
    /// no condition there replaces what is there, which can only be the same bytes.
    async fn put_pack(&self, name: &ObjectName, body: Sealed) -> Result<Put>;

    /// What the site's clock shows now, milliseconds since 1970-01-01 UTC: the date of its last answer and the time
    /// since, to about a second. `None` where a site has no clock of its own or has not answered yet.
    fn now_hint_millis(&self) -> Option<i64>;

    /// The room that is left; `None` where it has no known end.
    fn space(&self) -> Result<Option<Space>>;

    /// Where it is, whatever it is called: two sites that give the same are one, and what is written to both is there once.
    fn place(&self) -> String;

    /// What went to the site through this handle and its sweeper.
    fn counters(&self) -> Counters;
}

/// Deletes and replaces. Handed at wiring to the collector and the repair of damaged copies alone.
#[async_trait]
pub trait Sweeper: Debug + Send + Sync {
    /// Puts good bytes in the place of a damaged or missing object, durably and in one step: a reader sees the damaged
    /// bytes or the good ones, and a crash leaves one of the two. The caller has verified that the log names these bytes.
    async fn replace_damaged(&self, name: &ObjectName, good: Sealed) -> Result<()>;

    /// Makes an object and all its versions gone, durably. It is fine if it is absent.
    async fn delete(&self, name: &ObjectName) -> Result<()>;
}

/// A site that was opened for writing, and the right to delete there, apart.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Reads and writes.
    pub site: Arc<dyn Site>,
    /// Deletes.
    pub sweeper: Arc<dyn Sweeper>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_two_per_cent_up_to_a_gibibyte() {
        assert_eq!(Space::reserve_of(16 << 20), 335_544);
        assert_eq!(Space::reserve_of(50 << 30), 1 << 30);
        assert_eq!(Space::reserve_of(10 << 40), 1 << 30);
    }
}
