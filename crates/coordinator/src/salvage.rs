//! Failback: brings a site that was left behind back, with everything that was acknowledged there and nowhere else.
//!
//! State: none; each step stands in a log. The branch is closed first, so that it cannot grow; then every snapshot that
//! it committed is committed again at the primary, its frames copied as they are, sealed; a `BranchSalvaged` record ends
//! it, and only then does the site follow. Run again after a crash at any point: what was brought back is found there.
//!
//! It runs in the collector's turn, so that nothing is condemned meanwhile. It never deletes and never overwrites.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use holdfast_format::fact::{
    BranchSalvaged, HoldPlaced, PolicySet, SessionEnded, SnapshotCommitted, SnapshotsRecovered,
};
use holdfast_format::{
    ChunkId, ChunkKind, Frame, KeyId, ObjectName, Ordinal, Pack, PackBuilder, PackOrdinal, Scope,
    Sealed, SessionId, SiteName,
};
use holdfast_placement::Progress;
use holdfast_store::{Site, SiteReader};
use holdfast_vault::branch::{Branch, Fork, close_branch, find_fork, is_closed, read_branch};
use holdfast_vault::fetch::{FrameReader, PackRead};
use holdfast_vault::log::writer::{Sealing, put_same, seal};
use holdfast_vault::replicate::{Standing, standing};
use holdfast_vault::{Proposal, State};

use crate::error::{Error, Result, from_placement};
use crate::node::Node;
use crate::vault::Vault;
use crate::vault::upload::put_pack;

/// Frames of nodes that are read at once.
const NODES_AT_ONCE: usize = 512;

/// Frames of data that are read at once.
const DATA_AT_ONCE: usize = 256;

/// What a failback brought back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Snapshots committed again.
    pub snapshots: u64,
    /// Records of the branch.
    pub records: u64,
    /// What a person has to look at: what was said on both sides of the fork.
    pub notes: Vec<String>,
}

/// Brings a site that was left behind, or that was replaced by an empty one, back as a member that follows.
///
/// A site whose log is a prefix follows by itself: there is nothing to salvage. The caller is the collector, in its turn.
pub(crate) async fn bring_back(
    node: &Arc<Node>,
    vault: &Arc<Vault>,
    name: &SiteName,
) -> Result<Salvaged> {
    if !vault.state().catalog.members.contains_key(name) {
        return Err(Error::Missing(format!(
            "member {name} of vault {}",
            vault.header.name
        )));
    }
    if name == vault.primary.site.name() {
        return Err(Error::Invalid(format!(
            "site {name} is the primary of vault {}; fail over to another site first",
            vault.header.name
        )));
    }
    // Whoever asks for this knows that the site may be another disk, or an empty one, by now.
    let left = vault.sites.reopen(name).await?.site;
    let state = vault.state().clone();
    let shared = Arc::new(std::sync::RwLock::new(state.clone()));
    if let Standing::Prefix(head) = standing(&vault.primary.site, &left, &shared).await? {
        if head.is_none() {
            // Taken for a new member from here on, also after a restart.
            let progress = Progress {
                replicated: None,
                verified: None,
                at_millis: node.context.now_millis(),
                records: 0,
                bytes: 0,
            };
            let told = node
                .placement
                .set_progress(vault.header.vault, name, progress);
            told.await.map_err(from_placement)?;
            vault.note_progress(name, None);
        }
        vault.nudge_member(name);
        return Ok(Salvaged::default());
    }
    let reader: Arc<dyn SiteReader> = left.clone();
    let primary: Arc<dyn SiteReader> = vault.primary.site.clone();
    let Some(fork) = find_fork(&primary, &reader, &state).await? else {
        vault.nudge_member(name);
        return Ok(Salvaged::default());
    };
    close(node, vault, &left, &state, &fork).await?;
    let branch = read_branch(&reader, &state, &fork, &vault.cache).await?;
    let report = recommit(vault, &left, &fork, &branch).await?;
    vault.nudge_member(name);
    Ok(report)
}

