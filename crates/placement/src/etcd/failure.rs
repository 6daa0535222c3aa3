//! What an answer of etcd's, or the lack of one, means.

use std::error::Error as StdError;

use tonic::{Code, ConnectError, Status};

use crate::error::Error;

/// Why one round of a call did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Worth another round.
    Retry {
        why: String,
        /// Whether the request certainly changed nothing.
        determinate: bool,
        source: Option<Box<etcd_client::Error>>,
    },
    /// The login is no longer known (etcd restarted, or its users changed): worth another round after a new one.
    StaleLogin(Box<etcd_client::Error>),
    /// etcd will not let this coordinator do it.
    Denied {
        why: String,
        source: Box<etcd_client::Error>,
    },
    /// The lease that the request names does not exist.
    LeaseGone,
    /// The lease that the request wanted to create exists.
    LeaseExists,
    /// A person must correct something: what, of this etcd, and how.
    Invalid { what: &'static str, why: String },
    /// etcd or its client library finds the request wrong.
    Refused(Box<etcd_client::Error>),
    /// What this crate itself found.
    Ours(Error),
}

impl Failure {
    /// A stream of changes that etcd ended, for a reason that it gives in words only.
    pub(super) fn canceled(reason: &str) -> Self {
        etcd_client::Error::GRpcStatus(Status::unknown(reason)).into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Self {
        use etcd_client::Error as Etcd;
        match &error {
            Etcd::GRpcStatus(status) => {
                let verdict = Verdict::of(status);
                verdict.on(error)
            }
            // The client library's words for an answer with no time left to live.
            Etcd::LeaseKeepAliveError(text) if text == "lease not found" => Self::LeaseGone,
            Etcd::IoError(_) | Etcd::LeaseKeepAliveError(_) | Etcd::WatchError(_) => {
                Verdict::retry(root_cause(&error), never_sent(&error)).on(error)
            }
            _ => Self::Refused(Box::new(error)),
        }
    }
}

/// A [`Failure`] that has not taken its error along yet.
enum Verdict {
    Retry { why: String, determinate: bool },
    StaleLogin,
    Denied(String),
    LeaseGone,
    LeaseExists,
    Invalid { what: &'static str, why: String },
    Refused,
}

impl Verdict {
    fn retry(why: impl Into<String>, determinate: bool) -> Self {
        Self::Retry {
            why: why.into(),
            determinate,
        }
    }

    /// By code, and by message where etcd uses one code for several things (etcd: `rpctypes/error.go`).
    fn of(status: &Status) -> Self {
        let message = status.message();
        let says = |text: &str| message.contains(text);
        match status.code() {
            Code::Unauthenticated => Self::StaleLogin,
            _ if says("invalid auth token") || says("revision of auth store is old") => {
                Self::StaleLogin
            }
            _ if says("permission denied") => {
                Self::Denied("this user, or the lack of one, gives no permission".into())
            }
            Code::InvalidArgument if says("authentication failed") => {
                Self::Denied("wrong user or password".into())
            }
            Code::InvalidArgument if says("user name is empty") => {
                Self::Denied("it wants a user and a password".into())
            }
            Code::FailedPrecondition if says("authentication is not enabled") => {
                Self::Denied("a user is configured here, but it has authentication disabled".into())
            }
            Code::NotFound if says("lease not found") => Self::LeaseGone,
            Code::FailedPrecondition if says("lease already exists") => Self::LeaseExists,
            Code::ResourceExhausted if says("space exceeded") => Self::retry(
                "its database is full: compact, defragment, disarm the alarm",
                true,
            ),
            Code::ResourceExhausted => Self::retry(message, says("etcdserver: too many requests")),
            Code::InvalidArgument if says("request is too large") => Self::Invalid {
                what: "entry for",
                why: "it is larger than etcd takes".into(),
            },
            // A web server or proxy answers so, too.
            Code::Unimplemented => Self::Invalid {
                what: "way to",
                why: format!("what answers there is no etcd of version 3.4 or newer ({message})"),
            },
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange => Self::Refused,
            _ if never_sent(status) => Self::retry(root_cause(status), true),
            _ => Self::retry(root_cause(status), says("etcdserver: no leader")),
        }
    }

