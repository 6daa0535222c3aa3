//! The wire to an object store: counts, dates, limits and bounds every HTTP request, sends it again where that may help,
//! and keeps what each was answered.
//!
//! `object_store` signs, and boils an outcome down to an error that no longer tells "no such object" from "no such
//! bucket", a conflict from a refusal, or a write that was never sent from one that may have landed. This service sits
//! below it and notes every attempt of an operation in that operation's [`Trace`]; `answer` judges by those.
//!
//! State: counters, limits, the server's clock. It must never log or keep a header or URL of a request: they are signed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_context::Context;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use tokio::time::{Instant, sleep, timeout};

use super::answer::is_taken;
use super::cause::{self, Cause};
use super::paced::Paced;
use super::retry::{Next, Retries, may_pass};
use super::trace::{Answer, Attempt, Trace};
use crate::counters::{Request, Tally};
use crate::limit::{Class, Limiter};

/// Error documents are a few hundred bytes.
const MESSAGE_CHARS_MAX: usize = 200;

/// Why a request broke that the server did not answer.
pub(super) const NO_ANSWER: &str = "no answer came in time";

/// What all connections to one server share.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) context: Context,
    /// Host and port of the site itself. Requests to others, as for a machine's own credentials, pass unnoticed.
    pub(super) authority: String,
    pub(super) tally: Tally,
    pub(super) limiter: Limiter,
    pub(super) retries: Retries,
    /// Sends the bodies of packs at a rate, where there is one.
    pub(super) paced: Option<Paced>,
    pub(super) answer_timeout: Duration,
    pub(super) slow_bytes_per_second: u64,
    /// The server's clock at its last answer, and when that came.
    pub(super) clock: Mutex<Option<(i64, Instant)>>,
}

impl Line {
    /// What the server's clock shows now.
    pub(super) fn now_millis(&self) -> Option<i64> {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (millis, since) = clock?;
        Some(millis.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(0)))
    }

    /// Takes the time from an answer; gives by how many seconds this machine's clock is ahead of it.
    fn set_clock(&self, answer: &HttpResponse) -> i64 {
        let date = answer
            .headers()
            .get("date")
            .and_then(|date| date.to_str().ok());
        let Some(millis) = date.and_then(millis_of) else {
            return 0;
        };
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        *clock = Some((millis, Instant::now()));
        (self.context.now_millis() - millis) / 1000
    }

    fn deadline(&self, body_bytes: usize) -> Duration {
        let seconds = body_bytes as u64 / self.slow_bytes_per_second.max(1);
        self.answer_timeout + Duration::from_secs(seconds)
    }
}

fn millis_of(date: &str) -> Option<i64> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser
        .parse_timestamp(date)
        .ok()
        .map(|timestamp| timestamp.as_millisecond())
}

/// Makes wires.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Arc<Line>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Wire {
            inner,
            line: Arc::clone(&self.0),
        }))
    }
}

#[derive(Debug)]
struct Wire {
    inner: HttpClient,
    line: Arc<Line>,
}

/// Not an answer: why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("no answer came in time")]
    InTime,
    #[error("it failed, and is not sent again")]
    GivenUp,
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let line = &self.line;
        let at = request.uri().authority();
        if at.is_none_or(|at| at.as_str() != line.authority) {
            let deadline = line.deadline(request.body().content_length());
            let exchange = timeout(deadline, self.inner.execute(request));
            return exchange
                .await
                .unwrap_or_else(|_| Err(HttpError::new(HttpErrorKind::Timeout, NoAnswer::InTime)));
        }
        let purpose = purpose(&request);
        if purpose == Purpose::Complete && Trace::is_create_only() {
            // Signatures do not cover it.
            let any = HeaderValue::from_static("*");
            request.headers_mut().insert(IF_NONE_MATCH, any);
        }
        let (start, mut tries) = (Instant::now(), 0);
        line.retries.begin();
        loop {
            tries += 1;
            let (outcome, met) = self.attempt(request.clone(), purpose).await;
            let next = match may_pass(&request, purpose, &met) {
                true => line.retries.next(tries, start),
                false => {
                    Trace::note(met);
                    Trace::ended(tries, false);
                    return outcome;
                }
            };
            Trace::note(met);
            match next {
                Next::Again(pause) => {
                    line.tally.retried();
                    sleep(pause).await;
                }
                end => {
                    Trace::ended(tries, end == Next::Spent);
                    // Of a kind that `object_store` does not send again by itself.
                    return Err(HttpError::new(HttpErrorKind::Unknown, NoAnswer::GivenUp));
                }
            }
        }
    }
}

