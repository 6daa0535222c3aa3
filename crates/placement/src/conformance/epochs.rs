//! Epoch numbers.

use std::collections::BTreeSet;

use futures::future::join_all;
use holdfast_format::Epoch;

use super::{Cluster, OTHER_VAULT, RACERS, VAULT};
use crate::ErrorKind;

/// Issuers that race each get rising numbers, and no number is issued twice.
pub async fn epochs_rise_under_racing_issuers(cluster: &dyn Cluster) {
    let handles = [cluster.coordinator().await, cluster.coordinator().await];
    let issuers = (0..RACERS).map(|racer| {
        let placement = handles[racer % handles.len()].clone();
        async move {
            let mut issued = Vec::new();
            for _ in 0..4 {
                issued.push(
                    placement
                        .issue_epoch(VAULT, Epoch(0))
                        .await
                        .expect("an epoch"),
                );
            }
            assert!(issued.is_sorted_by(|one, next| one < next), "{issued:?}");
            issued
        }
    });
    let issued: Vec<Epoch> = join_all(issuers).await.into_iter().flatten().collect();
    let different: BTreeSet<Epoch> = issued.iter().copied().collect();
    assert_eq!(different.len(), RACERS * 4, "issued twice: {issued:?}");
    let last = handles[1]
        .issue_epoch(VAULT, Epoch(0))
        .await
        .expect("an epoch");
    assert!(Some(&last) > different.last(), "{last} after {different:?}");
}

/// An epoch is above the floor and above those issued before, per vault; the last number has no next.
pub async fn epochs_are_above_their_floor(cluster: &dyn Cluster) {
    let placement = cluster.coordinator().await;
    let issue = async |vault, floor| placement.issue_epoch(vault, Epoch(floor)).await;
    let counter = async |vault| placement.epoch_counter(vault).await.expect("a counter");
    assert_eq!(counter(VAULT).await, Epoch(0), "none was issued");
    assert_eq!(issue(VAULT, 0).await.expect("an epoch"), Epoch(1));
    assert_eq!(counter(VAULT).await, Epoch(1));
    assert_eq!(counter(VAULT).await, Epoch(1), "looking issues nothing");
    assert_eq!(counter(OTHER_VAULT).await, Epoch(0));
    assert_eq!(
        issue(VAULT, 1 << 20).await.expect("an epoch"),
        Epoch((1 << 20) + 1)
    );
    assert_eq!(
        issue(VAULT, 7).await.expect("an epoch"),
        Epoch((1 << 20) + 2)
    );
    assert_eq!(issue(OTHER_VAULT, 0).await.expect("an epoch"), Epoch(1));
    let error = issue(OTHER_VAULT, u64::MAX)
        .await
        .expect_err("there is no number above");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(issue(OTHER_VAULT, 0).await.expect("an epoch"), Epoch(2));
}
