//! Sessions: what one stream of an upload does, and the packing of its frames.
//!
//! State over a session's streams: how many frames are durable. State of one stream: packs being filled and packs on
//! their way to the primary. Memory is bounded: frames are taken from the stream only while fewer than `BATCHES_MAX`
//! batches are on their way, and the agent sends no more than its window.
//!
//! A batch is a pack of data and the nodes that came with it. Batches are recorded in the order of the stream, data before
//! nodes, so children always come first.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{FuturesOrdered, StreamExt};
use holdfast_format::fact::{SessionEnded, SessionOpened};
use holdfast_format::{
    ChunkId, ChunkKind, Frame, ObjectName, Pack, PackBuilder, Scope, SessionId, SessionKey,
    SnapshotId, SourceName,
};
use holdfast_vault::budget::Share;
use holdfast_vault::log::writer::put_same;
use holdfast_vault::{Commit, Guard, Proposal, Refusal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Vault;
use super::upload::put_pack;
use super::writer::ProposeError;
use crate::error::{Error, Result};
use crate::repair;

/// Batches on their way to the primary at once.
const BATCHES_MAX: usize = 2;

/// Most bytes of frames that an agent may have sent and not been told durable: a pack being filled, one on its way, and a little more.
pub const WINDOW_BYTES: u64 = 72 << 20;

/// Frames that came this long ago are sent on their way even if their pack is not full.
const FLUSH_AFTER: Duration = Duration::from_secs(5);

/// What outlives a stream: kept by the owner while the session is open.
#[derive(Debug, Default)]
pub struct Slot {
    durable: AtomicU64,
    turn: Arc<tokio::sync::Mutex<()>>,
    current: std::sync::Mutex<Option<CancellationToken>>,
}

impl Slot {
    /// Whether a stream of the session lives.
    pub fn is_streaming(&self) -> bool {
        self.turn.try_lock().is_err()
    }
}

/// What an agent asks for when it opens a stream.
#[derive(Debug, Clone)]
pub struct OpenRequest {
    /// The session.
    pub session: SessionId,
    /// The source.
    pub source: SourceName,
    /// The agent.
    pub agent: String,
    /// The dedup scope.
    pub scope: Scope,
    /// Tags.
    pub tags: Vec<String>,
    /// The key object.
    pub key_object: Vec<u8>,
    /// Whether the session exists already.
    pub resume: bool,
}

/// How an open went.
#[derive(Debug)]
pub enum Opened {
    /// Go on; frames up to this number are durable.
    Go(Box<Stream>, u64),
    /// The session had committed before.
    Committed(SnapshotId),
}

/// One stream of a session.
pub struct Stream {
    vault: Arc<Vault>,
    session: SessionId,
    scope: Scope,
    key: holdfast_format::KeyId,
    slot: Arc<Slot>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
    /// Cancelled when another stream of the same session takes its place.
    pub replaced: CancellationToken,
    data: Option<PackBuilder>,
    nodes: Option<PackBuilder>,
    received: u64,
    since: Option<tokio::time::Instant>,
    uploads: FuturesOrdered<JoinHandle<Result<Batch>>>,
    sent: VecDeque<u64>,
    /// The part of the coordinator's memory that the packs being filled take.
    share: Option<Share>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Stream(session {}, {} frames)",
            self.session, self.received
        )
    }
}

/// Packs that are at the primary and not yet in the log.
#[derive(Debug)]
pub struct Batch {
    packs: Vec<Pack>,
    up_to: u64,
}

/// A backup of which nobody could read a byte is refused. What a site that does not answer holds is not known, and stops nothing.
async fn ensure_readable(vault: &Arc<Vault>) -> Result<()> {
    match repair::vault_key(vault).await {
        Err(Error::Corrupt(why)) => Err(Error::Corrupt(format!(
            "vault {name} takes no backup, for nobody could read it: the vault's own key, {why}. Bring back a site or a copy of one \
             that has it and run `holdfast verify --vault {name} --repair`; without it, what the vault holds cannot be read \
             either, and backups need a new vault",
            name = vault.header.name
        ))),
        _ => Ok(()),
    }
}

