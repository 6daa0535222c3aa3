//! One vault that this coordinator owns: what its actors and the services share.

pub(crate) mod checked;
mod checkpoint;
pub mod clock;
mod collection;
pub mod collector;
pub mod ending;
pub mod herald;
pub mod keeper;
mod own_branch;
mod protection;
pub mod reading;
pub mod replica;
pub mod session;
pub mod upkeep;
pub mod upload;
pub mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use holdfast_context::{Context, Latest, Seen};
use holdfast_format::{PackId, PackNumber, Position, SiteName, SnapshotId, VaultHeader};
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::checkpoint::SegmentCache;
use holdfast_vault::fetch::FrameReader;
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::replicate::underway::UnderWay;
use holdfast_vault::{Budget, LogReader, Promises, Proposal, SharedState, State, Writer};
use kameo::actor::{ActorRef, Spawn};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::sites::Sites;
use clock::Clock;
use collector::Collector;
use keeper::Keeper;
use own_branch::OwnBranch;
use replica::{Replica, ReplicaArgs, Standing};
use writer::{LogWriter, Propose, ProposeError};

/// Bytes of packs in memory at once: one being filled, and two on their way. Each vault has its own, so that one whose primary
/// does not take anything keeps no other waiting.
const PACKS_BYTES_MAX: usize = 96 << 20;

/// Packs on their way to other members straight from memory, at most.
const DIRECT_PACKS_MAX: usize = 2;

/// A member's actor, and what it tells.
type Following = (ActorRef<Replica>, watch::Receiver<Standing>);

/// An owned vault.
#[derive(Debug)]
pub struct Vault {
    /// Clock, chance, tasks.
    pub context: Context,
    /// The header.
    pub header: VaultHeader,
    /// The primary.
    pub primary: Opened,
    /// The sites of this coordinator.
    pub sites: Arc<Sites>,
    /// The fold.
    pub shared: SharedState,
    /// What was promised to open sessions.
    pub promises: Arc<Mutex<Promises>>,
    /// Reads frames.
    pub frames: FrameReader,
    /// Bounds the packs in memory, over all agents and members of this vault.
    pub(crate) budget: Budget,
    /// Where index segments are kept.
    pub cache: SegmentCache,
    /// The last record that stands at the primary.
    pub head: Seen<Option<Position>>,
    /// Cancelled when this ownership ends, for whatever reason.
    pub stop: CancellationToken,
    /// This ownership's epoch and nonce.
    pub claimant: Claimant,
    /// Whether the clock may be trusted with taking something away.
    pub clock: Clock,
    writer: ActorRef<LogWriter>,
    replicas: RwLock<BTreeMap<SiteName, Following>>,
    changed: Latest<()>,
    collector: std::sync::OnceLock<ActorRef<Collector>>,
    keeper: std::sync::OnceLock<ActorRef<Keeper>>,
    next_pack: AtomicU64,
    /// Bounds the packs that are written to other members straight from memory.
    pub(crate) direct: Arc<tokio::sync::Semaphore>,
    /// Those packs.
    pub(crate) under_way: UnderWay,
    sessions: Mutex<std::collections::HashMap<holdfast_format::SessionId, Arc<session::Slot>>>,
    /// What was verified and collected last.
    pub upkeep: upkeep::Upkeep,
    /// Repairs under way.
    pub(crate) repairs: crate::repair::Repairs,
    /// How far members had come at least, as placement was told.
    progress: Mutex<BTreeMap<SiteName, Position>>,
    own_branch: Mutex<OwnBranch>,
    /// Snapshots of which it does not stand in the log yet whether they share what is damaged at a site.
    unsaid: Mutex<BTreeSet<SnapshotId>>,
    /// Work under way that no session or hold of a restore shows.
    working: Arc<()>,
    /// Why the primary takes nothing; empty when it does.
    primary_trouble: Seen<String>,
    /// The header's object, as it stood when the vault was opened.
    pub(crate) header_object: std::sync::OnceLock<bytes::Bytes>,
}

