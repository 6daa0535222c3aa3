//! A primary that was cut off, went on committing, was left behind by a failover, and comes back.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_coordinator::Node;
use holdfast_coordinator::failover::{self, Accepted};
use holdfast_coordinator::salvage::{Emptied, Salvaged};
use holdfast_coordinator::vault::Vault;
use holdfast_coordinator::vault::collector::BringBack;
use holdfast_format::fact::{Cover, HoldPlaced};
use holdfast_format::{Certificate, Chunk, HoldId, SessionId};
use holdfast_store::SiteReader;
use holdfast_vault::branch::{close_branch, find_fork};
use holdfast_vault::replicate::{Replicator, Step};
use holdfast_vault::{
    Budget, Credentials, LogReader, Proposal, SegmentCache, open_state, open_state_from,
};

use crate::doubt::trash;
use crate::upkeep::checkpoint;
use crate::world::{World, body, node, site, world};

type Backup = (SessionId, Chunk, Vec<Bytes>);

async fn backup(world: &World, vault: &Arc<Vault>, bodies: &[Bytes]) -> Backup {
    let (id, root) = world.backup(vault, bodies).await;
    (id, root, bodies.to_vec())
}

/// Ends the world's node and starts another one in its place, with a data folder of its own. `meanwhile` happens to the sites
/// in between.
async fn another_node(
    world: World,
    vault: Arc<Vault>,
    data: &str,
    meanwhile: impl FnOnce(&Path),
) -> World {
    let header = vault.header.clone();
    let certificates = world
        .node
        .placement
        .certificates(header.vault)
        .await
        .unwrap();
    world.node.shut_down().await;
    drop(vault);
    let folder = world.folder.path().to_owned();
    std::fs::rename(folder.join("data"), folder.join(data)).unwrap();
    meanwhile(&folder);
    let again = node(&world.context, &folder, &world.key).await;
    again
        .placement
        .put_certificate(header.vault, &certificates[0])
        .await
        .unwrap();
    World {
        node: again,
        ..world
    }
}

/// The primary is gone, and the site that was cut off is all that another coordinator finds: it fails over there.
async fn left_behind(
    world: World,
    vault: Arc<Vault>,
    data: &str,
    (primary, other): (&str, &str),
) -> (World, Arc<Vault>) {
    let world = another_node(world, vault, data, |folder| {
        show(folder, other);
        hide(folder, primary);
    })
    .await;
    let vault = fail_over(&world, other).await;
    (world, vault)
}

pub(crate) async fn fail_over(world: &World, to: &str) -> Arc<Vault> {
    let (slot, to) = (world.node.find("db").unwrap(), site(to));
    let plan = failover::plan(&world.node, &slot, &to).await.unwrap();
    let moved = failover::carry_out(&world.node, &slot, &to, &plan, Accepted::Anything).await;
    moved.unwrap()
}

async fn owned(node: &Arc<Node>) -> Arc<Vault> {
    node.find_and_take().await;
    node.vault("db").unwrap()
}

pub(crate) async fn bring_back(world: &World, vault: &Arc<Vault>, name: &str) -> Salvaged {
    let back = ask_back(world, vault, name, Emptied::Filled).await;
    back.unwrap()
}

async fn ask_back(
    world: &World,
    vault: &Arc<Vault>,
    name: &str,
    emptied: Emptied,
) -> holdfast_coordinator::Result<Salvaged> {
    let (reply, back) = tokio::sync::oneshot::channel();
    let message = BringBack {
        node: world.node.clone(),
        site: site(name),
        emptied,
        reply,
    };
    vault.collector().unwrap().tell(message).await.unwrap();
    back.await.unwrap()
}

/// Puts something in a site's place that no coordinator takes for a site, or for room for one.
pub(crate) fn hide(folder: &Path, name: &str) {
    std::fs::write(folder.join(format!("{name}-away")), "away").unwrap();
    swap(folder, name);
}

/// In one step, so that a coordinator that looks meanwhile never finds the place empty.
pub(crate) fn swap(folder: &Path, name: &str) {
    let (one, other) = (folder.join(name), folder.join(format!("{name}-away")));
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &one, rustix::fs::CWD, &other, flags).unwrap();
}

