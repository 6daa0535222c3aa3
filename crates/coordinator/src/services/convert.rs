//! From ours to the wire and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_format::fact::Cover;
use holdfast_format::{
    ChunkId, HoldId, Position, SessionId, SiteName, SnapshotId, SourceName, VaultId,
};
use holdfast_placement::{Progress, VaultEntry};
use holdfast_proto::v1;
use holdfast_vault::collect::sweep::Waiting;
use tonic::Status;

use crate::error::{Error, Result, status};
use crate::node::{Node, Slot};
use crate::rebuild::Rebuilt;
use crate::vault::Vault;

/// A result as gRPC has it.
pub(super) type Answer<T> = std::result::Result<tonic::Response<T>, Status>;

/// Wraps an answer.
pub(super) fn answer<T>(result: Result<T>) -> Answer<T> {
    result
        .map(tonic::Response::new)
        .map_err(|error| status(&error))
}

/// A 16-byte id.
pub(super) fn id16<T>(bytes: &[u8], what: &str, make: impl Fn([u8; 16]) -> T) -> Result<T> {
    bytes
        .try_into()
        .map(make)
        .map_err(|_| Error::Invalid(format!("{what} must have 16 bytes, not {}", bytes.len())))
}

/// A session or snapshot id.
pub(super) fn session_id(bytes: &[u8]) -> Result<SessionId> {
    id16(bytes, "a session or snapshot id", SessionId)
}

/// A hold's id.
pub(super) fn hold_id(bytes: &[u8]) -> Result<HoldId> {
    id16(bytes, "a hold's id", HoldId)
}

/// Chunk ids, 32 bytes each.
pub(super) fn chunk_ids(bytes: &[u8], max: usize) -> Result<Vec<ChunkId>> {
    if !bytes.len().is_multiple_of(32) || bytes.len() / 32 > max {
        return Err(Error::Invalid(format!(
            "chunk ids come as 32 bytes each, at most {max} at once; {} bytes came",
            bytes.len()
        )));
    }
    Ok(bytes
        .chunks_exact(32)
        .filter_map(|id| ChunkId::from_slice(id).ok())
        .collect())
}

/// A site's name.
pub(super) fn site_name(text: &str) -> Result<SiteName> {
    Ok(SiteName::new(text)?)
}

/// A source's name.
pub(super) fn source_name(text: &str) -> Result<SourceName> {
    Ok(SourceName::new(text)?)
}

/// A position.
pub(super) fn position(at: Position) -> v1::Position {
    v1::Position {
        epoch: at.epoch.0,
        slot: at.slot.0,
    }
}

/// A snapshot as its vault shows it.
pub(super) fn snapshot(vault: &Vault, id: &SnapshotId) -> Option<v1::Snapshot> {
    let state = vault.snapshot_state(id).to_owned();
    let shared = vault.state();
    let snapshot = shared.catalog.snapshots.get(id)?;
    let trash = snapshot.trash.as_ref();
    Some(v1::Snapshot {
        id: id.0.to_vec().into(),
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
        state,
        scope: snapshot.scope.to_string(),
        root: snapshot.root_id.0.to_vec().into(),
        position: Some(position(snapshot.committed_at)),
        trash_until_millis: trash.map_or(0, |trash| trash.until_millis),
        trash_why: trash
            .map(|trash| format!("{} ({})", trash.why, trash.who))
            .unwrap_or_default(),
        held: shared
            .catalog
            .is_held(id, &snapshot.source, shared.now_millis()),
    })
}

/// A hold.
pub(super) fn hold(id: &HoldId, hold: &holdfast_vault::fold::catalog::Hold) -> v1::Hold {
    v1::Hold {
        id: id.0.to_vec().into(),
        covers: match &hold.cover {
            Cover::Vault => "vault".into(),
            Cover::Source(name) => format!("source {name}"),
            Cover::Snapshot(id) => format!("snapshot {id}"),
        },
        why: hold.why.clone(),
        who: hold.who.clone(),
        placed_millis: hold.placed_millis,
        until_millis: hold.until_millis.unwrap_or(0),
        by_restore: hold.by_restore,
    }
}

/// A vault that is not open here.
fn closed(slot: &Slot) -> v1::Vault {
    v1::Vault {
        id: slot.header.vault.0.to_vec().into(),
        name: slot.header.name.to_string(),
        root_public: slot.header.root.0.to_vec().into(),
        owner: slot.owner_name(),
        state: "opening".into(),
        trouble: slot.trouble.clone(),
        created_millis: slot.header.created_millis.max(0) as u64,
        ..v1::Vault::default()
    }
}

