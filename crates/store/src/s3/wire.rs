//! The wire to an S3 server: counts, dates and bounds every HTTP request, and keeps what each was answered.
//!
//! `object_store` signs and retries, and boils an outcome down to an error that no longer tells "no such object" from
//! "no such bucket", a conflict from a refusal, or a write that was never sent from one that may have landed. This
//! service sits below its retries and notes every attempt of an operation in that operation's [`Trace`]; `answer`
//! judges by those.
//!
//! State: counters and the server's clock. It must never log or keep a header or URL of a request: they are signed.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use tokio::time::{Instant, timeout};

use crate::counters::{Request, Tally};

/// Error documents are a few hundred bytes.
const MESSAGE_CHARS_MAX: usize = 200;

/// What all connections to one server share.
#[derive(Debug)]
pub(super) struct Line {
    /// Host and port of the site itself. Requests to others, as for a machine's own credentials, pass unnoticed.
    pub(super) authority: String,
    pub(super) tally: Tally,
    pub(super) answer_timeout: Duration,
    pub(super) slow_bytes_per_second: u64,
    /// The server's clock at its last answer, and when that came.
    pub(super) clock: Mutex<Option<(i64, Instant)>>,
}

impl Line {
    /// What the server's clock shows now.
    pub(super) fn now_millis(&self) -> Option<i64> {
        let (millis, since) = (*lock(&self.clock))?;
        Some(millis.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(0)))
    }

    fn set_clock(&self, answer: &HttpResponse) {
        let date = answer
            .headers()
            .get("date")
            .and_then(|date| date.to_str().ok());
        if let Some(millis) = date.and_then(millis_of) {
            *lock(&self.clock) = Some((millis, Instant::now()));
        }
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

/// What became of one HTTP request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// No connection could be made: the server never saw it.
    NoConnection,
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
}

/// The attempts of one operation, in order.
#[derive(Debug, Default)]
pub(super) struct Trace(Mutex<Vec<Attempt>>);

tokio::task_local! {
    // The operation that runs in this task. `object_store` does not spawn, so that its requests find it.
    static TRACE: Arc<Trace>;
}

impl Trace {
    /// Runs an operation and gives back what its requests met.
    pub(super) async fn of<T>(operation: impl Future<Output = T>) -> (T, Vec<Attempt>) {
        let trace = Arc::new(Trace::default());
        let outcome = TRACE.scope(Arc::clone(&trace), operation).await;
        let attempts = std::mem::take(&mut *lock(&trace.0));
        (outcome, attempts)
    }

    fn note(attempt: Attempt) {
        let _ = TRACE.try_with(|trace| lock(&trace.0).push(attempt));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is never half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

#[derive(Debug, thiserror::Error)]
#[error("no answer came in time")]
struct NoAnswer;

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let ours = request
            .uri()
            .authority()
            .is_some_and(|at| at.as_str() == self.line.authority);
        let deadline = self.line.deadline(request.body().content_length());
        let streams = streams(&request);
        if ours {
            self.line.tally.request(kind_of(&request));
            self.line
                .tally
                .written(request.body().content_length() as u64);
        }
        let outcome = timeout(deadline, self.exchange(request, streams)).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(HttpError::new(HttpErrorKind::Timeout, NoAnswer)));
        if ours {
            self.note(&outcome);
        }
        outcome.map(|(response, _)| response)
    }
}

impl Wire {
    /// Sends a request and takes its answer: whole, except for an object's bytes, which the caller reads.
    async fn exchange(
        &self,
        request: HttpRequest,
        streams: bool,
    ) -> Result<(HttpResponse, Answer), HttpError> {
        let response = self.inner.execute(request).await?;
        self.line.set_clock(&response);
        let mut answer = Answer {
            status: response.status().as_u16(),
            versioned: ["x-amz-version-id", "x-amz-delete-marker"]
                .iter()
                .any(|header| response.headers().contains_key(*header)),
            ..Answer::default()
        };
        if streams && response.status().is_success() {
            return Ok((response, answer));
        }
        let (parts, body) = response.into_parts();
        let body = body.bytes().await?;
        // A server may answer 200 and change its mind while it completes an upload, so that this looks at all.
        let text = String::from_utf8_lossy(&body);
        if text.contains("<Error>") || text.contains("<Error ") {
            answer.code = element(&text, "Code").unwrap_or_default().into();
            answer.message = printable(element(&text, "Message").unwrap_or_default());
        }
        Ok((HttpResponse::from_parts(parts, body.into()), answer))
    }

    fn note(&self, outcome: &Result<(HttpResponse, Answer), HttpError>) {
        let attempt = match outcome {
            Ok((_, answer)) => Attempt::Answer(answer.clone()),
            Err(error) => match error.kind() {
                HttpErrorKind::Connect => Attempt::NoConnection,
                HttpErrorKind::Timeout => Attempt::Broken("no answer came in time"),
                HttpErrorKind::Decode => Attempt::Broken("the answer could not be read"),
                // Also what object_store calls "request not sent": a connection that closed before the answer came.
                _ => Attempt::Broken("the connection broke"),
            },
        };
        let useful = matches!(&attempt, Attempt::Answer(answer)
            if answer.status < 400 || matches!(answer.status, 404 | 412 | 416));
        if !useful {
            self.line.tally.failed();
        }
        Trace::note(attempt);
    }
}

/// Whether the answer's body is an object.
fn streams(request: &HttpRequest) -> bool {
    request.method().as_str() == "GET" && request.uri().query().is_none()
}

fn kind_of(request: &HttpRequest) -> Request {
    match (request.method().as_str(), request.uri().query()) {
        ("GET", None) => Request::Get,
        ("GET", Some(_)) => Request::List,
        ("HEAD", _) => Request::Head,
        ("DELETE", _) => Request::Delete,
        _ => Request::Put,
    }
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
}
