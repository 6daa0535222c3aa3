//! Which coordinator requests go to: the one that was reached, the one that it names instead, the next of those that were given.
//!
//! State: the coordinators that were given, and the channel to the one that is asked now. All clones share it: what one of them
//! learns, all go by.
//!
//! A request of one message that is answered with `ELSEWHERE` is asked again there, unseen by whoever asked. A stream cannot be:
//! its owner calls [`Route::turn`] and opens another. A question that changes nothing and breaks on its way is asked of the next
//! coordinator that was given; anything else that broke is never asked again here: it may have been done.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, StdError, http};
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::connect::{self, Endpoint, TlsFiles};
use super::status::Reason;
use crate::error::{Error, Result};

/// So often in a row a request is sent elsewhere: vaults may change hands while it is on its way, but not for ever.
const TURNS_MAX: usize = 4;

/// Calls whose requests are streams.
const STREAMS: [&str; 2] = ["/holdfast.v1.Backup/Session", "/holdfast.v1.Restore/Fetch"];

/// Calls that change nothing.
const QUESTIONS: [&str; 7] = [
    "/holdfast.v1.Operations/Status",
    "/holdfast.v1.Restore/ListSnapshots",
    "/holdfast.v1.Retention/ListHolds",
    "/holdfast.v1.Vaults/Describe",
    "/holdfast.v1.Vaults/GetKeyObject",
    "/holdfast.v1.Vaults/GetVault",
    "/holdfast.v1.Vaults/ListVaults",
];

/// See the module header.
#[derive(Debug, Clone)]
pub(super) struct Route {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    given: Vec<Endpoint>,
    tls: TlsFiles,
    at: RwLock<At>,
    /// Channels that were made so far, by their endpoint: vaults of one command may lie at several coordinators.
    made: Mutex<BTreeMap<String, Channel>>,
}

#[derive(Debug, Clone)]
struct At {
    channel: Channel,
    /// For messages.
    to: String,
    /// None for a channel that was made elsewhere.
    endpoint: Option<Endpoint>,
}

impl Route {
    /// To the first of several that answers.
    pub(super) async fn open(given: &[Endpoint], tls: &TlsFiles) -> Result<Self> {
        let mut failed: Option<Error> = None;
        for endpoint in given {
            match connect::channel(endpoint, tls).await {
                Ok(channel) => {
                    let at = At::new(channel, endpoint);
                    return Ok(Self::at(given.to_vec(), tls.clone(), at));
                }
                // Of several that fail alike the first is told: it is the one that is meant to be asked.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(match (failed, given.len()) {
            (Some(Error::Unavailable { what, why }), 2..) => Error::Unavailable {
                what: format!("{what}, and each of the {} others", given.len() - 1),
                why,
            },
            (Some(error), _) => error,
            (None, _) => Error::Bug("no coordinator was given".into()),
        })
    }

    /// Over a channel that was made elsewhere.
    pub(super) fn over(channel: Channel, to: String) -> Self {
        let at = At {
            channel,
            to,
            endpoint: None,
        };
        Self::at(Vec::new(), TlsFiles::default(), at)
    }