/// Whoever asks what this coordinator knows waits no longer for the placement store: what is known here is told without it.
pub(super) const PLACEMENT_WAIT: Duration = Duration::from_secs(3);

/// What is told when it does not.
pub(super) fn no_answer() -> String {
    format!("no answer within {} s", PLACEMENT_WAIT.as_secs())
}

/// Vaults that placement is asked of at once: a thousand must not take as long as one that does not answer.
const ASKED_MAX: usize = 32;

/// What placement knows of vaults that are not open here.
#[derive(Default)]
struct Told {
    entries: Vec<VaultEntry>,
    progress: BTreeMap<VaultId, Vec<(SiteName, Progress)>>,
}

impl Told {
    async fn ask(node: &Node, slots: &[Slot]) -> holdfast_placement::Result<Self> {
        let mut told = Self::default();
        let mut closed = Vec::new();
        for slot in slots {
            if slot.vault.is_none() {
                closed.push(slot.header.vault);
            }
        }
        if !closed.is_empty() {
            told.entries = node.placement.vaults().await?;
        }
        let mut asked = futures::stream::iter(closed)
            .map(|id| async move { Ok((id, node.placement.progress(id).await?)) })
            .buffer_unordered(ASKED_MAX);
        while let Some((id, progress)) = asked.try_next().await? {
            told.progress.insert(id, progress);
        }
        Ok(told)
    }
}

/// All vaults that this coordinator knows. Of those that others own it shows what these told placement, some seconds ago; and why it does
/// not, if placement does not answer; else that is empty.
pub(super) async fn vaults(node: &Node) -> (Vec<v1::Vault>, String) {
    let slots = node.list();
    let asked = tokio::time::timeout(PLACEMENT_WAIT, Told::ask(node, &slots));
    let (mut told, trouble) = match asked.await {
        Ok(Ok(told)) => (told, String::new()),
        Ok(Err(error)) => (Told::default(), error.to_string()),
        Err(_) => (Told::default(), no_answer()),
    };
    let mut shown = Vec::with_capacity(slots.len());
    for slot in &slots {
        if slot.vault.is_some() {
            shown.push(vault(node, slot));
            continue;
        }
        let id = slot.header.vault;
        let entry = told.entries.iter().find(|entry| entry.vault == id);
        let told = elsewhere(
            node,
            slot,
            entry,
            told.progress.remove(&id).unwrap_or_default(),
        );
        let is_owned = slot.owner.is_some() && slot.owner_name() != node.options.name;
        shown.push(match is_owned {
            true => told,
            // What its last owner told is all that is known of it.
            false => v1::Vault {
                sites: (told.sites.into_iter())
                    .map(|site| v1::SiteProgress {
                        reachable: false,
                        pending: true,
                        ..site
                    })
                    .collect(),
                primary: told.primary,
                head: told.head,
                unprotected: told.unprotected,
                ..vault(node, slot)
            },
        });
    }
    (shown, trouble)
}

/// A vault that another coordinator owns.
fn elsewhere(
    node: &Node,
    slot: &Slot,
    entry: Option<&VaultEntry>,
    told: Vec<(SiteName, Progress)>,
) -> v1::Vault {
    let told: BTreeMap<SiteName, Progress> = told.into_iter().collect();
    let sites = entry.map(|entry| entry.sites.clone()).unwrap_or_default();
    let now = node.context.now_millis();
    let primary = sites.first().cloned();
    let head = primary.as_ref().and_then(|site| told.get(site)?.replicated);
    let sites = sites.into_iter().map(|site| {
        let told = told.get(&site);
        let lacks = told.is_some_and(|told| told.records > 0);
        let since = told.filter(|_| lacks).map(|told| told.at_millis);
        v1::SiteProgress {
            url: node.sites.url(&site).unwrap_or_default(),
            primary: Some(&site) == primary.as_ref(),
            reachable: told.is_some(),
            replicated: told.and_then(|told| told.replicated).map(position),
            lag_records: told.map_or(0, |told| told.records),
            lag_bytes: told.map_or(0, |told| told.bytes),
            lag_seconds: since.map_or(0.0, |since| (now - since).max(0) as f64 / 1000.0),
            site: site.to_string(),
            ..v1::SiteProgress::default()
        }
    });
    let sites: Vec<v1::SiteProgress> = sites.collect();
    let behind = sites.iter().filter(|site| site.lag_records > 0);
    let behind = behind.map(|site| {
        format!(
            "site {} lacked {} records when its owner told last",
            site.site, site.lag_records
        )
    });
    v1::Vault {
        unprotected: behind.collect::<Vec<_>>().join("; "),
        state: "elsewhere".into(),
        trouble: String::new(),
        primary: primary
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        head: head.map(position),
        sites,
        ..closed(slot)
    }
}

