//! The way to etcd: endpoints, deadlines, and rounds.
//!
//! State: one client of the client library's for each endpoint, made when it is first needed, and which of them is
//! in use. A *round* is one attempt at a whole call. It ends in a result, in "again" (a compare was lost, or what it
//! found must be read anew), or in a failure. Rounds follow each other until the call's deadline. After one that
//! failed or was not answered, the next endpoint is in use, for this call and for all that follow. (The library
//! itself would spread calls over all endpoints that accept connections, one that hangs among them.) A round gets
//! a share of the time, so that an endpoint which went silent leaves enough for the others.
//!
//! Whoever writes a round sees to it that it can run again after a former one that may have taken effect, even late.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, GetOptions, GetResponse, KvClient, LeaseClient, WatchClient,
};
use holdfast_context::Context;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::failure::{Failure, root_cause};
use super::options::EtcdOptions;
use crate::error::{Error, Result};

/// Pause after the first failed round; doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Longest pause between rounds.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Rounds in a row without an answer after which an endpoint's connection is given up for a new one.
const SILENT_ROUNDS_MAX: u32 = 3;

/// Entries asked for at a time, so that no answer outgrows the client's 4 MiB.
const PAGE_ENTRIES: i64 = 1000;

/// Whether a call changes anything when it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

/// How one round ended; `None`: go round again.
pub(super) type Round<T> = std::result::Result<Option<T>, Failure>;

/// All ways to one etcd.
pub(super) struct Link {
    /// How messages call the store.
    name: String,
    deadline: Duration,
    tls: bool,
    connect: ConnectOptions,
    endpoints: Vec<Endpoint>,
    /// Index of the endpoint in use. Streams watch it, so as not to stay with one that calls have left.
    current: watch::Sender<usize>,
    /// Whether etcd has ever answered: then settings are not what is wrong.
    answered: AtomicBool,
}

struct Endpoint {
    url: String,
    /// Logged in, if there is a user. Locked while it is made.
    client: Mutex<Option<Client>>,
    /// Rounds in a row that it did not answer.
    silent_rounds: AtomicU32,
}

impl Endpoint {
    fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            client: Mutex::new(None),
            silent_rounds: AtomicU32::new(0),
        }
    }

    async fn client(&self, connect: &ConnectOptions) -> std::result::Result<Client, Failure> {
        let mut slot = self.client.lock().await;
        match &*slot {
            Some(client) => Ok(client.clone()),
            None => {
                let client = Client::connect([&self.url], Some(connect.clone())).await?;
                Ok(slot.insert(client).clone())
            }
        }
    }

    /// Notes a round without an answer. A connection to a host that vanished without a word would stay silent for as
    /// long as the system goes on sending, a quarter of an hour; a new one may reach whoever has taken its place.
    fn was_silent(&self) {
        if self.silent_rounds.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_ROUNDS_MAX {
            self.silent_rounds.store(0, Ordering::Relaxed);
            // If it is locked, a new one is being made just now.
            if let Ok(mut slot) = self.client.try_lock() {
                *slot = None;
            }
        }
    }
}

impl Link {
    /// Reads credentials. Nothing is connected before the first call.
    pub(super) async fn open(context: &Context, options: EtcdOptions) -> Result<Self> {
        options.check()?;
        let connect = options.connect_options(context).await?;
        let endpoints: Vec<_> = options
            .endpoints
            .iter()
            .map(|url| Endpoint::new(url))
            .collect();
        // Coordinators start at different members.
        let start = usize::from(context.random::<1>()[0]) % endpoints.len();
        Ok(Self {
            name: options.store_name(),
            deadline: options.deadline,
            tls: options.ca.is_some(),
            connect,
            endpoints,
            current: watch::Sender::new(start),
            answered: AtomicBool::new(false),
        })
    }

