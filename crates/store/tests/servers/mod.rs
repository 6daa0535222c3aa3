//! The object stores that tests run against. They are started by `cargo xtask test` or `cargo xtask servers`, which name
//! them in the environment; a server that is missing fails the test.

#![allow(dead_code, reason = "each test binary uses its part of this")]

pub(crate) mod proxy;

use std::path::PathBuf;
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::SiteName;
use holdfast_store::{Opened, SiteOptions, open_for_writing};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use tempfile::TempDir;

/// What the environment says, or a failed test that says how to get it.
pub(crate) fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: start the servers with `cargo xtask test` or `cargo xtask servers`")
    })
}

/// One bucket at one server, with a profile to use it.
pub(crate) struct Bucket {
    endpoint: String,
    region: String,
    bucket: String,
    key_id: String,
    secret: String,
    folder: TempDir,
}

impl Bucket {
    /// The first bucket at the real server, which checks signatures.
    pub(crate) fn of_server() -> Self {
        let (key_id, secret) = (
            given("HOLDFAST_TEST_S3_ACCESS_KEY"),
            given("HOLDFAST_TEST_S3_SECRET_KEY"),
        );
        Self::new(
            given("HOLDFAST_TEST_S3"),
            given("HOLDFAST_TEST_S3_REGION"),
            given("HOLDFAST_TEST_S3_BUCKET_A"),
            &key_id,
            &secret,
        )
    }

    /// A bucket at moto, which takes any signature; made if it is not there.
    pub(crate) async fn of_moto(bucket: &str) -> Self {
        let made = Self::new(
            given("HOLDFAST_TEST_MOTO"),
            "us-east-1".into(),
            bucket.into(),
            "any",
            "any",
        );
        made.request(Method::PUT, "", &[], "").await;
        made
    }

    /// The bucket at a server that knows no create-only put, which the environment names.
    pub(crate) fn of_careless(variable: &str) -> Self {
        let key = given("HOLDFAST_TEST_CARELESS_KEY");
        let bucket = given("HOLDFAST_TEST_CARELESS_BUCKET");
        Self::new(given(variable), "us-east-1".into(), bucket, &key, &key)
    }

    fn new(endpoint: String, region: String, bucket: String, key_id: &str, secret: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for credentials");
        let profile =
            format!("[test]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n");
        std::fs::write(folder.path().join("credentials"), profile).expect("it can be written");
        let (key_id, secret) = (key_id.into(), secret.into());
        Self {
            endpoint,
            region,
            bucket,
            key_id,
            secret,
            folder,
        }
    }

    /// Sends a signed request past the site, as an operator's tool would; gives the answer's text.
    pub(crate) async fn request(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        body: &'static str,
    ) -> String {
        // Another test may have been faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_region(&self.region)
            .with_bucket_name(&self.bucket)
            .with_access_key_id(&self.key_id)
            .with_secret_access_key(&self.secret)
            .build()
            .expect("the bucket is named properly");
        let options = SignedUrlOptions::default().with_query(query.iter().copied());
        let (path, valid) = (Path::from(key), Duration::from_secs(60));
        let url = store
            .signed_url_opts(method.clone(), &path, valid, &options)
            .await;
        let request = reqwest::Client::new().request(method, url.expect("it can be signed"));
        // Named by hand: moto makes no bucket without it, and an empty body would leave it out.
        let request = request.header("content-length", body.len()).body(body);
        let answer = request.send().await.expect("the server answers");
        answer.text().await.expect("it answers whole")
    }

    /// The URL of a folder in this bucket.
    pub(crate) fn url(&self, folder: &str) -> String {
        let Self {
            endpoint,
            region,
            bucket,
            ..
        } = self;
        format!("s3://{bucket}/{folder}?endpoint={endpoint}&region={region}&profile=test")
    }

    /// The same bucket by way of another endpoint.
    pub(crate) fn through(&self, endpoint: &str) -> Self {
        Self::new(
            endpoint.into(),
            self.region.clone(),
            self.bucket.clone(),
            &self.key_id,
            &self.secret,
        )
    }

    /// Options that find the profile.
    pub(crate) fn options(&self) -> SiteOptions {
        let credentials_file: PathBuf = self.folder.path().join("credentials");
        SiteOptions {
            credentials_file: Some(credentials_file),
            ..SiteOptions::default()
        }
    }

    /// A folder of its own in this bucket.
    pub(crate) async fn open(&self, context: &Context, options: &SiteOptions) -> Opened {
        self.open_with(context, options, "").await
    }

    /// The same with more parameters in its URL, as `&requests_max=8`.
    pub(crate) async fn open_with(
        &self,
        context: &Context,
        options: &SiteOptions,
        parameters: &str,
    ) -> Opened {
        let url = self.url(&fresh(context)) + parameters;
        let opened = open_for_writing(context, site(), &url, options).await;
        opened.unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

/// The container at azurite, with a file that has the account's key.
pub(crate) struct Container {
    folder: TempDir,
}

impl Container {
    pub(crate) fn of_azurite() -> Self {
        Self::with_key(&given("HOLDFAST_TEST_AZURE_KEY"))
    }

    /// With another key than the account's.
    pub(crate) fn with_key(key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for a key");
        std::fs::write(folder.path().join("key"), format!("{key}\n")).expect("it can be written");
        Self { folder }
    }

    /// The URL of a folder in a container of this name.
    pub(crate) fn url_of(&self, container: &str, folder: &str) -> String {
        self.url_at(&given("HOLDFAST_TEST_AZURE"), container, folder)
    }

    /// The same by way of another endpoint.
    pub(crate) fn url_at(&self, endpoint: &str, container: &str, folder: &str) -> String {
        format!(
            "az://{}/{container}/{folder}?endpoint={endpoint}&key_file={}",
            given("HOLDFAST_TEST_AZURE_ACCOUNT"),
            self.folder.path().join("key").display()
        )
    }

    /// The URL of a folder in the container that is there.
    pub(crate) fn url(&self, folder: &str) -> String {
        self.url_of(&given("HOLDFAST_TEST_AZURE_CONTAINER"), folder)
    }
}

/// A folder name that nobody else uses.
pub(crate) fn fresh(context: &Context) -> String {
    format!("test-{:016x}", u64::from_le_bytes(context.random()))
}

/// The site's name in tests.
pub(crate) fn site() -> SiteName {
    SiteName::new("tested").expect("it is a proper name")
}
