//! What a vault does for its own upkeep: checkpoints, repair, and what it does about damage that nothing can mend.

use std::sync::Arc;

use holdfast_coordinator::repair;
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::collector::Checkpoint;
use holdfast_format::{Epoch, ObjectName, PackOrdinal, Slot, VaultId};
use holdfast_store::{SiteOptions, SiteReader, open_for_writing};
use holdfast_vault::checkpoint::load;
use holdfast_vault::replicate::{Replicator, Step};
use holdfast_vault::{Budget, LogReader, SegmentCache, State, open_state};

use crate::world::{World, body, node, site, walk, world};

/// Makes a checkpoint and waits until it stands.
pub(crate) async fn checkpoint(vault: &Arc<Vault>) {
    let before = vault.state().catalog.checkpoints.last().cloned();
    vault
        .collector()
        .unwrap()
        .tell(Checkpoint::DueSince(
            before.as_ref().map(|last| last.covers),
        ))
        .await
        .unwrap();
    let mut head = vault.head.clone();
    while vault.state().catalog.checkpoints.last().cloned() == before {
        head.changed().await.unwrap();
    }
}

/// The state as it comes of the log alone.
async fn refolded(vault: &Arc<Vault>, name: &str) -> State {
    let reader: Arc<dyn SiteReader> = vault.sites.open(&site(name)).await.unwrap().site;
    let mut state = State::start(vault.header.clone());
    let mut log = LogReader::new(reader, vault.header.vault);
    log.follow(&mut state, &SegmentCache::Memory).await.unwrap();
    state
}

