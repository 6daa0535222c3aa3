//! What an S3 server's answers mean to the caller.
//!
//! The judgement rests on the [`Attempt`]s of an operation, not on `object_store`'s error, which also repeats whole
//! error documents: those hold key ids and signed text, and are never handed on.

use holdfast_format::SiteName;

use super::wire::{Answer, Attempt};
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
    last(attempts).is_some_and(|answer| answer.status == 404 && answer.code == "NoSuchKey")
}

/// Whether the server refused a create because the object is there.
pub(super) fn is_taken(attempts: &[Attempt]) -> bool {
    last(attempts).is_some_and(|answer| match answer.status {
        304 | 412 => true,
        // Amazon's "others are at it": nothing is decided. Some servers say 409 for "it is there".
        409 => !matches!(
            answer.code.as_str(),
            "ConditionalRequestConflict" | "OperationAborted"
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
        Attempt::NoConnection => true,
        Attempt::Broken(_) => false,
        Attempt::Answer(answer) => (300..500).contains(&answer.status) && answer.status != 408,
    })
}

/// The error for an operation that failed. `doing` names it, its object and its site; `raw` is what `object_store` made
/// of it, which is shown only where the server's answer was fine and could not be understood.
pub(super) fn judge(
    doing: String,
    site: &SiteName,
    attempts: &[Attempt],
    raw: &object_store::Error,
) -> Error {
    let error = match attempts.last() {
        None => Error::new(Kind::Denied, doing, "no credentials could be had").next(format!(
            "name a profile of ~/.aws/credentials with profile= in the URL of site {site}, or set AWS_ACCESS_KEY_ID \
             and AWS_SECRET_ACCESS_KEY"
        )),
        Some(Attempt::NoConnection) => Error::new(Kind::Retry, doing, "no connection could be made"),
        Some(Attempt::Broken(why)) => Error::new(Kind::Retry, doing, *why),
        Some(Attempt::Answer(answer)) if answer.status < 300 && answer.code.is_empty() => {
            let raw: String = raw.to_string().chars().take(200).collect();
            Error::new(Kind::Retry, doing, format!("the answer could not be understood: {raw}"))
        }
        Some(Attempt::Answer(answer)) => answered(doing, answer),
    };
    if is_determinate(attempts) {
        error
    } else {
        error.indeterminate()
    }
}

fn answered(doing: String, answer: &Answer) -> Error {
    let Answer {
        status,
        code,
        message,
        ..
    } = answer;
    let mut why = format!("the server answered {status}");
    if !code.is_empty() {
        why = format!("{why} {code}");
    }
    if !message.is_empty() {
        why = format!("{why} ({message})");
    }
    let error = |kind| Error::new(kind, doing, why);
    match (*status, code.as_str()) {
        (_, "NoSuchBucket") => error(Kind::Invalid).next("create the bucket or correct the URL"),
        (_, "QuotaExceeded" | "InsufficientCapacity" | "XMinioStorageFull") | (507, _) => {
            error(Kind::Full)
        }
        (_, "RequestTimeTooSkewed") => error(Kind::Denied).next("set this machine's clock"),
        (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => error(Kind::Denied),
        (401 | 403, _) => error(Kind::Denied),
        (400, "RequestTimeout" | "BadDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => {
            error(Kind::Retry)
        }
        (301 | 302 | 307 | 308, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            error(Kind::Invalid).next("correct endpoint= and region= in the URL")
        }
        (501, _) => error(Kind::Refused)
            .next("the server lacks something that holdfast needs; use one that is known to work (Ceph RGW, Amazon S3)"),
        // An error below 300 is one that came in the body of a success.
        (..=299 | 404 | 408 | 409 | 425 | 429 | 500.., _) => error(Kind::Retry),
        _ => error(Kind::Invalid),
    }
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

    fn check(attempts: &[Attempt], kind: Kind, determinate: bool) {
        let raw = object_store::Error::NotImplemented {
            operation: "x".into(),
            implementer: "secret".into(),
        };
        let error = judge(
            "writing a at site s".into(),
            &SiteName::new("s").unwrap(),
            attempts,
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
        check(
            &[Attempt::NoConnection, Attempt::NoConnection],
            Kind::Retry,
            true,
        );
        check(&[Attempt::Broken("b")], Kind::Retry, false);
        check(
            &[Attempt::Broken("b"), Attempt::NoConnection],
            Kind::Retry,
            false,
        );
        check(&[answer(503, "SlowDown")], Kind::Retry, false);
        check(
            &[answer(500, "InternalError"), answer(403, "AccessDenied")],
            Kind::Denied,
            false,
        );
        check(&[answer(403, "AccessDenied")], Kind::Denied, true);
        check(&[answer(403, "QuotaExceeded")], Kind::Full, true);
        check(&[answer(404, "NoSuchBucket")], Kind::Invalid, true);
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
    }

    #[test]
    fn only_the_servers_own_word_makes_an_object_absent() {
        assert!(is_absent(&[
            answer(500, "InternalError"),
            answer(404, "NoSuchKey")
        ]));
        assert!(!is_absent(&[answer(404, "NoSuchBucket")]));
        assert!(!is_absent(&[answer(404, "")]));
        assert!(!is_absent(&[
            answer(404, "NoSuchKey"),
            Attempt::NoConnection
        ]));
        assert!(!is_absent(&[]));
    }

    #[test]
    fn a_conflict_is_not_an_object_that_is_there() {
        assert!(is_taken(&[answer(412, "PreconditionFailed")]));
        assert!(is_taken(&[answer(409, "FileAlreadyExists")]));
        assert!(!is_taken(&[answer(409, "ConditionalRequestConflict")]));
        assert!(!is_taken(&[answer(200, "")]));
    }
}