/// It is committed, whatever comes of this.
async fn say_sharing(vault: &Arc<Vault>, snapshot: SnapshotId) {
    if let Err(error) = vault.say_sharing(Some(snapshot)).await {
        tracing::warn!(%snapshot, %error, "whether it shares what is damaged at a site was not told");
    }
}

/// Opens a session, or goes on with one.
pub async fn open(vault: &Arc<Vault>, request: OpenRequest) -> Result<Opened> {
    let slot = vault.session_slot(request.session);
    // A newer stream of the same session replaces an older one, whose connection may hang.
    let replaced = CancellationToken::new();
    {
        let mut current = slot
            .current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(older) = current.replace(replaced.clone()) {
            older.cancel();
        }
    }
    // ORDER: the older stream has ended, and all that it recorded is counted, before the new one is told what is durable.
    // Each stream holds the session's turn while it lives.
    let guard = slot.turn.clone().lock_owned().await;
    let key = SessionKey::accept(vault.header.vault, &request.key_object)?;
    if vault
        .state()
        .catalog
        .snapshots
        .contains_key(&request.session)
    {
        say_sharing(vault, request.session).await;
        return Ok(Opened::Committed(request.session));
    }
    let known = vault
        .state()
        .catalog
        .sessions
        .get(&request.session)
        .cloned();
    match known {
        Some(open) => {
            if open.scope != request.scope
                || open.key.key != key.reference.key
                || open.source != request.source
            {
                return Err(Error::Invalid(format!(
                    "session {} is open for another source or under another key; start a new one",
                    request.session
                )));
            }
        }
        None if request.resume => {
            vault.forget_session(&request.session);
            return Err(Error::Missing(format!(
                "session {}, which was ended,",
                request.session
            )));
        }
        None => {
            ensure_readable(vault).await?;
            // ORDER: the key stands at the primary before the record that names it.
            let name = ObjectName::session_key(
                vault.header.vault,
                key.reference.key,
                key.reference.generation,
            );
            if Guard::KeyBeforeRecord.stands() {
                put_same(vault.primary.site.as_ref(), &name, &key.object).await?;
            }
            let fact = SessionOpened {
                session: request.session,
                source: request.source.clone(),
                scope: request.scope.clone(),
                key: key.reference,
                agent: request.agent.clone(),
                tags: request.tags.clone(),
            };
            vault.append(Proposal::Open(fact)).await?;
            if !Guard::KeyBeforeRecord.stands() {
                put_same(vault.primary.site.as_ref(), &name, &key.object).await?;
            }
        }
    }
    vault.promises().attach(request.session);
    let durable = slot.durable.load(Ordering::SeqCst);
    let stream = Stream {
        vault: vault.clone(),
        session: request.session,
        scope: request.scope,
        key: key.reference.key,
        slot,
        _turn: guard,
        replaced,
        data: None,
        nodes: None,
        received: durable,
        since: None,
        uploads: FuturesOrdered::new(),
        sent: VecDeque::new(),
        share: None,
    };
    Ok(Opened::Go(Box::new(stream), durable))
}

/// What became of an upload's task.
fn ended(task: std::result::Result<Result<Batch>, tokio::task::JoinError>) -> Result<Batch> {
    task.unwrap_or_else(|_| Err(Error::Bug("a pack's upload panicked".into())))
}

impl Stream {
    /// Answers which chunks the vault has and keeps for this session.
    pub fn answer(&self, ids: &[ChunkId]) -> Vec<bool> {
        let state = self.vault.state();
        self.vault.promises().answer(&state, self.session, ids)
    }