/// A vault with its sites.
pub(crate) fn vault(node: &Node, slot: &Slot) -> v1::Vault {
    match &slot.vault {
        Some(vault) if !vault.stop.is_cancelled() => open_vault(node, vault),
        _ => closed(slot),
    }
}

/// What was made again of a vault.
pub(super) fn rebuilt(vault: Rebuilt) -> v1::RebuiltVault {
    v1::RebuiltVault {
        id: vault.vault.0.to_vec().into(),
        name: vault.name,
        sites: vault.sites.iter().map(ToString::to_string).collect(),
        epoch: vault.epoch.0,
        unread: vault.unread,
        trouble: vault.trouble,
    }
}

fn by_kind(counters: &holdfast_store::Counters) -> v1::SiteRequests {
    v1::SiteRequests {
        puts: counters.puts,
        gets: counters.gets,
        heads: counters.heads,
        lists: counters.lists,
        deletes: counters.deletes,
        failures: counters.failures,
        retries: counters.retries,
    }
}

/// A vault that is owned here.
pub(super) fn open_vault(node: &Node, vault: &Arc<Vault>) -> v1::Vault {
    let standings = vault.standings();
    let primary_trouble = vault.primary_trouble();
    let unprotected = vault.unprotected();
    let state = vault.state();
    let now = node.context.now_millis();
    let waiting = Waiting::of(&state).bytes();
    let sites = state.catalog.members.iter().map(|(name, member)| {
        let opened = node.sites.opened(name);
        let counters = opened.as_ref().map(|o| o.site.counters());
        let space = opened.as_ref().and_then(|o| o.site.space().ok().flatten());
        let primary = name == vault.primary.site.name();
        let standing = standings.get(name);
        let lag = standing.and_then(|s| s.oldest_lacking_millis);
        v1::SiteProgress {
            site: name.to_string(),
            url: node.sites.url(name).unwrap_or_else(|| member.url.clone()),
            primary,
            reachable: primary && primary_trouble.is_empty()
                || standing.is_some_and(|s| s.reachable),
            pending: standing.is_some_and(|s| !s.looked_at),
            trouble: match standing {
                Some(standing) => standing.trouble.clone(),
                None if primary && !primary_trouble.is_empty() => primary_trouble.clone(),
                None if primary => vault.own_branch_trouble(),
                None => String::new(),
            },
            replicated: if primary {
                state.chain.head
            } else {
                standing.and_then(|s| s.head)
            }
            .map(position),
            lag_records: standing.map_or(0, |s| s.lag_records),
            lag_bytes: standing.map_or(0, |s| s.lag_bytes),
            lag_seconds: lag.map_or(0.0, |since| (now - since).max(0) as f64 / 1000.0),
            waiting_sweep_bytes: waiting,
            requests: counters
                .as_ref()
                .map_or(0, holdfast_store::Counters::requests),
            bytes_written: counters.as_ref().map_or(0, |c| c.bytes_written),
            bytes_read: counters.as_ref().map_or(0, |c| c.bytes_read),
            free_bytes: space.map_or(0, |s| s.free_bytes),
            by_kind: counters.as_ref().map(by_kind),
        }
    });
    v1::Vault {
        id: vault.header.vault.0.to_vec().into(),
        name: vault.header.name.to_string(),
        root_public: vault.header.root.0.to_vec().into(),
        primary: vault.primary.site.name().to_string(),
        sites: sites.collect(),
        head: state.chain.head.map(position),
        owner: node.options.name.clone(),
        state: "open".into(),
        trouble: String::new(),
        snapshots: state.catalog.live_snapshots().count() as u64,
        chunks: state.index.live(),
        packs: state
            .catalog
            .packs
            .values()
            .filter(|pack| pack.condemned.is_none())
            .count() as u64,
        stored_bytes: state.catalog.stored_bytes,
        open_sessions: state.catalog.sessions.len() as u64,
        recipients: state
            .catalog
            .recipients
            .as_ref()
            .map(|set| set.encode())
            .unwrap_or_default()
            .into(),
        created_millis: vault.header.created_millis.max(0) as u64,
        policy: state.catalog.policy.clone(),
        unprotected,
    }
}
