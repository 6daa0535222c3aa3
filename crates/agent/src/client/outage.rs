//! How long a broken connection is tried again, and how often.
//!
//! State: since when it is broken and how often it was tried. It never gives up before its limit, never waits longer than a
//! quarter of a minute between two attempts, and never for more than a part of what the outage has lasted: a vault that is
//! taken over after two seconds is met again half a second later, and one that is away for an hour is not asked all the time.

use std::time::Duration;

use holdfast_context::Context;
use tokio::time::Instant;

const WAIT_MIN: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A pause is at most this part of what the outage has lasted so far, chance aside.
const WAIT_PART: u32 = 4;

/// So often in one outage another coordinator is asked at once.
const AT_ONCE_MAX: u32 = 3;

/// A link that held this long was a good one: what broke it is a new outage.
const GOOD_LINK: Duration = Duration::from_secs(60);

/// See the module header.
#[derive(Debug)]
pub(super) struct Outage {
    context: Context,
    limit: Duration,
    since: Option<Instant>,
    /// Since when there is a link; none while it is broken.
    linked_at: Option<Instant>,
    attempts: u32,
    /// How often another one was asked without a pause.
    at_once: u32,
}

impl Outage {
    /// Gives up after `limit`.
    pub(super) fn new(context: &Context, limit: Duration) -> Self {
        Self {
            context: context.clone(),
            limit,
            since: None,
            linked_at: Some(Instant::now()),
            attempts: 0,
            at_once: 0,
        }
    }

    /// There is a link. It has to prove itself: see [`Self::over`].
    pub(super) fn linked(&mut self) {
        self.linked_at = Some(Instant::now());
    }

    /// The link carried something: the outage is over.
    pub(super) fn over(&mut self) {
        self.since = None;
        self.attempts = 0;
        self.at_once = 0;
    }

    /// The link broke.
    pub(super) fn broke(&mut self) {
        // Only the first break after a link: what fails from then on is the same outage, which grows old.
        let linked_at = self.linked_at.take();
        if linked_at.is_some_and(|linked_at| linked_at.elapsed() >= GOOD_LINK) {
            self.over();
        }
        self.since.get_or_insert_with(Instant::now);
    }

    /// How often it was tried in this outage.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// As [`Self::wait`], but for a few times at once where another one is asked than the last time.
    pub(super) async fn wait_unless(&mut self, goes_elsewhere: bool) -> bool {
        if goes_elsewhere && self.at_once < AT_ONCE_MAX {
            self.at_once += 1;
            return true;
        }
        self.wait().await
    }

    /// Waits before the next attempt: longer the longer it lasts, and by chance up to a half more, so that many agents do not come
    /// back at the same moment. `false`: it has lasted too long.
    pub(super) async fn wait(&mut self) -> bool {
        let lasted = self.lasted();
        if lasted >= self.limit {
            return false;
        }
        let [chance] = self.context.random::<1>();
        let wait = (lasted / WAIT_PART)
            .clamp(WAIT_MIN, WAIT_MAX)
            .mul_f64(1.0 + f64::from(chance) / 512.0);
        self.attempts += 1;
        tokio::time::sleep(wait.min(self.limit - lasted)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holdfast_context::ManualClock;

    use super::*;

    fn outage(seconds: u64) -> Outage {
        let context = Context::seeded(1, Arc::new(ManualClock::at(0)));
        Outage::new(&context, Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_for_as_long_as_it_may() {
        let mut outage = outage(300);
        outage.broke();
        let start = Instant::now();
        while outage.wait().await {}
        assert_eq!(start.elapsed().as_secs(), 300);
        assert!(
            (25..50).contains(&outage.attempts()),
            "{}",
            outage.attempts()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_is_long_beside_what_was_waited_already() {
        let mut outage = outage(3600);
        outage.broke();
        let mut before = Duration::ZERO;
        while outage.wait().await {
            let pause = outage.lasted() - before;
            let most = (before.mul_f64(0.375)).max(Duration::from_millis(375));
            let rounding = Duration::from_millis(2);
            assert!(
                pause <= most.min(Duration::from_secs(15)) + rounding,
                "{pause:?} after {before:?}"
            );
            before = outage.lasted();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_breaks_at_once_does_not_end_the_outage() {
        let mut outage = outage(10);
        let start = Instant::now();
        loop {
            outage.broke();
            if !outage.wait().await {
                break;
            }
            outage.linked();
        }
        assert_eq!(start.elapsed().as_secs(), 10);
        outage.over();
        outage.broke();
        assert!(outage.wait().await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_after_a_good_link_ends_too() {
        let mut outage = outage(300);
        tokio::time::sleep(2 * GOOD_LINK).await;
        let start = Instant::now();
        loop {
            outage.broke();
            if !outage.wait().await {
                break;
            }
        }
        assert_eq!(start.elapsed().as_secs(), 300);
        assert!(outage.attempts() < 50, "{}", outage.attempts());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_link_that_held_was_a_good_one() {
        let mut outage = outage(10);
        outage.broke();
        assert!(outage.wait().await);
        outage.linked();
        tokio::time::sleep(GOOD_LINK).await;
        outage.broke();
        assert_eq!((outage.attempts(), outage.lasted()), (0, Duration::ZERO));
    }
}