    /// Whether another frame may be taken, or packs must get on their way first.
    pub fn is_ready(&self) -> bool {
        self.uploads.len() < BATCHES_MAX
    }

    /// Waits until the coordinator has memory for a frame of this size.
    ///
    /// ORDER: what this stream holds gets on its way before it waits, and comes free by itself: so that streams which each
    /// hold a part of a pack never wait for each other.
    pub async fn room(&mut self, bytes: usize) -> Result<()> {
        let budget = self.vault.budget.clone();
        let share = match budget.try_take(bytes) {
            Some(share) => share,
            None => {
                self.send_off();
                tokio::select! {
                    biased;
                    () = self.vault.stop.cancelled() => {
                        return Err(Error::Unavailable("this coordinator stops or no longer owns the vault; connect again".into()));
                    }
                    () = self.replaced.cancelled() => {
                        return Err(Error::Unavailable("the session goes on in another stream".into()));
                    }
                    share = budget.take(bytes) => share,
                }
            }
        };
        match &mut self.share {
            Some(held) => held.merge(share),
            None => self.share = Some(share),
        }
        Ok(())
    }

    /// Takes a frame. Numbers rise by one.
    pub fn frame(&mut self, number: u64, frame: Frame) -> Result<()> {
        if frame.key != self.key {
            return Err(Error::Invalid(
                "a frame is not under its session's key".into(),
            ));
        }
        if number <= self.received {
            return Ok(());
        }
        // The first frame after a restart of the coordinator may have any number: those before are durable or come again.
        if self.received != 0 && number != self.received + 1 {
            return Err(Error::Invalid(format!(
                "frame {number} follows frame {}",
                self.received
            )));
        }
        self.received = number;
        self.since.get_or_insert_with(tokio::time::Instant::now);
        if self.is_known(&frame) {
            return Ok(());
        }
        let (vault, scope) = (&self.vault, &self.scope);
        let builder = match frame.kind {
            ChunkKind::Data => &mut self.data,
            ChunkKind::Node => &mut self.nodes,
        };
        let kind = frame.kind;
        let builder = builder.get_or_insert_with(|| {
            PackBuilder::new(vault.header.vault, vault.new_pack_id(), kind, scope.clone())
        });
        builder.add(frame)?;
        if builder.is_full() {
            self.send_off();
        }
        Ok(())
    }

    /// A frame that was recorded before its agent could be told: sent again, it is not stored again.
    fn is_known(&self, frame: &Frame) -> bool {
        let state = self.vault.state();
        frame.chunks.iter().all(|chunk| {
            state.find(&self.scope, &chunk.id).is_some_and(|ordinal| {
                // Named bad since: it is wanted once more.
                if state.catalog.stale.binary_search(&ordinal).is_ok() {
                    return false;
                }
                let own = state.catalog.sessions.get(&self.session);
                own.is_some_and(|own| {
                    own.named
                        .iter()
                        .any(|run| (run.0..run.1).contains(&ordinal))
                })
            })
        })
    }

    /// When frames that wait must get on their way.
    pub fn flush_at(&self) -> Option<tokio::time::Instant> {
        self.since.map(|since| since + FLUSH_AFTER)
    }

    /// Closes the packs being filled and sends them to the primary.
    pub fn send_off(&mut self) {
        self.since = None;
        let share = self.share.take();
        let up_to = self.received;
        let builders: Vec<PackBuilder> = self
            .data
            .take()
            .into_iter()
            .chain(self.nodes.take())
            .collect();
        if builders.is_empty()
            && self.sent.back().is_none_or(|&last| last >= up_to)
            && self.uploads.is_empty()
        {
            return;
        }
        let vault = self.vault.clone();
        self.sent.push_back(up_to);
        let task = self.vault.context.spawn(async move {
            let packs: Vec<Pack> = builders.into_iter().map(PackBuilder::finish).collect();
            if !Guard::PackBeforeRecord.stands() {
                let (vault, late) = (vault.clone(), packs.clone());
                vault.context.clone().spawn(async move {
                    for pack in &late {
                        let _ = put_pack(&vault, pack).await;
                    }
                });
                let packs = packs.into_iter().map(Pack::without_body).collect();
                return Ok(Batch { packs, up_to });
            }
            for put in
                futures::future::join_all(packs.iter().map(|pack| put_pack(&vault, pack))).await
            {
                put?;
            }
            // The bytes are where they belong; only the footers go on.
            drop(share);
            let packs = packs.into_iter().map(Pack::without_body).collect();
            Ok(Batch { packs, up_to })
        });
        self.uploads.push_back(task);
    }

