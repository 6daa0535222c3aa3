//! What is not known to be good stays where it is, and what is not known to be history is not gone on with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::failover::{Accepted, carry_out, plan};
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::replica::Standing;
use holdfast_format::fact::{MemberJoined, PolicySet, SnapshotsTrashed};
use holdfast_format::{ObjectName, Position, SnapshotId};
use holdfast_vault::Proposal;

use crate::failback::{fail_over, hide, show};
use crate::upkeep::{damage, data_pack};
use crate::world::{World, body, node, site, walk, world};

pub(crate) async fn trash(vault: &Vault, id: SnapshotId) {
    let fact = SnapshotsTrashed {
        snapshots: vec![id],
        why: "test".into(),
        who: "test".into(),
        until_millis: 0,
    };
    vault.append(Proposal::Trash(fact)).await.unwrap();
}

/// Waits until a member stands as it is asked for.
async fn until(vault: &Vault, name: &str, stands: impl Fn(&Standing) -> bool) -> Standing {
    let waiting = async {
        loop {
            let standing = vault.standings().remove(&site(name));
            match standing.filter(&stands) {
                Some(standing) => return standing,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("{name}: {:#?}", vault.standings()))
}

/// A third site in this process's memory becomes a member.
async fn join_third(world: &World, vault: &Arc<Vault>, store: &str) {
    let (third, url) = (site("third"), format!("memory:{store}"));
    world.node.sites.add(third.clone(), &url).unwrap();
    world.node.sites.open(&third).await.unwrap();
    let joined = MemberJoined {
        site: third,
        url,
        who: "test".into(),
    };
    vault.append(Proposal::Join(joined)).await.unwrap();
    vault.follow_members();
}

/// A chunk that is needed reads at no site that answers: its pack stays, and backups go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_cannot_be_copied_whole_stays() {
    let (world, vault) = world().await;
    let bodies = [body(1, 50_000), body(2, 900_000)];
    let (first, _) = world.backup(&vault, &bodies).await;
    let (kept, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let pack = data_pack(&vault);
    damage(&world, &vault, "onsite", pack);
    trash(&vault, first).await;
    hide(world.folder.path(), "offsite");
    world.collect(&vault).await;
    show(world.folder.path(), "offsite");
    assert!(vault.state().catalog.packs[&pack].condemned.is_none());
    assert!(vault.state().catalog.snapshots.contains_key(&kept));
    // The site that was away has it whole.
    world.everywhere(&vault).await;
    let read = world.read(&vault, Some(&site("offsite")), &root).await;
    assert_eq!(read, [body(1, 50_000)]);
    world.node.shut_down().await;
}

/// A pack that was damaged at the primary before a member had it: the member does not follow, and nothing is called protected
/// by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_is_not_copied() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    hide(world.folder.path(), "offsite");
    let (snapshot, _) = world.backup(&vault, &[body(1, 50_000)]).await;
    damage(&world, &vault, "onsite", data_pack(&vault));
    show(world.folder.path(), "offsite");
    let at = vault.state().catalog.snapshots[&snapshot].committed_at;
    let is_told = |standing: &Standing| {
        standing.trouble.contains("pack") || standing.head.is_some_and(|head| head >= at)
    };
    let standing = until(&vault, "offsite", is_told).await;
    assert!(standing.trouble.contains("at site onsite"), "{standing:?}");
    assert_eq!(vault.snapshot_state(&snapshot), "committed");
    world.node.shut_down().await;
}

/// A member that joined after a collection catches up: it stands behind a snapshot whose pack was swept, and has not come to the
/// record that names the copy.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_catches_up_protects_nothing_yet() {
    let (world, vault) = world().await;
    let bodies = [body(1, 50_000), body(2, 900_000)];
    let (first, _) = world.backup(&vault, &bodies).await;
    let (kept, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    let at = vault.state().catalog.snapshots[&kept].committed_at;
    trash(&vault, first).await;
    world.everywhere(&vault).await;
    let before = data_pack(&vault);
    world.collect(&vault).await;
    world.everywhere(&vault).await;
    world.collect(&vault).await;
    assert!(!vault.state().catalog.packs.contains_key(&before));
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&kept), "protected");
    // The next record reads nowhere for a while.
    let folder = world.folder.path().to_owned();
    let next = Position {
        slot: at.slot.next(),
        ..at
    };
    let record = ObjectName::record(vault.header.vault, next);
    let record = folder.join("onsite").join(record.as_str());
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, "damaged").unwrap();
    hide(&folder, "offsite");
    join_third(&world, &vault, "catches-up-slowly").await;
    until(&vault, "third", |standing| {
        standing.head == Some(at) && !standing.trouble.is_empty()
    })
    .await;
    assert_eq!(vault.snapshot_state(&kept), "committed");
    std::fs::write(&record, whole).unwrap();
    show(&folder, "offsite");
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&kept), "protected");
    let read = world.read(&vault, Some(&site("third")), &root).await;
    assert_eq!(read, [body(1, 50_000)]);
    world.node.shut_down().await;
}

