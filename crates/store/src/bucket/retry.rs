//! When a request is sent again: after a failure that may pass, with growing pauses, and as long as the site's budget lasts.
//!
//! The budget is shared by all requests of a site. Of a server that is down or overloaded each request alone would be
//! right to try again; all of them together keep it down.

use std::fmt;
use std::time::Duration;

use holdfast_context::Context;
use object_store::client::HttpRequest;
use tokio::time::Instant;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::trace::{Answer, Attempt};
use super::wire::{NO_ANSWER, Purpose};
use crate::options::SiteOptions;

/// How long a request counts for the budget.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Requests that may be sent again each second however few there are.
const BUDGET_PER_SECOND: u32 = 10;

/// The share of requests that may be sent again beyond that.
const BUDGET_SHARE: f32 = 0.5;

/// The first pause; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often and for how long requests of one site are sent again.
pub(super) struct Retries {
    context: Context,
    retries_max: usize,
    retry_timeout: Duration,
    budget: TpsBudget,
}

impl fmt::Debug for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retries(at most {})", self.retries_max)
    }
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send it again after this pause.
    Again(Duration),
    /// It was tried often enough.
    End,
    /// Others have used up what the site may be asked again.
    Spent,
}

impl Retries {
    pub(super) fn new(context: &Context, options: &SiteOptions) -> Self {
        Self {
            context: context.clone(),
            retries_max: options.retries_max,
            retry_timeout: options.retry_timeout,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_PER_SECOND, BUDGET_SHARE),
        }
    }

    /// A request is sent for the first time.
    pub(super) fn begin(&self) {
        self.budget.deposit();
    }

    /// What becomes of a request that was sent `tries` times since `start`, and failed in a way that may pass.
    pub(super) fn next(&self, tries: usize, start: Instant) -> Next {
        if tries > self.retries_max || start.elapsed() > self.retry_timeout {
            Next::End
        } else if self.budget.withdraw() {
            Next::Again(self.pause(tries))
        } else {
            Next::Spent
        }
    }

    /// Twice as long each time, and anywhere between half of it and the whole, so that those that failed together do not
    /// come back together.
    fn pause(&self, tries: usize) -> Duration {
        let doublings = u32::try_from(tries - 1).unwrap_or(u32::MAX).min(16);
        let whole = PAUSE_FIRST.saturating_mul(1 << doublings).min(PAUSE_MAX);
        let share = u32::from_le_bytes(self.context.random());
        whole / 2 + whole.mul_f64(f64::from(share) / f64::from(u32::MAX)) / 2
    }
}

/// Whether a request that met this may be sent again.
pub(super) fn may_pass(request: &HttpRequest, purpose: Purpose, met: &Attempt) -> bool {
    match met {
        Attempt::NoConnection(_) => true,
        Attempt::Untrusted(_) => false,
        // Whoever creates has waited for long already, and looks what became of it.
        Attempt::Broken(why) => {
            *why != NO_ANSWER || !(is_create(request) || purpose == Purpose::Begin)
        }
        Attempt::Answer(Answer { status, code, .. }) => match status {
            // A server may answer a success and change its mind.
            200..300 => matches!(code.as_str(), "InternalError" | "SlowDown"),
            408 | 429 | 500.. => true,
            _ => false,
        },
    }
}

fn is_create(request: &HttpRequest) -> bool {
    let conditions = ["if-none-match", "x-goog-if-generation-match"];
    request.method().as_str() == "PUT"
        && conditions
            .iter()
            .any(|header| request.headers().contains_key(*header))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(retries_max: usize) -> Retries {
        let options = SiteOptions {
            retries_max,
            ..SiteOptions::default()
        };
        Retries::new(&Context::system(), &options)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let retries = retries(4);
        let start = Instant::now();
        let mut bounds = PAUSE_FIRST;
        for tries in 1..=4 {
            match retries.next(tries, start) {
                Next::Again(pause) => assert!(pause >= bounds / 2 && pause <= bounds, "{pause:?}"),
                other => panic!("{other:?} after {tries}"),
            }
            bounds *= 2;
        }
        assert_eq!(retries.next(5, start), Next::End);
        assert!(retries.pause(1000) <= PAUSE_MAX);
        tokio::time::advance(SiteOptions::default().retry_timeout * 2).await;
        assert_eq!(retries.next(1, start), Next::End);
    }

    #[tokio::test(start_paused = true)]
    async fn hundreds_of_requests_to_a_dead_server_share_one_budget() {
        let retries = retries(4);
        let mut again = 0;
        for _ in 0..400 {
            retries.begin();
            for tries in 1..=4 {
                if matches!(retries.next(tries, Instant::now()), Next::Again(_)) {
                    again += 1;
                }
            }
        }
        // Not 1,600: half as many as requests, and ten for each second of the window.
        assert_eq!(again, 400 / 2 + 100);
        assert_eq!(retries.next(1, Instant::now()), Next::Spent);
        tokio::time::advance(BUDGET_WINDOW * 3).await;
        assert!(matches!(retries.next(1, Instant::now()), Next::Again(_)));
    }
}
