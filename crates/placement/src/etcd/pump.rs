//! Feeds watches from etcd's history.
//!
//! State: the first revision that no watch has been told of. One stream over the whole prefix runs from there. When
//! it breaks, another is opened from the same revision, so nothing is lost or told twice; when etcd has compacted
//! that revision, or is on another [`History`], watches are told to read everything again.
//!
//! Owned by the [`super::EtcdPlacement`], which ends it.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, KeyValue, WatchOptions, WatchResponse, WatchStream};
use holdfast_context::Context;
use tokio::sync::watch;
use tokio::time::sleep;

use super::failure::Failure;
use super::history::History;
use super::link::{Effect, Link};
use crate::error::Result;
use crate::event::Event;
use crate::keys::{Keys, Subject, end_of};
use crate::value;
use crate::watch::Hub;

/// Pause before the first attempt to open a broken stream again; doubles with each that fails.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Pump {
    link: Arc<Link>,
    keys: Keys,
    hub: Arc<Hub>,
    context: Context,
    /// What etcd said of itself when the present stream was opened.
    history: History,
    /// The first revision not told yet.
    next: i64,
}

/// An open stream.
pub(super) struct Flow {
    stream: WatchStream,
    /// Tells when calls leave the endpoint that the stream comes from: it may be silent without an end.
    moves: watch::Receiver<usize>,
}

impl Pump {
    /// A pump with an open stream of everything that changes from now on.
    pub(super) async fn start(
        link: Arc<Link>,
        keys: Keys,
        hub: Arc<Hub>,
        context: Context,
    ) -> Result<(Self, Flow)> {
        let history = History::read(&link, &keys, &context).await?;
        let next = history.revision + 1;
        let pump = Self {
            link,
            keys,
            hub,
            context,
            history,
            next,
        };
        let flow = pump.connect().await?;
        Ok((pump, flow))
    }

    /// Follows the stream, and those that replace it, for ever.
    pub(super) async fn run(mut self, mut flow: Flow) {
        let mut pause = PAUSE_MIN;
        loop {
            let (why, told) = self.follow(&mut flow).await;
            tracing::debug!(
                store = self.link.name(),
                why,
                "the stream of placement changes broke"
            );
            if told {
                pause = PAUSE_MIN;
            }
            flow = self.reopen(&mut pause).await;
        }
    }

    /// Opens a stream again, however long that takes.
    async fn reopen(&mut self, pause: &mut Duration) -> Flow {
        let mut silent = false;
        loop {
            sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
            match self.try_reopen().await {
                Ok(flow) => {
                    if silent {
                        tracing::info!(
                            store = self.link.name(),
                            "placement changes are told again"
                        );
                    }
                    return flow;
                }
                Err(error) if !silent => {
                    silent = true;
                    tracing::warn!(%error, "placement changes are not told until this is mended");
                }
                Err(_) => {}
            }
        }
    }

    async fn try_reopen(&mut self) -> Result<Flow> {
        let history = History::read(&self.link, &self.keys, &self.context).await?;
        if !history.continues(&self.history, self.next - 1) {
            // ORDER: the new start is fixed before watches are told. What they read after that is at least as new
            // as this, so no change falls between their reading and the stream.
            self.next = history.revision + 1;
            tracing::warn!(
                store = self.link.name(),
                before = ?self.history,
                now = ?history,
                "etcd has lost what it had, or gone back in time"
            );
            self.hub.push(Event::Resync);
        }
        self.history = history;
        self.connect().await
    }

    /// Opens a stream from `next` on and waits until etcd says that it stands.
    async fn connect(&self) -> Result<Flow> {
        let link = &self.link;
        link.run(
            "watch for changes",
            link.deadline(),
            Effect::Read,
            || async {
                // ORDER: before the endpoint is looked up. A move in between costs a stream opened once more; the
                // other way round it would be missed.
                let moves = link.moves();
                let options = WatchOptions::new()
                    .with_range(end_of(self.keys.prefix()))
                    .with_start_revision(self.next)
                    .with_progress_notify();
                let mut stream = link
                    .watches()
                    .await?
                    .watch(self.keys.prefix(), Some(options))
                    .await?;
                match stream.message().await? {
                    Some(first) if first.created() && !first.canceled() => {
                        Ok(Some(Flow { stream, moves }))
                    }
                    Some(first) => Err(Failure::canceled(first.cancel_reason())),
                    None => Err(Failure::canceled("the stream ended at once")),
                }
            },
        )
        .await
    }

    /// Tells what a stream brings until it ends. Says why, and whether it brought anything.
    async fn follow(&mut self, flow: &mut Flow) -> (String, bool) {
        let mut told = false;
        loop {
            let answer = tokio::select! {
                answer = flow.stream.message() => answer,
                Ok(()) = flow.moves.changed() => return ("calls left its endpoint".into(), told),
            };
            match answer {
                Ok(Some(answer)) if answer.canceled() => return (self.canceled(&answer), told),
                Ok(Some(answer)) => self.tell(&answer),
                Ok(None) => return ("etcd ended it".into(), told),
                Err(error) => return (error.to_string(), told),
            }
            told = true;
        }
    }

    fn canceled(&mut self, answer: &WatchResponse) -> String {
        if answer.compact_revision() > self.next {
            // ORDER: as in `try_reopen`. History from the compaction on is told after the Resync.
            self.next = answer.compact_revision();
            self.hub.push(Event::Resync);
            return "its history was compacted".into();
        }
        answer.cancel_reason().into()
    }

    fn tell(&mut self, answer: &WatchResponse) {
        for change in answer.events() {
            let Some(entry) = change.kv() else { continue };
            if let Some(event) = self.event(change.event_type(), entry) {
                self.hub.push(event);
            }
            // All changes of one revision come in one answer.
            self.next = self.next.max(entry.mod_revision() + 1);
        }
        if let Some(header) = answer.header()
            && answer.events().is_empty()
            && !answer.created()
        {
            // A notice of progress: everything up to here has been told.
            self.next = self.next.max(header.revision() + 1);
        }
    }

    fn event(&self, kind: EventType, entry: &KeyValue) -> Option<Event> {
        let key = entry.key_str().ok()?;
        match (self.keys.subject(key)?, kind) {
            (Subject::Coordinator, _) => Some(Event::Coordinators),
            (Subject::Vault, _) => Some(Event::Vaults),
            (Subject::Site, _) => Some(Event::Sites),
            (Subject::Progress(vault, site), EventType::Put) => {
                Some(Event::Progress { vault, site })
            }
            // It went with its vault.
            (Subject::Progress(..), EventType::Delete) => None,
            (Subject::Owner(vault), EventType::Delete) => Some(Event::Owner { vault, owner: None }),
            (Subject::Owner(vault), EventType::Put) => {
                match value::decode(self.link.name(), key, entry.value()) {
                    Ok(owner) => Some(Event::Owner {
                        vault,
                        owner: Some(owner),
                    }),
                    Err(error) => {
                        // Whoever reads everything again meets the same error, and can answer it.
                        tracing::warn!(%error, "a placement change cannot be read");
                        Some(Event::Resync)
                    }
                }
            }
        }
    }
}