/// The primary is gone, the target was away while the last snapshot was made, and a third site has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_takes_what_a_third_site_holds() {
    let (world, vault) = world().await;
    join_third(&world, &vault, "holds-more").await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    hide(&folder, "offsite");
    let (last, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    let head = vault.state().chain.head;
    until(&vault, "third", |standing| standing.head == head).await;
    hide(&folder, "onsite");
    show(&folder, "offsite");
    let vault = fail_over(&world, "offsite").await;
    assert!(vault.state().catalog.snapshots.contains_key(&last));
    let read = world.read(&vault, Some(&site("offsite")), &root).await;
    assert_eq!(read, [body(1, 50_000)]);
    show(&folder, "onsite");
    world.node.shut_down().await;
}

/// The primary is away when a coordinator starts, and the site that it deposed is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_was_left_behind_is_not_taken_for_the_primary() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    hide(&folder, "onsite");
    let moved = fail_over(&world, "offsite").await;
    let (last, _) = world.backup(&moved, &[body(1, 50_000)]).await;
    drop((vault, moved));
    let World {
        node: old,
        folder: sites,
        context,
        key,
        ..
    } = world;
    old.shut_down().await;
    drop(old);
    let records = walk(&folder.join("onsite-away"), "log").len();
    show(&folder, "onsite");
    hide(&folder, "offsite");
    // The same coordinator: its placement knows who was the primary.
    let again = node(&context, sites.path(), &key).await;
    again.find_and_take().await;
    assert!(again.vault("db").is_err());
    let why = again.find("db").unwrap().trouble;
    assert!(why.contains("site onsite was left behind"), "{why}");
    assert_eq!(walk(&folder.join("onsite"), "log").len(), records);
    show(&folder, "offsite");
    again.find_and_take().await;
    let vault = again.vault("db").unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    assert!(vault.state().catalog.snapshots.contains_key(&last));
    again.shut_down().await;
}

/// Every site went back to an older copy of itself while no coordinator ran: what was acknowledged since is nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn sites_that_have_lost_records_are_not_opened_without_a_word() {
    let (world, vault) = world().await;
    let (first, _) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    for name in ["onsite", "offsite"] {
        copy(&folder.join(name), &folder.join(format!("older-{name}")));
    }
    world.backup(&vault, &[body(2, 60_000)]).await;
    world.everywhere(&vault).await;
    drop(vault);
    let World {
        node: old,
        folder: _sites,
        context,
        key,
        ..
    } = world;
    old.shut_down().await;
    drop(old);
    for name in ["onsite", "offsite"] {
        std::fs::remove_dir_all(folder.join(name)).unwrap();
        std::fs::rename(folder.join(format!("older-{name}")), folder.join(name)).unwrap();
    }
    let again = node(&context, &folder, &key).await;
    again.find_and_take().await;
    assert!(again.vault("db").is_err());
    let slot = again.find("db").unwrap();
    assert!(slot.trouble.contains("--accept-loss"), "{}", slot.trouble);
    for name in ["onsite", "offsite"] {
        let plan = plan(&again, &slot, &site(name)).await.unwrap();
        assert!(!plan.loses_nothing, "{plan:?}");
    }
    let accepted = plan(&again, &slot, &site("onsite")).await.unwrap();
    let vault = carry_out(
        &again,
        &slot,
        &site("onsite"),
        &accepted,
        Accepted::Anything,
    )
    .await;
    let vault = vault.unwrap();
    assert!(vault.state().catalog.snapshots.contains_key(&first));
    again.shut_down().await;
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&here, &there),
            false => drop(std::fs::copy(&here, &there).unwrap()),
        }
    }
}

/// The primary, and then the member, is swapped for an older copy of itself while the vault is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_an_older_copy_is_not_gone_on_behind() {
    for name in ["onsite", "offsite"] {
        let (world, vault) = world().await;
        world.backup(&vault, &[body(1, 50_000)]).await;
        world.everywhere(&vault).await;
        let (there, older) = (
            world.folder.path().join(name),
            world.folder.path().join("older"),
        );
        copy(&there, &older);
        let (lost, root) = world.backup(&vault, &[body(2, 60_000)]).await;
        world.everywhere(&vault).await;
        std::fs::remove_dir_all(&there).unwrap();
        std::fs::rename(&older, &there).unwrap();
        // Of a primary it is refused, and the vault is taken anew.
        let busy = PolicySet {
            text: "version = 1".into(),
            who: "test".into(),
        };
        let _ = vault.append(Proposal::Policy(busy)).await;
        world.node.find_and_take().await;
        let vault = world.node.vault("db").unwrap();
        world.everywhere(&vault).await;
        assert_eq!(vault.snapshot_state(&lost), "protected");
        let read = world.read(&vault, Some(&site(name)), &root).await;
        assert_eq!(read, [body(2, 60_000)]);
        world.node.shut_down().await;
    }
}