    fn at(given: Vec<Endpoint>, tls: TlsFiles, at: At) -> Self {
        let here = at.endpoint.as_ref();
        let made = here.map(|endpoint| (endpoint.to_string(), at.channel.clone()));
        let shared = Shared {
            given,
            tls,
            made: Mutex::new(made.into_iter().collect()),
            at: RwLock::new(at),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    fn now(&self) -> At {
        let at = self.shared.at.read();
        at.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who is asked now, for messages.
    pub(super) fn to(&self) -> String {
        self.now().to
    }

    /// Turns to the coordinator that a refusal names, or, if the connection broke, to the next of those that were given. Whether
    /// another one is asked from now on.
    pub(super) async fn turn(&self, status: &Status) -> bool {
        match Reason::of(status) {
            Reason::Elsewhere => {
                let asked = self.now().endpoint;
                self.follow(status, asked.as_ref()).await.is_some()
            }
            Reason::Broken => self.next().await,
            _ => false,
        }
    }

    /// The coordinator that a refusal names, if it can be reached.
    async fn follow(&self, status: &Status, asked: Option<&Endpoint>) -> Option<At> {
        let info = status.get_details_error_info();
        let told = info.and_then(|mut info| info.metadata.remove("addresses"));
        for address in told.unwrap_or_default().split_whitespace() {
            let Ok(endpoint) = address.parse::<Endpoint>() else {
                continue;
            };
            if Some(&endpoint) == asked || !is_reachable_from(asked, &endpoint) {
                continue;
            }
            let made = lock(&self.shared.made).get(&endpoint.to_string()).cloned();
            let at = match made {
                Some(channel) => Some(self.go_by(channel, &endpoint)),
                None => self.move_to(&endpoint).await,
            };
            if at.is_some() {
                return at;
            }
        }
        None
    }

    /// Turns to the next of those that were given and can be reached.
    pub(super) async fn next(&self) -> bool {
        let given = &self.shared.given;
        let here = self.now().endpoint;
        let position = given.iter().position(|one| Some(one) == here.as_ref());
        let from = position.map_or(0, |position| position + 1);
        for offset in 0..given.len() {
            let endpoint = &given[(from + offset) % given.len()];
            if Some(endpoint) != here.as_ref() && self.move_to(endpoint).await.is_some() {
                return true;
            }
        }
        false
    }

    async fn move_to(&self, endpoint: &Endpoint) -> Option<At> {
        match connect::channel(endpoint, &self.shared.tls).await {
            Ok(channel) => {
                tracing::debug!(%endpoint, "another coordinator is asked from now on");
                lock(&self.shared.made).insert(endpoint.to_string(), channel.clone());
                Some(self.go_by(channel, endpoint))
            }
            Err(error) => {
                tracing::debug!(%error, "that coordinator cannot be asked");
                None
            }
        }
    }

    fn go_by(&self, channel: Channel, endpoint: &Endpoint) -> At {
        let now = At::new(channel, endpoint);
        let at = &self.shared.at;
        *at.write().unwrap_or_else(PoisonError::into_inner) = now.clone();
        now
    }

    async fn send(self, request: http::Request<Body>) -> Sent {
        let mut at = self.now();
        if STREAMS.contains(&request.uri().path()) {
            return Ok(ask(&mut at.channel, request).await?);
        }
        let (head, body) = request.into_parts();
        let body: Bytes = body.collect().await?.to_bytes();
        for _ in 0..TURNS_MAX {
            let request =
                http::Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
            let answer = match ask(&mut at.channel, request).await {
                Err(_) if QUESTIONS.contains(&head.uri.path()) && self.next().await => {
                    at = self.now();
                    continue;
                }
                answer => answer?,
            };
            // A refusal that comes before any answer stands in the headers.
            let status = Status::from_header_map(answer.headers());
            let elsewhere = status.filter(|status| Reason::of(status) == Reason::Elsewhere);
            let Some(status) = elsewhere else {
                return Ok(answer);
            };
            // ORDER: this request goes where its own refusal sent it. Another vault's may have turned all others meanwhile.
            match self.follow(&status, at.endpoint.as_ref()).await {
                Some(there) => at = there,
                None => return Ok(answer),
            }
        }
        Err("vaults change hands faster than they can be followed; run this again".into())
    }
}

/// Whether an address that a coordinator names can be meant for whoever asked it. A socket, and what listens on loopback, is on the
/// coordinator's own machine: on this one only if it was spoken to there.
fn is_reachable_from(asked: Option<&Endpoint>, named: &Endpoint) -> bool {
    match named {
        Endpoint::Tls(_) => true,
        Endpoint::Unix(_) | Endpoint::Plain(_) => {
            matches!(asked, Some(Endpoint::Unix(_) | Endpoint::Plain(_)))
        }
    }
}

impl At {
    fn new(channel: Channel, endpoint: &Endpoint) -> Self {
        Self {
            channel,
            to: connect::called(endpoint),
            endpoint: Some(endpoint.clone()),
        }
    }
}

/// Nothing in here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Sent = std::result::Result<http::Response<Body>, StdError>;

async fn ask(
    channel: &mut Channel,
    request: http::Request<Body>,
) -> std::result::Result<http::Response<Body>, tonic::transport::Error> {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    channel.call(request).await
}

impl Service<http::Request<Body>> for Route {
    type Response = http::Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Sent> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_another_machine_is_not_looked_for_here() {
        let read = |text: &str| text.parse::<Endpoint>().unwrap();
        let check = |asked: &str, named: &str| is_reachable_from(Some(&read(asked)), &read(named));
        assert!(check("unix:/a", "unix:/b") && check("unix:/a", "http://127.0.0.1:1"));
        assert!(check("http://127.0.0.1:1", "unix:/b"));
        assert!(check("https://a:1", "https://b:1") && check("unix:/a", "https://b:1"));
        assert!(!check("https://a:1", "http://127.0.0.1:1") && !check("https://a:1", "unix:/b"));
        assert!(!is_reachable_from(None, &read("unix:/b")));
    }
}
