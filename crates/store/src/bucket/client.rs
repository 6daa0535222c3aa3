//! How the client of a site at an object store is put together: certificates, limits, the wire.

use std::sync::{Arc, Mutex};

use holdfast_context::Context;
use holdfast_format::SiteName;
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpConnector as _};
use object_store::list::PaginatedListStore;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, HeaderValue, ObjectStore, RetryConfig,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::paced::Paced;
use super::retry::Retries;
use super::wire::{Connector, Line};
use super::{amazon, azure, google};
use crate::counters::Tally;
use crate::error::{Error, Kind, Result};
use crate::limit::{Allowance, Limiter};
use crate::options::SiteOptions;
use crate::url::{BucketUrl, Dialect};

/// What a site needs of `object_store`.
pub(super) trait Store: ObjectStore + PaginatedListStore {}

impl<S: ObjectStore + PaginatedListStore> Store for S {}

/// What a site speaks through.
pub(super) struct Client {
    pub(super) store: Arc<dyn Store>,
    /// The same, where it speaks S3: uploads in parts and versions are S3's alone.
    pub(super) amazon: Option<AmazonS3>,
    /// The same wire without `object_store`.
    pub(super) wire: HttpClient,
    pub(super) line: Arc<Line>,
}

const USER_AGENT: &str = concat!("holdfast/", env!("CARGO_PKG_VERSION"));

impl Client {
    /// Puts a client together; nothing is sent yet.
    pub(super) fn new(
        context: &Context,
        name: &SiteName,
        url: &BucketUrl,
        options: &SiteOptions,
    ) -> Result<Self> {
        // The process's TLS provider, for wherever `main` has not chosen it: the same one, so that it does not matter
        // who was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let broken = |error: object_store::Error| {
            Error::new(
                Kind::Invalid,
                format!("opening site {name}"),
                "its client could not be made",
            )
            .because(error)
        };
        let certificates = certificates(url)?;
        let line = Arc::new(line(context, url, options, &certificates)?);
        let parts = client_options(url, options, &certificates).map_err(broken)?;
        let connector = || Connector(Arc::clone(&line));
        let wire = connector().connect(&parts).map_err(broken)?;
        // Of the site's own requests the wire decides; these are for those that ask for a machine's credentials, and
        // for answers that break off.
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: options.retries_max,
            retry_timeout: options.retry_timeout,
        };
        let (store, amazon): (Arc<dyn Store>, _) = match url.dialect {
            Dialect::S3 => {
                let builder = amazon::builder(url, options)?
                    .with_client_options(parts)
                    .with_retry(retry)
                    .with_http_connector(connector());
                let store = builder.build().map_err(broken)?;
                (Arc::new(store.clone()), Some(store))
            }
            Dialect::Azure => {
                let builder = azure::builder(url)?
                    .with_client_options(parts)
                    .with_retry(retry)
                    .with_http_connector(connector());
                (Arc::new(builder.build().map_err(broken)?), None)
            }
            Dialect::Google => {
                let builder = google::builder(url)
                    .with_client_options(parts)
                    .with_retry(retry)
                    .with_http_connector(connector());
                (Arc::new(builder.build().map_err(broken)?), None)
            }
        };
        Ok(Self {
            store,
            amazon,
            wire,
            line,
        })
    }
}

fn line(
    context: &Context,
    url: &BucketUrl,
    options: &SiteOptions,
    certificates: &[Vec<u8>],
) -> Result<Line> {
    let authority = match (&url.endpoint, url.dialect) {
        (Some(endpoint), _) => endpoint.authority().to_string(),
        (None, Dialect::S3) => amazon::authority(url),
        (None, Dialect::Azure) => azure::authority(url),
        (None, Dialect::Google) => google::AUTHORITY.into(),
    };
    let limiter = Limiter::new(&url.limits, options.requests_max);
    let paced = limiter.upload.clone();
    Ok(Line {
        context: context.clone(),
        authority,
        tally: Tally::default(),
        paced: paced
            .map(|allowance| paced_client(url, options, certificates, allowance))
            .transpose()?,
        limiter,
        retries: Retries::new(context, options),
        answer_timeout: options.answer_timeout,
        slow_bytes_per_second: options.slow_bytes_per_second,
        clock: Mutex::new(None),
    })
}

fn is_plain(url: &BucketUrl) -> bool {
    let endpoint = url.endpoint.as_ref();
    endpoint.is_some_and(|endpoint| endpoint.scheme() == "http")
}

fn client_options(
    url: &BucketUrl,
    options: &SiteOptions,
    certificates: &[Vec<u8>],
) -> object_store::Result<ClientOptions> {
    let mut client = ClientOptions::new()
        .with_allow_http(is_plain(url))
        .with_user_agent(HeaderValue::from_static(USER_AGENT))
        .with_connect_timeout(options.connect_timeout)
        // The wire bounds each request by its size, and each pause within an answer.
        .with_timeout_disabled();
    for certificate in certificates {
        client = client.with_root_certificate(Certificate::from_der(certificate)?);
    }
    Ok(client)
}

/// The client that packs go through where there is a limit: as `object_store` makes its own.
fn paced_client(
    url: &BucketUrl,
    options: &SiteOptions,
    certificates: &[Vec<u8>],
    allowance: Arc<Allowance>,
) -> Result<Paced> {
    let certificates: reqwest::Result<Vec<_>> = certificates
        .iter()
        .map(|certificate| reqwest::Certificate::from_der(certificate))
        .collect();
    let client = certificates.and_then(|certificates| {
        reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(options.connect_timeout)
            .tls_certs_merge(certificates)
            .http1_only()
            .https_only(!is_plain(url))
            .build()
    });
    let client = client.map_err(|error| {
        let why = "its client for packs could not be made";
        Error::new(Kind::Invalid, "opening a site", why).because(error)
    })?;
    Ok(Paced { client, allowance })
}

/// The certificates that a URL says to trust besides the system's.
fn certificates(url: &BucketUrl) -> Result<Vec<Vec<u8>>> {
    let Some(path) = &url.ca else {
        return Ok(Vec::new());
    };
    let unusable = |why: &str| {
        Error::new(
            Kind::Invalid,
            format!("reading certificates from {}", path.display()),
            why,
        )
        .next("give a PEM file with ca= in the site's URL")
    };
    let pem =
        std::fs::read(path).map_err(|error| unusable("it could not be read").because(error))?;
    let found: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable("it cannot be read as PEM").because(error))?;
    if found.is_empty() {
        return Err(unusable("it holds no certificates"));
    }
    Ok(found)
}
