//! Leases, and what ends with them.

use holdfast_format::Epoch;
use tokio::time::sleep;

use super::{Cluster, LONG, OTHER_VAULT, SHORT, VAULT, info, owner, register, take, until};
use crate::{Acquire, CoordinatorInfo, ErrorKind, Event, LeaseId, SiteGone};

/// The end of a registration ends its ownerships at once, and again is no error.
pub async fn deregistering_frees_everything_at_once(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let (first, second) = (register(&one, "c1").await, register(&two, "c2").await);
    for vault in [VAULT, OTHER_VAULT] {
        assert_eq!(take(&one, vault, &first, 1).await, Acquire::Granted);
    }
    one.deregister(&first).await.expect("deregistered");
    one.deregister(&first).await.expect("twice is no error");
    assert_eq!(two.coordinators().await.expect("a list"), [info("c2")]);
    for vault in [VAULT, OTHER_VAULT] {
        assert_eq!(two.owner(vault).await.expect("an answer"), None);
        assert_eq!(take(&two, vault, &second, 2).await, Acquire::Granted);
    }
    assert!(!one.keep_alive(&first).await.expect("an answer"));
    let error = one
        .acquire(VAULT, &first, Epoch(3))
        .await
        .expect_err("its lease is gone");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
}

/// A coordinator that is silent for longer than its lease owns nothing any more, and learns it.
pub async fn an_expired_lease_frees_its_vaults(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let second = register(&two, "c2").await;
    let mut watch = two.watch().await.expect("a watch");
    let first = one.register(&info("c1"), SHORT).await.expect("a lease");
    assert_eq!(take(&one, VAULT, &first, 1).await, Acquire::Granted);
    until(
        &mut watch,
        Event::Owner {
            vault: VAULT,
            owner: None,
        },
    )
    .await;
    assert_eq!(two.owner(VAULT).await.expect("an answer"), None);
    assert_eq!(two.coordinators().await.expect("a list"), [info("c2")]);
    let error = one
        .acquire(VAULT, &first, Epoch(2))
        .await
        .expect_err("its lease is gone");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert!(!one.keep_alive(&first).await.expect("an answer"));
    assert_eq!(take(&two, VAULT, &second, 3).await, Acquire::Granted);
    one.release(VAULT, &first)
        .await
        .expect("no error, and no effect");
    assert_eq!(
        two.owner(VAULT).await.expect("an answer"),
        Some(owner("c2", 3))
    );
}

/// A lease that is renewed outlives its time to live by far.
pub async fn a_lease_kept_alive_lasts(cluster: &dyn Cluster) {
    let placement = cluster.coordinator().await;
    let lease = placement
        .register(&info("c1"), SHORT)
        .await
        .expect("a lease");
    assert_eq!(take(&placement, VAULT, &lease, 1).await, Acquire::Granted);
    for _ in 0..8 {
        sleep(SHORT / 3).await;
        assert!(placement.keep_alive(&lease).await.expect("an answer"));
    }
    assert_eq!(
        placement.owner(VAULT).await.expect("an answer"),
        Some(owner("c1", 1))
    );
    assert!(
        !placement
            .keep_alive(&LeaseId::from_number(77))
            .await
            .expect("an answer")
    );
}

/// A coordinator that starts again replaces itself in the list; what its former lease owns waits for that lease.
pub async fn a_name_registered_again_is_listed_once(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let former = register(&one, "c1").await;
    assert_eq!(take(&one, VAULT, &former, 1).await, Acquire::Granted);
    let again = CoordinatorInfo {
        started_millis: 2,
        gone: Vec::new(),
        ..info("c1")
    };
    let lease = two.register(&again, LONG).await.expect("a lease");
    let listed = std::slice::from_ref(&again);
    assert_eq!(one.coordinators().await.expect("a list"), listed);
    assert_eq!(
        take(&two, VAULT, &lease, 2).await,
        Acquire::HeldBy(owner("c1", 1))
    );
    one.deregister(&former).await.expect("deregistered");
    assert_eq!(one.coordinators().await.expect("a list"), [again]);
    assert_eq!(take(&two, VAULT, &lease, 2).await, Acquire::Granted);
}

/// A coordinator may say more of itself later; not under another's name, and not once its name or its lease is gone.
pub async fn what_a_coordinator_tells_of_itself_is_listed(cluster: &dyn Cluster) {
    let one = cluster.coordinator().await;
    let lease = one.register(&info("one"), LONG).await.expect("a lease");
    let mut told = info("one");
    told.gone = vec![SiteGone {
        site: "onsite".parse().expect("a name"),
        since_millis: 7,
    }];
    one.announce(&lease, &told).await.expect("it is told");
    assert_eq!(one.coordinators().await.expect("a list"), [told.clone()]);
    let error = one.announce(&lease, &info("other")).await;
    assert_eq!(error.expect_err("another's").kind(), ErrorKind::Invalid);
    // Another process takes the name over.
    let other = cluster.coordinator().await;
    let again = other.register(&info("one"), LONG).await.expect("a lease");
    let error = one.announce(&lease, &told).await;
    assert_eq!(error.expect_err("no more").kind(), ErrorKind::LeaseLost);
    assert_eq!(other.coordinators().await.expect("a list"), [info("one")]);
    other.deregister(&again).await.expect("it ends");
    let error = other.announce(&again, &told).await;
    assert_eq!(error.expect_err("no more").kind(), ErrorKind::LeaseLost);
    assert_eq!(other.coordinators().await.expect("a list"), []);
}
