//! From nothing to a running session: agrees with the coordinator, then starts the tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::Bundle;
use holdfast_format::fact::RecipientsSet;
use holdfast_format::frame::FRAME_BYTES_MAX;
use holdfast_proto::v1::session_request::Kind as Request;
use holdfast_proto::v1::{Abandon, Opened, SessionRequest};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::failure::Failure;
use super::flight::Flight;
use super::gather::Gather;
use super::link::{self, Dial, Link};
use super::offering::{self, Routing};
use super::opening::{self, Opening};
use super::progress::SessionProgress;
use super::pump::Pump;
use super::rate::RateLimit;
use super::sealing::Sealing;
use super::settled::Settled;
use super::{MEMORY_BYTES, MEMORY_UNIT, SessionOptions, SessionSink};
use crate::client::outage::Outage;
use crate::client::status::{Reason, refused, sentence};
use crate::client::{Admin, Connection};
use crate::error::{Error, Result};

/// A vault that is being opened, or that changes hands, is waited for this long.
const OPEN_WAIT: Duration = Duration::from_secs(60);

/// Chunks that were put and wait to be offered. Their bytes are bounded apart.
const PUTS: usize = 1024;

/// Questions that wait for the pump.
const ASKS: usize = 8;

/// Offers that wait for their answer.
const OFFERS: usize = 8;

/// Sealed frames that wait for the pump.
const FEED: usize = 1;

/// A session that the coordinator has opened.
pub(super) struct Agreed {
    pub(super) opening: Opening,
    pub(super) opened: Opened,
    pub(super) link: Link,
}

