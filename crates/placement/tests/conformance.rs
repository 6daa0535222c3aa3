//! The conformance suite on every placement store there is.
//!
//! etcd is the node that `HOLDFAST_TEST_ETCD` names, and the cluster of three whose nodes `HOLDFAST_TEST_ETCD_CLUSTER` names, parted
//! by commas; each test has a prefix of its own there.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// A connection of its own for each coordinator. Of a cluster each coordinator asks another node first.
struct Etcd {
    options: EtcdOptions,
    opened: AtomicUsize,
}

#[async_trait]
impl Cluster for Etcd {
    async fn coordinator(&self) -> Arc<dyn Placement> {
        let mut options = self.options.clone();
        let first = self.opened.fetch_add(1, Ordering::Relaxed) % options.endpoints.len();
        options.endpoints.rotate_left(first);
        let placement = EtcdPlacement::open(Context::system(), options).await;
        Arc::new(placement.expect("the etcd that the environment names answers"))
    }
}

fn named_by(variable: &str) -> Etcd {
    let endpoints = env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} names no etcd: start the servers with `cargo xtask test` or `cargo xtask servers`"
        )
    });
    let mut options = EtcdOptions::new(endpoints.split(','));
    let random = u128::from_le_bytes(Context::system().random());
    options.prefix = format!("/holdfast-test/{random:032x}/");
    Etcd {
        options,
        opened: AtomicUsize::new(0),
    }
}

async fn etcd() -> Etcd {
    named_by("HOLDFAST_TEST_ETCD")
}

async fn etcd_cluster() -> Etcd {
    named_by("HOLDFAST_TEST_ETCD_CLUSTER")
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

mod etcd_of_three {
    use super::etcd_cluster;
    holdfast_placement::conformance_suite!(tokio::test, etcd_cluster);
}
