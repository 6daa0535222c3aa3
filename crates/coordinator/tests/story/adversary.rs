//! Ways to lose a vault that were once open: each was tried by a reviewer, and failed here before it was closed.

use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::failover::{self, Accepted, Plan};
use holdfast_coordinator::salvage::{Emptied, Salvaged};
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::collector::BringBack;
use holdfast_format::fact::{Cover, HoldPlaced, PolicySet, SessionOpened};
use holdfast_format::{
    DataKey, Epoch, Generation, HoldId, KeyId, ObjectName, Scope, SessionId, SessionKey, Suite,
};
use holdfast_store::SiteReader;
use holdfast_vault::fetch::{FrameReader, locate};
use holdfast_vault::replicate::{Replicator, Step};
use holdfast_vault::{Budget, Commit, Proposal, SegmentCache, open_state};

use crate::doubt::trash;
use crate::failback::{hide, show, swap};
use crate::world::{World, body, node, site, walk, world};

/// Whether a vault can be opened again from its primary.
async fn opens_again(vault: &Vault) -> bool {
    let reader: Arc<dyn SiteReader> = vault.primary.site.clone();
    let id = vault.header.vault;
    open_state(&reader, id, &SegmentCache::Memory).await.is_ok()
}

/// A person who accepts what the plan says.
fn as_seen(plan: &Plan) -> Accepted {
    match plan.loses_nothing {
        true => Accepted::Nothing,
        false => Accepted::Anything,
    }
}

async fn fail_over(world: &World) -> holdfast_coordinator::Result<Arc<Vault>> {
    let (slot, to) = (world.node.find("db").unwrap(), site("offsite"));
    let plan = failover::plan(&world.node, &slot, &to).await?;
    failover::carry_out(&world.node, &slot, &to, &plan, as_seen(&plan)).await
}

/// Both opens pass the check against the state as it stands; the fold takes one. The record must not hold both.
#[tokio::test(flavor = "multi_thread")]
async fn one_data_key_is_not_opened_twice_in_one_record() {
    let (world, vault) = world().await;
    let id = vault.header.vault;
    let (key, secret) = (
        KeyId(world.context.random()),
        DataKey::new(Suite::XChaCha20Poly1305, world.context.random()),
    );
    let open = |scope: &str| {
        let sealed_in: Scope = "vault".parse().unwrap();
        let recipients = &world.recipients;
        let sealed =
            SessionKey::seal(id, key, Generation(1), &sealed_in, &secret, recipients).unwrap();
        Proposal::Open(SessionOpened {
            session: SessionId(world.context.random()),
            source: "files".parse().unwrap(),
            scope: scope.parse().unwrap(),
            key: sealed.reference,
            agent: "a".into(),
            tags: vec![],
        })
    };
    // An append that is under way, so that the two opens wait for the next record together.
    let busy = Proposal::Policy(PolicySet {
        text: "version = 1".into(),
        who: "test".into(),
    });
    let (_, one, other) = tokio::join!(
        vault.append(busy),
        vault.append(open("vault")),
        vault.append(open("agent/mallory"))
    );
    assert!(one.is_ok() != other.is_ok());
    assert!(!vault.stop.is_cancelled() && opens_again(&vault).await);
    world.node.shut_down().await;
}

/// A record that cannot be made costs whoever asked for it, not the vault.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_does_not_stop_the_writer() {
    let (world, vault) = world().await;
    let big = Proposal::Policy(PolicySet {
        text: "x".repeat(64 << 20),
        who: "test".into(),
    });
    assert!(vault.append(big).await.is_err());
    world.backup(&vault, &[body(1, 1000)]).await;
    assert!(opens_again(&vault).await);
    world.node.shut_down().await;
}

/// A frame that no footer can hold would stop every replicator at the record that names it.
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_short_to_be_one_is_refused() {
    let (world, vault) = world().await;
    let (mut stream, mut sealer, _) = world.open(&vault).await;
    let mut rng = world.context.fork_random();
    let data = world.keys.data(body(1, 5_000));
    let mut frame = sealer.seal(&mut rng, std::slice::from_ref(&data)).unwrap();
    frame.sealed = bytes::Bytes::from_static(b"short");
    assert!(stream.frame(1, frame).is_err());
    world.everywhere(&vault).await;
    world.node.shut_down().await;
}