/// Opens a session.
pub(super) async fn open(
    context: &Context,
    connection: &Connection,
    bundle: &Bundle,
    options: SessionOptions,
) -> Result<SessionSink> {
    let dial: Arc<dyn Dial> = Arc::new(connection.clone());
    let mut outage = Outage::new(context, OPEN_WAIT);
    let agreed = loop {
        match attempt(context, connection, bundle, &options, &mut outage).await {
            Ok(Some(agreed)) => break agreed,
            // The list of recipients changed in between: a fresh key is sealed to the new one.
            Ok(None) => outage.broke(),
            // The vault is being opened, or changes hands.
            Err(error @ Error::Unavailable { .. }) => {
                outage.broke();
                say_why(&outage, &error);
                if !outage.wait().await {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    };
    let mut sink = start(context, dial, bundle, options, agreed)?;
    sink.connection = Some(connection.clone());
    Ok(sink)
}

/// Opens a session without anything but streams.
pub(super) async fn open_over(
    context: &Context,
    dial: Arc<dyn Dial>,
    bundle: &Bundle,
    options: SessionOptions,
) -> Result<SessionSink> {
    let mut outage = Outage::new(context, OPEN_WAIT);
    let mut recipients = bundle.recipients.clone();
    loop {
        let opening = Opening::make(context, bundle, &options, recipients.clone())?;
        let span = opening.span();
        let agreed = agree(dial.as_ref(), opening, &mut outage)
            .instrument(span)
            .await?;
        let in_force = &agreed.opened.recipients;
        if !agreed.opening.is_outdated(bundle, in_force)? {
            return start(context, dial, bundle, options, agreed);
        }
        recipients = RecipientsSet::decode(in_force)?;
        give_up(agreed.link).await;
    }
}

/// A session that was opened for a list of recipients that has changed: one that is left open ends by itself.
async fn give_up(link: Link) {
    let kind = Some(Request::Abandon(Abandon {
        why: "the list of recipients has changed".into(),
    }));
    let _ = link.outbound.send(SessionRequest { kind }).await;
}

/// One attempt; none if the list of recipients changed while it was made.
async fn attempt(
    context: &Context,
    connection: &Connection,
    bundle: &Bundle,
    options: &SessionOptions,
    outage: &mut Outage,
) -> Result<Option<Agreed>> {
    let vault = Admin::new(connection)
        .vault(&bundle.vault.to_string())
        .await?;
    let recipients = opening::recipients(bundle, &vault)?;
    let opening = Opening::make(context, bundle, options, recipients)?;
    let span = opening.span();
    let agreed = agree(connection, opening, outage).instrument(span).await?;
    if !agreed
        .opening
        .is_outdated(bundle, &agreed.opened.recipients)?
    {
        return Ok(Some(agreed));
    }
    give_up(agreed.link).await;
    Ok(None)
}

/// Says why there is no session yet: soon, then ever more rarely.
fn say_why(outage: &Outage, why: &dyn std::fmt::Display) {
    if outage.attempts().is_power_of_two() {
        tracing::warn!(%why, "no session is opened yet; it is tried again, for a minute");
    }
}

/// Has the coordinator open the session, for as long as it says that it may soon.
pub(super) async fn agree(
    dial: &dyn Dial,
    opening: Opening,
    outage: &mut Outage,
) -> Result<Agreed> {
    // A stream that broke before its opening was answered may or may not have opened the session.
    let mut perhaps_open = false;
    loop {
        let status = match link::open(dial, opening.message(perhaps_open)).await {
            Ok((link, opened)) => {
                return Ok(Agreed {
                    opening,
                    opened,
                    link,
                });
            }
            Err(status) => status,
        };
        let reason = Reason::of(&status);
        if perhaps_open && reason == Reason::Missing {
            perhaps_open = false;
            continue;
        }
        outage.broke();
        if !reason.may_pass() {
            return Err(refused("the upload session", &status));
        }
        say_why(outage, &sentence(&status));
        let goes_elsewhere = dial.turn(&status).await;
        if !outage.wait_unless(goes_elsewhere).await {
            return Err(refused("the upload session", &status));
        }
        perhaps_open |= reason == Reason::Broken;
    }
}

/// Starts the tasks of a session.
pub(super) fn start(
    context: &Context,
    dial: Arc<dyn Dial>,
    bundle: &Bundle,
    options: SessionOptions,
    agreed: Agreed,
) -> Result<SessionSink> {
    let Agreed {
        opening,
        opened,
        link,
    } = agreed;
    let sealers = options.sealers.max(1);
    let sealing = Sealing::new(context, bundle, &opening, options.zstd_level, sealers)?;
    let opening = Arc::new(opening);
    let settled = Arc::new(Mutex::new(Settled::default()));
    let progress = Arc::new(SessionProgress::default());
    let failure = Failure::default();
    let frame_bytes_max = match usize::try_from(opened.frame_bytes_max) {
        Ok(0) | Err(_) => FRAME_BYTES_MAX + (64 << 10),
        Ok(told) => told,
    };
    let (puts, puts_in) = mpsc::channel(PUTS);
    let (asks, asks_in) = mpsc::channel(ASKS);
    let (offers, offers_in) = mpsc::channel(OFFERS);
    let (sealed, sealed_in) = mpsc::channel(sealers);
    let (feed, feed_in) = mpsc::channel(FEED);
    let mut pump = Pump {
        dial: Arc::clone(&dial),
        opening: Arc::clone(&opening),
        settled: Arc::clone(&settled),
        progress: Arc::clone(&progress),
        outage: Outage::new(context, options.outage_max),
        window_bytes_max: options.window_bytes_max,
        asks: asks_in,
        feed: feed_in,
        flight: Flight::new(),
    };
    pump.limit_window(&opened);
    let routing = Routing {
        gather: Gather::new(frame_bytes_max),
        settled: Arc::clone(&settled),
        progress: Arc::clone(&progress),
    };
    let rate = RateLimit::new(options.rate_bytes_per_second);
    let told = failure.clone();
    let span = opening.span();
    span.in_scope(
        || tracing::info!(vault = %bundle.name, source = %options.source, "the session is open"),
    );
    let starting = || {
        vec![
            context.spawn(offering::batch(puts_in, asks.clone(), offers)),
            context.spawn(offering::route(offers_in, routing, sealing, sealed)),
            context.spawn(offering::forward(
                sealed_in,
                rate,
                frame_bytes_max,
                feed,
                failure.clone(),
            )),
            context.spawn(async move {
                // ORDER: the reason is told before the queues close with the pump: who finds one closed reads it.
                if let Err(error) = pump.run(link).await {
                    told.set(error);
                }
                drop(pump);
            }),
        ]
    };
    let tasks = span.in_scope(starting);
    Ok(SessionSink {
        connection: None,
        dial,
        vault: bundle.vault.to_string(),
        opening,
        puts,
        asks,
        memory: Arc::new(Semaphore::new(MEMORY_BYTES / MEMORY_UNIT)),
        settled,
        progress,
        failure,
        protected: Mutex::new(None),
        span,
        _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect(),
    })
}
