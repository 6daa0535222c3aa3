//! Opening a snapshot to read it: found by name, opened with the identity, its hold given back at the end.

use std::sync::Arc;

use holdfast_agent::ChunkSource;
use holdfast_agent::client::{Admin, Connection, RemoteOptions, RemoteSource, SnapshotInfo};
use holdfast_agent::restore::Tree;
use holdfast_format::Identity;

use crate::args::{SnapshotName, choose};
use crate::call::{self, Call};
use crate::failure::Outcome;
use crate::output;

/// A vault that is read with an identity.
pub(crate) struct Reader<'a> {
    call: &'a Call,
    connection: Connection,
    identity: Identity,
    vault: String,
    site: Option<String>,
    /// Snapshots of the vault, and of its trash: both can be read.
    all: Vec<SnapshotInfo>,
    live: usize,
}

impl<'a> Reader<'a> {
    /// Connects and lists what there is.
    pub(crate) async fn open(
        call: &'a Call,
        identity: Identity,
        vault: &str,
        site: Option<String>,
    ) -> Outcome<Self> {
        let connection = call.connect().await?;
        let admin = Admin::new(&connection);
        let mut all = call::snapshots(&admin, vault, None, false).await?;
        let live = all.len();
        all.extend(admin.trash(vault, None).await?);
        Ok(Self {
            call,
            connection,
            identity,
            vault: vault.into(),
            site,
            all,
            live,
        })
    }

    /// The snapshots that are not in the trash.
    pub(crate) fn live(&self) -> &[SnapshotInfo] {
        &self.all[..self.live]
    }

    /// The snapshot that is meant. The latest one is never one in the trash.
    pub(crate) fn choose(
        &self,
        name: &SnapshotName,
        source: Option<&str>,
    ) -> Outcome<SnapshotInfo> {
        let among = match name {
            SnapshotName::Latest => self.live(),
            SnapshotName::Prefix(_) => &self.all[..],
        };
        choose(among, name, source).cloned()
    }

    /// Says so where a snapshot lacks what could not be read when it was made.
    pub(crate) fn tell_incomplete(&self, info: &SnapshotInfo) {
        if info.problems == 0 {
            return;
        }
        let others = self.live().iter();
        let whole = others.filter(|other| other.source == info.source && other.problems == 0);
        let newest = whole.max_by_key(|other| (other.time_millis, other.id));
        let newest = newest.map_or_else(
            || "no snapshot of its source is complete".into(),
            |other| {
                let time = output::time(other.time_millis);
                format!(
                    "the newest complete one of its source is {}, of {time}",
                    other.id
                )
            },
        );
        self.call.remark(format_args!(
            "snapshot {} is INCOMPLETE: {} could not be read when it was made; {newest}",
            info.id,
            output::counted(info.problems, "path")
        ));
    }

    /// Opens a snapshot.
    pub(crate) async fn source(&self, info: &SnapshotInfo) -> Outcome<Arc<RemoteSource>> {
        let mut options = RemoteOptions::new(self.call.who());
        options.site = self.site.clone();
        let source = RemoteSource::open(
            &self.call.context,
            &self.connection,
            &self.identity,
            &self.vault,
            info.id,
            options,
        )
        .await?;
        Ok(Arc::new(source))
    }

    /// Opens a snapshot and reads its root.
    pub(crate) async fn tree(&self, info: &SnapshotInfo) -> Outcome<(Arc<RemoteSource>, Tree)> {
        let source = self.source(info).await?;
        let chunks: Arc<dyn ChunkSource> = Arc::clone(&source) as _;
        match Tree::open(chunks, info.root).await {
            Ok(tree) => Ok((source, tree)),
            Err(error) => {
                source.close().await;
                Err(error.into())
            }
        }
    }
}