/// Closes the branch at the site that was left behind; see [`close_branch`].
async fn close(
    node: &Arc<Node>,
    vault: &Arc<Vault>,
    left: &Arc<dyn Site>,
    state: &State,
    fork: &Fork,
) -> Result<()> {
    let reader: Arc<dyn SiteReader> = left.clone();
    if is_closed(&reader, state, fork).await? {
        return Ok(());
    }
    let id = vault.header.vault;
    let credentials = node.credentials(&vault.header).await?;
    loop {
        let branch = read_branch(&reader, state, fork, &vault.cache).await?;
        let claimant = node.new_claimant(id, &branch.state).await?;
        if branch.state.chain.next().epoch > fork.at.epoch {
            // Another owner claimed an epoch there. Its epoch is closed in the ordinary way first.
            let sealing = seal(
                &node.context,
                left.clone(),
                &credentials,
                claimant,
                branch.state,
                &vault.stop,
            );
            if let Sealing::Superseded(_) = sealing.await? {
                continue;
            }
        }
        return close_branch(&node.context, left, &credentials, claimant, state, fork).await;
    }
}

/// Commits a closed branch again at the primary.
async fn recommit(
    vault: &Arc<Vault>,
    left: &Arc<dyn Site>,
    fork: &Fork,
    branch: &Branch,
) -> Result<Salvaged> {
    let reader: Arc<dyn SiteReader> = left.clone();
    let mut salvage = Salvage {
        vault,
        left: reader,
        branch,
        frames: FrameReader::new(vault.header.vault),
        reopened: BTreeSet::new(),
        report: Salvaged {
            records: branch.records,
            ..Salvaged::default()
        },
    };
    salvage.recipients().await?;
    for (commit, session) in &branch.commits {
        let id = commit.snapshot;
        if vault.state().catalog.snapshots.contains_key(&id) {
            continue;
        }
        if !branch.state.catalog.snapshots.contains_key(&id) {
            // Forgotten and collected on the branch itself, by record.
            continue;
        }
        salvage.snapshot(commit, session).await?;
    }
    salvage.close_sessions().await?;
    salvage.words().await?;
    let Salvage { report, .. } = salvage;
    if branch.removed_a_member {
        return Err(Error::Invalid(format!(
            "what only site {0} held is back ({1} snapshots), but its branch had removed a member, so that packs may be \
             gone there: it cannot follow as it is. Take it out with `holdfast site remove`, empty it, and add it again \
             with `holdfast site add`",
            left.name(),
            report.snapshots
        )));
    }
    vault
        .append(Proposal::Salvaged(BranchSalvaged {
            site: left.name().clone(),
            epoch: fork.at.epoch,
            from: fork.at.slot,
            last: branch.last,
        }))
        .await?;
    Ok(report)
}

struct Salvage<'a> {
    vault: &'a Arc<Vault>,
    left: Arc<dyn SiteReader>,
    branch: &'a Branch,
    frames: FrameReader,
    /// Sessions that were opened again for their keys' sake.
    reopened: BTreeSet<SessionId>,
    report: Salvaged,
}

