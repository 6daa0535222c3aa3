//! Registry, sites, progress, certificates.

use std::time::Duration;

use holdfast_format::Epoch;

use super::{Cluster, LONG, OTHER_VAULT, VAULT, info, progress, site, vault};
use crate::{ErrorKind, Progress, SiteEntry};

/// Arguments that no store could keep, or should, are refused.
pub async fn what_cannot_be_stored_is_refused(cluster: &dyn Cluster) {
    let placement = cluster.coordinator().await;
    for name in ["", "a/b", "a b", &"x".repeat(129)] {
        let error = placement.register(&info(name), LONG).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    let error = placement
        .register(&info("c1"), Duration::ZERO)
        .await
        .expect_err("no time");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let with_password = SiteEntry {
        name: site("s1"),
        url: "s3://key:secret@host/b".into(),
    };
    let error = placement
        .put_site(&with_password)
        .await
        .expect_err("a password");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(placement.coordinators().await.expect("a list"), []);
    assert_eq!(placement.sites().await.expect("a list"), []);
}

/// The registry takes, replaces and removes; removing takes progress and certificates along, never the counter.
pub async fn vaults_are_listed(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    assert_eq!(one.vaults().await.expect("a list"), []);
    let (mut first, second) = (vault(VAULT, "orders"), vault(OTHER_VAULT, "mail"));
    one.put_vault(&second).await.expect("put");
    one.put_vault(&first).await.expect("put");
    assert_eq!(
        two.vaults().await.expect("a list"),
        [first.clone(), second.clone()]
    );
    first.sites.reverse();
    two.put_vault(&first).await.expect("put");
    assert_eq!(one.vaults().await.expect("a list"), [first, second.clone()]);
    for id in [VAULT, OTHER_VAULT] {
        one.set_progress(id, &site("s1"), progress(1))
            .await
            .expect("set");
        one.put_certificate(id, b"certificate").await.expect("put");
        one.issue_epoch(id, Epoch(0)).await.expect("an epoch");
    }
    two.remove_vault(VAULT).await.expect("removed");
    two.remove_vault(VAULT).await.expect("twice is no error");
    assert_eq!(one.vaults().await.expect("a list"), [second]);
    assert_eq!(one.progress(VAULT).await.expect("a list"), []);
    assert!(one.certificates(VAULT).await.expect("a list").is_empty());
    assert_eq!(one.progress(OTHER_VAULT).await.expect("a list").len(), 1);
    assert_eq!(
        one.certificates(OTHER_VAULT).await.expect("a list").len(),
        1
    );
    assert_eq!(
        one.issue_epoch(VAULT, Epoch(0)).await.expect("an epoch"),
        Epoch(2)
    );
}

/// Sites are taken, replaced and removed.
pub async fn sites_are_listed(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    assert_eq!(one.sites().await.expect("a list"), []);
    let entry = |name: &str, url: &str| SiteEntry {
        name: site(name),
        url: url.into(),
    };
    one.put_site(&entry("s2", "/srv/b")).await.expect("put");
    one.put_site(&entry("s1", "/srv/a")).await.expect("put");
    two.put_site(&entry("s2", "/srv/c")).await.expect("put");
    let both = [entry("s1", "/srv/a"), entry("s2", "/srv/c")];
    assert_eq!(one.sites().await.expect("a list"), both);
    one.remove_site(&site("s1")).await.expect("removed");
    one.remove_site(&site("s1"))
        .await
        .expect("twice is no error");
    assert_eq!(two.sites().await.expect("a list"), [entry("s2", "/srv/c")]);
}

/// Progress stands per vault and member, and the last one told counts.
pub async fn progress_is_kept_per_member(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    assert_eq!(one.progress(VAULT).await.expect("a list"), []);
    one.set_progress(VAULT, &site("s2"), progress(1))
        .await
        .expect("set");
    one.set_progress(VAULT, &site("s1"), progress(2))
        .await
        .expect("set");
    one.set_progress(OTHER_VAULT, &site("s1"), progress(3))
        .await
        .expect("set");
    one.set_progress(VAULT, &site("s2"), progress(4))
        .await
        .expect("set");
    let want = [(site("s1"), progress(2)), (site("s2"), progress(4))];
    assert_eq!(two.progress(VAULT).await.expect("a list"), want);
    let none = Progress {
        replicated: None,
        verified: None,
        at_millis: -1,
        records: 0,
        bytes: 0,
    };
    one.set_progress(VAULT, &site("s1"), none)
        .await
        .expect("set");
    assert_eq!(
        two.progress(VAULT).await.expect("a list")[0],
        (site("s1"), none)
    );
}

/// Certificates are kept as they were given, once each.
pub async fn certificates_are_kept_once(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    assert!(one.certificates(VAULT).await.expect("a list").is_empty());
    for certificate in [&b"one"[..], b"two", b"one", b""] {
        one.put_certificate(VAULT, certificate).await.expect("put");
    }
    let mut kept = two.certificates(VAULT).await.expect("a list");
    kept.sort_unstable();
    assert_eq!(kept, [b"".to_vec(), b"one".to_vec(), b"two".to_vec()]);
    assert!(
        two.certificates(OTHER_VAULT)
            .await
            .expect("a list")
            .is_empty()
    );
}