pub(crate) fn show(folder: &Path, name: &str) {
    swap(folder, name);
    std::fs::remove_file(folder.join(format!("{name}-away"))).unwrap();
}

async fn check(world: &World, vault: &Arc<Vault>, all: &[&Backup]) {
    for name in ["onsite", "offsite"] {
        for (id, root, bodies) in all {
            assert!(vault.state().catalog.snapshots.contains_key(id), "{id}");
            assert_eq!(world.read(vault, Some(&site(name)), root).await, *bodies);
        }
    }
}

/// A vault, and what was backed up to it.
struct Story {
    world: World,
    vault: Arc<Vault>,
    all: Vec<Backup>,
    nodes: usize,
}

impl Story {
    async fn restart(self) -> Self {
        let data = format!("data-{}", self.nodes);
        let world = another_node(self.world, self.vault, &data, |_| {}).await;
        let vault = owned(&world.node).await;
        Self {
            world,
            vault,
            nodes: self.nodes + 1,
            ..self
        }
    }

    /// `primary` is cut off from `other`, goes on alone through so many epochs, is gone, is left behind, and comes back.
    async fn round(mut self, primary: &str, other: &str, epochs: u8) -> Self {
        let folder = self.world.folder.path().to_owned();
        let salt = self.nodes as u8 * 16;
        hide(&folder, other);
        let first = self.all.len();
        for n in 0..epochs {
            // Shares a chunk with history and one with the branch.
            let bodies = [
                body(1, 50_000),
                body(salt + n, 70_000),
                body(salt + 15, 1000),
            ];
            self.all
                .push(backup(&self.world, &self.vault, &bodies).await);
            if n + 1 < epochs {
                self = self.restart().await;
            }
        }
        let hold = HoldId([salt; 16]);
        let placed = HoldPlaced {
            hold,
            cover: Cover::Snapshot(self.all[first].0),
            why: "a trial".into(),
            who: "counsel".into(),
            until_millis: None,
            by_restore: false,
        };
        self.vault.append(Proposal::Hold(placed)).await.unwrap();

        let data = format!("data-{}", self.nodes);
        self.nodes += 1;
        (self.world, self.vault) =
            left_behind(self.world, self.vault, &data, (primary, other)).await;
        let after = backup(&self.world, &self.vault, &[body(salt + 14, 80_000)]).await;
        self.all.push(after);

        // The old primary is back. Twice, as after a crash in between.
        show(&folder, primary);
        // Whoever comes anew, with no memory at all, follows the survivor.
        self = self.restart().await;
        assert_eq!(self.vault.primary.site.name(), &site(other));
        let salvaged = bring_back(&self.world, &self.vault, primary).await;
        assert_eq!(salvaged.snapshots, u64::from(epochs), "{salvaged:?}");
        let again = bring_back(&self.world, &self.vault, primary).await;
        assert_eq!(again.snapshots, 0);
        assert!(self.vault.state().catalog.holds.contains_key(&hold));
        self.check().await;
        let more = [body(salt + 15, 1000), body(salt + 13, 10)];
        self.all.push(backup(&self.world, &self.vault, &more).await);
        self.check().await;
        self
    }

    async fn check(&self) {
        self.world.everywhere(&self.vault).await;
        let all: Vec<&Backup> = self.all.iter().collect();
        check(&self.world, &self.vault, &all).await;
    }
}