/// See [`Vault::work`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Work(#[expect(dead_code, reason = "counted")] Arc<()>);

impl Vault {
    /// Starts the actors of a vault that was just taken over. `progress` is how far members had come before.
    #[expect(clippy::too_many_arguments, reason = "wiring")]
    pub fn start(
        context: Context,
        primary: Opened,
        sites: Arc<Sites>,
        writer: Writer,
        cache: SegmentCache,
        log_before_millis: i64,
        progress: BTreeMap<SiteName, Position>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let shared = writer.state().clone();
        let claimant = writer.claimant();
        let header = read(&shared).header.clone();
        let promises = Arc::new(Mutex::new(Promises::default()));
        let head_to = Latest::new(read(&shared).chain.head);
        let head = head_to.watch();
        let primary_trouble = writer.trouble().watch();
        let writer = LogWriter::spawn_with_mailbox(
            writer::Args {
                context: context.clone(),
                writer,
                promises: promises.clone(),
                cache: cache.clone(),
                head: head_to,
                stop: stop.clone(),
            },
            kameo::mailbox::bounded(256),
        );
        let vault = Arc::new(Self {
            frames: FrameReader::new(header.vault),
            context,
            header,
            primary,
            sites,
            shared,
            promises,
            budget: Budget::of(PACKS_BYTES_MAX),
            cache,
            head,
            stop,
            claimant,
            clock: Clock::open(log_before_millis),
            writer,
            replicas: RwLock::default(),
            changed: Latest::new(()),
            collector: std::sync::OnceLock::new(),
            keeper: std::sync::OnceLock::new(),
            next_pack: AtomicU64::new(0),
            direct: Arc::new(tokio::sync::Semaphore::new(DIRECT_PACKS_MAX)),
            under_way: UnderWay::default(),
            sessions: Mutex::default(),
            upkeep: Default::default(),
            repairs: Default::default(),
            progress: Mutex::new(progress),
            own_branch: Mutex::new(OwnBranch::NotLookedAt),
            unsaid: Mutex::default(),
            working: Arc::default(),
            primary_trouble,
            header_object: std::sync::OnceLock::new(),
        });
        vault.follow_members();
        let collector = Collector::spawn_with_mailbox(vault.clone(), kameo::mailbox::bounded(16));
        let keeper = Keeper::spawn_with_mailbox(vault.clone(), kameo::mailbox::bounded(16));
        let _ = vault.collector.set(collector);
        let _ = vault.keeper.set(keeper);
        keeper::tick(&vault);
        writer::look_now_and_then(&vault);
        vault
    }

