//! Why a session is over, told once by whichever part fails first and read by all that then find their queues closed.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// See the module header.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<OnceLock<Error>>);

impl Failure {
    /// Tells a failure; only the first counts.
    pub(super) fn set(&self, error: Error) {
        if self.0.set(error.clone()).is_ok() {
            tracing::debug!(%error, "the session fails");
        }
    }

    /// The error for whoever found a queue closed.
    pub(super) fn error(&self) -> Error {
        self.0
            .get()
            .cloned()
            .unwrap_or_else(|| Error::Bug("a session ended and did not say why".into()))
    }

    /// Fails if something has failed.
    pub(super) fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |error| Err(error.clone()))
    }
}
