//! The shell around the append protocol, and whoever may use it: the writer of one epoch.
//!
//! State: the epoch's claim and the shared fold. One writer exists for an epoch, and one append is in flight at a time
//! (`&mut self`). Once fenced it never writes again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use holdfast_context::{Context, Latest};
use holdfast_format::codec::LEVEL;
use holdfast_format::record::Facts;
use holdfast_format::{
    Certificate, ClaimNonce, Epoch, Fact, ObjectName, Position, Record, RecordBody, Sealed,
    SecretKey, Slot, VaultId,
};
use holdfast_store::{Put, Site};
use tokio_util::sync::CancellationToken;

use super::append;
use super::claim::{Claiming, unfit};
use super::takeover::{self, Claimant};
use crate::checkpoint::{SegmentCache, settle};
use crate::error::{Error, Result};
use crate::fold::State;
use crate::guard::Guard;

/// The fold as the owner's actors share it. The writer alone changes it.
pub type SharedState = Arc<RwLock<State>>;

/// Pause before a request that failed is made again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Whoever claims: its name, its signing key, and the root key's word for it.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The coordinator's name.
    pub coordinator: String,
    /// Signs records.
    pub key: SecretKey,
    /// The root key's word for `key`.
    pub certificate: Certificate,
}

/// How a takeover ended.
#[derive(Debug)]
pub enum Takeover {
    /// The epoch is ours.
    Owner(Box<Writer>),
    /// This epoch or a later one was announced by another: start over above it.
    Superseded(Epoch, Box<State>),
}

/// Appends to one vault in one epoch.
#[derive(Debug)]
pub struct Writer {
    context: Context,
    site: Arc<dyn Site>,
    credentials: Credentials,
    claimant: Claimant,
    state: SharedState,
    stop: CancellationToken,
    ended: bool,
    trouble: Latest<String>,
}

impl Writer {
    /// Takes a vault over at `site`: follows its log from `state`, seals the epoch that is open, claims the claimant's.
    /// A new vault's `state` has no record yet; its first epoch is 1. If the claimant's own seal stands there already
    /// (see [`super::claim::seal`]), only the claim is left to do.
    pub async fn take_over(
        context: &Context,
        site: Arc<dyn Site>,
        credentials: Credentials,
        claimant: Claimant,
        state: State,
        stop: CancellationToken,
    ) -> Result<Takeover> {
        let mut claim = Claiming::new(context, &site, &credentials, claimant, state)?;
        match claim.drive(&stop, |_| false).await? {
            takeover::State::Owner => {}
            takeover::State::Superseded(epoch) => {
                return Ok(Takeover::Superseded(epoch, Box::new(claim.state)));
            }
            takeover::State::Unfit => return Err(unfit(site.as_ref())),
            other => return Err(Error::Bug(format!("a takeover ended as {other:?}"))),
        }
        let Claiming {
            mut state, written, ..
        } = claim;
        let record =
            written.ok_or_else(|| Error::Bug("a takeover ended without a claim".into()))?;
        if let Some(seal) = state.chain.head.filter(|_| Guard::PreviousStands.stands()) {
            stands_behind(site.as_ref(), state.header.vault, seal).await?;
        }
        state.take(&record)?;
        Ok(Takeover::Owner(Box::new(Self {
            context: context.clone(),
            site,
            credentials: credentials.clone(),
            claimant,
            state: Arc::new(RwLock::new(state)),
            stop,
            ended: false,
            trouble: Latest::new(String::new()),
        })))
    }

    /// The shared fold.
    pub fn state(&self) -> &SharedState {
        &self.state
    }

    /// The epoch's number and nonce.
    pub fn claimant(&self) -> Claimant {
        self.claimant
    }

    /// The primary.
    pub fn site(&self) -> &Arc<dyn Site> {
        &self.site
    }

    /// Why the primary takes nothing now, or does not answer; empty when it does.
    pub fn trouble(&self) -> &Latest<String> {
        &self.trouble
    }

