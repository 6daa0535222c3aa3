//! What the HTTP requests of one operation met.

use std::future::Future;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limit::{Class, Slot};

/// What became of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// No connection could be made, for this reason: the server never saw it.
    NoConnection(String),
    /// The server's certificate was not accepted, for this reason: the server never saw it.
    Untrusted(String),
    /// It was sent, in part or whole, and no answer came.
    Broken(&'static str),
    /// The server answered.
    Answer(Answer),
}

/// A server's answer, without its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `<Code>` of an error document.
    pub(super) code: String,
    /// `<Message>` of an error document, shortened.
    pub(super) message: String,
    /// Whether the bucket keeps versions, as far as an answer to a deletion tells.
    pub(super) versioned: bool,
    /// By how many seconds this machine's clock is ahead of the server's.
    pub(super) ahead_seconds: i64,
}

/// The attempts of one operation, in order, and how its last request ended.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    made: Vec<Attempt>,
    /// How often the request that ended last was sent.
    pub(super) tries: usize,
    /// Whether it was not sent again for want of a budget.
    pub(super) spent: bool,
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        &self.made
    }
}

impl From<&[Attempt]> for Attempts {
    fn from(made: &[Attempt]) -> Self {
        Self {
            made: made.to_vec(),
            tries: made.len(),
            spent: false,
        }
    }
}

/// One operation: what its requests are to know, and what they met.
#[derive(Debug)]
pub(super) struct Trace {
    class: Class,
    create_only: bool,
    attempts: Mutex<Attempts>,
    /// The slot of an answer whose body is still being read.
    slot: Mutex<Option<Slot>>,
}

tokio::task_local! {
    // The operation that runs in this task. `object_store` does not spawn, so that its requests find it.
    static TRACE: Arc<Trace>;
}

impl Trace {
    /// Runs an operation and gives back what its requests met.
    pub(super) async fn of<T>(class: Class, operation: impl Future<Output = T>) -> (T, Attempts) {
        Self::run(class, false, operation).await
    }

    /// The same for one whose end must not replace what is there.
    pub(super) async fn create_only<T>(operation: impl Future<Output = T>) -> (T, Attempts) {
        Self::run(Class::Bulk, true, operation).await
    }

    async fn run<T>(
        class: Class,
        create_only: bool,
        operation: impl Future<Output = T>,
    ) -> (T, Attempts) {
        let trace = Arc::new(Self {
            class,
            create_only,
            attempts: Mutex::default(),
            slot: Mutex::default(),
        });
        let outcome = TRACE.scope(Arc::clone(&trace), operation).await;
        let attempts = std::mem::take(&mut *lock(&trace.attempts));
        (outcome, attempts)
    }

    /// Who waits; what belongs to no operation does not.
    pub(super) fn class() -> Class {
        TRACE.try_with(|trace| trace.class).unwrap_or(Class::Urgent)
    }

    /// Whether what ends an upload must not replace what is there.
    pub(super) fn is_create_only() -> bool {
        TRACE.try_with(|trace| trace.create_only).unwrap_or(false)
    }

    pub(super) fn note(attempt: Attempt) {
        let _ = TRACE.try_with(|trace| lock(&trace.attempts).made.push(attempt));
    }

    /// Notes how a request ended that was sent `tries` times.
    pub(super) fn ended(tries: usize, spent: bool) {
        let _ = TRACE.try_with(|trace| {
            let mut attempts = lock(&trace.attempts);
            (attempts.tries, attempts.spent) = (tries, spent);
        });
    }

    /// Keeps a slot until the operation is over: the answer's body is still to come.
    pub(super) fn keep(slot: Slot) {
        let _ = TRACE.try_with(|trace| *lock(&trace.slot) = Some(slot));
    }

    /// The slot of an answer that broke off, for the request that goes on where it did.
    pub(super) fn kept() -> Option<Slot> {
        TRACE
            .try_with(|trace| lock(&trace.slot).take())
            .ok()
            .flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is never half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