impl Salvage<'_> {
    /// Commits one snapshot again: its missing chunks, children first, then the commit.
    async fn snapshot(
        &mut self,
        commit: &SnapshotCommitted,
        session: &holdfast_vault::fold::catalog::Session,
    ) -> Result<()> {
        let scope = &session.scope;
        let here = self.vault.state().clone();
        let missing = missing(&here, &self.branch.state, scope, commit.root);
        self.open_key(session.key.key, Some((commit.snapshot, session)))
            .await?;
        self.copy_data(scope, &missing).await?;
        self.copy_nodes(scope, &missing).await?;
        let again = self
            .vault
            .append(Proposal::Recommit(commit.clone()))
            .await?;
        self.vault.promises().detach(&commit.snapshot);
        self.reopened.remove(&commit.snapshot);
        tracing::info!(snapshot = %commit.snapshot, at = ?again, "a snapshot of the branch is committed again");
        self.report.snapshots += 1;
        Ok(())
    }

    /// Makes a data key of the branch known: its object stands at the primary before the record that names it.
    async fn open_key(
        &mut self,
        key: KeyId,
        of: Option<(SessionId, &holdfast_vault::fold::catalog::Session)>,
    ) -> Result<()> {
        let known = {
            let state = self.vault.state();
            let live = state.catalog.keys.get(&key).map(|k| k.condemned.is_none());
            let open = of.is_none_or(|(id, _)| state.catalog.sessions.contains_key(&id));
            match live {
                Some(true) if open => true,
                Some(false) => {
                    return Err(Error::Corrupt(format!(
                        "key {key} was given up here while a snapshot of site {} still needs it; restore that snapshot \
                         from there with `holdfast rescue restore`",
                        self.left.name()
                    )));
                }
                _ => false,
            }
        };
        if known {
            return Ok(());
        }
        let open = match of {
            Some((id, session)) => holdfast_format::fact::SessionOpened {
                session: id,
                source: session.source.clone(),
                scope: session.scope.clone(),
                key: session.key,
                agent: session.agent.clone(),
                tags: session.tags.clone(),
            },
            None => self.branch.opened.get(&key).cloned().ok_or_else(|| {
                Error::Corrupt(format!(
                    "key {key} of the branch at site {} is named by no session there",
                    self.left.name()
                ))
            })?,
        };
        let (vault, reference) = (self.vault.header.vault, open.key);
        let name = ObjectName::session_key(vault, reference.key, reference.generation);
        let object = self.read_hashed(&name, reference.hash).await?;
        put_same(
            self.vault.primary.site.as_ref(),
            &name,
            &Sealed::copied(object),
        )
        .await?;
        let session = open.session;
        self.vault.append(Proposal::Reopen(open)).await?;
        self.vault.promises().attach(session);
        self.reopened.insert(session);
        Ok(())
    }

    async fn read_hashed(
        &self,
        name: &ObjectName,
        hash: holdfast_format::Hash,
    ) -> Result<bytes::Bytes> {
        match self.left.get(name).await? {
            Some(object) if holdfast_format::Hash::of(&object) == hash => Ok(object),
            _ => Err(Error::Corrupt(format!(
                "{name} at site {} is missing or does not have the hash that its log gives",
                self.left.name()
            ))),
        }
    }

    async fn copy_data(&mut self, scope: &Scope, missing: &Missing) -> Result<()> {
        let mut filling = Filling::new(ChunkKind::Data, scope);
        for (pack, frames) in &missing.data {
            let frames: Vec<(u32, Vec<ChunkId>)> = frames.clone().into_iter().collect();
            for some in frames.chunks(DATA_AT_ONCE) {
                for frame in self.read(*pack, some.iter().cloned().collect()).await? {
                    self.open_key(frame.key, None).await?;
                    let wanted = frame.chunks.iter().map(|chunk| chunk.id);
                    let wanted = wanted.filter(|id| missing.ids.contains(id)).collect();
                    filling.add(self, frame, wanted).await?;
                }
            }
        }
        filling.finish(self).await
    }

    /// Copies node frames so that each node comes after what it refers to. Mostly one pass in the order in which the
    /// branch named them; a frame whose nodes wait for another frame is copied once more for the rest.
    async fn copy_nodes(&mut self, scope: &Scope, missing: &Missing) -> Result<()> {
        let mut ready: HashSet<ChunkId> = HashSet::new();
        let mut waiting: Vec<(Ordinal, PackOrdinal, u32, Vec<ChunkId>)> = missing.nodes.clone();
        while !waiting.is_empty() {
            let mut later = Vec::new();
            let before = ready.len();
            let mut filling = Filling::new(ChunkKind::Node, scope);
            for some in waiting.chunks(NODES_AT_ONCE) {
                let mut read: HashMap<(PackOrdinal, u32), Frame> = HashMap::new();
                let mut by_pack: BTreeMap<PackOrdinal, BTreeMap<u32, Vec<ChunkId>>> =
                    BTreeMap::new();
                for (_, pack, frame, ids) in some {
                    let frames = by_pack.entry(*pack).or_default();
                    frames.insert(*frame, ids.clone());
                }
                for (pack, frames) in by_pack {
                    let numbers: Vec<u32> = frames.keys().copied().collect();
                    for (number, frame) in numbers.iter().zip(self.read(pack, frames).await?) {
                        read.insert((pack, *number), frame);
                    }
                }
                for (ordinal, pack, number, ids) in some {
                    let Some(frame) = read.remove(&(*pack, *number)) else {
                        continue;
                    };
                    let waits = |id: &ChunkId, ready: &HashSet<ChunkId>| {
                        missing.ids.contains(id) && !missing.is_data(id) && !ready.contains(id)
                    };
                    let mut now = HashSet::new();
                    for chunk in frame.chunks.iter().filter(|chunk| waits(&chunk.id, &ready)) {
                        let blocked = chunk
                            .refs
                            .iter()
                            .any(|child| waits(child, &ready) && !now.contains(child));
                        if !blocked {
                            now.insert(chunk.id);
                        }
                    }
                    ready.extend(&now);
                    if ids.iter().any(|id| waits(id, &ready)) {
                        later.push((*ordinal, *pack, *number, ids.clone()));
                    }
                    if !now.is_empty() {
                        self.open_key(frame.key, None).await?;
                        filling.add(self, frame, now).await?;
                    }
                }
            }
            filling.finish(self).await?;
            if ready.len() == before {
                return Err(Error::Corrupt(format!(
                    "nodes of the branch at site {} refer to each other in a circle",
                    self.left.name()
                )));
            }
            waiting = later;
        }
        Ok(())
    }

    /// Reads frames of one pack of the branch, verified, in the order of their numbers.
    async fn read(
        &self,
        pack: PackOrdinal,
        frames: BTreeMap<u32, Vec<ChunkId>>,
    ) -> Result<Vec<Frame>> {
        let info = self.branch.state.catalog.packs.get(&pack).cloned();
        let info = info.ok_or_else(|| Error::Corrupt(format!("pack {pack:?} of the branch")))?;
        let read = PackRead {
            ordinal: pack,
            pack: info,
            frames,
        };
        let sites = [self.left.clone()];
        let fetched = self.frames.fetch(&sites, &read).await;
        if let Some((id, why)) = fetched.lost.first() {
            return Err(Error::Corrupt(format!(
                "chunk {id} of the branch cannot be read: {why}"
            )));
        }
        Ok(fetched.frames)
    }

    async fn place(&self, pack: Pack, fresh: HashSet<ChunkId>) -> Result<()> {
        put_pack(self.vault, &pack).await?;
        let packs = vec![pack.without_body()];
        self.vault.append(Proposal::Copies { packs, fresh }).await?;
        Ok(())
    }

    /// The branch may have set new recipients, to whom its keys are sealed.
    async fn recipients(&mut self) -> Result<()> {
        let theirs = self.branch.state.catalog.recipients.clone();
        let ours = self.vault.state().catalog.recipients.clone();
        let (Some(theirs), Some(ours)) = (theirs, ours) else {
            return Ok(());
        };
        if theirs == ours || theirs.generation < ours.generation {
            return Ok(());
        }
        if theirs.generation == ours.generation {
            self.report.notes.push(
                "the list of recipients was changed on both sides of the fork: the one here stays. Whoever was added at \
                 the site that was left behind has to be added again with `holdfast key add-recipient`"
                    .into(),
            );
            return Ok(());
        }
        let name = ObjectName::vault_key(self.vault.header.vault, theirs.generation);
        let object = self.read_hashed(&name, theirs.vault_key).await?;
        put_same(
            self.vault.primary.site.as_ref(),
            &name,
            &Sealed::copied(object),
        )
        .await?;
        self.vault.append(Proposal::Recipients(theirs)).await?;
        Ok(())
    }

    /// Sessions that were opened for their keys only end again; their packs live on in what refers to them.
    async fn close_sessions(&mut self) -> Result<()> {
        for session in std::mem::take(&mut self.reopened) {
            let ended = SessionEnded {
                session,
                why: "its branch was salvaged".into(),
                who: "coordinator".into(),
            };
            self.vault.append(Proposal::End(ended)).await?;
            self.vault.promises().detach(&session);
        }
        Ok(())
    }

    /// What people said on the branch: holds, recoveries, the policy. What would take something away is only told.
    async fn words(&mut self) -> Result<()> {
        for hold in &self.branch.holds {
            self.hold(hold).await?;
        }
        for id in &self.branch.recovered {
            let in_trash = |state: &State| {
                let snapshot = state.catalog.snapshots.get(id);
                snapshot.is_some_and(|snapshot| snapshot.trash.is_some())
            };
            if in_trash(&self.vault.state()) && !in_trash(&self.branch.state) {
                let fact = SnapshotsRecovered {
                    snapshots: vec![*id],
                    who: "failback".into(),
                };
                self.vault.append(Proposal::Recover(fact)).await?;
            }
        }
        for id in &self.branch.trashed {
            if self.vault.state().catalog.snapshots.contains_key(id) {
                self.report.notes.push(format!(
                    "snapshot {id} was put into the trash at the site that was left behind; it is kept here. Forget it again \
                     if that is still meant"
                ));
            }
        }
        for what in &self.branch.members {
            self.report.notes.push(format!(
                "the branch {what}; that does not hold here. Do it again with `holdfast site` if it is still meant"
            ));
        }
        self.policy().await
    }

    async fn hold(&mut self, hold: &HoldPlaced) -> Result<()> {
        let released = !self.branch.state.catalog.holds.contains_key(&hold.hold);
        if released || self.vault.state().catalog.holds.contains_key(&hold.hold) {
            return Ok(());
        }
        match self.vault.append(Proposal::Hold(hold.clone())).await {
            Ok(_) => Ok(()),
            Err(Error::Missing(what)) => {
                self.report.notes.push(format!(
                    "hold {} of {} could not be placed here: {what}",
                    hold.hold, hold.who
                ));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn policy(&mut self) -> Result<()> {
        let theirs = &self.branch.state.catalog.policy;
        let ours = self.vault.state().catalog.policy.clone();
        if *theirs == self.branch.policy_before || *theirs == ours {
            return Ok(());
        }
        if ours == self.branch.policy_before {
            let fact = PolicySet {
                text: theirs.clone(),
                who: "failback".into(),
            };
            self.vault.append(Proposal::Policy(fact)).await?;
        } else {
            self.report.notes.push(
                "the policy was changed on both sides of the fork: the one here stays; look at it with `holdfast policy show`"
                    .into(),
            );
        }
        Ok(())
    }
}

/// A pack being filled with copies, and which of its chunks become known by it.
struct Filling {
    kind: ChunkKind,
    scope: Scope,
    builder: Option<PackBuilder>,
    fresh: HashSet<ChunkId>,
}

impl Filling {
    fn new(kind: ChunkKind, scope: &Scope) -> Self {
        Self {
            kind,
            scope: scope.clone(),
            builder: None,
            fresh: HashSet::new(),
        }
    }

    async fn add(
        &mut self,
        salvage: &Salvage<'_>,
        frame: Frame,
        fresh: HashSet<ChunkId>,
    ) -> Result<()> {
        let vault = salvage.vault;
        let (kind, scope) = (self.kind, self.scope.clone());
        let builder = self.builder.get_or_insert_with(|| {
            PackBuilder::new(vault.header.vault, vault.new_pack_id(), kind, scope)
        });
        builder.add(frame)?;
        self.fresh.extend(fresh);
        match builder.is_full() {
            true => self.flush(salvage).await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self, salvage: &Salvage<'_>) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let fresh = std::mem::take(&mut self.fresh);
            salvage.place(builder.finish(), fresh).await?;
        }
        Ok(())
    }

    async fn finish(mut self, salvage: &Salvage<'_>) -> Result<()> {
        self.flush(salvage).await
    }
}

/// What of a snapshot's closure is not live here.
struct Missing {
    ids: HashSet<ChunkId>,
    /// By pack and frame of the branch.
    data: BTreeMap<PackOrdinal, BTreeMap<u32, Vec<ChunkId>>>,
    data_ids: HashSet<ChunkId>,
    /// Frames of nodes in the order in which the branch named their first missing node.
    nodes: Vec<(Ordinal, PackOrdinal, u32, Vec<ChunkId>)>,
}

impl Missing {
    fn is_data(&self, id: &ChunkId) -> bool {
        self.data_ids.contains(id)
    }
}

/// Walks a snapshot of the branch down to what is live here: below that nothing is missing, since children came first.
fn missing(here: &State, branch: &State, scope: &Scope, root: Ordinal) -> Missing {
    let mut found = Missing {
        ids: HashSet::new(),
        data: BTreeMap::new(),
        data_ids: HashSet::new(),
        nodes: Vec::new(),
    };
    let mut nodes: BTreeMap<(PackOrdinal, u32), (Ordinal, Vec<ChunkId>)> = BTreeMap::new();
    let mut open = vec![root];
    let mut seen: HashSet<Ordinal> = HashSet::new();
    while let Some(ordinal) = open.pop() {
        if !seen.insert(ordinal) {
            continue;
        }
        let (Some(id), Some(entry)) = (branch.index.id(ordinal), branch.index.entry(ordinal))
        else {
            continue;
        };
        if here.find(scope, &id).is_some() {
            continue;
        }
        found.ids.insert(id);
        let pack = branch.catalog.packs.get(&entry.pack);
        if pack.is_some_and(|pack| pack.chunk_kind() == ChunkKind::Data) {
            found.data_ids.insert(id);
            let frames = found.data.entry(entry.pack).or_default();
            frames.entry(entry.frame).or_default().push(id);
        } else {
            let frame = nodes
                .entry((entry.pack, entry.frame))
                .or_insert((ordinal, Vec::new()));
            frame.0 = frame.0.min(ordinal);
            frame.1.push(id);
            open.extend(branch.index.refs(ordinal));
        }
    }
    found.nodes = (nodes.into_iter())
        .map(|((pack, frame), (ordinal, ids))| (ordinal, pack, frame, ids))
        .collect();
    found.nodes.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
    found
}