/// A member that catches up past a collection: the snapshot that it holds the commit of restores from it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_catches_up_past_a_rewrite_holds_what_it_names() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let bodies = [body(1, 50_000), body(2, 900_000)];
    let (first, _) = world.backup(&vault, &bodies).await;
    let (kept, root) = world.backup(&vault, &[body(1, 50_000), body(9, 10)]).await;
    let at = vault.state().catalog.snapshots[&kept].committed_at;
    trash(&vault, first).await;
    hide(world.folder.path(), "offsite");
    world.collect(&vault).await;
    world
        .node
        .sites
        .add(site("third"), "memory:adversary")
        .unwrap();
    let third = world.node.sites.open(&site("third")).await.unwrap().site;
    let (source, budget) = (vault.primary.site.clone(), Budget::of(1 << 20));
    let started = Replicator::start(source, third.clone(), vault.shared.clone(), budget).await;
    let mut replicator = started.unwrap().unwrap();
    while replicator.head().is_none_or(|head| head < at) {
        let step = replicator.step(None).await.unwrap().unwrap();
        assert!(matches!(step, Step::Copied(_)));
    }
    let reader: Arc<dyn SiteReader> = third;
    let id = vault.header.vault;
    let state = open_state(&reader, id, &SegmentCache::Memory)
        .await
        .unwrap();
    assert!(state.catalog.snapshots.contains_key(&kept));
    let (reads, unknown) = locate(&state, &"vault".parse().unwrap(), &root.refs);
    assert!(unknown.is_empty());
    for read in reads {
        let frames = FrameReader::new(id);
        let fetched = frames.fetch(std::slice::from_ref(&reader), &read).await;
        assert!(fetched.lost.is_empty(), "{:?}", fetched.lost);
    }
    show(world.folder.path(), "offsite");
    world.node.shut_down().await;
}

/// A member that catches up past a collection: until the record that condemns stands there, it shows the snapshot as live,
/// and must hold the key that it is under. After a failover to it new snapshots would reuse what they cannot read.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_catches_up_past_a_condemned_key_holds_it() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let (first, _) = world.backup(&vault, &[body(1, 50_000)]).await;
    let (at, key) = {
        let state = vault.state();
        let mut keys = state.catalog.keys.values();
        let at = state.catalog.snapshots[&first].committed_at;
        (at, keys.next_back().unwrap().reference)
    };
    trash(&vault, first).await;
    // The condemn record stands at the primary, and nothing is swept.
    hide(world.folder.path(), "offsite");
    world.collect(&vault).await;
    assert!(vault.state().catalog.keys[&key.key].condemned.is_some());
    let third = site("third");
    (world.node.sites)
        .add(third.clone(), "memory:catches-up")
        .unwrap();
    let third = world.node.sites.open(&third).await.unwrap().site;
    let (source, budget) = (vault.primary.site.clone(), Budget::of(1 << 20));
    let started = Replicator::start(source, third.clone(), vault.shared.clone(), budget).await;
    let mut replicator = started.unwrap().unwrap();
    while replicator.head().is_none_or(|head| head < at) {
        let step = replicator.step(None).await.unwrap().unwrap();
        assert!(matches!(step, Step::Copied(_)));
    }
    let object = ObjectName::session_key(vault.header.vault, key.key, key.generation);
    assert!(third.head(&object).await.unwrap().is_some());
    show(world.folder.path(), "offsite");
    world.node.shut_down().await;
}