    /// Moves what the fold's index holds in memory into segments of the cache. Blocks; readers go on meanwhile. Only the
    /// writer may: nothing is appended in between.
    pub fn settle(&mut self, cache: &SegmentCache) -> Result<()> {
        let mut index = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.index.clone()
        };
        settle(&mut index, cache)?;
        cache.prune(&index)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.index = index;
        Ok(())
    }

    /// Appends one record and folds it in. Returns once it stands at the primary; on [`Error::Fenced`] the writer has
    /// ended. While the site cannot be reached it waits, until `stop`.
    pub async fn append(&mut self, facts: Vec<Fact>) -> Result<Record> {
        if self.ended {
            return Err(Error::Fenced("this owner was stopped before".into()));
        }
        let record = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let at = state.chain.next();
            if at.epoch != self.claimant.epoch {
                return Err(Error::Bug(format!(
                    "the epoch to append to is {}",
                    at.epoch
                )));
            }
            let body = body(
                &state,
                at,
                self.claimant.nonce,
                &self.credentials,
                facts,
                self.context.now_millis(),
            );
            Record::make(body, &self.credentials.key)?
        };
        let name = ObjectName::record(record.body.vault, record.position());
        self.look_back(record.body.vault).await?;
        let (mut now, mut effect) = append::start();
        let mut tries = 0u32;
        loop {
            tries = tries.saturating_add(1);
            let event = match effect {
                append::Effect::Put | append::Effect::PutLater => {
                    if effect == append::Effect::PutLater {
                        self.pause().await?;
                        // Whatever stands there by now may be an older copy.
                        self.look_back(record.body.vault).await?;
                    }
                    match self.site.put_new(&name, record.sealed()).await {
                        Ok(Put::Created) => append::Event::Created,
                        Ok(Put::Exists) => append::Event::Exists,
                        Err(error) => {
                            self.trouble.set(error.to_string());
                            // Said at once, then ever more rarely: the same sentence five times a second helps nobody.
                            if tries.is_power_of_two() {
                                tracing::warn!(site = %self.site.name(), %error, tries, "the record was not written yet");
                            }
                            if error.is_determinate() {
                                append::Event::NotDone
                            } else {
                                append::Event::Unknown
                            }
                        }
                    }
                }
                append::Effect::Read | append::Effect::ReadLater => {
                    if effect == append::Effect::ReadLater {
                        self.pause().await?;
                    }
                    self.read_slot(&name, &record).await
                }
                append::Effect::Acknowledge => break,
                append::Effect::StopFenced => {
                    self.ended = true;
                    return Err(Error::Fenced(format!(
                        "another owner wrote record {} at site {}",
                        record.position(),
                        self.site.name()
                    )));
                }
                append::Effect::StopBroken => {
                    self.ended = true;
                    return Err(Error::Bug(format!(
                        "record {} at site {} holds bytes that this owner did not write, under its own nonce",
                        record.position(),
                        self.site.name()
                    )));
                }
            };
            if event == append::Event::Unknown && !Guard::OneProposalPerSlot.stands() {
                return Err(Error::Unavailable("the record was not written".into()));
            }
            (now, effect) = append::step(now, event);
        }
        self.look_back(record.body.vault).await?;
        self.trouble.set(String::new());
        // ORDER: folded only once it stands at the primary: nothing that others see may rest on a record that is not there.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.take(&record) {
            self.ended = true;
            return Err(Error::Bug(format!(
                "the owner's own record does not fold: {error}"
            )));
        }
        Ok(record)
    }

    /// Whether the last record is still there.
    ///
    /// ORDER: before the next one is put, and again before it counts. A site that was rolled back, or swapped for an older copy of
    /// itself, lacks the last ones: what was put behind the gap would stand on nothing, and be told to be safe. Whoever takes the
    /// vault anew puts back what the members hold.
    async fn look_back(&mut self, vault: VaultId) -> Result<()> {
        if !Guard::PreviousStands.stands() {
            return Ok(());
        }
        let mut tries = 0u32;
        loop {
            tries = tries.saturating_add(1);
            match self.look_for_last(vault).await {
                Err(Error::Unavailable(error)) => {
                    if tries.is_power_of_two() {
                        tracing::warn!(site = %self.site.name(), error, tries, "the last record cannot be looked for yet");
                    }
                    self.pause().await?;
                }
                found => return found,
            }
        }
    }

    /// Whether the primary is there, when nothing is appended: one request. That it does not answer is told by
    /// [`Self::trouble`]; if its last record is gone, the writer has ended.
    pub async fn look(&mut self) -> Result<()> {
        let vault = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.header.vault
        };
        match self.look_for_last(vault).await {
            Err(Error::Unavailable(_)) => Ok(()),
            Ok(()) => {
                self.trouble.set(String::new());
                Ok(())
            }
            lost => lost,
        }
    }

    async fn look_for_last(&mut self, vault: VaultId) -> Result<()> {
        let head = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.chain.head
        };
        let Some(head) = head else { return Ok(()) };
        match self.site.head(&ObjectName::record(vault, head)).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) if !Guard::PreviousStands.stands() => Ok(()),
            Ok(None) => {
                self.ended = true;
                Err(Error::Corrupt(format!(
                    "site {} has lost record {head}, which stood there: its disk was rolled back, or is an older copy of itself. \
                     What the members hold is put back",
                    self.site.name()
                )))
            }
            Err(error) => {
                self.trouble.set(error.to_string());
                Err(Error::Unavailable(error.to_string()))
            }
        }
    }

    /// Whether nothing is appended any more.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ends this writer: nothing is appended any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    async fn pause(&mut self) -> Result<()> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                // The outcome stays unknown: the next owner finds out by reading the slot.
                self.ended = true;
                Err(Error::Unavailable("the coordinator is stopping; the record may or may not stand".into()))
            }
            () = tokio::time::sleep(RETRY_PAUSE) => Ok(()),
        }
    }

    async fn read_slot(&self, name: &ObjectName, mine: &Record) -> append::Event {
        match self.site.get(name).await {
            Ok(None) => append::Event::Absent,
            Ok(Some(bytes)) if bytes == mine.object => append::Event::Mine,
            Ok(Some(bytes)) => match Record::open(mine.body.vault, mine.position(), bytes) {
                Ok(other) if other.body.nonce == mine.body.nonce && other.seal().is_none() => {
                    append::Event::MineButOther
                }
                _ => append::Event::Others,
            },
            Err(error) => {
                tracing::warn!(site = %self.site.name(), %error, "the slot cannot be read yet");
                append::Event::Unreadable
            }
        }
    }
}

