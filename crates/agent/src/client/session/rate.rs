//! `--limit-rate`: how many sealed bytes a second may leave.
//!
//! State: the moment from which on the next bytes may go. A frame goes whole and is paid for afterwards, so frames
//! larger than the rate work too.

use std::time::Duration;

use tokio::time::Instant;

/// Unused time is saved up to this much, so that a short pause in reading is made good.
const SAVED_MAX: Duration = Duration::from_millis(500);

/// A token bucket.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: Option<u64>,
    free_at: Instant,
}

impl RateLimit {
    /// A limit; none lets everything pass.
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self {
            bytes_per_second: bytes_per_second.filter(|rate| *rate > 0),
            free_at: Instant::now(),
        }
    }

    /// Waits until `bytes` may go.
    pub(super) async fn pass(&mut self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else {
            return;
        };
        tokio::time::sleep_until(self.free_at).await;
        let earliest = Instant::now()
            .checked_sub(SAVED_MAX)
            .unwrap_or(self.free_at);
        self.free_at =
            self.free_at.max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_rate() {
        let mut limit = RateLimit::new(Some(1000));
        let start = Instant::now();
        for _ in 0..11 {
            limit.pass(500).await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((4.9..=5.1).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_for_ever() {
        let mut limit = RateLimit::new(Some(1000));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..5 {
            limit.pass(500).await;
        }
        let took = start.elapsed().as_secs_f64();
        assert!((1.4..=2.1).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let mut limit = RateLimit::new(None);
        let start = Instant::now();
        limit.pass(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
