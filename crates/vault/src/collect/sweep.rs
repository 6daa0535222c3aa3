//! The sweep: deletes what the log has given up, at every member, and says so by record.
//!
//! It alone holds the right to delete. It deletes at any member only after it has read, at every member, a log that
//! reaches the condemn record (the order is in `collect/sweeping.rs`): then a late delete by a stale owner hits only what
//! all have given up.

use std::fmt;
use std::sync::Arc;

use futures::TryStreamExt as _;
use holdfast_format::fact::Swept;
use holdfast_format::{Hash, KeyId, ObjectName, PackOrdinal, Position, SiteName, VaultId};
use holdfast_store::{SiteReader, Sweeper};

use crate::error::Result;
use crate::fold::State;

/// Packs that are deleted at a member at once: each waits for its site to make that durable.
const DELETES_MAX: usize = 16;

/// A member as the sweep sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Reads it.
    pub site: Arc<dyn SiteReader>,
    /// Deletes there.
    pub sweeper: Arc<dyn Sweeper>,
}

/// What waits to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Condemned packs, with the record that condemned them and their length.
    pub packs: Vec<(PackOrdinal, Position, u64)>,
    /// Condemned keys.
    pub keys: Vec<(KeyId, Position)>,
}

impl Waiting {
    /// Everything condemned and not swept.
    pub fn of(state: &State) -> Self {
        let catalog = &state.catalog;
        let packs = catalog
            .packs
            .iter()
            .filter_map(|(&p, info)| Some((p, info.condemned?, info.len)));
        let keys = catalog
            .keys
            .iter()
            .filter_map(|(&k, info)| Some((k, info.condemned?)));
        Self {
            packs: packs.collect(),
            keys: keys.collect(),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty() && self.keys.is_empty()
    }

    /// Bytes of the packs.
    pub fn bytes(&self) -> u64 {
        self.packs.iter().map(|(_, _, len)| len).sum()
    }

    /// The last record that condemned any of it.
    pub fn last(&self) -> Option<Position> {
        let packs = self.packs.iter().map(|(_, at, _)| *at);
        packs.chain(self.keys.iter().map(|(_, at)| *at)).max()
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: usize, what| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        };
        let (packs, keys) = (self.packs.len(), self.keys.len());
        match (packs, keys) {
            (_, 0) => f.write_str(&counted(packs, "pack")),
            (0, _) => f.write_str(&counted(keys, "data key")),
            _ => write!(
                f,
                "{} and {}",
                counted(packs, "pack"),
                counted(keys, "data key")
            ),
        }
    }
}

/// Whether the record at `at` stands at a member, byte for byte: read there now, not remembered.
pub async fn stands(
    site: &dyn SiteReader,
    vault: VaultId,
    at: Position,
    hash: Hash,
) -> Result<bool> {
    match site.get(&ObjectName::record(vault, at)).await? {
        Some(object) => Ok(holdfast_format::Record::open(vault, at, object)?.hash == hash),
        None => Ok(false),
    }
}

/// Deletes everything that waits at one member, and checks that it is gone. The caller has seen the condemn record
/// stand at every member: see [`super::sweeping`].
pub async fn sweep_member(state: &State, waiting: &Waiting, member: &Member) -> Result<()> {
    let vault = state.header.vault;
    let packs = (waiting.packs.iter()).filter_map(|(pack, _, _)| {
        Some(ObjectName::pack(vault, state.catalog.packs.get(pack)?.id))
    });
    futures::stream::iter(packs.map(Ok))
        .try_for_each_concurrent(DELETES_MAX, async |name| gone(member, &name).await)
        .await?;
    for (key, _) in &waiting.keys {
        let prefix = format!("{}keys/{key}/", ObjectName::vault_prefix(vault));
        for info in member.site.list(&prefix, None).await? {
            gone(member, &info.name).await?;
        }
    }
    Ok(())
}

async fn gone(member: &Member, name: &ObjectName) -> Result<()> {
    if member.site.head(name).await?.is_some() {
        member.sweeper.delete(name).await?;
        if member.site.head(name).await?.is_some() {
            return Err(crate::Error::Unavailable(format!(
                "{name} is still at site {} after it was deleted; an object lock may hold it",
                member.site.name()
            )));
        }
    }
    Ok(())
}

/// The fact that ends a sweep.
pub fn swept(waiting: &Waiting) -> Swept {
    Swept {
        packs: waiting.packs.iter().map(|(pack, _, _)| *pack).collect(),
        keys: waiting.keys.iter().map(|(key, _)| *key).collect(),
    }
}

/// Names a site and why a sweep waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitsFor {
    /// The site.
    pub site: SiteName,
    /// Why.
    pub why: String,
}