    /// The fold, to look at; never held across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        read(&self.shared)
    }

    /// The promises; never held across an await.
    pub fn promises(&self) -> MutexGuard<'_, Promises> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log writer, for its own messages.
    pub(crate) fn log_writer(&self) -> &ActorRef<LogWriter> {
        &self.writer
    }

    /// The collector.
    pub fn collector(&self) -> Option<&ActorRef<Collector>> {
        self.collector.get()
    }

    /// The keeper of retention.
    pub fn keeper(&self) -> Option<&ActorRef<Keeper>> {
        self.keeper.get()
    }

    /// A name that no pack ever had.
    pub fn new_pack_id(&self) -> PackId {
        PackId {
            epoch: self.claimant.epoch,
            nonce: self.claimant.nonce,
            number: PackNumber(self.next_pack.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// The memory of an upload over its streams.
    pub(crate) fn session_slot(&self, id: holdfast_format::SessionId) -> Arc<session::Slot> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(id).or_default().clone()
    }

    /// Whether the agent of an upload is connected now.
    pub(crate) fn has_agent(&self, id: &holdfast_format::SessionId) -> bool {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(id).is_some_and(|slot| slot.is_streaming())
    }

    /// An upload is over.
    pub(crate) fn forget_session(&self, id: &holdfast_format::SessionId) {
        self.sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.promises().detach(id);
    }

    /// Proposes something for the log; returns once it stands at the primary.
    pub async fn propose(
        &self,
        proposal: Proposal,
    ) -> std::result::Result<Option<Position>, ProposeError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let ended = || {
            ProposeError::Ended(Error::Fenced(
                "this coordinator no longer owns the vault".into(),
            ))
        };
        self.writer
            .tell(Propose { proposal, reply })
            .await
            .map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The same, with refusals as errors.
    pub async fn append(&self, proposal: Proposal) -> Result<Option<Position>> {
        self.propose(proposal).await.map_err(Error::from)
    }

    /// Starts replicas for members that have none, and stops those of sites that left.
    pub fn follow_members(self: &Arc<Self>) {
        let members: Vec<SiteName> = self.state().catalog.members.keys().cloned().collect();
        let mut replicas = self
            .replicas
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        replicas.retain(|site, (actor, _)| {
            let stays = members.contains(site);
            if !stays {
                actor.kill();
            }
            stays
        });
        for site in members {
            if site == *self.primary.site.name() || replicas.contains_key(&site) {
                continue;
            }
            let (standing_to, standing) = watch::channel(Standing::default());
            let args = ReplicaArgs {
                vault: Arc::downgrade(self),
                site: site.clone(),
                standing: standing_to,
            };
            let actor = Replica::spawn_with_mailbox(args, kameo::mailbox::bounded(4));
            replicas.insert(site, (actor, standing));
        }
        drop(replicas);
        // One that left is waited for no longer.
        self.member_moved();
    }

    /// A member may be another one by now, or may follow again: its replica looks at once, from the start.
    pub(crate) fn nudge_member(self: &Arc<Self>, site: &SiteName) {
        {
            let mut replicas = self
                .replicas
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some((actor, _)) = replicas.remove(site) {
                actor.kill();
            }
        }
        self.follow_members();
    }

    /// How far a member had come at least; `None` if it is not known to have held anything.
    pub(crate) fn progress_of(&self, site: &SiteName) -> Option<Position> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.get(site).copied()
    }

    /// A member has come so far; with `None`, it is taken for a new one.
    pub(crate) fn note_progress(&self, site: &SiteName, at: Option<Position>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            Some(at) => progress.insert(site.clone(), at),
            None => progress.remove(site),
        };
    }

    /// Whether nobody has sealed this ownership's epoch: what stands behind its last record is its own, or nothing.
    pub(crate) async fn is_not_sealed(&self) -> Result<bool> {
        let next = self.state().chain.next();
        let reader: Arc<dyn SiteReader> = self.primary.site.clone();
        let record = LogReader::new(reader, self.header.vault)
            .read_raw(next)
            .await?;
        Ok(record.is_none_or(|record| {
            record.seal().is_none() && record.body.nonce == self.claimant.nonce
        }))
    }

    /// Why the primary takes nothing now or does not answer, and what helps; empty when it does.
    pub fn primary_trouble(&self) -> String {
        let why = self.primary_trouble.get();
        if why.is_empty() {
            return why;
        }
        let primary = self.primary.site.name();
        let members = self.state().catalog.members.clone();
        let other = members.keys().find(|site| *site != primary);
        match other {
            Some(other) => format!(
                "{why}. If it does not come back: `holdfast failover --vault {} --to {other}`",
                self.header.name
            ),
            None => why,
        }
    }

    /// Where each other member stands.
    pub fn standings(&self) -> BTreeMap<SiteName, Standing> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas
            .iter()
            .map(|(site, (_, standing))| (site.clone(), standing.borrow().clone()))
            .collect()
    }

    /// Whether a record stands at every member.
    pub fn is_everywhere(&self, at: Position) -> bool {
        self.standings().values().all(|standing| standing.holds(at))
    }

    /// Told by replicas whenever one has come further.
    pub(crate) fn member_moved(&self) {
        self.changed.set(());
    }

    /// Waits until a record stands at every member.
    pub async fn wait_everywhere(&self, at: Position) -> Result<()> {
        let mut changed = self.changed.watch();
        while !self.is_everywhere(at) {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Error::Fenced("this coordinator no longer owns the vault".into())),
                _ = changed.changed() => {}
            }
        }
        Ok(())
    }

    /// Sites to read from: the named one alone, or the primary and then the others.
    pub async fn read_sites(&self, only: Option<&SiteName>) -> Result<Vec<Arc<dyn SiteReader>>> {
        if let Some(name) = only {
            if !self.state().catalog.members.contains_key(name) {
                return Err(Error::Missing(format!(
                    "member {name} of vault {}",
                    self.header.name
                )));
            }
            let opened = self.sites.open(name).await?;
            return Ok(vec![opened.site]);
        }
        let mut sites: Vec<Arc<dyn SiteReader>> = vec![self.primary.site.clone()];
        let members: Vec<SiteName> = self.state().catalog.members.keys().cloned().collect();
        for name in members {
            if name != *self.primary.site.name()
                && let Some(opened) = self.sites.opened(&name)
            {
                sites.push(opened.site);
            }
        }
        Ok(sites)
    }

    /// Says that somebody works with the vault, who would have to begin again if it went to another coordinator, until what this
    /// gives is dropped.
    pub(crate) fn work(&self) -> Work {
        Work(self.working.clone())
    }

    /// Whether nobody works with the vault: no session is open; no restore, mount, failback, collection or verification runs.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        let now = state.now_millis();
        let mut holds = state.catalog.holds.values();
        Arc::strong_count(&self.working) == 1
            && state.catalog.sessions.is_empty()
            && !holds
                .any(|hold| hold.by_restore && hold.until_millis.is_none_or(|until| until > now))
    }

    /// Ends this ownership: every actor stops; nothing is appended any more.
    pub async fn end(&self) {
        self.stop.cancel();
        let _ = self.writer.stop_gracefully().await;
        self.writer.wait_for_shutdown().await;
        let replicas: Vec<_> = {
            let mut replicas = self
                .replicas
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *replicas).into_values().collect()
        };
        // Killed, and waited for: what one of them has under way would else still write after this ownership has ended.
        for (actor, _) in replicas {
            actor.kill();
            actor.wait_for_shutdown().await;
        }
        if let Some(collector) = self.collector.get() {
            collector.kill();
            collector.wait_for_shutdown().await;
        }
        if let Some(keeper) = self.keeper.get() {
            keeper.kill();
            keeper.wait_for_shutdown().await;
        }
    }

    /// The last commit at a member up to which every snapshot that is kept was read back whole there.
    pub(crate) fn verified_through(&self, site: &SiteName) -> Option<Position> {
        let state = self.state();
        let mut kept: Vec<(Position, bool)> = state
            .catalog
            .live_snapshots()
            .map(|(_, snapshot)| (snapshot.committed_at, snapshot.verified.contains_key(site)))
            .collect();
        kept.sort_unstable();
        let read_back = kept.iter().take_while(|(_, verified)| *verified);
        read_back.last().map(|(at, _)| *at)
    }

    /// The state word of a snapshot. One that is damaged at a member is not told safe, whatever stands where.
    pub fn snapshot_state(&self, id: &SnapshotId) -> &'static str {
        let state = self.state();
        let Some(snapshot) = state.catalog.snapshots.get(id) else {
            return "gone";
        };
        if snapshot.trash.is_some() {
            return "trash";
        }
        let at = snapshot.committed_at;
        let mut members = state.catalog.members.keys();
        if members.clone().any(|site| snapshot.is_damaged_at(site)) {
            return "damaged";
        }
        let verified = members.all(|site| snapshot.verified.contains_key(site))
            && !state.catalog.members.is_empty();
        drop(state);
        match self.is_everywhere(at) && !self.doubtful().contains(id) {
            true if verified => "verified",
            true => "protected",
            false => "committed",
        }
    }
}

/// Looks at a shared fold.
pub fn read(shared: &SharedState) -> RwLockReadGuard<'_, State> {
    shared.read().unwrap_or_else(PoisonError::into_inner)
}
