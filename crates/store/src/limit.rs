//! How much goes to one site at once: a number of requests, and bytes of packs per second in each direction.
//!
//! Packs wait; nothing else does. A record, a key, a checkpoint or a listing takes its bytes from the same allowance
//! without waiting for it, so that packs make up for them, and finds a slot that packs never hold. So a site whose line is
//! full of packs still answers its log at once.
//!
//! State: the slots, and a token bucket for each direction. It waits by `tokio::time` alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_format::{ObjectKind, ObjectName};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::url::{Limits, Rate};

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The log, and all else that somebody waits for or that is small.
    Urgent,
    /// Packs and archives.
    Bulk,
}

impl Class {
    /// The class of everything that is done to an object.
    pub(crate) fn of(name: &ObjectName) -> Self {
        match name.kind() {
            Some(ObjectKind::Pack | ObjectKind::Archive) => Class::Bulk,
            _ => Class::Urgent,
        }
    }
}

/// The limits of one site.
#[derive(Debug)]
pub(crate) struct Limiter {
    slots: Arc<Semaphore>,
    /// What of the slots packs may hold.
    bulk: Arc<Semaphore>,
    pub(crate) upload: Option<Arc<Allowance>>,
    pub(crate) download: Option<Arc<Allowance>>,
}

/// The right to have one request under way.
#[derive(Debug)]
pub(crate) struct Slot {
    _bulk: Option<OwnedSemaphorePermit>,
    _slot: OwnedSemaphorePermit,
}

impl Limiter {
    /// Limits as a URL gives them; `requests_max` where it gives none.
    pub(crate) fn new(limits: &Limits, requests_max: usize) -> Self {
        let slots = limits.requests_max.unwrap_or(requests_max).max(2);
        let allowance = |rate: Option<Rate>| rate.map(|rate| Arc::new(Allowance::new(rate)));
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            bulk: Arc::new(Semaphore::new(slots - (slots / 4).max(1))),
            upload: allowance(limits.upload_max),
            download: allowance(limits.download_max),
        }
    }

    /// Waits for a slot.
    pub(crate) async fn enter(&self, class: Class) -> Slot {
        let take = async |of: &Arc<Semaphore>| {
            let permit = Arc::clone(of).acquire_owned().await;
            permit.expect("nobody closes these semaphores")
        };
        // ORDER: the share of packs first. Packs that queued for a slot would stand before the log's requests.
        let bulk = match class {
            Class::Bulk => Some(take(&self.bulk).await),
            Class::Urgent => None,
        };
        Slot {
            _bulk: bulk,
            _slot: take(&self.slots).await,
        }
    }

    /// Waits until bytes that were received may be followed by more; for packs only.
    pub(crate) async fn received(&self, class: Class, bytes: usize) {
        let Some(download) = &self.download else {
            return;
        };
        if class == Class::Urgent {
            return download.charge(bytes);
        }
        let (piece, mut rest) = (download.piece_bytes(), bytes);
        while rest > 0 {
            download.wait(rest.min(piece)).await;
            rest = rest.saturating_sub(piece);
        }
    }
}

/// A token bucket: bytes that may go in one direction.
#[derive(Debug)]
pub(crate) struct Allowance {
    per_second: f64,
    /// The most that is saved up.
    burst: f64,
    level: Mutex<Level>,
    /// Held by whoever is next: those who wait are served in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Level {
    /// Bytes that may go now; below zero after what did not wait.
    bytes: f64,
    at: Instant,
}

/// Pieces are about this part of a second long, so that transfers take turns and a line never sees a whole pack at once.
const PIECES_PER_SECOND: u64 = 20;

/// Bounds of a piece, in bytes.
const PIECE_MIN: u64 = 1 << 10;
const PIECE_MAX: u64 = 64 << 10;

