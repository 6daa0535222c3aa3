//! Who owns a vault.

use futures::future::join_all;
use holdfast_format::Epoch;

use super::{Cluster, OTHER_VAULT, RACERS, VAULT, owner, register, take};
use crate::{Acquire, ErrorKind, LeaseId};

/// Of coordinators that want one vault at once, one gets it and the others are told who.
pub async fn one_of_many_racers_acquires(cluster: &dyn Cluster) {
    let mut racers = Vec::new();
    for racer in 0..RACERS {
        let placement = cluster.coordinator().await;
        let lease = register(&placement, &format!("c{racer}")).await;
        racers.push((placement, lease));
    }
    let attempts = racers
        .iter()
        .enumerate()
        .map(|(racer, (placement, lease))| async move {
            placement
                .acquire(VAULT, lease, Epoch(100 + racer as u64))
                .await
                .expect("an answer")
        });
    let outcomes = join_all(attempts).await;
    let winners: Vec<usize> = (0..RACERS)
        .filter(|racer| outcomes[*racer] == Acquire::Granted)
        .collect();
    let [winner] = winners[..] else {
        panic!("granted to {winners:?}");
    };
    let owner = owner(&format!("c{winner}"), 100 + winner as u64);
    for (racer, outcome) in outcomes.into_iter().enumerate() {
        if racer != winner {
            assert_eq!(outcome, Acquire::HeldBy(owner.clone()), "racer {racer}");
        }
        let seen = racers[racer].0.owner(VAULT).await.expect("an answer");
        assert_eq!(seen.as_ref(), Some(&owner), "as racer {racer} sees it");
    }
}

/// Releasing frees a vault, and that one only.
pub async fn a_released_vault_is_free(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let (first, second) = (register(&one, "c1").await, register(&two, "c2").await);
    for vault in [VAULT, OTHER_VAULT] {
        assert_eq!(take(&one, vault, &first, 1).await, Acquire::Granted);
    }
    one.release(VAULT, &first).await.expect("released");
    assert_eq!(one.owner(VAULT).await.expect("an answer"), None);
    assert_eq!(take(&two, VAULT, &second, 2).await, Acquire::Granted);
    let held = take(&two, OTHER_VAULT, &second, 2).await;
    assert_eq!(held, Acquire::HeldBy(owner("c1", 1)));
    one.release(VAULT, &first)
        .await
        .expect("nothing of its own to release is no error");
    assert_eq!(
        one.owner(VAULT).await.expect("an answer"),
        Some(owner("c2", 2))
    );
}

/// A lease gives up what is its own and nothing else.
pub async fn anothers_lease_cannot_release(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let (first, second) = (register(&one, "c1").await, register(&two, "c2").await);
    assert_eq!(take(&one, VAULT, &first, 1).await, Acquire::Granted);
    two.release(VAULT, &second)
        .await
        .expect("no error, and no effect");
    two.release(VAULT, &LeaseId::from_number(77))
        .await
        .expect("no error, and no effect");
    two.deregister(&second).await.expect("deregistered");
    assert_eq!(
        two.owner(VAULT).await.expect("an answer"),
        Some(owner("c1", 1))
    );
}

/// An owner may raise its epoch, repeat itself, and never go back.
pub async fn acquiring_again_raises_the_epoch(cluster: &dyn Cluster) {
    let (one, two) = (cluster.coordinator().await, cluster.coordinator().await);
    let lease = register(&one, "c1").await;
    for epoch in [5, 5, 9] {
        assert_eq!(take(&one, VAULT, &lease, epoch).await, Acquire::Granted);
        assert_eq!(
            two.owner(VAULT).await.expect("an answer"),
            Some(owner("c1", epoch))
        );
    }
    let error = one
        .acquire(VAULT, &lease, Epoch(8))
        .await
        .expect_err("it is lower");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.is_determinate());
    assert_eq!(
        two.owner(VAULT).await.expect("an answer"),
        Some(owner("c1", 9))
    );
}