/// A node that names what was given up meanwhile: an agent that held on to an old promise sends one. It is refused when it is named, and
/// by the commit, and whatever was sent again by then would be another chunk.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_not_committed_again() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let (first, _) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    trash(&vault, first).await;
    world.collect(&vault).await;
    let gone = world.keys.data(body(1, 50_000)).id;
    let (mut stream, mut sealer, session) = world.open(&vault).await;
    assert_eq!(stream.answer(&[gone]), [false]);
    let root = world
        .keys
        .node(bytes::Bytes::from_static(b"root"), vec![gone]);
    let mut rng = world.context.fork_random();
    let frame = sealer.seal(&mut rng, std::slice::from_ref(&root)).unwrap();
    stream.frame(1, frame).unwrap();
    let commit = Commit {
        root: root.id,
        files: 1,
        directories: 1,
        bytes: 3,
        problems: 0,
    };
    let finished = stream.finish(commit).await;
    assert!(!matches!(finished, Ok(Ok(_))), "{finished:?}");
    assert!(!vault.state().catalog.snapshots.contains_key(&session));
    assert!(opens_again(&vault).await);
    world.node.shut_down().await;
}

/// A pack that was written to a member's old disk while it was made is not taken to be on its new one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_disk_held_is_copied_again() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let (mut stream, mut sealer, _) = world.open(&vault).await;
    world.everywhere(&vault).await;
    let mut rng = world.context.fork_random();
    let data = world.keys.data(body(1, 50_000));
    let root = world
        .keys
        .node(bytes::Bytes::from_static(b"root"), vec![data.id]);
    let sealed = sealer.seal(&mut rng, std::slice::from_ref(&data)).unwrap();
    stream.frame(1, sealed).unwrap();
    stream.send_off();
    let batch = stream.next_batch().await.unwrap();
    let packs = |name: &str| walk(&world.folder.path().join(name), "packs").len();
    while packs("offsite") == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::remove_dir_all(world.folder.path().join("offsite")).unwrap();
    bring_back(&world, &vault, "offsite").await.unwrap();
    world.everywhere(&vault).await;
    stream.make_durable(batch).await.unwrap();
    let sealed = sealer.seal(&mut rng, std::slice::from_ref(&root)).unwrap();
    stream.frame(2, sealed).unwrap();
    let commit = Commit {
        root: root.id,
        files: 1,
        directories: 1,
        bytes: 3,
        problems: 0,
    };
    stream.finish(commit).await.unwrap().unwrap();
    world.everywhere(&vault).await;
    assert_eq!(packs("onsite"), packs("offsite"));
    world.node.shut_down().await;
}

async fn bring_back(
    world: &World,
    vault: &Arc<Vault>,
    name: &str,
) -> holdfast_coordinator::Result<Salvaged> {
    let (reply, back) = tokio::sync::oneshot::channel();
    let message = BringBack {
        node: world.node.clone(),
        site: site(name),
        emptied: Emptied::Filled,
        reply,
    };
    vault.collector().unwrap().tell(message).await.unwrap();
    back.await.unwrap()
}

/// A hold that was acknowledged at a cut-off primary, on a snapshot that the survivor gives up: the failback does not end,
/// and the bytes stay where they lie.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_branch_holds_is_not_swept() {
    let (world, vault) = world().await;
    let folder = world.folder.path().to_owned();
    let (first, _) = world.backup(&vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    let id = vault.header.vault;
    hide(&folder, "offsite");
    let hold = HoldPlaced {
        hold: HoldId([7; 16]),
        cover: Cover::Snapshot(first),
        why: "law".into(),
        who: "counsel".into(),
        until_millis: None,
        by_restore: false,
    };
    vault.append(Proposal::Hold(hold)).await.unwrap();
    let certificates = world.node.placement.certificates(id).await.unwrap();
    world.node.shut_down().await;
    drop(vault);
    show(&folder, "offsite");
    hide(&folder, "onsite");
    std::fs::rename(folder.join("data"), folder.join("data-1")).unwrap();
    let survivor = node(&world.context, &folder, &world.key).await;
    let placement = &survivor.placement;
    placement
        .put_certificate(id, &certificates[0])
        .await
        .unwrap();
    let world = World {
        node: survivor,
        ..world
    };
    let vault = fail_over(&world).await.unwrap();
    trash(&vault, first).await;
    world.collect(&vault).await;
    show(&folder, "onsite");
    let refused = bring_back(&world, &vault, "onsite").await.unwrap_err();
    assert!(
        refused.to_string().contains(&first.to_string()),
        "{refused}"
    );
    let (swept, _) = world.collect(&vault).await;
    assert!(!swept);
    assert!(!walk(&folder.join("onsite"), "packs").is_empty());
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_failover_claims_what_its_seal_names() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let vault = fail_over(&world).await.unwrap();
    assert_eq!(vault.claimant.epoch, Epoch(2));
    world.node.shut_down().await;
}

