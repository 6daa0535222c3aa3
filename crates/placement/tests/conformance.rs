//! The conformance suite on every placement store there is.
//!
//! etcd is the one that `HOLDFAST_TEST_ETCD` names; each test has a prefix of its own there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::env;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_placement::conformance::Cluster;
use holdfast_placement::{EmbeddedPlacement, EtcdOptions, EtcdPlacement, Placement};
use tempfile::TempDir;

/// One process, one handle.
struct Embedded {
    placement: Arc<EmbeddedPlacement>,
    _folder: Option<TempDir>,
}

#[async_trait]
impl Cluster for Embedded {
    async fn coordinator(&self) -> Arc<dyn Placement> {
        self.placement.clone()
    }
}

async fn file() -> Embedded {
    let folder = tempfile::tempdir().unwrap();
    let placement = EmbeddedPlacement::open(Context::system(), folder.path())
        .await
        .unwrap();
    Embedded {
        placement: Arc::new(placement),
        _folder: Some(folder),
    }
}

async fn memory() -> Embedded {
    let clock = Arc::new(holdfast_context::ManualClock::at(0));
    let placement = EmbeddedPlacement::in_memory(Context::seeded(7, clock)).unwrap();
    Embedded {
        placement: Arc::new(placement),
        _folder: None,
    }
}

/// A connection of its own for each coordinator.
struct Etcd {
    options: EtcdOptions,
}

#[async_trait]
impl Cluster for Etcd {
    async fn coordinator(&self) -> Arc<dyn Placement> {
        let placement = EtcdPlacement::open(Context::system(), self.options.clone()).await;
        Arc::new(placement.expect("etcd at HOLDFAST_TEST_ETCD answers"))
    }
}

async fn etcd() -> Etcd {
    let endpoints = env::var("HOLDFAST_TEST_ETCD").expect(
        "HOLDFAST_TEST_ETCD names no etcd: start the servers with `cargo xtask test` or `cargo xtask servers`",
    );
    let mut options = EtcdOptions::new(endpoints.split(','));
    let random = u128::from_le_bytes(Context::system().random());
    options.prefix = format!("/holdfast-test/{random:032x}/");
    Etcd { options }
}

mod embedded_file {
    use super::file;
    holdfast_placement::conformance_suite!(tokio::test(start_paused = true), file);
}

mod embedded_in_memory {
    use super::memory;
    holdfast_placement::conformance_suite!(tokio::test(start_paused = true), memory);
}

mod etcd_server {
    use super::etcd;
    holdfast_placement::conformance_suite!(tokio::test, etcd);
}