/// ORDER: before a claim counts. A site that went back to an older copy of itself meanwhile has the claim and its seal, and not
/// what they stand on.
async fn stands_behind(site: &dyn Site, vault: VaultId, seal: Position) -> Result<()> {
    let before = seal.slot.0.checked_sub(1);
    let before = before.map(|slot| Position {
        slot: Slot(slot),
        ..seal
    });
    for at in [Some(seal), before].into_iter().flatten() {
        if site.head(&ObjectName::record(vault, at)).await?.is_none() {
            return Err(Error::Corrupt(format!(
                "site {} has lost record {at}, which stood there: its disk was rolled back, or is an older copy of itself",
                site.name()
            )));
        }
    }
    Ok(())
}

pub(super) fn body(
    state: &State,
    at: Position,
    nonce: ClaimNonce,
    credentials: &Credentials,
    facts: Vec<Fact>,
    clock_millis: i64,
) -> RecordBody {
    RecordBody {
        level: LEVEL,
        vault: state.header.vault,
        epoch: at.epoch,
        slot: at.slot,
        previous: state.chain.hash,
        nonce,
        time_millis: state.next_time(clock_millis),
        writer: credentials.key.public(),
        facts: Facts(facts),
        tail: None,
    }
}

/// The header as a site must hold it before anything else of a vault. `Exists` with other bytes is an error.
pub async fn put_same(site: &dyn Site, name: &ObjectName, body: &Sealed) -> Result<()> {
    let mut last = None;
    for _ in 0..5 {
        match site.put_new(name, body.clone()).await {
            Ok(Put::Created) => return Ok(()),
            Ok(Put::Exists) => {
                return match site.get(name).await? {
                    Some(there) if there == body.to_bytes() => Ok(()),
                    Some(_) => Err(Error::Corrupt(format!(
                        "{name} at site {} holds other bytes than it must",
                        site.name()
                    ))),
                    None => Err(Error::Unavailable(format!(
                        "{name} at site {} was there and is not any more",
                        site.name()
                    ))),
                };
            }
            // The same bytes again are harmless whether or not the first landed.
            Err(error) if error.kind() == holdfast_store::Kind::Retry => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(last.map_or_else(|| Error::Bug("no put was tried".into()), Error::from))
}
