//! The conformance suite on every kind of site: memory, a local folder, a real S3 server, moto with small pages, moto with
//! limits, and azurite.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod servers;

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_store::conformance::Factory;
use holdfast_store::{
    Opened, SiteOptions, SiteReader, conformance, open_for_reading, open_for_writing,
};
use tempfile::TempDir;

use servers::{Bucket, Container, fresh, site};

struct Memory;

#[async_trait]
impl Factory for Memory {
    async fn open(&self, context: &Context) -> Opened {
        let url = format!("memory:{}", fresh(context));
        open_for_writing(context, site(), &url, &SiteOptions::default())
            .await
            .unwrap()
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &SiteOptions::default())
            .await
            .unwrap()
    }
}

struct Local(TempDir);

impl Local {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Factory for Local {
    async fn open(&self, context: &Context) -> Opened {
        let url = format!("file:{}", self.0.path().join(fresh(context)).display());
        open_for_writing(context, site(), &url, &SiteOptions::default())
            .await
            .unwrap()
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &SiteOptions::default())
            .await
            .unwrap()
    }
}

/// The real server: pages and parts as in production.
struct Server(Bucket);

#[async_trait]
impl Factory for Server {
    async fn open(&self, context: &Context) -> Opened {
        self.0.open(context, &self.0.options()).await
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &self.0.options())
            .await
            .unwrap()
    }
}

/// Another server, to see that the first one's ways are not taken for the rule: small pages, fewer objects.
struct Moto(Bucket);

impl Moto {
    fn options(&self) -> SiteOptions {
        SiteOptions {
            page_names_max: Some(7),
            ..self.0.options()
        }
    }
}

#[async_trait]
impl Factory for Moto {
    async fn open(&self, context: &Context) -> Opened {
        self.0.open(context, &self.options()).await
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &self.options())
            .await
            .unwrap()
    }

    fn objects_many(&self) -> usize {
        60
    }

    fn pack_bytes(&self) -> usize {
        (17 << 20) + 5
    }
}

/// A server that is spoken to within limits: all goes through the client that keeps to a rate, in two requests at once.
struct Limited(Bucket);

#[async_trait]
impl Factory for Limited {
    async fn open(&self, context: &Context) -> Opened {
        let limits = "&upload_max=100MiB/s&download_max=100MiB/s&requests_max=2";
        self.0.open_with(context, &self.0.options(), limits).await
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &self.0.options())
            .await
            .unwrap()
    }

    fn objects_many(&self) -> usize {
        60
    }

    fn pack_bytes(&self) -> usize {
        (17 << 20) + 5
    }
}

/// Azure Blob Storage.
struct Azure(Container);

impl Azure {
    fn options() -> SiteOptions {
        SiteOptions {
            page_names_max: Some(50),
            ..SiteOptions::default()
        }
    }
}

#[async_trait]
impl Factory for Azure {
    async fn open(&self, context: &Context) -> Opened {
        let url = self.0.url(&fresh(context));
        open_for_writing(context, site(), &url, &Self::options())
            .await
            .unwrap()
    }

    async fn open_reader(&self, context: &Context, url: &str) -> Arc<dyn SiteReader> {
        open_for_reading(context, site(), url, &Self::options())
            .await
            .unwrap()
    }

    fn objects_many(&self) -> usize {
        120
    }

    fn pack_bytes(&self) -> usize {
        (17 << 20) + 5
    }
}

conformance!(memory, Memory);
conformance!(file, Local::new());
conformance!(s3, Server(Bucket::of_server()));
conformance!(moto, Moto(Bucket::of_moto("holdfast-conformance").await));
conformance!(limited, Limited(Bucket::of_moto("holdfast-limited").await));
conformance!(azure, Azure(Container::of_azurite()));
