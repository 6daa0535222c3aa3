//! The shell around the takeover protocol: follows a log, seals what is open, claims what comes next.
//!
//! State: one takeover under way, with the fold that it carries along. It writes a seal and a claim, nothing else.

use std::sync::Arc;
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::fact::{Claim, Seal};
use holdfast_format::{Epoch, ObjectName, Position, Record, Sealed, Slot};
use holdfast_store::{Kind, Put, Site};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::reader::LogReader;
use super::takeover::{self, Claimant, Slotted};
use super::writer::{Credentials, RETRY_PAUSE, body};
use crate::error::{Error, Result};
use crate::fold::State;

/// How long a site may fail before the takeover is given up: whoever waits for it may have another site to go to. Nothing is
/// safer or less safe for it.
const FAILING_MAX: Duration = Duration::from_secs(60);

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

pub(super) fn unfit(site: &dyn Site) -> Error {
    Error::Denied(format!(
        "site {} let a second claim replace the first: it has no atomic create, and a vault there can be destroyed by two \
         owners at once. Use a server that has it (see the list in docs/OPERATIONS.md)",
        site.name()
    ))
}

/// A takeover under way.
pub(super) struct Claiming<'a> {
    context: &'a Context,
    reader: LogReader,
    site: Arc<dyn Site>,
    credentials: &'a Credentials,
    claimant: Claimant,
    pub(super) state: State,
    /// The claim as it was put.
    pub(super) written: Option<Record>,
    /// Since when the site fails, and how it failed last.
    failing: Option<(Instant, String)>,
}

impl<'a> Claiming<'a> {
    pub(super) fn new(
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
            failing: None,
        })
    }

    /// Runs the protocol to its end, or until `until` holds.
    pub(super) async fn drive(
        &mut self,
        stop: &CancellationToken,
        until: impl Fn(&takeover::State) -> bool,
    ) -> Result<takeover::State> {
        let new_vault = self.state.chain.head.is_none();
        let sealed = self.state.chain.sealed;
        let ours = sealed.is_some_and(|sealed| {
            (sealed.next_epoch, sealed.next_nonce) == (self.claimant.epoch, self.claimant.nonce)
        });
        // The claimant's own seal is folded already: only the claim is left to do.
        let (mut now, mut effect) = self
            .claimant
            .start(self.state.chain.next(), new_vault || ours);
        while effect != takeover::Effect::End && !until(&now) {
            if stop.is_cancelled() {
                return Err(Error::Unavailable("the coordinator is stopping".into()));
            }
            let event = self.carry_out(effect).await?;
            self.give_up_late(event)?;
            (now, effect) = self.claimant.step(now, event);
        }
        Ok(now)
    }

    /// Gives up a takeover whose site does not get well. What was put may still land: then it is as if the claimant had died
    /// there, and whoever comes next goes on above its epoch.
    fn give_up_late(&mut self, event: takeover::Event) -> Result<()> {
        use takeover::Event;
        match (event, &self.failing) {
            // That nothing is there says nothing of whether it can be put.
            (Event::Read(Slotted::Absent), _) => Ok(()),
            (Event::Unreadable | Event::NotDone | Event::Unknown, Some((since, why)))
                if since.elapsed() >= FAILING_MAX =>
            {
                Err(Error::Unavailable(format!(
                    "the log at site {} could not be taken over for {} s: {why}",
                    self.site.name(),
                    FAILING_MAX.as_secs()
                )))
            }
            (Event::Unreadable | Event::NotDone | Event::Unknown, _) => Ok(()),
            (Event::Read(_) | Event::Created | Event::Exists, _) => {
                self.failing = None;
                Ok(())
            }
        }
    }

    fn fails(&mut self, why: String) {
        let since = self.failing.take().map(|(since, _)| since);
        self.failing = Some((since.unwrap_or_else(Instant::now), why));
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
                self.fails(why);
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
            // Refused by the site's own word, and not for the moment: a person must act, and whoever waits must hear of it.
            Err(error) if error.is_determinate() && error.kind() != Kind::Retry => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(site = %self.site.name(), %error, "the log cannot be written yet");
                self.fails(error.to_string());
                if error.is_determinate() {
                    takeover::Event::NotDone
                } else {
                    takeover::Event::Unknown
                }
            }
        })
    }
}
