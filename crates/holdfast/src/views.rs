//! What the coordinator's answers look like in JSON. The names are part of what scripts rely on.

use holdfast_agent::client::{HoldInfo, SiteInfo, SiteRequests, SnapshotInfo, VaultInfo};
use serde::Serialize;

use crate::output;

/// A snapshot.
#[derive(Debug, Serialize)]
pub(crate) struct SnapshotView {
    id: String,
    source: String,
    agent: String,
    time: String,
    time_millis: i64,
    committed_millis: i64,
    state: &'static str,
    files: u64,
    directories: u64,
    bytes: u64,
    bytes_sent: u64,
    errors: u64,
    tags: Vec<String>,
    scope: String,
    held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trash_until_millis: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    trash_why: String,
}

impl From<&SnapshotInfo> for SnapshotView {
    fn from(info: &SnapshotInfo) -> Self {
        Self {
            id: info.id.to_string(),
            source: info.source.clone(),
            agent: info.agent.clone(),
            time: output::time_utc(info.time_millis),
            time_millis: info.time_millis,
            committed_millis: info.committed_millis,
            state: info.state.as_str(),
            files: info.files,
            directories: info.directories,
            bytes: info.bytes,
            bytes_sent: info.bytes_sent,
            errors: info.problems,
            tags: info.tags.clone(),
            scope: info.scope.to_string(),
            held: info.held,
            trash_until_millis: info.trash_until_millis,
            trash_why: info.trash_why.clone(),
        }
    }
}

/// A list of snapshots.
pub(crate) fn snapshots<'a>(all: impl IntoIterator<Item = &'a SnapshotInfo>) -> Vec<SnapshotView> {
    all.into_iter().map(SnapshotView::from).collect()
}

/// A vault.
#[derive(Debug, Serialize)]
pub(crate) struct VaultView {
    id: String,
    name: String,
    state: String,
    trouble: String,
    primary: String,
    owner: String,
    head: Option<PositionView>,
    snapshots: u64,
    chunks: u64,
    packs: u64,
    stored_bytes: u64,
    open_sessions: u64,
    created_millis: u64,
    root_public: String,
    policy: String,
    unprotected: String,
    sites: Vec<SiteView>,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct PositionView {
    epoch: u64,
    slot: u64,
}

impl From<holdfast_format::Position> for PositionView {
    fn from(position: holdfast_format::Position) -> Self {
        Self {
            epoch: position.epoch.0,
            slot: position.slot.0,
        }
    }
}

/// A site of a vault.
#[derive(Debug, Serialize)]
pub(crate) struct SiteView {
    site: String,
    url: String,
    primary: bool,
    reachable: bool,
    pending: bool,
    trouble: String,
    replicated: Option<PositionView>,
    lag_records: u64,
    lag_bytes: u64,
    lag_seconds: f64,
    waiting_sweep_bytes: u64,
    requests: u64,
    requests_by_kind: Option<SiteRequestsView>,
    bytes_written: u64,
    bytes_read: u64,
    free_bytes: Option<u64>,
}

/// What was asked of a site.
#[derive(Debug, Serialize)]
struct SiteRequestsView {
    puts: u64,
    gets: u64,
    heads: u64,
    lists: u64,
    deletes: u64,
    failures: u64,
    retries: u64,
}

impl From<&SiteRequests> for SiteRequestsView {
    fn from(asked: &SiteRequests) -> Self {
        Self {
            puts: asked.puts,
            gets: asked.gets,
            heads: asked.heads,
            lists: asked.lists,
            deletes: asked.deletes,
            failures: asked.failures,
            retries: asked.retries,
        }
    }
}

impl From<&SiteInfo> for SiteView {
    fn from(info: &SiteInfo) -> Self {
        Self {
            site: info.site.clone(),
            url: info.url.clone(),
            primary: info.primary,
            reachable: info.reachable,
            pending: info.pending,
            trouble: info.trouble.clone(),
            replicated: info.replicated.map(PositionView::from),
            lag_records: info.lag_records,
            lag_bytes: info.lag_bytes,
            lag_seconds: info.lag_seconds,
            waiting_sweep_bytes: info.waiting_sweep_bytes,
            requests: info.requests,
            requests_by_kind: info.by_kind.as_ref().map(SiteRequestsView::from),
            bytes_written: info.bytes_written,
            bytes_read: info.bytes_read,
            free_bytes: info.free_bytes,
        }
    }
}

/// The sites of a vault.
pub(crate) fn sites(vault: &VaultInfo) -> Vec<SiteView> {
    vault.sites.iter().map(SiteView::from).collect()
}

impl From<&VaultInfo> for VaultView {
    fn from(info: &VaultInfo) -> Self {
        Self {
            id: info.id.to_string(),
            name: info.name.clone(),
            state: info.state.clone(),
            trouble: info.trouble.clone(),
            primary: info.primary.clone(),
            owner: info.owner.clone(),
            head: info.head.map(PositionView::from),
            snapshots: info.snapshots,
            chunks: info.chunks,
            packs: info.packs,
            stored_bytes: info.stored_bytes,
            open_sessions: info.open_sessions,
            created_millis: info.created_millis,
            root_public: info.root_public.to_string(),
            policy: info.policy.clone(),
            unprotected: info.unprotected.clone(),
            sites: sites(info),
        }
    }
}

/// A hold.
#[derive(Debug, Serialize)]
pub(crate) struct HoldView {
    id: String,
    covers: String,
    why: String,
    who: String,
    placed: String,
    placed_millis: i64,
    until_millis: Option<i64>,
    by_restore: bool,
}

impl From<&HoldInfo> for HoldView {
    fn from(info: &HoldInfo) -> Self {
        Self {
            id: info.id.to_string(),
            covers: info.covers.clone(),
            why: info.why.clone(),
            who: info.who.clone(),
            placed: output::time_utc(info.placed_millis),
            placed_millis: info.placed_millis,
            until_millis: info.until_millis,
            by_restore: info.by_restore,
        }
    }
}
