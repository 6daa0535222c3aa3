//! One vault's life: create, back up, replicate, fail over, collect.

use holdfast_coordinator::failover::{self, Accepted};
use holdfast_coordinator::vault::collector::Progress;
use holdfast_format::Certificate;
use holdfast_format::fact::SnapshotsTrashed;
use holdfast_vault::Proposal;

use crate::world::{World, body, node, site, walk, world};

#[tokio::test(flavor = "multi_thread")]
async fn back_up_replicate_restore_from_each_site() {
    let (world, vault) = world().await;
    let bodies = [body(1, 100_000), body(2, 10), body(3, 0)];
    let (snapshot, root) = world.backup(&vault, &bodies).await;
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&snapshot), "protected");
    for name in ["onsite", "offsite"] {
        assert_eq!(world.read(&vault, Some(&site(name)), &root).await, bodies);
    }
    // The second time everything is known.
    let (_, again) = world.backup(&vault, &bodies).await;
    assert_eq!(again.id, root.id);
    assert_eq!(
        vault
            .state()
            .catalog
            .packs
            .values()
            .filter(|pack| pack.kind == 0)
            .count(),
        1
    );
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_coordinator_goes_on_in_a_new_epoch() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 1000)]).await;
    let epoch = vault.claimant.epoch;
    let hash = vault.state().hash;
    world.node.shut_down().await;
    drop(vault);
    let World {
        node: old,
        context,
        folder,
        ..
    } = &world;
    let name = old.list()[0].header.name.to_string();
    let data = folder.path().to_owned();
    // The old node's placement file is still open in this process: a new one needs its own.
    std::fs::rename(data.join("data"), data.join("data-old")).unwrap();
    let certificates = old
        .placement
        .certificates(old.list()[0].header.vault)
        .await
        .unwrap();
    let header = old.list()[0].header.clone();
    let again = node(context, &data, &world.key).await;
    let certificate = Certificate::decode(&certificates[0]).unwrap();
    let vault = again
        .adopt(header, site("onsite"), &certificate)
        .await
        .unwrap();
    assert!(vault.claimant.epoch > epoch);
    assert_ne!(vault.state().hash, hash);
    let world = World {
        node: again,
        ..world
    };
    assert_eq!(world.read(&vault, None, &root).await, [body(1, 1000)]);
    assert_eq!(world.node.find(&name).unwrap().trouble, "");
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_gone_at_every_site() {
    let (world, vault) = world().await;
    let (first, _) = world
        .backup(&vault, &[body(1, 50_000), body(2, 50_000)])
        .await;
    let (_, kept) = world.backup(&vault, &[body(3, 70_000)]).await;
    let trash = SnapshotsTrashed {
        snapshots: vec![first],
        why: "test".into(),
        who: "test".into(),
        until_millis: 0,
    };
    vault.append(Proposal::Trash(trash)).await.unwrap();
    world.everywhere(&vault).await;
    let packs = |name: &str| walk(&world.folder.path().join(name), "packs").len();
    assert_eq!((packs("onsite"), packs("offsite")), (4, 4));
    // The condemn record has to reach the other member before anything is deleted anywhere.
    let mut done = false;
    for _ in 0..50 {
        let (finished, said) = world.collect(&vault).await;
        assert!(matches!(said[0], Progress::Plan(_)));
        if finished {
            done = true;
            break;
        }
        world.everywhere(&vault).await;
    }
    assert!(done);
    assert!(
        vault.state().catalog.packs.len() <= 2,
        "{:?}",
        vault.state().catalog.packs
    );
    assert_eq!(packs("onsite"), vault.state().catalog.packs.len());
    assert_eq!(packs("offsite"), packs("onsite"));
    assert!(!vault.state().catalog.snapshots.contains_key(&first));
    for name in ["onsite", "offsite"] {
        assert_eq!(
            world.read(&vault, Some(&site(name)), &kept).await,
            [body(3, 70_000)]
        );
    }
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_over_when_the_primary_is_gone() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    std::fs::remove_dir_all(world.folder.path().join("onsite")).unwrap();
    let slot = world.node.find("db").unwrap();
    let plan = failover::plan(&world.node, &slot, &site("offsite"))
        .await
        .unwrap();
    assert!(!plan.primary_answers);
    assert!(plan.loses_nothing, "{}", plan.left_behind);
    let vault = failover::carry_out(
        &world.node,
        &slot,
        &site("offsite"),
        &plan,
        Accepted::Nothing,
    )
    .await
    .unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    assert_eq!(
        world.read(&vault, Some(&site("offsite")), &root).await,
        [body(1, 50_000)]
    );
    let (_, second) = world.backup(&vault, &[body(2, 60_000)]).await;
    assert_eq!(
        world.read(&vault, Some(&site("offsite")), &second).await,
        [body(2, 60_000)]
    );
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fail_over_with_the_primary_there_leaves_nothing_behind_and_it_follows() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    let slot = world.node.find("db").unwrap();
    let plan = failover::plan(&world.node, &slot, &site("offsite"))
        .await
        .unwrap();
    assert!(plan.primary_answers && plan.loses_nothing);
    let vault = failover::carry_out(
        &world.node,
        &slot,
        &site("offsite"),
        &plan,
        Accepted::Nothing,
    )
    .await
    .unwrap();
    let (snapshot, _) = world.backup(&vault, &[body(2, 60_000)]).await;
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&snapshot), "protected");
    assert_eq!(
        world.read(&vault, Some(&site("onsite")), &root).await,
        [body(1, 50_000)]
    );
    world.node.shut_down().await;
}
