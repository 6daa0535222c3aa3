//! A snapshot as the coordinator's catalog shows it.

use holdfast_format::{ChunkId, Scope, SnapshotId};
use holdfast_proto::v1;

use super::status::nonsense;
use crate::error::Result;

/// How safe a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotState {
    /// In the trash: given up unless someone takes it out.
    Trash,
    /// Something that it needs is damaged or missing at a member, as a verification found.
    Damaged,
    /// It stands on the primary.
    Committed,
    /// It stands on every member.
    Protected,
    /// It was read back.
    Verified,
}

impl SnapshotState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trash => "trash",
            Self::Damaged => "damaged",
            Self::Committed => "committed",
            Self::Protected => "protected",
            Self::Verified => "verified",
        }
    }
}

/// One snapshot. All of it stands in clear at the coordinator.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// Its source's name.
    pub source: String,
    /// The agent that made it.
    pub agent: String,
    /// When its session was opened, by the coordinator's clock: milliseconds since 1970 UTC.
    pub time_millis: i64,
    /// When it was committed.
    pub committed_millis: i64,
    /// Its tags.
    pub tags: Vec<String>,
    /// Files in it.
    pub files: u64,
    /// Directories in it.
    pub directories: u64,
    /// Sum of its files' sizes.
    pub bytes: u64,
    /// Sealed bytes that its session sent.
    pub bytes_sent: u64,
    /// Paths that could not be read.
    pub problems: u64,
    /// How safe it is.
    pub state: SnapshotState,
    /// Its dedup scope.
    pub scope: Scope,
    /// Its root node.
    pub root: ChunkId,
    /// In the trash: when it may be given up, if ever.
    pub trash_until_millis: Option<i64>,
    /// In the trash: why.
    pub trash_why: String,
    /// Whether a hold covers it.
    pub held: bool,
}

impl SnapshotInfo {
    /// A snapshot as the folded log of one site shows it: how safe it is cannot be told from there.
    pub fn direct(
        state: &holdfast_vault::State,
        id: SnapshotId,
        snapshot: &holdfast_vault::fold::catalog::Snapshot,
    ) -> Self {
        let trash = snapshot.trash.as_ref();
        Self {
            id,
            source: snapshot.source.to_string(),
            agent: snapshot.agent.clone(),
            time_millis: snapshot.time_millis,
            committed_millis: snapshot.committed_millis,
            tags: snapshot.tags.clone(),
            files: snapshot.files,
            directories: snapshot.directories,
            bytes: snapshot.bytes,
            bytes_sent: snapshot.bytes_sent,
            problems: snapshot.problems,
            state: if trash.is_some() {
                SnapshotState::Trash
            } else {
                SnapshotState::Committed
            },
            scope: snapshot.scope.clone(),
            root: snapshot.root_id,
            trash_until_millis: trash.map(|trash| trash.until_millis),
            trash_why: trash.map(|trash| trash.why.clone()).unwrap_or_default(),
            held: state
                .catalog
                .is_held(&id, &snapshot.source, state.now_millis()),
        }
    }

    /// Reads the coordinator's word.
    pub(super) fn read(wire: v1::Snapshot) -> Result<Self> {
        let state = match wire.state.as_str() {
            "trash" => SnapshotState::Trash,
            "damaged" => SnapshotState::Damaged,
            "committed" => SnapshotState::Committed,
            "protected" => SnapshotState::Protected,
            "verified" => SnapshotState::Verified,
            other => {
                return Err(nonsense(format!(
                    "a snapshot's state is {other:?}; is the coordinator of a newer release?"
                )));
            }
        };
        Ok(Self {
            id: SnapshotId::from_slice(&wire.id).map_err(nonsense)?,
            source: wire.source,
            agent: wire.agent,
            time_millis: wire.time_millis,
            committed_millis: wire.committed_millis,
            tags: wire.tags,
            files: wire.files,
            directories: wire.directories,
            bytes: wire.bytes,
            bytes_sent: wire.bytes_sent,
            problems: wire.problems,
            state,
            scope: wire.scope.parse().map_err(nonsense)?,
            root: ChunkId::from_slice(&wire.root).map_err(nonsense)?,
            trash_until_millis: (wire.trash_until_millis != 0).then_some(wire.trash_until_millis),
            trash_why: wire.trash_why,
            held: wire.held,
        })
    }

    /// Reads one that must be there.
    pub(super) fn read_some(wire: Option<v1::Snapshot>) -> Result<Self> {
        Self::read(wire.ok_or_else(|| nonsense("it names no snapshot"))?)
    }

    /// Reads a list.
    pub(super) fn read_all(wire: Vec<v1::Snapshot>) -> Result<Vec<Self>> {
        wire.into_iter().map(Self::read).collect()
    }
}