/// Two people ask at once. The second finds the vault moved; nothing is sealed that follows by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_is_asked_for_twice_moves_the_vault_once() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let (slot, to) = (world.node.find("db").unwrap(), site("offsite"));
    let plan = failover::plan(&world.node, &slot, &to).await.unwrap();
    let (one, other) = tokio::join!(
        failover::carry_out(&world.node, &slot, &to, &plan, Accepted::Nothing),
        failover::carry_out(&world.node, &slot, &to, &plan, Accepted::Nothing)
    );
    assert!(one.is_ok() != other.is_ok());
    let vault = world.node.vault("db").unwrap();
    assert_eq!(vault.primary.site.name(), &to);
    world.everywhere(&vault).await;
    let (_, root) = world.backup(&vault, &[body(1, 1000)]).await;
    world.everywhere(&vault).await;
    let read = world.read(&vault, Some(&site("onsite")), &root).await;
    assert_eq!(read, [body(1, 1000)]);
    world.node.shut_down().await;
}

/// A lease that ended, as after a pause of the process that was longer, is taken anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ended_is_taken_anew() {
    let (world, vault) = world().await;
    world.everywhere(&vault).await;
    let lease = world.node.lease();
    world.node.placement.deregister(&lease).await.unwrap();
    let moved = fail_over(&world).await;
    let owned = async {
        while world.node.vault("db").is_err() {
            world.node.find_and_take().await;
            tokio::task::yield_now().await;
        }
    };
    let owned = tokio::time::timeout(Duration::from_secs(60), owned).await;
    owned.unwrap_or_else(|_| panic!("never owned again; the failover: {:?}", moved.err()));
    assert_ne!(world.node.lease(), lease);
    world.node.shut_down().await;
}

/// The on-site disk is cut off with a snapshot that only it has, is replaced by an empty one, and what its snapshot shares
/// with history is given up meanwhile, keys and all. Then the old disk comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_after_its_shared_keys_were_swept() {
    let (world, vault) = world().await;
    let folder = world.folder.path().to_owned();
    let (shared, fresh) = (body(1, 50_000), body(2, 40_000));
    let (first, _) = world.backup(&vault, std::slice::from_ref(&shared)).await;
    world.everywhere(&vault).await;
    hide(&folder, "offsite");
    let only_here = [shared, fresh];
    let (second, root) = world.backup(&vault, &only_here).await;
    show(&folder, "offsite");
    hide(&folder, "onsite");
    let slot = world.node.find("db").unwrap();
    let to = site("offsite");
    let plan = failover::plan(&world.node, &slot, &to).await.unwrap();
    let moved = failover::carry_out(&world.node, &slot, &to, &plan, Accepted::Anything).await;
    let vault = moved.unwrap();
    assert!(!vault.state().catalog.snapshots.contains_key(&second));
    std::fs::remove_file(folder.join("onsite")).unwrap();
    bring_back(&world, &vault, "onsite").await.unwrap();
    world.backup(&vault, &[body(3, 1000)]).await;
    world.everywhere(&vault).await;
    trash(&vault, first).await;
    while !world.collect(&vault).await.0 {
        world.everywhere(&vault).await;
    }
    swap(&folder, "onsite");
    let salvaged = bring_back(&world, &vault, "onsite").await.unwrap();
    assert_eq!(salvaged.snapshots, 1, "{salvaged:?}");
    world.everywhere(&vault).await;
    for name in ["onsite", "offsite"] {
        let read = world.read(&vault, Some(&site(name)), &root).await;
        assert_eq!(read, only_here);
    }
    world.node.shut_down().await;
}