impl Wire {
    /// Sends a request once, when there is a slot for it.
    async fn attempt(
        &self,
        request: HttpRequest,
        purpose: Purpose,
    ) -> (Result<HttpResponse, HttpError>, Attempt) {
        let (line, class) = (&self.line, Trace::class());
        let slot = match Trace::kept() {
            Some(slot) => slot,
            None => line.limiter.enter(class).await,
        };
        let bytes = request.body().content_length();
        line.tally.request(purpose.counted());
        if purpose == Purpose::Put {
            line.tally.written(bytes as u64);
        }
        let outcome = match &line.paced {
            Some(paced) if class == Class::Bulk && bytes > 0 => {
                let sending = paced.send(request, line.deadline(bytes));
                match sending.await {
                    Ok(response) => timeout(line.answer_timeout, self.take(response, purpose))
                        .await
                        .unwrap_or_else(|_| late()),
                    Err(error) => Err(error),
                }
            }
            _ => {
                if let Some(upload) = &line.limiter.upload {
                    upload.charge(bytes);
                }
                let exchange = async {
                    let response = self.inner.execute(request).await?;
                    self.take(response, purpose).await
                };
                timeout(line.deadline(bytes), exchange)
                    .await
                    .unwrap_or_else(|_| late())
            }
        };
        let met = met(&outcome);
        let useful = matches!(&met, Attempt::Answer(answer)
            if answer.status < 400 || matches!(answer.status, 404 | 412 | 416));
        if !useful && !is_taken(std::slice::from_ref(&met)) {
            line.tally.failed();
        }
        if purpose == Purpose::Get && outcome.is_ok() {
            Trace::keep(slot);
        }
        (outcome.map(|(response, _)| response), met)
    }

