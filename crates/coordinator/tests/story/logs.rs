//! Logs that are damaged, short, or sealed by somebody who did not come back.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::{failover, repair};
use holdfast_format::{
    Certificate, Chunk, ClaimNonce, Epoch, ObjectName, Position, SessionId, Slot, VaultId,
};
use holdfast_store::SiteReader;
use holdfast_vault::log::claim::{Sealing, seal};
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::{Credentials, LogReader, SegmentCache, State, open_state};
use tokio_util::sync::CancellationToken;

use crate::failback::{bring_back, fail_over, hide, show};
use crate::world::{World, body, node, site, walk, world};

/// A node that was stopped, so that its sites can be changed; and what another one needs to go on there.
struct Stopped {
    world: World,
    id: VaultId,
    certificate: Vec<u8>,
}

async fn stop(world: World, vault: Arc<Vault>) -> Stopped {
    let id = vault.header.vault;
    let certificates = world.node.placement.certificates(id).await.unwrap();
    world.node.shut_down().await;
    Stopped {
        world,
        id,
        certificate: certificates[0].clone(),
    }
}

impl Stopped {
    /// Starts another node, which knows nothing.
    async fn start(self) -> World {
        let folder = self.world.folder.path().to_owned();
        std::fs::remove_dir_all(folder.join("data")).unwrap();
        let again = node(&self.world.context, &folder, &self.world.key).await;
        let put = again.placement.put_certificate(self.id, &self.certificate);
        put.await.unwrap();
        again.find_and_take().await;
        World {
            node: again,
            ..self.world
        }
    }

    fn record(&self, name: &str, epoch: u64, slot: u64) -> PathBuf {
        let (epoch, slot) = (Epoch(epoch), Slot(slot));
        let object = ObjectName::record(self.id, Position { epoch, slot });
        self.world.folder.path().join(name).join(object.as_str())
    }
}

async fn is_whole(world: &World, vault: &Vault, name: &str) -> bool {
    let reader: Arc<dyn SiteReader> = world.node.sites.open(&site(name)).await.unwrap().site;
    let mut state = State::start(vault.header.clone());
    let mut log = LogReader::new(reader, vault.header.vault);
    log.follow(&mut state, &SegmentCache::Memory).await.is_ok()
        && state.chain.head == vault.state().chain.head
}

/// No log is whole, and between them they hold everything.
#[tokio::test(flavor = "multi_thread")]
async fn logs_damaged_in_different_records_mend_each_other() {
    let (world, vault) = world().await;
    let (snapshot, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let stopped = stop(world, vault).await;
    std::fs::write(stopped.record("onsite", 1, 1), "damaged").unwrap();
    std::fs::remove_file(stopped.record("offsite", 1, 2)).unwrap();
    let world = stopped.start().await;
    let vault = world.node.vault("db").unwrap();
    assert!(vault.state().catalog.snapshots.contains_key(&snapshot));
    world.everywhere(&vault).await;
    for name in ["onsite", "offsite"] {
        assert!(is_whole(&world, &vault, name).await, "{name}");
        let read = world.read(&vault, Some(&site(name)), &root).await;
        assert_eq!(read, [body(1, 50_000)]);
    }
    world.node.shut_down().await;
}

/// The primary was cut off, made one snapshot, and was left behind by a failover. Gives the branch's first record's file, and
/// the snapshot with its root.
async fn left_behind() -> (Stopped, PathBuf, (SessionId, Chunk)) {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    let fork = vault.state().chain.next();
    hide(&folder, "offsite");
    let made = world.backup(&vault, &[body(1, 50_000)]).await;
    let stopped = stop(world, vault).await;
    show(&folder, "offsite");
    hide(&folder, "onsite");
    let world = stopped.start().await;
    let moved = fail_over(&world, "offsite").await;
    let stopped = stop(world, moved).await;
    show(&folder, "onsite");
    let first = stopped.record("onsite", fork.epoch.0, fork.slot.0);
    (stopped, first, made)
}

/// The first record of a branch has rotted, and so has one of the survivor's. What mends the survivor's must not put the
/// survivor's seal in the branch's first place: the rest of the branch would link to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_not_mended_into_history() {
    let (stopped, first, _) = left_behind().await;
    std::fs::write(&first, "damaged").unwrap();
    std::fs::write(stopped.record("offsite", 1, 1), "damaged").unwrap();
    let mended = stopped.record("offsite", 1, 1);
    let world = stopped.start().await;
    let vault = world.node.vault("db").unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    assert_ne!(std::fs::read(&mended).unwrap(), b"damaged");
    assert_eq!(std::fs::read(&first).unwrap(), b"damaged");
    world.node.shut_down().await;
}

