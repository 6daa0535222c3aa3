//! The checks of a history that has settled: each invariant, by its number, on what lies at the sites.
//!
//! State: none. Every predicate is one of `holdfast_vault::invariant`; here is only what it is asked of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::Error;
use holdfast_format::{Position, SiteName, Slot, SnapshotId};
use holdfast_store::SiteReader;
use holdfast_vault::invariant::{self, Slotted};
use holdfast_vault::{LogReader, State};

use crate::disk::Disk;
use crate::forks;
use crate::operator::BY_A_PERSON;
use crate::process::Process;
use crate::restore;
use crate::tree::Tree;
use crate::world::World;

/// Everything that is wrong.
pub async fn all(world: &Arc<World>) -> Vec<String> {
    let mut found = Vec::new();
    let folds = world.watch.folds();
    let Some(owner) = world.last_owner() else {
        return vec!["liveness: nobody owns the vault".into()];
    };
    let vault = match owner.node.vault(&world.vault_name()) {
        Ok(vault) => vault,
        Err(error) => return vec![error.to_string()],
    };
    let primary = vault.primary.site.name().clone();
    let members: BTreeSet<SiteName> = vault.state().catalog.members.keys().cloned().collect();
    if members.is_empty() {
        return vec!["I9: the vault's history has no members: what founded it is not in it".into()];
    }
    let (head, hash) = (vault.state().chain.head, vault.state().hash);
    let must_be_there = world.model().must_be_there();
    let mut histories: BTreeMap<SiteName, Vec<(Position, holdfast_format::Hash)>> = BTreeMap::new();
    for disk in &world.disks {
        let site = disk.site_name().clone();
        if !members.contains(&site) {
            continue;
        }
        let Some(state) = folds.get(&site) else {
            found.push(format!("I3: the log at site {site} does not read"));
            continue;
        };
        let at = |breach: String| format!("{breach} (site {site})");
        let names: BTreeSet<String> = disk.names("").into_iter().collect();
        let given_up = |_: &SnapshotId| false;
        let checks = [
            invariant::i1_snapshots_are_whole(state),
            invariant::i2_live_is_there(state, &names),
            invariant::i6_scopes_are_apart(state),
            invariant::i9_acknowledged_stands(state, must_be_there.iter().copied(), given_up),
        ];
        found.extend(checks.into_iter().filter_map(Result::err).map(at));
        match invariant::i7_garbage_is_gone(state, &names) {
            Ok(leaks) => (0..leaks).for_each(|_| world.trace.count("packs that leaked")),
            Err(breach) => found.push(at(breach)),
        }
        // One record may be on its way into the owner's own fold.
        if state.chain.head == head && state.hash != hash {
            found.push(at(
                "every fold of the same log gives the same hash: it does not".into(),
            ));
        }
        found.extend(fenced(disk, world).await.into_iter().map(at));
        histories.insert(site.clone(), history(disk, world).await);
    }
    if let Some(here) = histories.get(&primary) {
        for (site, there) in &histories {
            if let Err(breach) = invariant::i3_prefix(there, here) {
                found.push(format!("{breach} (site {site})"));
            }
        }
    }
    found.extend(forks::claimed_twice(world).await);
    found.extend(restores(world, &owner.service, &members).await);
    if world.follows() {
        found.extend(leads_to(world, &owner).await);
    }
    found
}

/// No more was left behind than the policy accepts, where no person said otherwise.
///
/// What its owner acknowledged counts. Where an owner was gone, or out of placement's sight, only what it had told of: nobody else
/// knew more. Placement that went back to an older copy knew less than that.
pub async fn left_behind(world: &World, accepted: Duration) -> Vec<String> {
    let counts = world.trace.counts();
    let was = |what: &[&str]| what.iter().any(|fault| counts.contains_key(*fault));
    if was(&[BY_A_PERSON, "fault: RestorePlacement"]) {
        return Vec::new();
    }
    let gone = [
        "fault: Crash",
        "fault: Pause",
        "fault: LoseLease",
        "fault: CutPlacement",
    ];
    let told_only = was(&gone) || was(&["fault: PlacementDead", "fault: Stop"]);
    let branches = forks::left_behind(world, told_only).await;
    branches
        .iter()
        .for_each(|_| world.trace.count("branches that the policy made"));
    let long = branches
        .into_iter()
        .filter(|left| left.millis > accepted.as_millis() as i64);
    long.map(|left| {
        format!(
            "loss: {} s of changes were left behind at site {} from {} on, and {} s are accepted",
            left.millis / 1000,
            left.site,
            left.from,
            accepted.as_secs()
        )
    })
    .collect()
}

/// Whichever coordinator is asked, it is the owner or names it.
async fn leads_to(world: &World, owner: &Process) -> Vec<String> {
    let mut found = Vec::new();
    for process in world.living() {
        let asked = process.node.reach(&world.vault_name()).await;
        let right = match &asked {
            Ok(_) => process.name == owner.name,
            Err(Error::Elsewhere(there)) => there.owner == owner.name,
            Err(_) => false,
        };
        if !right {
            let (asked, why) = (&process.name, asked.err());
            found.push(format!(
                "liveness: who asks {asked} is not led to {}: {why:?}",
                owner.name
            ));
        }
    }
    found
}

