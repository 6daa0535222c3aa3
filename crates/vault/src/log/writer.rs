//! The shells around the pure protocols: taking a vault over, and appending to it.
//!
//! State: the epoch's claim and the shared fold. One writer exists for an epoch, and one append is in flight at a time
//! (`&mut self`). Once fenced it never writes again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::codec::LEVEL;
use holdfast_format::fact::{Claim, Seal};
use holdfast_format::record::Facts;
use holdfast_format::{
    Certificate, ClaimNonce, Epoch, Fact, ObjectName, Position, Record, RecordBody, Sealed,
    SecretKey, Slot,
};
use holdfast_store::{Put, Site};
use tokio_util::sync::CancellationToken;

use super::append;
use super::reader::LogReader;
use super::takeover::{self, Claimant, Slotted};
use crate::checkpoint::{SegmentCache, settle};
use crate::error::{Error, Result};
use crate::fold::State;

/// The fold as the owner's actors share it. The writer alone changes it.
pub type SharedState = Arc<RwLock<State>>;

/// Pause before a request that failed is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

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
}

impl Writer {
    /// Takes a vault over at `site`: follows its log from `state`, seals the epoch that is open, claims the claimant's.
    /// A new vault's `state` has no record yet; its first epoch is 1. If the claimant's own seal stands there already
    /// (see [`seal`]), only the claim is left to do.
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
        state.take(&record)?;
        Ok(Takeover::Owner(Box::new(Self {
            context: context.clone(),
            site,
            credentials: credentials.clone(),
            claimant,
            state: Arc::new(RwLock::new(state)),
            stop,
            ended: false,
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
        let (mut now, mut effect) = append::start();
        let mut tries = 0u32;
        loop {
            tries = tries.saturating_add(1);
            let event = match effect {
                append::Effect::Put | append::Effect::PutLater => {
                    if effect == append::Effect::PutLater {
                        self.pause().await?;
                    }
                    match self.site.put_new(&name, record.sealed()).await {
                        Ok(Put::Created) => append::Event::Created,
                        Ok(Put::Exists) => append::Event::Exists,
                        Err(error) => {
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
                    self.look(&name, &record).await
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
            (now, effect) = append::step(now, event);
        }
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

    async fn look(&self, name: &ObjectName, mine: &Record) -> append::Event {
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

fn body(
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

/// How closing an epoch ended.
#[derive(Debug)]
pub enum Sealing {
    /// The claimant's seal is the log's last record there; the state stands behind it.
    Sealed(Box<State>),
    /// The claimant's epoch or a later one was announced by another: start over above it.
    Superseded(Epoch),
}

/// The first half of a takeover: closes the epoch that is open at `site` with a seal that names the claimant's epoch,
/// and claims nothing. For a failover whose old primary answers: the seal is carried to the new primary with everything
/// before it, and the epoch is claimed there.
///
/// ORDER: the seal stands at the old primary before its last records are copied. Whatever an owner still appends there
/// comes before the seal and is copied, or meets the seal and is refused: nothing is left behind, and there is no fork.
pub async fn seal(
    context: &Context,
    site: Arc<dyn Site>,
    credentials: &Credentials,
    claimant: Claimant,
    state: State,
    stop: &CancellationToken,
) -> Result<Sealing> {
    let mut claim = Claiming::new(context, &site, credentials, claimant, state)?;
    let sealed = |now: &takeover::State| *now == takeover::State::Claiming;
    match claim.drive(stop, sealed).await? {
        takeover::State::Claiming => Ok(Sealing::Sealed(Box::new(claim.state))),
        takeover::State::Superseded(epoch) => Ok(Sealing::Superseded(epoch)),
        other => Err(Error::Bug(format!("a seal ended as {other:?}"))),
    }
}

fn unfit(site: &dyn Site) -> Error {
    Error::Denied(format!(
        "site {} let a second claim replace the first: it has no atomic create, and a vault there can be destroyed by two \
         owners at once. Use a server that has it (see the list in docs/OPERATIONS.md)",
        site.name()
    ))
}

/// A takeover under way.
struct Claiming<'a> {
    context: &'a Context,
    reader: LogReader,
    site: Arc<dyn Site>,
    credentials: &'a Credentials,
    claimant: Claimant,
    state: State,
    /// The claim as it was put.
    written: Option<Record>,
}

impl<'a> Claiming<'a> {
    fn new(
        context: &'a Context,
        site: &Arc<dyn Site>,
        credentials: &'a Credentials,
        claimant: Claimant,
        state: State,
    ) -> Result<Self> {
        credentials
            .certificate
            .check(state.header.vault, &state.header.root)?;
        Ok(Self {
            context,
            reader: LogReader::new(site.clone(), state.header.vault),
            site: site.clone(),
            credentials,
            claimant,
            state,
            written: None,
        })
    }

    /// Runs the protocol to its end, or until `until` holds.
    async fn drive(
        &mut self,
        stop: &CancellationToken,
        until: impl Fn(&takeover::State) -> bool,
    ) -> Result<takeover::State> {
        let new_vault = self.state.chain.head.is_none();
        let (mut now, mut effect) = self.claimant.start(self.state.chain.next(), new_vault);
        while effect != takeover::Effect::End && !until(&now) {
            if stop.is_cancelled() {
                return Err(Error::Unavailable("the coordinator is stopping".into()));
            }
            let event = self.carry_out(effect).await?;
            (now, effect) = self.claimant.step(now, event);
        }
        Ok(now)
    }

    async fn carry_out(&mut self, effect: takeover::Effect) -> Result<takeover::Event> {
        use takeover::Effect;
        if matches!(
            effect,
            Effect::ReadLater(_)
                | Effect::PutSealLater(_)
                | Effect::PutClaimLater
                | Effect::PutDecoyLater
        ) {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        match effect {
            Effect::Read(at) | Effect::ReadLater(at) => self.read(at).await,
            Effect::PutSeal(at) | Effect::PutSealLater(at) => {
                let seal = self.seal(at)?;
                self.put(at, seal.sealed()).await
            }
            Effect::PutClaim | Effect::PutClaimLater => {
                let claim = self.claim(0)?;
                let put = self.put(claim.position(), claim.sealed()).await;
                self.written = Some(claim);
                put
            }
            Effect::PutDecoy | Effect::PutDecoyLater => {
                let decoy = self.claim(1)?;
                self.put(decoy.position(), decoy.sealed()).await
            }
            Effect::End => Err(Error::Bug("a takeover went on after its end".into())),
        }
    }

    async fn read(&mut self, at: Position) -> Result<takeover::Event> {
        let record = match self.reader.read(at).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(takeover::Event::Read(Slotted::Absent)),
            Err(Error::Unavailable(why)) => {
                tracing::warn!(site = %self.site.name(), why, "the log cannot be read yet");
                return Ok(takeover::Event::Unreadable);
            }
            Err(error) => return Err(error),
        };
        if self
            .written
            .as_ref()
            .is_some_and(|own| own.object == record.object)
        {
            return Ok(takeover::Event::Read(Slotted::OwnClaim));
        }
        let slotted = match record.seal() {
            Some(seal) => Slotted::Seal {
                next_epoch: seal.next_epoch,
                next_nonce: seal.next_nonce,
            },
            None => Slotted::Record,
        };
        // Behind our own seal nothing but our claim is folded.
        if at == self.state.chain.next() && self.written.is_none() {
            self.state.take(&record)?;
        }
        Ok(takeover::Event::Read(slotted))
    }

    fn seal(&self, at: Position) -> Result<Record> {
        let seal = Seal {
            next_epoch: self.claimant.epoch,
            next_nonce: self.claimant.nonce,
            ends_at: at.slot,
            certificate: self.credentials.certificate.clone(),
            by: self.credentials.coordinator.clone(),
            survivor: None,
        };
        let now = self.context.now_millis();
        let body = body(
            &self.state,
            at,
            self.claimant.nonce,
            self.credentials,
            vec![seal.into()],
            now,
        );
        Ok(Record::make(body, &self.credentials.key)?)
    }

    /// The claim; a decoy differs in its coordinator's name only.
    fn claim(&self, decoy: u8) -> Result<Record> {
        let name = &self.credentials.coordinator;
        let claim = Claim {
            primary: self.site.name().clone(),
            coordinator: if decoy == 0 {
                name.clone()
            } else {
                format!("{name} (decoy)")
            },
            certificate: self.credentials.certificate.clone(),
        };
        let at = Position {
            epoch: self.claimant.epoch,
            slot: Slot(0),
        };
        if let (0, Some(written)) = (decoy, &self.written) {
            return Ok(written.clone());
        }
        let now = self.context.now_millis();
        let body = body(
            &self.state,
            at,
            self.claimant.nonce,
            self.credentials,
            vec![claim.into()],
            now,
        );
        Ok(Record::make(body, &self.credentials.key)?)
    }

    async fn put(&mut self, at: Position, body: Sealed) -> Result<takeover::Event> {
        let name = ObjectName::record(self.state.header.vault, at);
        let sealed_by_us = at.epoch != self.claimant.epoch;
        let object = body.to_bytes();
        Ok(match self.site.put_new(&name, body).await {
            Ok(Put::Created) => {
                if sealed_by_us {
                    self.state
                        .take(&Record::open(self.state.header.vault, at, object)?)?;
                }
                takeover::Event::Created
            }
            Ok(Put::Exists) => takeover::Event::Exists,
            Err(error) => {
                tracing::warn!(site = %self.site.name(), %error, "the log cannot be written yet");
                if error.is_determinate() {
                    takeover::Event::NotDone
                } else {
                    takeover::Event::Unknown
                }
            }
        })
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
