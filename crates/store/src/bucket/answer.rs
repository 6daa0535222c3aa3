//! What a store's answers mean to the caller.
//!
//! The judgement rests on the [`Attempt`]s of an operation, not on `object_store`'s error, which also repeats whole
//! error documents: those hold key ids and signed text, and are never handed on.

use std::borrow::Cow;

use super::trace::{Answer, Attempt, Attempts};
use crate::error::{Error, Kind};

/// The last answer, if the last attempt had one.
pub(super) fn last(attempts: &[Attempt]) -> Option<&Answer> {
    match attempts.last() {
        Some(Attempt::Answer(answer)) => Some(answer),
        _ => None,
    }
}

/// Whether the server said, in so many words, that there is no such object. A 404 alone may come from a proxy, a
/// wrong path or a bucket that is gone.
pub(super) fn is_absent(attempts: &[Attempt]) -> bool {
    last(attempts).is_some_and(|answer| answer.status == 404 && is_no_object(&answer.code))
}

/// The same within the answer to a batch, whose own status is a success.
pub(super) fn is_absent_in_batch(attempts: &[Attempt]) -> bool {
    last(attempts).is_some_and(|answer| answer.status == 202 && is_no_object(&answer.code))
}

fn is_no_object(code: &str) -> bool {
    matches!(code, "NoSuchKey" | "BlobNotFound")
}

/// Whether the server refused a create because the object is there.
pub(super) fn is_taken(attempts: &[Attempt]) -> bool {
    last(attempts).is_some_and(|answer| match answer.status {
        304 | 412 => true,
        // Amazon's "others are at it": nothing is decided. Some servers say 409 for "it is there".
        409 => !matches!(
            answer.code.as_str(),
            "ConditionalRequestConflict"
                | "OperationAborted"
                | "AccountBeingCreated"
                | "BlobBeingRehydrated"
                | "ContainerBeingDeleted"
                | "ContainerDisabled"
        ),
        _ => false,
    })
}

/// The bytes that were asked for lie behind the object's end.
pub(super) fn is_past_end(attempts: &[Attempt]) -> bool {
    last(attempts).is_some_and(|answer| answer.status == 416)
}

/// Whether a write certainly did not happen: each attempt was refused, or never reached the server.
fn is_determinate(attempts: &[Attempt]) -> bool {
    attempts.iter().all(|attempt| match attempt {
        Attempt::NoConnection(_) | Attempt::Untrusted(_) => true,
        Attempt::Broken(_) => false,
        Attempt::Answer(answer) => (300..500).contains(&answer.status) && answer.status != 408,
    })
}

/// Clocks further apart than this make a store refuse signatures.
const AHEAD_SECONDS_MAX: i64 = 300;

/// The error for an operation that failed. `doing` names it, its object and its site; `keys_go` says where credentials
/// are looked for; `raw` is what `object_store` made of it, which is shown only where the server's answer was fine and
/// could not be understood.
pub(super) fn judge(
    doing: String,
    keys_go: &'static str,
    attempts: &Attempts,
    raw: &object_store::Error,
) -> Error {
    let error = |kind, why: String| Error::new(kind, doing.clone(), told(why, attempts));
    let error = match attempts.last() {
        None => error(Kind::Denied, "no credentials could be had".into()).next(keys_go),
        Some(Attempt::NoConnection(why)) => {
            error(Kind::Retry, format!("no connection could be made: {why}"))
                .next("check that endpoint= in the site's URL is right and that the server runs, then try again")
        }
        Some(Attempt::Untrusted(why)) => {
            error(Kind::Invalid, format!("the server's certificate was not accepted: {why}")).next(
                "give the certificate that signed it with ca= in the site's URL, or mend the server's; and check the clocks",
            )
        }
        Some(Attempt::Broken(why)) => error(Kind::Retry, (*why).into()),
        Some(Attempt::Answer(answer)) if answer.status < 300 && answer.code.is_empty() => {
            let raw: String = raw.to_string().chars().take(200).collect();
            error(Kind::Retry, format!("the answer could not be understood: {raw}"))
        }
        Some(Attempt::Answer(answer)) => answered(error, answer),
    };
    if is_determinate(attempts) {
        error
    } else {
        error.indeterminate()
    }
}