/// I4 at one site, over all its epochs.
async fn fenced(disk: &Arc<Disk>, world: &World) -> Vec<String> {
    let site: Arc<dyn SiteReader> = disk.clone();
    let reader = LogReader::new(site, world.header.vault);
    let mut found = Vec::new();
    for epoch in reader.epochs().await.unwrap_or_default() {
        let mut slots = Vec::new();
        for at in reader.slots(epoch, Slot(0)).await.unwrap_or_default() {
            match reader.read_raw(at).await {
                Ok(Some(record)) if record.seal().is_some() => slots.push(Slotted::Seal),
                Ok(Some(record)) => slots.push(Slotted::Record(record.body.nonce)),
                // Damage is another check's business.
                _ => {}
            }
        }
        if let Err(breach) = invariant::i4_fenced(&slots) {
            found.push(format!("{breach} in epoch {epoch}"));
        }
    }
    found
}

/// The history at a site: each record's place and hash.
async fn history(disk: &Arc<Disk>, world: &World) -> Vec<(Position, holdfast_format::Hash)> {
    let site: Arc<dyn SiteReader> = disk.clone();
    let mut reader = LogReader::new(site, world.header.vault);
    let mut state = State::start(world.header.clone());
    let mut history = Vec::new();
    loop {
        let at = state.chain.next();
        match reader.read(at).await {
            Ok(Some(record)) if state.take(&record).is_ok() => history.push((at, record.hash)),
            _ => return history,
        }
    }
}

/// I1 and I8: every snapshot, through the coordinator and from each site alone, is what the model says.
async fn restores(
    world: &Arc<World>,
    service: &holdfast_coordinator::services::Service,
    members: &BTreeSet<SiteName>,
) -> Vec<String> {
    let mut found = Vec::new();
    let must_be_there = world.model().must_be_there();
    for id in &must_be_there {
        match restore::through(world, service, *id).await {
            Ok(Ok(tree)) => compare(world, id, &tree, "through a coordinator"),
            Ok(Err(why)) => found.push(format!("I1: snapshot {id}: {why}")),
            Err(error) => found.push(format!("I1: snapshot {id} is not restored: {error}")),
        }
    }
    for disk in &world.disks {
        let site = disk.site_name();
        if !members.contains(site) {
            continue;
        }
        match restore::from_site(world, disk).await {
            Ok(all) => {
                let there: BTreeSet<SnapshotId> = all.iter().map(|(id, _)| *id).collect();
                for id in must_be_there.difference(&there) {
                    found.push(format!("I1: snapshot {id} is not at site {site}"));
                }
                for (id, restored) in all {
                    match restored {
                        Ok(tree) => compare(world, &id, &tree, site.as_str()),
                        Err(why) => found.push(format!("I1: snapshot {id} at site {site}: {why}")),
                    }
                }
            }
            Err(error) => found.push(format!("I1: site {site} alone: {error}")),
        }
    }
    found.extend(world.watch.breaches());
    found
}

/// Compares what was restored with the model.
pub fn compare(world: &World, id: &SnapshotId, tree: &Tree, how: &str) {
    world.trace.count("restores compared");
    let wrong = match world.model().get(id) {
        None => Some(format!(
            "I8: snapshot {id}, which nobody made, was restored {how}"
        )),
        Some(entry) if entry.tree != *tree => {
            Some(format!("I8: snapshot {id} was restored wrong {how}"))
        }
        Some(_) => None,
    };
    if let Some(wrong) = wrong {
        world.watch.breach(wrong);
    }
}

/// I1 at the moment when an agent is told that its snapshot is protected: each site alone has it.
pub async fn protected(world: &Arc<World>, id: SnapshotId) {
    let members: Vec<SiteName> = {
        let owner = world.last_owner();
        let vault = owner.and_then(|owner| owner.node.vault(&world.vault_name()).ok());
        vault.map_or_else(Vec::new, |vault| {
            vault.state().catalog.members.keys().cloned().collect()
        })
    };
    for disk in world
        .disks
        .iter()
        .filter(|disk| members.contains(disk.site_name()))
    {
        let site = disk.site_name();
        let wrong = match restore::from_site(world, disk).await {
            Ok(all) => match all.into_iter().find(|(there, _)| *there == id) {
                Some((_, Ok(tree))) => {
                    compare(world, &id, &tree, site.as_str());
                    None
                }
                Some((_, Err(why))) => Some(why),
                None => Some("it is not there".into()),
            },
            Err(error) => Some(error.to_string()),
        };
        // Somebody may have forgotten it, and a collection taken it away, by now.
        let must_stand = || world.model().must_be_there().contains(&id);
        if let Some(why) = wrong.filter(|_| must_stand()) {
            world.watch.breach(format!(
                "I1: snapshot {id} was told to be protected, and from site {site} alone: {why}"
            ));
        }
    }
}
