//! Which history an etcd is on, and how far.
//!
//! A stream of changes is continued by revision. That is right only as long as etcd goes on with the history that it
//! had: not when it was emptied, or restored from a backup, since.

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use holdfast_context::Context;

use super::link::{Effect, Link};
use crate::error::Result;
use crate::keys::Keys;
use crate::mark::Mark;
use crate::value;

/// What etcd said of itself at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    mark: Mark,
    cluster: u64,
    term: u64,
    /// The last revision then.
    pub(super) revision: i64,
}

impl History {
    /// Reads where etcd stands now; writes the mark first if the prefix is new.
    ///
    /// Asking also renews the login, which opening a stream would not.
    pub(super) async fn read(link: &Link, keys: &Keys, context: &Context) -> Result<Self> {
        let key = keys.version();
        let born = value::encode(&Mark::new(context));
        let task = "look up the version";
        link.run(task, link.deadline(), Effect::Write, || async {
            let mut kv = link.kv().await?;
            let answer = kv.get(key.as_str(), None).await?;
            if let (Some(entry), Some(header)) = (answer.kvs().first(), answer.header()) {
                return Ok(Some(Self {
                    mark: Mark::read(link.name(), &key, entry.value())?,
                    cluster: header.cluster_id(),
                    term: header.raft_term(),
                    revision: header.revision(),
                }));
            }
            let create = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(key.as_str(), born.clone(), None)]);
            kv.txn(create).await?;
            // Read again: whoever created it, that mark counts.
            Ok(None)
        })
        .await
    }

    /// Whether this goes on from `earlier`, of which everything up to `revision` was seen. A restored backup that has
    /// come beyond all of these numbers since cannot be told.
    pub(super) fn continues(&self, earlier: &Self, revision: i64) -> bool {
        self.mark == earlier.mark
            && self.cluster == earlier.cluster
            && self.term >= earlier.term
            && self.revision >= revision
    }
}
