//! Errors of the coordinator, and how they reach clients: a sentence for people, one word for scripts.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The coordinator's errors are the vault's: what the caller should do is the same.
pub use holdfast_vault::error::{Elsewhere, Error, Result};

/// An error as a gRPC status with `google.rpc.ErrorInfo`, whose `reason` is the kind's word. With `ELSEWHERE` its metadata
/// hold `owner`, the coordinator to ask, and `addresses`, where that one answers, parted by spaces.
pub fn status(error: &Error) -> Status {
    let code = match error {
        Error::Fenced(_) => Code::Aborted,
        Error::Unavailable(_) | Error::Elsewhere(_) => Code::Unavailable,
        Error::Full(_) => Code::ResourceExhausted,
        Error::Missing(_) => Code::NotFound,
        Error::Corrupt(_) => Code::DataLoss,
        Error::Denied(_) => Code::PermissionDenied,
        Error::Invalid(_) => Code::FailedPrecondition,
        Error::TooNew(_) => Code::Unimplemented,
        Error::Bug(_) => Code::Internal,
    };
    let mut metadata = HashMap::new();
    if let Error::Elsewhere(there) = error {
        metadata.insert("owner".into(), there.owner.clone());
        metadata.insert("addresses".into(), there.addresses.join(" "));
    }
    let details = ErrorDetails::with_error_info(error.reason(), "holdfast", metadata);
    Status::with_error_details(code, error.to_string(), details)
}

/// What [`status`] says to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The kind's word.
    pub reason: String,
    /// Where the coordinator answers that is to be asked; none unless the reason is `ELSEWHERE`.
    pub addresses: Vec<String>,
}

/// Reads a status as a client does; none for one that no coordinator made.
pub fn told(status: &Status) -> Option<Told> {
    let mut info = status.get_details_error_info()?;
    let addresses = info.metadata.remove("addresses").unwrap_or_default();
    let addresses = addresses.split_whitespace().map(str::to_owned);
    Some(Told {
        addresses: addresses.collect(),
        reason: info.reason,
    })
}

/// What placement says, as one of ours.
pub fn from_placement(error: holdfast_placement::Error) -> Error {
    use holdfast_placement::ErrorKind;
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Retry | ErrorKind::LeaseLost => Error::Unavailable(text),
        ErrorKind::Denied => Error::Denied(text),
        ErrorKind::Corrupt => Error::Corrupt(text),
        ErrorKind::Invalid => Error::Invalid(text),
        ErrorKind::TooNew => Error::TooNew(text),
        ErrorKind::Bug => Error::Bug(text),
    }
}
