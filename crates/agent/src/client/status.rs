//! What the coordinator's refusals mean to a caller: gRPC status and its rich details turned into this crate's error.
//!
//! The coordinator puts a sentence for people into the status message and one word into `google.rpc.ErrorInfo.reason`.
//! Its metadata may hold `what`, the thing that the sentence is about; without it the caller's own name for it is
//! taken. A status without such a word was made by the transport.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::Error;

/// What the caller should do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Ask again.
    Retry,
    /// That coordinator does not own the vault any more; another one, or a later epoch, answers.
    Fenced,
    /// It does not exist.
    Missing,
    /// Bytes failed their checks.
    Corrupt,
    /// Not allowed.
    Denied,
    /// The request makes no sense.
    Invalid,
    /// A newer release is needed.
    TooNew,
    /// A site is full.
    Full,
    /// A check inside the coordinator failed.
    Bug,
    /// Another coordinator owns the vault.
    Elsewhere,
    /// The connection broke or was never made.
    Broken,
}

impl Reason {
    /// Reads the word in the details, or guesses by the code.
    pub(super) fn of(status: &Status) -> Self {
        let word = status.get_details_error_info().map(|info| info.reason);
        match word.as_deref() {
            Some("RETRY") => Self::Retry,
            Some("FENCED") => Self::Fenced,
            Some("MISSING") => Self::Missing,
            Some("CORRUPT") => Self::Corrupt,
            Some("DENIED") => Self::Denied,
            Some("INVALID") => Self::Invalid,
            Some("TOO_NEW") => Self::TooNew,
            Some("FULL") => Self::Full,
            Some("BUG") => Self::Bug,
            Some("ELSEWHERE") => Self::Elsewhere,
            _ => Self::of_code(status.code()),
        }
    }

    fn of_code(code: Code) -> Self {
        match code {
            // Broken connections show as any of these, depending on when they broke.
            Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded => Self::Broken,
            Code::NotFound => Self::Missing,
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied,
            Code::DataLoss => Self::Corrupt,
            Code::Unimplemented => Self::TooNew,
            _ => Self::Invalid,
        }
    }

    /// Whether the same request may succeed a little later.
    pub(super) fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Retry | Self::Fenced | Self::Elsewhere | Self::Broken
        )
    }
}

/// The error for a refusal of what was asked about `what`.
pub(super) fn refused(what: &str, status: &Status) -> Error {
    let reason = Reason::of(status);
    let told = status
        .get_details_error_info()
        .and_then(|mut info| info.metadata.remove("what"));
    let what = told.unwrap_or_else(|| what.to_owned());
    let why = sentence(status);
    match reason {
        Reason::Missing => missing(what, why),
        Reason::Corrupt => Error::Damaged { what, why },
        Reason::Denied => Error::Denied { what, why },
        Reason::Invalid | Reason::TooNew => Error::Invalid { what, why },
        Reason::Bug => Error::Bug(format!("at the coordinator: {why}")),
        Reason::Full => Error::Full { what, why },
        Reason::Retry | Reason::Fenced => Error::Unavailable { what, why },
        // It was followed there, as far as that could be done.
        Reason::Elsewhere => Error::Unavailable {
            what,
            why: format!(
                "{why}. It cannot be reached from here: give its address with --coordinator, or with TLS its --tls-ca, --tls-cert \
                 and --tls-key"
            ),
        },
        Reason::Broken => Error::Unavailable {
            what,
            why: format!("{why}; {}", when_broken(&why)),
        },
    }
}

/// What to do about a broken connection. A client that the coordinator does not trust learns so only now, after the
/// handshake: by an alert, or, if that is lost, by nothing but the end of the connection.
fn when_broken(why: &str) -> &'static str {
    let alerts = ["alert", "ertificate", "UnknownCA", "UnknownIssuer"];
    match alerts.iter().any(|alert| why.contains(alert)) {
        true => {
            "check that --tls-cert and --tls-key are of an authority that the coordinator trusts"
        }
        false => {
            "check that the coordinator runs and, with TLS, that it trusts --tls-cert; then run this again"
        }
    }
}

/// What the coordinator does not have. Its sentence mostly says just that, and names the thing better.
fn missing(what: String, why: String) -> Error {
    match why.strip_suffix(" does not exist") {
        Some(named) => Error::Missing {
            what: named.into(),
            why: "the coordinator knows none of that name".into(),
        },
        None => Error::Missing { what, why },
    }
}

/// An answer that no coordinator of this release gives.
pub(super) fn nonsense(why: impl std::fmt::Display) -> Error {
    Error::Damaged {
        what: "the coordinator's answer".into(),
        why: why.to_string(),
    }
}

/// The message, or what lies at the bottom of a transport's error.
pub(super) fn sentence(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("the connection failed: {}", innermost(source)),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    }
}

/// The last error of a chain, which says what really happened.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, reason: &str, what: Option<&str>) -> Status {
        let metadata: HashMap<String, String> = what
            .map(|what| ("what".to_owned(), what.to_owned()))
            .into_iter()
            .collect();
        let details = ErrorDetails::with_error_info(reason, "holdfast", metadata);
        Status::with_error_details(code, "the sentence", details)
    }

    #[test]
    fn the_word_decides_and_not_the_code() {
        let status = status(Code::Unavailable, "DENIED", None);
        assert_eq!(Reason::of(&status), Reason::Denied);
        assert_eq!(
            refused("vault db", &status).to_string(),
            "vault db was refused: the sentence"
        );
        assert!(!Reason::of(&status).may_pass());
    }

    #[test]
    fn the_coordinator_may_name_the_thing() {
        let status = status(Code::NotFound, "MISSING", Some("site x"));
        assert_eq!(
            refused("vault db", &status).to_string(),
            "site x does not exist: the sentence"
        );
    }

    #[test]
    fn the_sentence_is_not_said_twice() {
        let details = ErrorDetails::with_error_info("MISSING", "holdfast", HashMap::new());
        let sentence = "vault \"db\" does not exist";
        let status = Status::with_error_details(Code::NotFound, sentence, details);
        assert_eq!(
            refused("this", &status).to_string(),
            "vault \"db\" does not exist: the coordinator knows none of that name"
        );
    }

    #[test]
    fn a_broken_connection_may_pass() {
        for code in [Code::Unavailable, Code::Unknown, Code::Internal] {
            assert!(Reason::of(&Status::new(code, "h2 protocol error")).may_pass());
        }
        assert!(Reason::of(&status(Code::Aborted, "FENCED", None)).may_pass());
        assert!(!Reason::of(&status(Code::Internal, "BUG", None)).may_pass());
        assert!(!Reason::of(&Status::new(Code::OutOfRange, "too large")).may_pass());
    }
}