    /// How messages call the store.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Longest time that a call takes.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) async fn kv(&self) -> std::result::Result<KvClient, Failure> {
        Ok(self.client().await?.kv_client())
    }

    pub(super) async fn leases(&self) -> std::result::Result<LeaseClient, Failure> {
        Ok(self.client().await?.lease_client())
    }

    pub(super) async fn watches(&self) -> std::result::Result<WatchClient, Failure> {
        Ok(self.client().await?.watch_client())
    }

    /// Tells when another endpoint comes into use.
    pub(super) fn moves(&self) -> watch::Receiver<usize> {
        self.current.subscribe()
    }

    fn in_use(&self) -> usize {
        *self.current.borrow()
    }

    /// The client of the endpoint in use.
    async fn client(&self) -> std::result::Result<Client, Failure> {
        self.endpoints[self.in_use()].client(&self.connect).await
    }

    /// Up to a thousand entries from key `from` up to, not including, `end`.
    pub(super) async fn page(&self, from: Vec<u8>, end: &[u8]) -> Result<GetResponse> {
        self.run("read entries", self.deadline, Effect::Read, || async {
            let options = GetOptions::new().with_range(end).with_limit(PAGE_ENTRIES);
            Ok(Some(
                self.kv().await?.get(from.clone(), Some(options)).await?,
            ))
        })
        .await
    }

    /// Runs rounds until one gives a result, one fails for good, or the time is over.
    pub(super) async fn run<T, F>(
        &self,
        task: &'static str,
        budget: Duration,
        effect: Effect,
        mut round: impl FnMut() -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Round<T>> + Send,
    {
        let end = Instant::now() + budget;
        let share = budget / (self.endpoints.len() as u32 + 1);
        let (mut pause, mut maybe_done, mut logged_in) = (PAUSE_MIN, false, None);
        loop {
            let round_end = end.min(Instant::now() + share);
            let used = self.in_use();
            let failure = match timeout_at(round_end, round()).await {
                Ok(Ok(Some(value))) => {
                    self.answered.store(true, Ordering::Relaxed);
                    self.endpoints[used]
                        .silent_rounds
                        .store(0, Ordering::Relaxed);
                    return Ok(value);
                }
                Ok(Ok(None)) if Instant::now() < end => continue,
                Ok(Ok(None)) => retry("others changed it all the time", true),
                Ok(Err(Failure::StaleLogin(_))) if logged_in != Some(used) => {
                    logged_in = Some(used);
                    match self.log_in(used, round_end).await {
                        Ok(()) => continue,
                        Err(failure) => failure,
                    }
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    self.endpoints[used].was_silent();
                    retry("no answer", false)
                }
            };
            let Failure::Retry {
                why,
                determinate,
                source,
            } = failure
            else {
                return Err(self.give_up(task, failure));
            };
            maybe_done |= !determinate && effect == Effect::Write;
            self.leave(used);
            if Instant::now() + pause >= end {
                return Err(Error::Unavailable {
                    store: self.name.clone(),
                    task,
                    why: format!("{why}{}; tried for {budget:?}", self.hint(determinate)),
                    determinate: !maybe_done,
                    source: source.map(|source| source as _),
                });
            }
            tracing::debug!(
                task,
                why,
                endpoint = self.endpoints[used].url,
                "no luck with etcd"
            );
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Has the next endpoint used from now on, unless another call has seen to that.
    fn leave(&self, used: usize) {
        let next = (used + 1) % self.endpoints.len();
        self.current.send_if_modified(|current| {
            let leaves = *current == used && next != used;
            if leaves {
                *current = next;
            }
            leaves
        });
    }

    async fn log_in(&self, used: usize, end: Instant) -> std::result::Result<(), Failure> {
        let client = self.endpoints[used].client(&self.connect).await?;
        match timeout_at(end, client.refresh_token()).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(retry("no answer", true)),
        }
    }

    /// A failure that another round would not mend.
    fn give_up(&self, task: &'static str, failure: Failure) -> Error {
        use etcd_client::Error as Etcd;
        let store = self.name.clone();
        match failure {
            Failure::Ours(error) => error,
            Failure::Denied { why, source } => Error::Denied {
                store,
                task,
                why,
                source: Some(source),
            },
            Failure::StaleLogin(source) => {
                let why = "it does not accept a login that it has just given".into();
                Error::Denied {
                    store,
                    task,
                    why,
                    source: Some(source),
                }
            }
            Failure::Invalid { what, why } => Error::invalid(format!("{what} {store}"), why),
            Failure::Refused(error) => match *error {
                // These come from the options, before anything is sent.
                Etcd::InvalidArgs(_) | Etcd::InvalidUri(_) | Etcd::TransportError(_) => {
                    Error::invalid(format!("way to {store}"), root_cause(&*error))
                }
                _ => Error::Bug {
                    store,
                    task,
                    why: root_cause(&*error),
                    source: Some(error),
                },
            },
            Failure::LeaseGone | Failure::LeaseExists | Failure::Retry { .. } => {
                let why = format!("{failure:?}");
                Error::Bug {
                    store,
                    task,
                    why,
                    source: None,
                }
            }
        }
    }

    /// What else a line that was broken or stayed silent may mean.
    fn hint(&self, determinate: bool) -> &'static str {
        match (
            determinate || self.answered.load(Ordering::Relaxed),
            self.tls,
        ) {
            (true, _) => "",
            (false, true) => " (as when etcd refuses a client certificate, or wants one)",
            (false, false) => " (as when etcd wants TLS)",
        }
    }
}

fn retry(why: impl Into<String>, determinate: bool) -> Failure {
    Failure::Retry {
        why: why.into(),
        determinate,
        source: None,
    }
}