async fn begin() -> Story {
    let (world, vault) = world().await;
    let bodies = [body(1, 50_000), body(2, 60_000)];
    let before = backup(&world, &vault, &bodies).await;
    let story = Story {
        world,
        vault,
        all: vec![before],
        nodes: 1,
    };
    story.check().await;
    story
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_of_one_epoch_comes_back() {
    let story = begin().await.round("onsite", "offsite", 1).await;
    // Whoever opens the vault from either site sees the whole history.
    let story = story.restart().await;
    story.check().await;
    story.world.node.shut_down().await;
}

/// The owner that a failover deposed hangs, and goes on once its branch is closed. In place of its own record the survivor's
/// seal is read at its primary then, and the other site holds that very seal: its snapshots must not be called protected.
#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_owner_does_not_take_the_survivors_seal_for_its_record() {
    let story = begin().await;
    let open = async |name| story.world.node.sites.open(&site(name)).await.unwrap().site;
    let (source, target) = (open("onsite").await, open("offsite").await);
    let fold = Arc::new(std::sync::RwLock::new(story.vault.state().clone()));
    let budget = Budget::of(1 << 20);
    let started = Replicator::start(source.clone(), target, fold.clone(), budget).await;
    let mut replicator = started.unwrap().unwrap();
    let before = replicator.head();
    assert_eq!(before, story.vault.state().chain.head);
    let (id, epoch) = (story.vault.header.vault, story.vault.claimant.epoch);
    let story = story.round("onsite", "offsite", 1).await;
    // What it appended there, up to the branch's seal.
    let mut state = fold.read().unwrap().clone();
    let mut branch = LogReader::of_branch(source, id, epoch);
    assert!(
        branch
            .follow(&mut state, &SegmentCache::Memory)
            .await
            .is_err()
    );
    assert!(state.chain.head > before);
    *fold.write().unwrap() = state;
    // The last one that the member has is looked at again.
    let again = replicator.step(None).await.unwrap().unwrap();
    assert_eq!(Some(again), before.map(Step::Copied));
    let fenced = replicator.step(None).await.unwrap().unwrap_err();
    assert!(fenced.fences(epoch), "{fenced:?}");
    assert_eq!(replicator.head(), before);
    story.world.node.shut_down().await;
}

/// A failback closed the branch and went no further, since the survivor is gone: the site is the primary again, and its own
/// history leaves the branch out.
///
/// Gives the history's snapshot and the branch's, which share a chunk; the survivor is hidden.
async fn the_primary_with_a_branch_of_its_own() -> (World, Arc<Vault>, Backup, Backup) {
    let Story {
        world,
        vault,
        mut all,
        ..
    } = begin().await;
    let folder = world.folder.path().to_owned();
    hide(&folder, "offsite");
    let branch = backup(&world, &vault, &[body(1, 50_000), body(7, 70_000)]).await;
    let (world, vault) = left_behind(world, vault, "data-1", ("onsite", "offsite")).await;
    show(&folder, "onsite");
    let left = world.node.sites.open(&site("onsite")).await.unwrap().site;
    let (here, there): (Arc<dyn SiteReader>, Arc<dyn SiteReader>) =
        (vault.primary.site.clone(), left.clone());
    let state = vault.state().clone();
    let fork = find_fork(&here, &there, &state).await.unwrap().unwrap();
    let certificates = world.node.placement.certificates(state.header.vault).await;
    let credentials = Credentials {
        coordinator: "closer".into(),
        key: world.key.clone(),
        certificate: Certificate::decode(&certificates.unwrap()[0]).unwrap(),
    };
    let claimant = vault.claimant;
    let context = &world.context;
    close_branch(context, &left, &credentials, claimant, &state, &fork)
        .await
        .unwrap();
    hide(&folder, "offsite");
    let vault = fail_over(&world, "onsite").await;
    assert!(!vault.state().catalog.snapshots.contains_key(&branch.0));
    (world, vault, all.remove(0), branch)
}

/// The owner that a failover left behind saved its fold while it was cut off. The site comes back, and whoever opens it must
/// not begin with that fold.
#[tokio::test(flavor = "multi_thread")]
async fn a_fold_that_was_saved_in_a_branch_is_not_gone_on_from() {
    let story = begin().await;
    let folder = story.world.folder.path().to_owned();
    hide(&folder, "offsite");
    // Another epoch, all of which is a branch.
    let Story { world, vault, .. } = story.restart().await;
    backup(&world, &vault, &[body(7, 70_000)]).await;
    checkpoint(&vault).await;
    // What another coordinator that stood by had folded by then.
    let in_branch = vault.state().clone();
    let (world, vault) = left_behind(world, vault, "data-2", ("onsite", "offsite")).await;
    show(&folder, "onsite");
    assert_eq!(bring_back(&world, &vault, "onsite").await.snapshots, 1);
    world.everywhere(&vault).await;
    let onsite: Arc<dyn SiteReader> = world.node.sites.open(&site("onsite")).await.unwrap().site;
    let opened = open_state(&onsite, vault.header.vault, &SegmentCache::Memory).await;
    assert_eq!(opened.unwrap().hash, vault.state().hash);
    let (id, memory) = (vault.header.vault, SegmentCache::Memory);
    let opened = open_state_from(&onsite, id, &memory, Some(&in_branch)).await;
    assert_eq!(opened.unwrap().hash, vault.state().hash);
    let now = vault.state().clone();
    let opened = open_state_from(&onsite, id, &memory, Some(&now)).await;
    assert_eq!(opened.unwrap().hash, now.hash);
    world.node.shut_down().await;
}