    /// Whether packs are on their way.
    pub fn is_busy(&self) -> bool {
        !self.uploads.is_empty()
    }

    /// Waits for the oldest batch on its way. Safe to drop while it waits; what it gives must go to [`Self::make_durable`].
    pub async fn next_batch(&mut self) -> Result<Batch> {
        match self.uploads.next().await {
            Some(batch) => ended(batch),
            None => std::future::pending().await,
        }
    }

    /// Records a batch. Gives the number up to which every frame stands in the log.
    pub async fn make_durable(&mut self, batch: Batch) -> Result<u64> {
        self.record(batch.packs, None).await?.map_err(|ids| {
            Error::Invalid(format!(
                "a node came before {} chunks that it refers to; the first is {:?}",
                ids.len(),
                ids.first()
            ))
        })?;
        self.sent.pop_front();
        self.slot.durable.fetch_max(batch.up_to, Ordering::SeqCst);
        Ok(batch.up_to)
    }

    async fn record(
        &self,
        packs: Vec<Pack>,
        commit: Option<Commit>,
    ) -> Result<std::result::Result<(), Vec<ChunkId>>> {
        if packs.is_empty() && commit.is_none() {
            return Ok(Ok(()));
        }
        let proposal = Proposal::Packs {
            session: self.session,
            packs,
            commit,
        };
        match self.vault.propose(proposal).await {
            Ok(_) => Ok(Ok(())),
            Err(ProposeError::Refused(Refusal::Chunks(ids))) => Ok(Err(ids)),
            Err(error) => Err(error.into()),
        }
    }

    /// Records everything that came, and commits. `Err` names chunks that are not live: the agent sends them again.
    pub async fn finish(
        &mut self,
        commit: Commit,
    ) -> Result<std::result::Result<SnapshotId, Vec<ChunkId>>> {
        self.send_off();
        let mut last = Vec::new();
        while let Some(batch) = self.uploads.next().await {
            let batch = ended(batch)?;
            // The last batch is recorded together with the commit.
            if self.uploads.is_empty() {
                last = batch.packs;
            } else if let Err(missing) = self.record(batch.packs, None).await? {
                return Ok(Err(missing));
            }
        }
        // ORDER: before the record stands, and anybody can see the snapshot.
        self.vault.doubt_sharing(self.session);
        let recorded = self.record(last, Some(commit)).await;
        if !matches!(recorded, Ok(Ok(()))) {
            self.vault.doubt_no_more(self.session);
        }
        match recorded? {
            Ok(()) => {
                // ORDER: before anybody is told of the commit, and while this stream has the session's turn.
                say_sharing(&self.vault, self.session).await;
                self.vault.forget_session(&self.session);
                Ok(Ok(self.session))
            }
            Err(missing) => Ok(Err(missing)),
        }
    }

    /// Ends the session without a snapshot.
    pub async fn abandon(&mut self, why: &str, who: &str) -> Result<()> {
        let ended = SessionEnded {
            session: self.session,
            why: why.into(),
            who: who.into(),
        };
        self.vault.append(Proposal::End(ended)).await?;
        self.vault.forget_session(&self.session);
        Ok(())
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// Its data key.
    pub fn key(&self) -> holdfast_format::KeyId {
        self.key
    }
}
