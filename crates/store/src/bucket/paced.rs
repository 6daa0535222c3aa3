//! Sends the bodies of packs no faster than a site's allowance, in small pieces.
//!
//! `object_store` hands a body to its HTTP client whole, so that this speaks through a client of its own. A stall is told
//! by the time since the last piece went, not counting what was waited for the allowance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use object_store::client::{HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody};
use tokio::time::{Instant, sleep_until};

use super::wire::NoAnswer;
use crate::limit::Allowance;

/// A client that keeps to an allowance.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) client: reqwest::Client,
    pub(super) allowance: Arc<Allowance>,
}

/// When the last piece went; none while one waits for the allowance.
#[derive(Debug)]
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn last(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paced {
    /// Sends a request, and gives it up where nothing has moved for `patience`.
    pub(super) async fn send(
        &self,
        request: HttpRequest,
        patience: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let pace = Arc::new(Pace(Mutex::new(Some(Instant::now()))));
        let request = self.request(request, &pace).await?;
        let exchange = self.client.execute(request);
        tokio::pin!(exchange);
        loop {
            let end = pace.last().unwrap_or_else(Instant::now) + patience;
            tokio::select! {
                biased;
                outcome = &mut exchange => {
                    return outcome.map(response).map_err(failure);
                }
                () = sleep_until(end) => {
                    let stalled = pace.last().is_some_and(|last| last + patience <= Instant::now());
                    if stalled {
                        return Err(HttpError::new(HttpErrorKind::Timeout, NoAnswer::InTime));
                    }
                }
            }
        }
    }

    async fn request(
        &self,
        request: HttpRequest,
        pace: &Arc<Pace>,
    ) -> Result<reqwest::Request, HttpError> {
        let (parts, body) = request.into_parts();
        let length = body.content_length();
        let url = parts.uri.to_string().parse();
        let url =
            url.map_err(|error: url::ParseError| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        // Without it a body that comes in pieces is sent without its length, which stores refuse.
        sent.headers_mut().insert("content-length", length.into());
        let parts: Vec<Bytes> = body
            .into_data_stream()
            .filter_map(|part| async { part.ok() })
            .collect()
            .await;
        let (pace, allowance) = (Arc::clone(pace), Arc::clone(&self.allowance));
        let pieces = stream::iter(cut(parts, allowance.piece_bytes())).then(move |piece| {
            let (pace, allowance) = (Arc::clone(&pace), Arc::clone(&allowance));
            async move {
                pace.set(None);
                allowance.wait(piece.len()).await;
                pace.set(Some(Instant::now()));
                Ok::<_, std::convert::Infallible>(piece)
            }
        });
        *sent.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
        Ok(sent)
    }
}

/// Cuts a body into pieces of at most `bytes`, as they are asked for and without copying.
fn cut(parts: Vec<Bytes>, bytes: usize) -> impl Iterator<Item = Bytes> {
    parts.into_iter().flat_map(move |mut part| {
        std::iter::from_fn(move || (!part.is_empty()).then(|| part.split_to(bytes.min(part.len()))))
    })
}

fn response(answer: reqwest::Response) -> HttpResponse {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = reqwest::Body::from(answer).map_err(failure);
    let mut response = HttpResponse::new(HttpResponseBody::new(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Which of `object_store`'s kinds an error is. The URL is signed, and goes.
fn failure(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_cut_wherever_its_parts_end() {
        let parts = vec![Bytes::from("abcde"), Bytes::new(), Bytes::from("fg")];
        let pieces: Vec<Bytes> = cut(parts, 2).collect();
        assert_eq!(pieces, ["ab", "cd", "e", "fg"].map(Bytes::from));
    }
}