    fn on(self, error: etcd_client::Error) -> Failure {
        let source = Box::new(error);
        match self {
            Self::Retry { why, determinate } => Failure::Retry {
                why,
                determinate,
                source: Some(source),
            },
            Self::StaleLogin => Failure::StaleLogin(source),
            Self::Denied(why) => Failure::Denied { why, source },
            Self::LeaseGone => Failure::LeaseGone,
            Self::LeaseExists => Failure::LeaseExists,
            Self::Invalid { what, why } => Failure::Invalid { what, why },
            Self::Refused => Failure::Refused(source),
        }
    }
}

/// Whether no connection was made at all, so that nothing can have been asked of etcd.
fn never_sent(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<ConnectError>())
}

/// The innermost cause in words; the outer ones say "transport error".
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    match causes(error).last() {
        Some(cause) => match cause.downcast_ref::<Status>() {
            Some(status) if !status.message().is_empty() => status.message().into(),
            Some(status) => status.code().description().into(),
            None => cause.to_string(),
        },
        None => error.to_string(),
    }
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // The client library's own error hides its cause from `source`.
    let mut next = Some(match error.downcast_ref::<etcd_client::Error>() {
        Some(etcd_client::Error::GRpcStatus(status)) => status as &(dyn StdError + 'static),
        Some(etcd_client::Error::TransportError(transport)) => transport,
        Some(etcd_client::Error::IoError(io)) => io,
        _ => error,
    });
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, message: &str) -> Failure {
        Failure::from(etcd_client::Error::GRpcStatus(Status::new(code, message)))
    }

    fn check_retry(code: Code, message: &str, want: bool) {
        match failure(code, message) {
            Failure::Retry { determinate, .. } => assert_eq!(determinate, want, "{message}"),
            other => panic!("{code:?} {message}: {other:?}"),
        }
    }

    #[test]
    fn what_may_have_happened_is_told_from_what_did_not() {
        check_retry(Code::Unavailable, "etcdserver: request timed out", false);
        check_retry(Code::Unavailable, "etcdserver: leader changed", false);
        check_retry(Code::Unavailable, "etcdserver: no leader", true);
        check_retry(Code::Unknown, "transport error", false);
        check_retry(Code::Cancelled, "operation was canceled", false);
        check_retry(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
            true,
        );
        let mut refused = Status::unavailable("tcp connect error");
        refused.set_source(std::sync::Arc::new(ConnectError("refused".into())));
        match Failure::from(etcd_client::Error::GRpcStatus(refused)) {
            Failure::Retry {
                determinate: true,
                why,
                ..
            } => assert_eq!(why, "refused"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        use Code::{
            FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Unauthenticated,
        };
        let gone = failure(NotFound, "etcdserver: requested lease not found");
        assert!(matches!(gone, Failure::LeaseGone));
        let exists = failure(FailedPrecondition, "etcdserver: lease already exists");
        assert!(matches!(exists, Failure::LeaseExists));
        let stale = failure(Unauthenticated, "etcdserver: invalid auth token");
        assert!(matches!(stale, Failure::StaleLogin(_)));
        let old = failure(InvalidArgument, "etcdserver: revision of auth store is old");
        assert!(matches!(old, Failure::StaleLogin(_)));
        let denied = failure(PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(denied, Failure::Denied { .. }));
        let canceled = Failure::canceled("etcdserver: permission denied");
        assert!(matches!(canceled, Failure::Denied { .. }));
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        assert!(matches!(
            failure(InvalidArgument, wrong),
            Failure::Denied { .. }
        ));
        let large = failure(InvalidArgument, "etcdserver: request is too large");
        assert!(matches!(large, Failure::Invalid { .. }));
        let web = failure(Code::Unimplemented, "mapped from HTTP status code 404");
        assert!(matches!(web, Failure::Invalid { what: "way to", .. }));
        let refused = failure(InvalidArgument, "etcdserver: key is not provided");
        assert!(matches!(refused, Failure::Refused(_)));
    }
}