    /// Takes an answer: whole, except for an object's bytes, which the caller reads.
    async fn take(
        &self,
        response: HttpResponse,
        purpose: Purpose,
    ) -> Result<(HttpResponse, Answer), HttpError> {
        let ahead_seconds = self.line.set_clock(&response);
        let header = |name: &str| {
            let value = response.headers().get(name);
            value.and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            versioned: ["x-amz-version-id", "x-amz-delete-marker"]
                .iter()
                .any(|name| header(name).is_some()),
            // Azure says it here too, where an answer has no body.
            code: printable(header("x-ms-error-code").unwrap_or_default()),
            ahead_seconds,
            ..Answer::default()
        };
        if purpose == Purpose::Get && response.status().is_success() {
            return Ok((response, answer));
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        if let Some(download) = &self.line.limiter.download {
            download.charge(body.len());
        }
        // A server may answer 200 and change its mind while it completes an upload, so that this looks at all.
        let text = String::from_utf8_lossy(&body);
        if text.contains("<Error>") || text.contains("<Error ") {
            answer.code = printable(element(&text, "Code").unwrap_or_default());
            answer.message = printable(element(&text, "Message").unwrap_or_default());
        }
        Ok((HttpResponse::from_parts(parts, body.into()), answer))
    }
}

fn late<T>() -> Result<T, HttpError> {
    Err(HttpError::new(HttpErrorKind::Timeout, NoAnswer::InTime))
}

/// What an attempt met.
fn met(outcome: &Result<(HttpResponse, Answer), HttpError>) -> Attempt {
    let error = match outcome {
        Ok((_, answer)) => return Attempt::Answer(answer.clone()),
        Err(error) => error,
    };
    match error.kind() {
        HttpErrorKind::Connect => match cause::of(error) {
            Cause::Certificate(why) => Attempt::Untrusted(why),
            Cause::Other(why) => Attempt::NoConnection(why),
        },
        HttpErrorKind::Timeout => Attempt::Broken(NO_ANSWER),
        HttpErrorKind::Decode => Attempt::Broken("the answer could not be read"),
        // Also what object_store calls "request not sent": a connection that closed before the answer came.
        _ => Attempt::Broken("the connection broke"),
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads an object: the answer's body is its bytes.
    Get,
    Head,
    List,
    /// Writes an object or a part of one.
    Put,
    /// Begins an upload in parts.
    Begin,
    /// Makes an upload in parts an object.
    Complete,
    Delete,
}

impl Purpose {
    fn counted(self) -> Request {
        match self {
            Purpose::Get => Request::Get,
            Purpose::Head => Request::Head,
            Purpose::List => Request::List,
            Purpose::Put | Purpose::Begin | Purpose::Complete => Request::Put,
            Purpose::Delete => Request::Delete,
        }
    }
}

fn purpose(request: &HttpRequest) -> Purpose {
    let query = request.uri().query().unwrap_or_default();
    // Signed URLs bring parameters of their own.
    let has = |wanted: &[&str]| {
        query
            .split('&')
            .any(|pair| wanted.contains(&pair) || wanted.contains(&key_of(pair)))
    };
    match request.method().as_str() {
        "GET" if has(&["list-type", "versions", "uploads", "comp=list"]) => Purpose::List,
        "GET" => Purpose::Get,
        "HEAD" => Purpose::Head,
        "DELETE" => Purpose::Delete,
        "POST" if has(&["comp=batch"]) => Purpose::Delete,
        "POST" if has(&["uploadId"]) => Purpose::Complete,
        "POST" => Purpose::Begin,
        _ => Purpose::Put,
    }
}

fn key_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(key, _)| key)
}

/// The text of the first element `tag` of an XML document. Enough for names and codes, which need no unescaping.
pub(super) fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let (_, rest) = xml.split_once(&open)?;
    rest.split_once(&close).map(|(text, _)| text)
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MESSAGE_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpRequestBody;

    use super::*;

    #[test]
    fn http_dates_are_read() {
        assert_eq!(
            millis_of("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777_000)
        );
        assert_eq!(millis_of("yesterday"), None);
    }

    #[test]
    fn elements_are_found_by_their_whole_name() {
        let xml = "<R><VersionId>a</VersionId><Version><Key>k</Key></Version></R>";
        assert_eq!(element(xml, "Version"), Some("<Key>k</Key>"));
        assert_eq!(element(xml, "Key"), Some("k"));
        assert_eq!(element(xml, "Code"), None);
    }

    #[test]
    fn requests_are_told_apart_whoever_signed_them() {
        for (method, path, wanted) in [
            ("GET", "/b/k", Purpose::Get),
            ("GET", "/b/k?sv=2024&sig=x", Purpose::Get),
            ("GET", "/b?list-type=2&prefix=v", Purpose::List),
            ("GET", "/c?restype=container&comp=list", Purpose::List),
            (
                "GET",
                "/b?versions=&prefix=k&X-Amz-Signature=1",
                Purpose::List,
            ),
            ("PUT", "/b/k?partNumber=2&uploadId=u", Purpose::Put),
            ("POST", "/b/k?uploads", Purpose::Begin),
            ("POST", "/b/k?uploadId=u", Purpose::Complete),
            ("POST", "/c?restype=container&comp=batch", Purpose::Delete),
            ("DELETE", "/b/k", Purpose::Delete),
            ("HEAD", "/b/k", Purpose::Head),
        ] {
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = path.parse().unwrap();
            assert_eq!(purpose(&request), wanted, "{method} {path}");
        }
    }
}