/// How often it was tried, where that was more than once.
fn told(why: String, attempts: &Attempts) -> String {
    let end = match attempts.spent {
        true => ", and is not sent again because too many requests to this site fail",
        false => "",
    };
    match attempts.tries {
        0 | 1 => format!("{why}{end}"),
        tries => format!("{why}, after {tries} attempts{end}"),
    }
}

fn answered(error: impl Fn(Kind, String) -> Error, answer: &Answer) -> Error {
    let Answer {
        status,
        code,
        message,
        ahead_seconds,
        ..
    } = answer;
    let mut why = format!("the server answered {status}");
    if !code.is_empty() {
        why = format!("{why} {code}");
    }
    if !message.is_empty() {
        why = format!("{why} ({message})");
    }
    let is_skewed = ahead_seconds.abs() > AHEAD_SECONDS_MAX;
    if is_skewed && matches!(status, 400..=403) {
        let side = if *ahead_seconds > 0 {
            "ahead of"
        } else {
            "behind"
        };
        let seconds = ahead_seconds.abs();
        why = format!("{why}; this machine's clock is {seconds} s {side} the server's");
        return error(Kind::Denied, why).next("set this machine's clock, or the server's");
    }
    let (kind, advice) = meaning(*status, code);
    let error = error(kind, why);
    match advice {
        Some(advice) => error.next(advice),
        None => error,
    }
}

