//! What watches see.

use futures::{StreamExt, stream};
use holdfast_format::Epoch;

use super::{
    Cluster, OTHER_VAULT, SHORT, VAULT, info, next, owner, progress, register, site, take, until,
    vault,
};
use crate::{Acquire, EVENTS_MAX, Event, SiteEntry};

/// Each change made after the watch was made is told, in order, and none twice.
pub async fn a_watch_sees_each_change_in_order(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    one.put_vault(&vault(OTHER_VAULT, "before"))
        .await
        .expect("put");
    let mut watch = two.watch().await.expect("a watch");
    let lease = register(&one, "c1").await;
    one.put_vault(&vault(VAULT, "orders")).await.expect("put");
    for epoch in [1, 1, 2] {
        assert_eq!(take(&one, VAULT, &lease, epoch).await, Acquire::Granted);
    }
    let entry = SiteEntry {
        name: site("s1"),
        url: "/srv/a".into(),
    };
    one.put_site(&entry).await.expect("put");
    one.set_progress(VAULT, &site("s1"), progress(1))
        .await
        .expect("set");
    one.put_certificate(VAULT, b"nobody is told")
        .await
        .expect("put");
    one.issue_epoch(VAULT, Epoch(0))
        .await
        .expect("nobody is told");
    one.release(VAULT, &lease).await.expect("released");
    one.remove_vault(VAULT).await.expect("removed");
    one.remove_site(&site("s1")).await.expect("removed");
    one.deregister(&lease).await.expect("deregistered");
    let owned = |owner| Event::Owner {
        vault: VAULT,
        owner,
    };
    let want = [
        Event::Coordinators,
        Event::Vaults,
        owned(Some(owner("c1", 1))),
        owned(Some(owner("c1", 2))),
        Event::Sites,
        Event::Progress {
            vault: VAULT,
            site: site("s1"),
        },
        owned(None),
        Event::Vaults,
        Event::Sites,
        Event::Coordinators,
    ];
    for event in want {
        assert_eq!(next(&mut watch).await, event);
    }
}

/// A lease that ends by itself is told: the coordinator first, then each vault. So is the next one.
pub async fn a_watch_sees_the_end_of_a_lease(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let mut watch = two.watch().await.expect("a watch");
    for name in ["c1", "c2"] {
        let lease = one.register(&info(name), SHORT).await.expect("a lease");
        for vault in [VAULT, OTHER_VAULT] {
            assert_eq!(take(&one, vault, &lease, 1).await, Acquire::Granted);
        }
        let owned = |vault, owner| Event::Owner { vault, owner };
        let want = [
            Event::Coordinators,
            owned(VAULT, Some(owner(name, 1))),
            owned(OTHER_VAULT, Some(owner(name, 1))),
            Event::Coordinators,
            owned(VAULT, None),
            owned(OTHER_VAULT, None),
        ];
        for event in want {
            assert_eq!(next(&mut watch).await, event);
        }
    }
}

/// A consumer that lets its queue overflow is told to read everything again, and sees what comes after.
pub async fn a_slow_watch_is_told_to_read_again(cluster: &dyn Cluster) {
    let placement = cluster.coordinator().await;
    let mut slow = placement.watch().await.expect("a watch");
    let mut fast = placement.watch().await.expect("a watch");
    let write = async {
        let entry = SiteEntry {
            name: site("s1"),
            url: "/srv/a".into(),
        };
        let puts = stream::iter(0..=EVENTS_MAX).map(|_| placement.put_site(&entry));
        puts.buffer_unordered(32)
            .for_each(|put| async { put.expect("put") })
            .await;
        placement
            .put_vault(&vault(VAULT, "orders"))
            .await
            .expect("put");
    };
    // Once the other watch has the last change, or has overflowed itself, this one has overflowed.
    let read = async { while next(&mut fast).await == Event::Sites {} };
    tokio::join!(write, read);
    assert_eq!(next(&mut slow).await, Event::Resync);
    placement.remove_vault(VAULT).await.expect("removed");
    placement
        .set_progress(VAULT, &site("s1"), progress(1))
        .await
        .expect("set");
    until(
        &mut slow,
        Event::Progress {
            vault: VAULT,
            site: site("s1"),
        },
    )
    .await;
}
