//! A process's watch over the placement store: changes in order, late where the weather says so, and a word to read everything again
//! where some were missed.
//!
//! State: the store's own watch, and which store that was.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, stream};
use holdfast_placement::{Event, Placement, Watch};

use super::{PLACE, PlacementLink, Shared};
use crate::gate::Gate;
use crate::weather::Weather;

/// How often somebody who is cut off looks whether he still is.
const CUT: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Hearing {
    watch: Watch,
    turned: u64,
    process: String,
    gate: Gate,
    weather: Weather,
    shared: Arc<Shared>,
}

impl Hearing {
    /// What a process hears from now on. `turned` is from before the watch was made.
    pub(super) fn of(link: &PlacementLink, watch: Watch, turned: u64) -> Self {
        Self {
            watch,
            turned,
            process: link.process.clone(),
            gate: link.gate.clone(),
            weather: link.weather.clone(),
            shared: link.shared.clone(),
        }
    }

    /// As a stream.
    pub(super) fn events(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(self, |mut hearing| async {
            let event = hearing.next().await?;
            Some((event, hearing))
        })
    }

    /// The next event, as it reaches a process: not while that one is paused, nor while it is cut off.
    async fn next(&mut self) -> Option<Event> {
        let event = self.watch.next().await;
        if event.is_none() && self.shared.turned() == self.turned {
            return None;
        }
        let compacted = self.shared.compacted();
        if let Some(pause) = self.weather.event_is_late(&self.process) {
            tokio::time::sleep(pause).await;
        }
        while self.weather.is_cut(&self.process, PLACE) || self.shared.is_dead() {
            tokio::time::sleep(CUT).await;
        }
        self.gate.pass().await;
        if self.shared.turned() != self.turned {
            // ORDER: watched first, and read then by whoever is told. What the former store had to tell does not count any more.
            self.turned = self.shared.turned();
            self.watch = self.shared.store().watch().await.ok()?;
            return self.resync();
        }
        if self.shared.compacted() != compacted {
            while let Some(Some(_)) = self.watch.next().now_or_never() {}
            return self.resync();
        }
        event
    }

    fn resync(&self) -> Option<Event> {
        let trace = &self.weather.trace;
        trace.say(&self.process, format_args!("{PLACE} lost its history"));
        trace.count("watches told to read everything again");
        Some(Event::Resync)
    }
}
