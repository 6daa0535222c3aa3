//! Finding and reaching a coordinator: `https://HOST:PORT` with mutual TLS, `unix:PATH` on the same machine.
//!
//! State: one HTTP/2 connection at a time, which tonic makes anew when it broke; where it goes is [`super::route`]'s. It must never
//! speak without TLS to another machine, and it never keeps the private key longer than it takes to hand it to rustls.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use holdfast_proto::v1::backup_client::BackupClient;
use holdfast_proto::v1::operations_client::OperationsClient;
use holdfast_proto::v1::restore_client::RestoreClient;
use holdfast_proto::v1::retention_client::RetentionClient;
use holdfast_proto::v1::vaults_client::VaultsClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity, Uri};
use zeroize::Zeroizing;

use super::route::Route;
use super::status::innermost;
use crate::error::{Error, Result};

/// Answers without bulk bytes, lists of snapshots above all, may be this large.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A message with a frame: the largest frame (8.25 MiB), the clear references beside it, and headroom.
const FRAME_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// HTTP/2 flow control. The defaults of 64 KiB cost a factor of ten and more.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// HTTP/2 frames, not to be taken for ours: fewer and larger ones than the 16 KiB of the default.
const HTTP_FRAME_BYTES: u32 = 1 << 20;

/// A connection that is not made by then is given up.
const CONNECT_SECONDS: u64 = 10;

/// A quiet connection is asked this often whether the other end is still there, and has as long to answer.
const KEEP_ALIVE_SECONDS: u64 = 20;

/// Where a coordinator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `https://HOST:PORT`, with mutual TLS.
    Tls(String),
    /// `http://HOST:PORT`, on this machine only.
    Plain(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(uri) | Self::Plain(uri) => f.write_str(uri),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: &str| Error::Invalid {
            what: format!("coordinator {text:?}"),
            why: why.into(),
        };
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix://PATH` is how others write it.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(refuse("it names no socket; write unix:PATH"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let form = "write https://HOST:PORT, or unix:PATH for one on this machine";
        let uri = Uri::from_str(text).map_err(|_| refuse(form))?;
        let host = uri.host().ok_or_else(|| refuse(form))?;
        let port = uri
            .port_u16()
            .ok_or_else(|| refuse("it has no port; write https://HOST:PORT"))?;
        if uri.path() != "/" || uri.query().is_some() {
            return Err(refuse(
                "nothing may follow the port; write https://HOST:PORT",
            ));
        }
        match uri.scheme_str() {
            Some("https") => Ok(Self::Tls(format!("https://{host}:{port}"))),
            Some("http") if is_loopback(host) => Ok(Self::Plain(format!("http://{host}:{port}"))),
            Some("http") => Err(refuse(
                "without TLS only this machine itself is spoken to; write https://HOST:PORT",
            )),
            _ => Err(refuse(form)),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || bare(host)
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The PEM files of mutual TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that may have signed the coordinator's certificate.
    pub ca: Option<PathBuf>,
    /// This client's certificate.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    fn read(&self, host: &str) -> Result<ClientTlsConfig> {
        let (Some(ca), Some(cert), Some(key)) = (&self.ca, &self.cert, &self.key) else {
            return Err(Error::Invalid {
                what: "the TLS setting".into(),
                why: "a coordinator on another machine needs three files; \
                      give --tls-ca, --tls-cert and --tls-key"
                    .into(),
            });
        };
        let (ca, cert, key) = (read(ca)?, read(cert)?, read(key)?);
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ca[..]))
            .identity(Identity::from_pem(&cert[..], &key[..]))
            .domain_name(bare(host)))
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| Error::Local {
            what: path.display().to_string(),
            why: format!("the PEM file cannot be read: {error}"),
        })
}

/// A connection to a coordinator. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct Connection {
    route: Route,
}

/// What an endpoint is called in messages.
pub(super) fn called(endpoint: &Endpoint) -> String {
    format!("the coordinator at {endpoint}")
}