impl Allowance {
    fn new(rate: Rate) -> Self {
        let per_second = rate.bytes_per_second as f64;
        let burst = per_second / 10.0;
        Self {
            per_second,
            burst,
            level: Mutex::new(Level {
                bytes: burst,
                at: Instant::now(),
            }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The bytes that are waited for at once.
    pub(crate) fn piece_bytes(&self) -> usize {
        let piece = self.per_second as u64 / PIECES_PER_SECOND;
        // Between 1 and 64 KiB.
        piece.clamp(PIECE_MIN, PIECE_MAX) as usize
    }

    /// Takes bytes of something that does not wait.
    pub(crate) fn charge(&self, bytes: usize) {
        self.with_level(|level| level.bytes -= bytes as f64);
    }

    /// Waits until a piece may go.
    pub(crate) async fn wait(&self, bytes: usize) {
        let _turn = self.turn.lock().await;
        while let Some(pause) = self.take(bytes as f64) {
            sleep(pause).await;
        }
    }

    /// Takes the bytes, or says how long it takes until they are there.
    fn take(&self, bytes: f64) -> Option<Duration> {
        self.with_level(|level| {
            let lacking = bytes.min(self.burst) - level.bytes;
            if lacking <= 0.0 {
                level.bytes -= bytes;
                return None;
            }
            // A timer has whole milliseconds.
            Some(Duration::from_secs_f64(lacking / self.per_second).max(Duration::from_millis(1)))
        })
    }

    fn with_level<T>(&self, act: impl FnOnce(&mut Level) -> T) -> T {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = (now - level.at).as_secs_f64() * self.per_second;
        level.bytes = (level.bytes + earned).min(self.burst);
        level.at = now;
        act(&mut level)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;

    fn allowance(bytes_per_second: u64) -> Allowance {
        Allowance::new(Rate { bytes_per_second })
    }

    async fn send(allowance: &Allowance, mut bytes: usize) -> Duration {
        let start = Instant::now();
        while bytes > 0 {
            let piece = bytes.min(allowance.piece_bytes());
            allowance.wait(piece).await;
            bytes -= piece;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn packs_take_as_long_as_the_rate_says() {
        let allowance = allowance(1 << 20);
        let took = send(&allowance, 10 << 20).await.as_secs_f64();
        assert!(
            (9.8..10.1).contains(&took),
            "{took} s for 10 MiB at 1 MiB/s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_share_it_evenly() {
        let allowance = allowance(1 << 20);
        let took = join_all((0..4).map(|_| send(&allowance, 1 << 20))).await;
        let (first, last) = (took.iter().min().unwrap(), took.iter().max().unwrap());
        // Whoever is first has what was saved up.
        assert!(*last - *first < Duration::from_millis(400), "{took:?}");
        let last = last.as_secs_f64();
        assert!((3.8..4.1).contains(&last), "{last} s for 4 MiB at 1 MiB/s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_wait_is_made_up_for_by_packs() {
        let allowance = allowance(1 << 20);
        let packs = async {
            // The log's two seconds' worth, at once.
            allowance.charge(2 << 20);
            send(&allowance, 1 << 20).await.as_secs_f64()
        };
        let took = packs.await;
        assert!((2.8..3.1).contains(&took), "{took} s");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_saved_up() {
        let allowance = allowance(1 << 20);
        sleep(Duration::from_secs(3600)).await;
        let took = send(&allowance, 2 << 20).await.as_secs_f64();
        assert!((1.8..2.1).contains(&took), "{took} s");
    }

    #[tokio::test]
    async fn packs_leave_slots_to_the_log() {
        for requests_max in [2, 3, 8, 64] {
            let limits = Limits {
                requests_max: Some(requests_max),
                ..Limits::default()
            };
            let limiter = Limiter::new(&limits, 64);
            let mut held = Vec::new();
            while let Some(slot) = limiter.enter(Class::Bulk).now_or_never() {
                held.push(slot);
            }
            assert_eq!(held.len(), requests_max - (requests_max / 4).max(1));
            // One that waits for its turn does not stand before the log.
            let waiting = limiter.enter(Class::Bulk);
            tokio::pin!(waiting);
            assert!(waiting.as_mut().now_or_never().is_none());
            let log = limiter.enter(Class::Urgent).now_or_never();
            assert!(log.is_some(), "of {requests_max}");
            held.pop();
            assert!(waiting.now_or_never().is_some());
        }
    }
}