/// The branch comes back from the primary itself.
async fn comes_back(world: &World, vault: &Arc<Vault>, (id, root, bodies): &Backup) {
    let salvaged = bring_back(world, vault, "onsite").await;
    assert_eq!(salvaged.snapshots, 1);
    let own = site("onsite");
    assert_eq!(world.read(vault, Some(&own), root).await, *bodies);
    assert!(vault.state().catalog.snapshots.contains_key(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_of_a_site_that_is_the_primary_again_comes_back() {
    let (world, vault, _, branch) = the_primary_with_a_branch_of_its_own().await;
    comes_back(&world, &vault, &branch).await;
    show(world.folder.path(), "offsite");
    world.node.shut_down().await;
}

/// No snapshot of the history needs the chunk that both share any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_branch_at_the_primary_needs_is_not_collected() {
    let (world, vault, before, branch) = the_primary_with_a_branch_of_its_own().await;
    show(world.folder.path(), "offsite");
    bring_back(&world, &vault, "offsite").await;
    trash(&vault, before.0).await;
    for _ in 0..2 {
        world.everywhere(&vault).await;
        // Refused, with the reason; what counts is that the branch comes back whole.
        let _ = world.try_collect(&vault).await;
    }
    comes_back(&world, &vault, &branch).await;
    world.collect(&vault).await;
    world.node.shut_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_of_several_epochs_come_back_again_and_again() {
    let mut story = begin().await.round("onsite", "offsite", 3).await;
    story = story.round("offsite", "onsite", 2).await;
    story = story.round("onsite", "offsite", 1).await;
    let story = story.restart().await;
    story.check().await;
    story.world.node.shut_down().await;
}

/// The store knows the vault, and numbers that are long used. A site that is away may show more of them than the one that is
/// read.
#[tokio::test(flavor = "multi_thread")]
async fn a_counter_from_a_backup_is_not_believed() {
    let story = begin().await;
    let old = story.vault.claimant.epoch;
    let mut story = story.restart().await;
    for _ in 0..2 {
        story = story.restart().await;
    }
    let last = story.vault.claimant.epoch;
    assert!(old < last);
    // The data folder of the first run, with its placement store.
    let world = another_node(story.world, story.vault, "data-last", |folder| {
        std::fs::rename(folder.join("data-1"), folder.join("data")).unwrap();
        hide(folder, "offsite");
    })
    .await;
    let vault = owned(&world.node).await;
    let epoch = vault.claimant.epoch;
    assert!(epoch.0 > last.0 + (1 << 20), "{last}, then {epoch}");
    let counter = world.node.placement.epoch_counter(vault.header.vault).await;
    assert_eq!(counter.unwrap(), epoch);
    show(world.folder.path(), "offsite");
    world.everywhere(&vault).await;
    world.node.shut_down().await;
}

/// A new, empty folder in the place of the one that was destroyed.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_site_fills_up_again() {
    let (world, vault) = world().await;
    let folder = world.folder.path().to_owned();
    let before = backup(&world, &vault, &[body(1, 50_000)]).await;
    world.everywhere(&vault).await;
    std::fs::remove_dir_all(folder.join("onsite")).unwrap();
    let vault = fail_over(&world, "offsite").await;
    let after = backup(&world, &vault, &[body(2, 60_000)]).await;
    let refused = ask_back(&world, &vault, "onsite", Emptied::Refused).await;
    let why = refused.unwrap_err().to_string();
    assert!(
        why.contains("holdfast failback --all --site onsite"),
        "{why}"
    );
    assert!(!folder.join("onsite").exists());
    assert_eq!(
        bring_back(&world, &vault, "onsite").await,
        Salvaged::default()
    );
    world.everywhere(&vault).await;
    check(&world, &vault, &[&before, &after]).await;
    world.node.shut_down().await;
}