/// Connects to one, as all of this crate does. The answer may take ten seconds.
///
/// # Errors
/// Unavailable if nobody answers there, or the other side is not who it should be; invalid if the TLS files cannot be used.
pub async fn channel(endpoint: &Endpoint, tls: &TlsFiles) -> Result<Channel> {
    let to = called(endpoint);
    let refuse = |error: tonic::transport::Error| Error::Unavailable {
        what: to.clone(),
        why: explain(endpoint, &innermost(&error)),
    };
    let uri = endpoint.to_string();
    let mut tonic_endpoint = tonic::transport::Endpoint::from_shared(uri.clone())
        .map_err(refuse)?
        .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(KEEP_ALIVE_SECONDS)))
        .http2_keep_alive_interval(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .keep_alive_timeout(Duration::from_secs(KEEP_ALIVE_SECONDS))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES);
    if let Endpoint::Tls(uri) = endpoint {
        let uri = Uri::from_str(uri).unwrap_or_default();
        let config = tls.read(uri.host().unwrap_or_default())?;
        tonic_endpoint = tonic_endpoint
            .tls_config(config)
            .map_err(|error| Error::Invalid {
                what: "the TLS setting".into(),
                why: format!("{}; check that the three files are PEM", innermost(&error)),
            })?;
    }
    tonic_endpoint.connect().await.map_err(refuse)
}

impl Connection {
    /// Connects to the first of several coordinators that answers. Each may take `CONNECT_SECONDS` seconds.
    pub async fn open(endpoints: &[Endpoint], tls: &TlsFiles) -> Result<Self> {
        let route = Route::open(endpoints, tls).await?;
        Ok(Self { route })
    }

    /// Takes a channel that was made elsewhere: a coordinator within this process.
    pub fn over(channel: Channel, to: impl Into<String>) -> Self {
        Self {
            route: Route::over(channel, to.into()),
        }
    }

    /// For messages: `the coordinator at unix:/var/lib/holdfast/holdfast.sock`.
    pub fn to(&self) -> String {
        self.route.to()
    }

    /// After a stream broke or was refused: turns to the coordinator that the refusal names, or to the next that was given. Whether
    /// another one is asked from now on.
    pub(super) async fn turn(&self, status: &tonic::Status) -> bool {
        self.route.turn(status).await
    }

    /// The one that was asked is not there: turns to the next that was given, if there is one.
    pub(super) async fn next(&self) -> bool {
        self.route.next().await
    }