async fn loads_from_checkpoint(world: &World, vault: &Arc<Vault>, name: &str) {
    world.everywhere(vault).await;
    let reader: Arc<dyn SiteReader> = vault.sites.open(&site(name)).await.unwrap().site;
    let loaded = load(&vault.header, reader.as_ref(), &SegmentCache::Memory, 0).await;
    assert!(loaded.unwrap().is_some());
    let opened = open_state(&reader, vault.header.vault, &SegmentCache::Memory).await;
    let (opened, whole) = (opened.unwrap(), refolded(vault, name).await);
    assert_eq!(opened.hash, whole.hash);
    assert_eq!(opened.catalog, whole.catalog);
    assert_eq!(opened.index.next(), whole.index.next());
    assert_eq!(opened.index.absent(), whole.index.absent());
    assert_eq!(opened.hash, vault.state().hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_says_what_the_log_says_and_two_are_kept() {
    let (world, vault) = world().await;
    let mut roots = Vec::new();
    for n in 0..12 {
        roots.push(
            world
                .backup(&vault, &[body(n, 2000), body(n / 2, 500)])
                .await,
        );
        if n % 2 == 1 {
            checkpoint(&vault).await;
            loads_from_checkpoint(&world, &vault, "onsite").await;
        }
    }
    assert_eq!(vault.state().index.in_memory(), 0);
    loads_from_checkpoint(&world, &vault, "offsite").await;
    assert_eq!(vault.state().catalog.checkpoints.len(), 2);
    // One more run drops at the members what was copied there meanwhile.
    checkpoint(&vault).await;
    let folder = world.folder.path();
    for name in ["onsite", "offsite"] {
        assert!(walk(&folder.join(name), "checkpoints").len() <= 3, "{name}");
    }
    let (_, root) = &roots[3];
    let read = world.read(&vault, None, root).await;
    assert_eq!(read, [body(3, 2000), body(1, 500)]);
    world.node.shut_down().await;
}

/// Damages a pack at a site by one bit in its first frame.
pub(crate) fn damage(world: &World, vault: &Vault, name: &str, pack: PackOrdinal) {
    let id = vault.state().catalog.packs[&pack].id;
    let object = ObjectName::pack(vault.header.vault, id);
    let path = world.folder.path().join(name).join(object.as_str());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

pub(crate) fn data_pack(vault: &Vault) -> PackOrdinal {
    let state = vault.state();
    let mut packs = state.catalog.packs.iter();
    *packs.find(|(_, pack)| pack.kind == 0).unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_copy_is_mended_from_a_good_one() {
    let (world, vault) = world().await;
    let (_, root) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let pack = data_pack(&vault);
    damage(&world, &vault, "onsite", pack);
    // The restore falls over to the other copy.
    assert_eq!(world.read(&vault, None, &root).await, [body(1, 50_000)]);
    let info = vault.state().catalog.packs[&pack].clone();
    repair::pack(&vault, &site("onsite"), &info).await.unwrap();
    let only = site("onsite");
    assert_eq!(
        world.read(&vault, Some(&only), &root).await,
        [body(1, 50_000)]
    );
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_everywhere_is_sent_again() {
    let (world, vault) = world().await;
    let bodies = [body(1, 50_000), body(2, 100)];
    let (_, root) = world.backup(&vault, &bodies).await;
    world.everywhere(&vault).await;
    let pack = data_pack(&vault);
    damage(&world, &vault, "onsite", pack);
    damage(&world, &vault, "offsite", pack);
    let lost = {
        let state = vault.state();
        state
            .find(&"vault".parse().unwrap(), &root.refs[0])
            .unwrap()
    };
    repair::name_lost(&vault, vec![lost], "test").await.unwrap();
    // The chunk and the node above it are wanted again; the other chunk is known still.
    let (stream, ..) = world.open(&vault).await;
    let known = stream.answer(&[root.refs[0], root.refs[1], root.id]);
    assert_eq!(known, [false, true, false]);
    drop(stream);
    let (_, again) = world.backup(&vault, &bodies).await;
    assert_eq!(again.id, root.id);
    world.everywhere(&vault).await;
    assert!(vault.state().catalog.stale.is_empty());
    let scope = "vault".parse().unwrap();
    let (stream, ..) = world.open(&vault).await;
    assert_eq!(stream.answer(&[root.refs[0], root.id]), [true, true]);
    drop(stream);
    let sites = vault.read_sites(None).await.unwrap();
    let (reads, _) = holdfast_vault::fetch::locate(&vault.state(), &scope, &root.refs[..1]);
    for read in reads {
        assert!(vault.frames.fetch(&sites, &read).await.lost.is_empty());
    }
    world.node.shut_down().await;
}

/// A record can be read at the primary before its writer has folded it in. A replicator that copied it then would not find
/// what it names, and leave its key behind for ever.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_copied_before_it_is_folded() {
    let (world, vault) = world().await;
    let name = site("third");
    world.node.sites.add(name.clone(), "memory:third").unwrap();
    let target = world.node.sites.open(&name).await.unwrap().site;
    let early = Arc::new(std::sync::RwLock::new(vault.state().clone()));
    let (stream, ..) = world.open(&vault).await;
    let reference = {
        let state = vault.state();
        let key = state.catalog.keys.values().next().unwrap();
        key.reference
    };
    let source = vault.primary.site.clone();
    let budget = Budget::of(1 << 20);
    let started = Replicator::start(source, target.clone(), early.clone(), budget).await;
    let mut replicator = started.unwrap().unwrap();
    let level = async |replicator: &mut Replicator| {
        while replicator.step(None).await.unwrap().unwrap() != Step::Level {}
    };
    level(&mut replicator).await;
    let before = early.read().unwrap().chain.head;
    assert_eq!(replicator.head(), before);
    *early.write().unwrap() = vault.state().clone();
    level(&mut replicator).await;
    assert!(replicator.head() > before);
    let id = vault.header.vault;
    let object = ObjectName::session_key(id, reference.key, reference.generation);
    assert!(target.head(&object).await.unwrap().is_some());
    drop(stream);
    world.node.shut_down().await;
}

/// What records cost does not grow with those before them: one listing, from where the member stands on, for many.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_copied_with_one_listing() {
    let (world, vault) = world().await;
    // Handles of their own, whose requests nobody else makes.
    let (mut handles, options) = (Vec::new(), SiteOptions::default());
    for (name, url) in [
        ("onsite", vault.primary.site.url()),
        ("third", "memory:third"),
    ] {
        let opened = open_for_writing(&world.context, site(name), url, &options).await;
        handles.push(opened.unwrap().site);
    }
    let lists = || {
        handles
            .iter()
            .map(|handle| handle.counters().lists)
            .sum::<u64>()
    };
    let [source, target] = [0, 1].map(|n| handles[n].clone());
    let started =
        Replicator::start(source, target, vault.shared.clone(), Budget::of(1 << 20)).await;
    let mut replicator = started.unwrap().unwrap();
    while replicator.step(None).await.unwrap().unwrap() != Step::Level {}
    let before = (lists(), replicator.head());
    let streams = [
        world.open(&vault).await,
        world.open(&vault).await,
        world.open(&vault).await,
    ];
    let mut copied = 0;
    while replicator.step(None).await.unwrap().unwrap() != Step::Level {
        copied += 1;
    }
    assert!(copied >= streams.len() && replicator.head() > before.1);
    assert_eq!(lists(), before.0 + 1);
    drop(streams);
    world.node.shut_down().await;
}

/// The same sites with a node that has lost its data.
async fn restarted(world: World, id: VaultId) -> World {
    let certificates = world.node.placement.certificates(id).await.unwrap();
    world.node.shut_down().await;
    std::fs::remove_dir_all(world.folder.path().join("data")).unwrap();
    let again = node(&world.context, world.folder.path(), &world.key).await;
    let placement = &again.placement;
    placement
        .put_certificate(id, &certificates[0])
        .await
        .unwrap();
    again.find_and_take().await;
    World {
        node: again,
        ..world
    }
}

async fn last_of_first_epoch(vault: &Arc<Vault>) -> ObjectName {
    let log = LogReader::new(vault.primary.site.clone(), vault.header.vault);
    let slots = log.slots(Epoch(1), Slot(0)).await.unwrap();
    ObjectName::record(vault.header.vault, *slots.last().unwrap())
}

/// A primary that lost its last record or the seal of an epoch before, has a damaged record, or a damaged header is mended
/// from a member before anyone appends there.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_primary_is_mended_before_it_is_taken() {
    for what in [
        "last record gone",
        "seal gone",
        "record damaged",
        "header damaged",
    ] {
        let (world, vault) = world().await;
        // A second epoch, so that there is a seal.
        let id = vault.header.vault;
        drop(vault);
        let world = restarted(world, id).await;
        let vault = world.node.vault("db").unwrap();
        let (snapshot, root) = world.backup(&vault, &[body(1, 50_000)]).await;
        world.everywhere(&vault).await;
        let (folder, data) = (world.folder.path().to_owned(), world.folder.path());
        let head = vault.state().chain.head.unwrap();
        let object = match what {
            "header damaged" => ObjectName::header(id),
            "seal gone" => last_of_first_epoch(&vault).await,
            _ => ObjectName::record(id, head),
        };
        let certificates = world.node.placement.certificates(id).await.unwrap();
        world.node.shut_down().await;
        drop(vault);
        let path = folder.join("onsite").join(object.as_str());
        match what {
            "last record gone" | "seal gone" => std::fs::remove_file(&path).unwrap(),
            _ => std::fs::write(&path, "damaged").unwrap(),
        }
        std::fs::rename(data.join("data"), data.join("data-old")).unwrap();
        let again = node(&world.context, &folder, &world.key).await;
        let placement = &again.placement;
        placement
            .put_certificate(id, &certificates[0])
            .await
            .unwrap();
        again.find_and_take().await;
        let vault = again.vault("db").unwrap();
        assert!(
            vault.state().catalog.snapshots.contains_key(&snapshot),
            "{what}"
        );
        let world = World {
            node: again,
            ..world
        };
        world.everywhere(&vault).await;
        let read = world.read(&vault, Some(&site("onsite")), &root).await;
        assert_eq!(read, [body(1, 50_000)], "{what}");
        world.node.shut_down().await;
    }
}