/// What to do about an answer; the advice of the kind where there is no better one.
fn meaning(status: u16, code: &str) -> (Kind, Option<Cow<'static, str>>) {
    let (kind, advice) = match (status, code) {
        (_, "NoSuchBucket" | "ContainerNotFound") => {
            (Kind::Invalid, "create the bucket or correct the URL")
        }
        (_, "QuotaExceeded" | "InsufficientCapacity" | "XMinioStorageFull") | (507, _) => {
            (Kind::Full, "")
        }
        (_, "RequestTimeTooSkewed") => (Kind::Denied, "set this machine's clock"),
        (_, "InvalidAccessKeyId") => (
            Kind::Denied,
            "the server does not know this access key: correct the profile or the environment",
        ),
        (_, "SignatureDoesNotMatch" | "AuthenticationFailed") => (
            Kind::Denied,
            "correct the secret key; endpoint= and region= must be the server's own as well",
        ),
        (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => {
            (Kind::Denied, "get new credentials: these are used up")
        }
        (401 | 403, _) => (Kind::Denied, ""),
        // Within a success: of one object in a batch.
        (..=299, "AccessDenied") => (Kind::Denied, ""),
        (..=299, code) if code.starts_with("Authorization") => (Kind::Denied, ""),
        (400, "RequestTimeout" | "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => {
            (Kind::Retry, "")
        }
        (301 | 302 | 307 | 308, _)
        | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            (Kind::Invalid, "correct endpoint= and region= in the URL")
        }
        (501, _) => (
            Kind::Refused,
            "the server lacks something that holdfast needs; use one that is known to work (Ceph RGW, Amazon S3)",
        ),
        // An error below 300 is one that came in the body of a success.
        (..=299 | 404 | 408 | 409 | 425 | 429 | 500.., _) => (Kind::Retry, ""),
        _ => (Kind::Invalid, ""),
    };
    (kind, (!advice.is_empty()).then_some(Cow::Borrowed(advice)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Attempt {
        Attempt::Answer(Answer {
            status,
            code: code.into(),
            ..Answer::default()
        })
    }

    fn no_connection() -> Attempt {
        Attempt::NoConnection("connection refused".into())
    }

    fn check(attempts: &[Attempt], kind: Kind, determinate: bool) {
        let raw = object_store::Error::NotImplemented {
            operation: "x".into(),
            implementer: "secret".into(),
        };
        let error = judge(
            "writing a at site s".into(),
            "a file",
            &attempts.into(),
            &raw,
        );
        assert_eq!(error.kind(), kind, "{attempts:?}: {error}");
        assert_eq!(error.is_determinate(), determinate, "{attempts:?}: {error}");
        assert!(
            error.to_string().starts_with("writing a at site s: "),
            "{error}"
        );
    }

    #[test]
    fn kinds_and_determinacy_follow_the_attempts() {
        check(&[], Kind::Denied, true);
        check(&[no_connection(), no_connection()], Kind::Retry, true);
        check(&[Attempt::Broken("b")], Kind::Retry, false);
        check(&[Attempt::Broken("b"), no_connection()], Kind::Retry, false);
        check(&[answer(503, "SlowDown")], Kind::Retry, false);
        check(
            &[answer(500, "InternalError"), answer(403, "AccessDenied")],
            Kind::Denied,
            false,
        );
        check(&[answer(403, "AccessDenied")], Kind::Denied, true);
        check(&[answer(403, "QuotaExceeded")], Kind::Full, true);
        check(&[answer(404, "NoSuchBucket")], Kind::Invalid, true);
        check(&[answer(404, "ContainerNotFound")], Kind::Invalid, true);
        check(
            &[Attempt::Untrusted("unknown issuer".into())],
            Kind::Invalid,
            true,
        );
        check(&[answer(404, "")], Kind::Retry, true);
        check(&[answer(409, "OperationAborted")], Kind::Retry, true);
        check(
            &[answer(400, "AuthorizationHeaderMalformed")],
            Kind::Invalid,
            true,
        );
        check(&[answer(501, "NotImplemented")], Kind::Refused, false);
        check(&[answer(200, "")], Kind::Retry, false);
        check(&[answer(200, "InternalError")], Kind::Retry, false);
        check(
            &[answer(202, "AuthorizationPermissionMismatch")],
            Kind::Denied,
            false,
        );
    }

    #[test]
    fn only_the_servers_own_word_makes_an_object_absent() {
        assert!(is_absent(&[
            answer(500, "InternalError"),
            answer(404, "NoSuchKey")
        ]));
        assert!(!is_absent(&[answer(404, "NoSuchBucket")]));
        assert!(!is_absent(&[answer(404, "")]));
        assert!(!is_absent(&[answer(404, "NoSuchKey"), no_connection()]));
        assert!(!is_absent(&[]));
        assert!(is_absent(&[answer(404, "BlobNotFound")]));
        assert!(!is_absent(&[answer(404, "ContainerNotFound")]));
        assert!(is_absent_in_batch(&[answer(202, "BlobNotFound")]));
        assert!(!is_absent_in_batch(&[answer(202, "ContainerNotFound")]));
    }

    #[test]
    fn a_conflict_is_not_an_object_that_is_there() {
        assert!(is_taken(&[answer(412, "PreconditionFailed")]));
        assert!(is_taken(&[answer(409, "FileAlreadyExists")]));
        assert!(is_taken(&[answer(409, "BlobAlreadyExists")]));
        assert!(!is_taken(&[answer(409, "ContainerBeingDeleted")]));
        assert!(!is_taken(&[answer(409, "ConditionalRequestConflict")]));
        assert!(!is_taken(&[answer(200, "")]));
    }

    #[test]
    fn an_error_says_how_often_it_was_tried_and_why_no_more() {
        let raw = object_store::Error::NotImplemented {
            operation: "x".into(),
            implementer: "x".into(),
        };
        let mut attempts = Attempts::from(&[answer(503, "SlowDown"), answer(500, "")][..]);
        let told = |attempts: &Attempts| judge("a".into(), "b", attempts, &raw).to_string();
        let text = told(&attempts);
        assert!(text.contains("answered 500, after 2 attempts; "), "{text}");
        attempts.spent = true;
        let text = told(&attempts);
        assert!(
            text.contains("too many requests to this site fail; "),
            "{text}"
        );
    }

    #[test]
    fn clocks_that_are_apart_are_told() {
        let skewed = Attempt::Answer(Answer {
            status: 403,
            ahead_seconds: -3600,
            ..Answer::default()
        });
        let raw = object_store::Error::NotImplemented {
            operation: "x".into(),
            implementer: "x".into(),
        };
        let error = judge("a".into(), "b", &Attempts::from(&[skewed][..]), &raw);
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("3600 s behind"), "{error}");
    }
}
