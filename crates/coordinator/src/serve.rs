//! Serving: the node's services on TCP (mutual TLS, or plain on loopback) and on unix sockets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::error::{Error, Result};
use crate::node::Node;

/// How long nothing is accepted after a connection that could not be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Mutual TLS: PEM texts.
#[derive(Clone)]
pub struct Tls {
    /// Who may connect: clients need a certificate that this authority signed.
    pub ca: Vec<u8>,
    /// The coordinator's certificate.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Address {
    /// TCP with mutual TLS.
    Tls(SocketAddr, Tls),
    /// TCP without TLS: loopback only.
    Plain(SocketAddr),
    /// A unix socket. Who may open the file may use the coordinator.
    Unix(PathBuf),
}

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// See [`Address`].
    Tcp(TcpListener, Option<Tls>),
    /// See [`Address`].
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds. A used port or a socket that another process serves is an error that says so.
    pub async fn bind(address: &Address) -> Result<Self> {
        match address {
            Address::Tls(at, tls) => Ok(Self::Tcp(bind_tcp(*at).await?, Some(tls.clone()))),
            Address::Plain(at) if at.ip().is_loopback() => {
                Ok(Self::Tcp(bind_tcp(*at).await?, None))
            }
            Address::Plain(at) => Err(Error::Invalid(format!(
                "listening on {at} needs TLS: give --tls-cert, --tls-key and --tls-ca, or listen on 127.0.0.1"
            ))),
            Address::Unix(path) => bind_unix(path).await,
        }
    }

    /// The address that it listens on, for people and clients.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(listener, tls) => {
                let at = listener
                    .local_addr()
                    .map_or_else(|_| "?".into(), |at| at.to_string());
                let scheme = if tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{at}")
            }
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

pub(crate) async fn bind_tcp(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there; choose another port or stop it".into()
            }
            _ => error.to_string(),
        };
        Error::Invalid(format!("cannot listen on {at}: {why}"))
    })
}

async fn bind_unix(path: &PathBuf) -> Result<Listener> {
    if tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(Error::Invalid(format!(
            "another process serves {}; stop it first",
            path.display()
        )));
    }
    // Nobody answers there: what is left of a process that was killed.
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(Error::Invalid(format!(
                "cannot replace {}: {error}",
                path.display()
            )));
        }
    }
    let listener = UnixListener::bind(path)
        .map_err(|error| Error::Invalid(format!("cannot listen on {}: {error}", path.display())))?;
    Ok(Listener::Unix(listener, path.clone()))
}

/// Serves until the node stops.
pub async fn serve(node: Arc<Node>, listener: Listener) -> Result<()> {
    let routes = crate::services::routes(node.clone()).await?;
    serve_routes(routes, listener, node.stop.clone()).await
}

/// Serves any services, by the same streams and sockets.
pub async fn serve_routes(
    routes: Routes,
    listener: Listener,
    stop: CancellationToken,
) -> Result<()> {
    // The defaults cost a factor of ten: small windows stall a stream of large frames.
    let mut server = Server::builder()
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(32 << 20)
        .max_frame_size(1 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(20)));
    let stop = stop.cancelled_owned();
    let failed =
        |error: tonic::transport::Error| Error::Unavailable(format!("serving failed: {error}"));
    match listener {
        Listener::Tcp(listener, tls) => {
            if let Some(tls) = tls {
                let config = ServerTlsConfig::new()
                    .identity(Identity::from_pem(&tls.certificate, &tls.key))
                    .client_ca_root(Certificate::from_pem(&tls.ca));
                server = server.tls_config(config).map_err(|error| {
                    Error::Invalid(format!("the TLS files cannot be used: {}", chain(&error)))
                })?;
            }
            let incoming = patient(TcpIncoming::from(listener).with_nodelay(Some(true)));
            server
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, stop)
                .await
                .map_err(failed)
        }
        Listener::Unix(listener, path) => {
            let incoming = patient(UnixListenerStream::new(listener));
            let served = server
                .add_routes(routes)
                .serve_with_incoming_shutdown(incoming, stop)
                .await;
            let _ = std::fs::remove_file(path);
            served.map_err(failed)
        }
    }
}

/// Waits a moment after a connection that could not be accepted, and says so. With no file descriptor left each attempt
/// fails at once, for as long as that lasts: the server would try without a pause, and without a word.
fn patient<T>(incoming: impl Stream<Item = io::Result<T>>) -> impl Stream<Item = io::Result<T>> {
    incoming.then(|accepted| async {
        if let Err(error) = &accepted {
            tracing::warn!(%error, "a connection cannot be accepted; raise the limit of open files if it lasts");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
        accepted
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