/// A branch that reads lies where the survivor has its seal, and older records are damaged: what mends them leaves the branch
/// as it is, and it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_not_taken_for_damage() {
    let (stopped, first, (snapshot, root)) = left_behind().await;
    let branch = std::fs::read(&first).unwrap();
    std::fs::write(stopped.record("onsite", 1, 1), "damaged").unwrap();
    let world = stopped.start().await;
    let vault = world.node.vault("db").unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    let onsite = world.node.sites.open(&site("onsite")).await.unwrap();
    let _ = repair::log(&vault, &onsite, None).await;
    assert_eq!(std::fs::read(&first).unwrap(), branch);
    assert_eq!(bring_back(&world, &vault, "onsite").await.snapshots, 1);
    assert!(vault.state().catalog.snapshots.contains_key(&snapshot));
    let read = world.read(&vault, Some(&site("offsite")), &root).await;
    assert_eq!(read, [body(1, 50_000)]);
    world.node.shut_down().await;
}

/// Whoever failed over sealed the new primary and died before the claim, while the old one holds more. It is finished: going
/// on at the old primary would make a history that the sealed site could never follow.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_died_behind_its_seal_is_finished() {
    let (world, vault) = world().await;
    let (_, kept) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    hide(&folder, "offsite");
    let (left_behind, root) = world.backup(&vault, &[body(2, 60_000)]).await;
    let stopped = stop(world, vault).await;
    show(&folder, "offsite");
    let offsite = stopped.world.node.sites.open(&site("offsite")).await;
    let offsite = offsite.unwrap().site;
    let reader: Arc<dyn SiteReader> = offsite.clone();
    let state = open_state(&reader, stopped.id, &SegmentCache::Memory).await;
    let credentials = Credentials {
        coordinator: "died".into(),
        key: stopped.world.key.clone(),
        certificate: Certificate::decode(&stopped.certificate).unwrap(),
    };
    let claimant = Claimant {
        epoch: Epoch(7),
        nonce: ClaimNonce(stopped.world.context.random()),
    };
    let stop = CancellationToken::new();
    let context = &stopped.world.context;
    let sealed = seal(
        context,
        offsite,
        &credentials,
        claimant,
        state.unwrap(),
        &stop,
    )
    .await;
    assert!(matches!(sealed, Ok(Sealing::Sealed(_))));
    let world = stopped.start().await;
    let vault = world.node.vault("db").unwrap();
    assert_eq!(vault.primary.site.name(), &site("offsite"));
    assert!(vault.claimant.epoch > Epoch(7));
    assert_eq!(bring_back(&world, &vault, "onsite").await.snapshots, 1);
    assert!(vault.state().catalog.snapshots.contains_key(&left_behind));
    world.everywhere(&vault).await;
    for name in ["onsite", "offsite"] {
        for (root, bodies) in [(&kept, body(1, 50_000)), (&root, body(2, 60_000))] {
            assert_eq!(world.read(&vault, Some(&site(name)), root).await, [bodies]);
        }
    }
    world.node.shut_down().await;
}

/// A member whose log ends before the vault was founded: a history that goes on there would be one without members.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_failover_to_a_site_that_does_not_know_it_belongs() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let (folder, id) = (world.folder.path().to_owned(), vault.header.vault);
    let claim = Position {
        epoch: Epoch(1),
        slot: Slot(0),
    };
    let claim = folder
        .join("offsite")
        .join(ObjectName::record(id, claim).as_str());
    for record in walk(&folder.join("offsite"), "log") {
        if record != claim {
            std::fs::remove_file(record).unwrap();
        }
    }
    hide(&folder, "onsite");
    let slot = world.node.find("db").unwrap();
    let refused = failover::plan(&world.node, &slot, &site("offsite")).await;
    let why = refused.unwrap_err().to_string();
    assert!(
        why.contains("ends before it belonged to the vault"),
        "{why}"
    );
    show(&folder, "onsite");
    world.node.shut_down().await;
}

/// Objects that reached a member ahead of the record that names them, and were damaged there since.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_damaged_ahead_of_a_members_log_is_replaced() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let folder = world.folder.path().to_owned();
    hide(&folder, "offsite");
    let (snapshot, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    let onsite = folder.join("onsite");
    let mut objects = walk(&onsite, "packs");
    objects.extend(walk(&onsite, "keys"));
    for object in objects {
        let below = object.strip_prefix(&onsite).unwrap();
        let there = folder.join("offsite-away").join(below);
        if !there.exists() {
            std::fs::create_dir_all(there.parent().unwrap()).unwrap();
            std::fs::write(there, "damaged").unwrap();
        }
    }
    show(&folder, "offsite");
    world.everywhere(&vault).await;
    assert_eq!(vault.snapshot_state(&snapshot), "protected");
    let read = world.read(&vault, Some(&site("offsite")), &root).await;
    assert_eq!(read, [body(1, 50_000)]);
    world.node.shut_down().await;
}
