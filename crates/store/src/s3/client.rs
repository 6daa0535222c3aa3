//! How the client of an S3 site is put together: options, certificates, credentials, the wire.

use std::sync::{Arc, Mutex};

use holdfast_format::SiteName;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector as _};
use object_store::{BackoffConfig, Certificate, ClientOptions, HeaderValue, RetryConfig};

use super::credentials;
use super::wire::{Connector, Line};
use crate::counters::Tally;
use crate::error::{Error, Kind, Result};
use crate::options::SiteOptions;
use crate::url::S3Url;

/// What a site speaks through.
pub(super) struct Client {
    pub(super) store: AmazonS3,
    /// The same wire without `object_store`.
    pub(super) wire: HttpClient,
    pub(super) line: Arc<Line>,
}

impl Client {
    /// Puts a client together; nothing is sent yet.
    pub(super) fn new(name: &SiteName, url: &S3Url, options: &SiteOptions) -> Result<Self> {
        // The process's TLS provider, for wherever `main` has not chosen it: the same one, so that it does not matter
        // who was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let region = url.region.clone().or_else(region_of_environment);
        let region = region.unwrap_or_else(|| "us-east-1".into());
        let authority = match &url.endpoint {
            Some(endpoint) => endpoint.authority().to_string(),
            None => format!("{}.s3.{region}.amazonaws.com", url.bucket),
        };
        let line = Arc::new(Line {
            authority,
            tally: Tally::default(),
            answer_timeout: options.answer_timeout,
            slow_bytes_per_second: options.slow_bytes_per_second,
            clock: Mutex::new(None),
        });
        let client_options = client_options(url, options)?;
        let broken = |error: object_store::Error| {
            Error::new(
                Kind::Invalid,
                format!("opening site {name}"),
                "its client could not be made",
            )
            .because(error)
        };
        let wire = Connector(Arc::clone(&line))
            .connect(&client_options)
            .map_err(broken)?;
        let builder = builder(url, options, &region)?
            .with_client_options(client_options)
            .with_http_connector(Connector(Arc::clone(&line)));
        let store = builder.build().map_err(broken)?;
        Ok(Self { store, wire, line })
    }
}

fn region_of_environment() -> Option<String> {
    ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|variable| {
            std::env::var(variable)
                .ok()
                .filter(|region| !region.is_empty())
        })
}

fn client_options(url: &S3Url, options: &SiteOptions) -> Result<ClientOptions> {
    let plain = url
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.scheme() == "http");
    let mut client = ClientOptions::new()
        .with_allow_http(plain)
        .with_user_agent(HeaderValue::from_static(concat!(
            "holdfast/",
            env!("CARGO_PKG_VERSION")
        )))
        .with_connect_timeout(options.connect_timeout)
        // The wire bounds each request by its size, and each pause within an answer.
        .with_timeout_disabled();
    if let Some(path) = &url.ca {
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
        let certificates = Certificate::from_pem_bundle(&pem)
            .map_err(|error| unusable("it holds no certificates").because(error))?;
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

fn builder(url: &S3Url, options: &SiteOptions, region: &str) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&url.bucket)
        .with_region(region)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Deletions in bulk are not understood by every server, and tell nothing of versions.
        .with_disable_bulk_delete(true)
        .with_virtual_hosted_style_request(url.endpoint.is_none())
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: options.retries_max,
            retry_timeout: options.retry_timeout,
        });
    if let Some(endpoint) = &url.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    match credentials::find(url, options)? {
        Some(credentials) => Ok(builder.with_credentials(credentials)),
        None => Ok(of_machine(builder)),
    }
}

/// Names what the environment says of a container's or a pod's credentials; without any of it, the instance is asked.
fn of_machine(builder: AmazonS3Builder) -> AmazonS3Builder {
    [
        (
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            AmazonS3ConfigKey::WebIdentityTokenFile,
        ),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        (
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        ),
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            AmazonS3ConfigKey::ContainerCredentialsFullUri,
        ),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            AmazonS3ConfigKey::ContainerAuthorizationTokenFile,
        ),
    ]
    .into_iter()
    .fold(builder, |builder, (variable, key)| {
        match std::env::var(variable) {
            Ok(value) if !value.is_empty() => builder.with_config(key, value),
            _ => builder,
        }
    })
}