    pub(super) fn backup(&self) -> BackupClient<Route> {
        BackupClient::new(self.route.clone())
            .max_decoding_message_size(FRAME_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(FRAME_MESSAGE_BYTES_MAX)
    }

    pub(super) fn restore(&self) -> RestoreClient<Route> {
        RestoreClient::new(self.route.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(FRAME_MESSAGE_BYTES_MAX)
    }

    pub(super) fn vaults(&self) -> VaultsClient<Route> {
        VaultsClient::new(self.route.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn retention(&self) -> RetentionClient<Route> {
        RetentionClient::new(self.route.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn operations(&self) -> OperationsClient<Route> {
        OperationsClient::new(self.route.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// What a failed connection most likely means.
fn explain(endpoint: &Endpoint, why: &str) -> String {
    let advice = match endpoint {
        Endpoint::Unix(path) if !path.exists() => {
            "start one with `holdfast coordinator`, or name another with --coordinator"
        }
        Endpoint::Tls(_) if why.contains("ertificate") || why.contains("UnknownIssuer") => {
            "check --tls-ca, --tls-cert and --tls-key against the coordinator's own files"
        }
        _ => "check that the coordinator runs and that --coordinator names it",
    };
    format!("{why}; {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: std::result::Result<&str, &str>) {
        match (text.parse::<Endpoint>(), want) {
            (Ok(endpoint), Ok(want)) => assert_eq!(endpoint.to_string(), want),
            (Err(error), Err(want)) => {
                assert!(error.to_string().contains(want), "{text}: {error}");
            }
            (got, want) => panic!("{text}: {got:?} instead of {want:?}"),
        }
    }

    #[test]
    fn endpoints_are_read() {
        check(
            "https://backup.example:7400",
            Ok("https://backup.example:7400"),
        );
        check(
            "https://backup.example:7400/",
            Ok("https://backup.example:7400"),
        );
        check("unix:/run/h.sock", Ok("unix:/run/h.sock"));
        check("unix:///run/h.sock", Ok("unix:/run/h.sock"));
        check("http://127.0.0.1:1", Ok("http://127.0.0.1:1"));
        check("http://[::1]:1", Ok("http://[::1]:1"));
        check("http://localhost:1", Ok("http://localhost:1"));
        check("http://10.0.0.1:1", Err("without TLS"));
        check("http://backup.example:1", Err("without TLS"));
        check("https://backup.example", Err("no port"));
        check("https://backup.example:1/x", Err("follow the port"));
        check("backup.example:1", Err("write https://HOST:PORT"));
        check("unix:", Err("no socket"));
        check("", Err("write https://HOST:PORT"));
    }

    #[test]
    fn tls_needs_its_three_files() {
        let error = TlsFiles::default().read("h").unwrap_err();
        assert!(error.to_string().contains("--tls-ca"), "{error}");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_told() {
        let endpoint: Endpoint = "unix:/nonexistent/holdfast.sock".parse().unwrap();
        let error = Connection::open(&[endpoint], &TlsFiles::default())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("holdfast coordinator"),
            "{error}"
        );
    }

    /// A certificate for `name`, signed by `ca`, and its key, as PEM.
    fn signed(name: &str, ca: &rcgen::Issuer<'_, rcgen::KeyPair>) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, ca).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn authority() -> (rcgen::Issuer<'static, rcgen::KeyPair>, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        (rcgen::Issuer::new(params, key), pem)
    }

    fn files(folder: &Path, ca: &str, own: &(String, String)) -> TlsFiles {
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        TlsFiles {
            ca: write("ca.pem", ca),
            cert: write("cert.pem", &own.0),
            key: write("key.pem", &own.1),
        }
    }

    #[tokio::test]
    async fn mutual_tls_knows_its_own() {
        use tonic::transport::{Server, ServerTlsConfig};
        let ((ca, ca_pem), (_, other_pem)) = (authority(), authority());
        let (cert, key) = signed("127.0.0.1", &ca);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&cert, &key))
            .client_ca_root(Certificate::from_pem(&ca_pem));
        let serving = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(super::super::wire::empty_restore())
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        drop(holdfast_context::Context::system().spawn(serving));
        let endpoint: Endpoint = format!("https://127.0.0.1:{port}").parse().unwrap();
        let own = signed("me", &ca);

        let folder = tempfile::tempdir().unwrap();
        let right = files(folder.path(), &ca_pem, &own);
        let connection = Connection::open(std::slice::from_ref(&endpoint), &right)
            .await
            .unwrap();
        let admin = crate::client::Admin::new(&connection);
        assert!(admin.snapshots("db", None).await.unwrap().is_empty());

        let folder = tempfile::tempdir().unwrap();
        let wrong = files(folder.path(), &other_pem, &own);
        let error = Connection::open(std::slice::from_ref(&endpoint), &wrong)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("check --tls-ca"), "{error}");

        // A stranger is turned away after the handshake: the first question fails, in good time.
        let folder = tempfile::tempdir().unwrap();
        let (stranger, _) = authority();
        let strange = files(folder.path(), &ca_pem, &signed("you", &stranger));
        let asked = async {
            let connection = Connection::open(&[endpoint], &strange).await?;
            let admin = crate::client::Admin::new(&connection);
            admin.snapshots("db", None).await
        };
        let error = asked.await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }
}
