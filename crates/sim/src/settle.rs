//! Everything settles: faults stop, and whatever is pending has to come to its end (liveness).
//!
//! State: none. The operator does what the runbook says: starts what is down, brings back what was left behind, repairs what
//! has rotted, collects what is garbage.

use std::sync::Arc;
use std::time::Duration;

use holdfast_coordinator::vault::Vault;
use holdfast_vault::fold::catalog::Trash;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::operator;
use crate::process::{LEASE, Process};
use crate::world::{COORDINATORS, SITES, World};

/// How long what was under way may take to end.
const TASKS_END_WITHIN: Duration = Duration::from_secs(3600);

/// How long until some coordinator owns the vault.
const OWNED_WITHIN: Duration = Duration::from_secs(900);

/// How long until every site has everything.
const LEVEL_WITHIN: Duration = Duration::from_secs(1800);

/// How long until all garbage is gone: sessions of former owners are ended after [`holdfast_vault::collect::mark::RETURN_WITHIN`].
const CLEAN_WITHIN: Duration = Duration::from_secs(3 * 3600);

/// How often everything may be clean, and not any more once it is level.
const CLEANED_MAX: usize = 10;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(20);

/// See the module. `Err`: what did not come to its end. False: what is left is for a person to decide.
pub async fn settle(
    world: &Arc<World>,
    tasks: Vec<(String, JoinHandle<()>)>,
) -> Result<bool, String> {
    world.trace.say("history", format_args!("faults stop"));
    world.weather.clear();
    world.set_clocks_right();
    for disk in &world.disks {
        disk.change(|condition| {
            (condition.down, condition.full, condition.lies) = (false, false, false);
        });
    }
    let back = world.placement.come_back();
    back.map_err(|error| format!("placement does not come back: {error}"))?;
    for process in world.living() {
        process.gate.resume();
    }
    let until = Instant::now() + TASKS_END_WITHIN;
    for (name, task) in tasks {
        let ended = tokio::time::timeout_at(until, task).await;
        ended
            .map_err(|_| format!("liveness: this did not come to an end: {name}"))?
            .ok();
    }
    // A lease that was lost before is noticed by then: who owns the vault does not change any more.
    tokio::time::sleep(LEASE * 3).await;
    let owner = owned(world).await?;
    if !bring_back(world).await? {
        return Ok(false);
    }
    mend(world).await?;
    level(world).await?;
    // What goes into garbage by itself meanwhile, since its time is over, has to go too.
    for _ in 0..CLEANED_MAX {
        clean(world).await?;
        level(world).await?;
        if garbage(world).is_empty() {
            drop(owner);
            return Ok(true);
        }
    }
    Err("liveness: garbage never ends".into())
}

/// Waits until some coordinator owns the vault. Where it cannot be opened by itself, the operator names a site.
async fn owned(world: &Arc<World>) -> Result<Arc<Process>, String> {
    let began = Instant::now();
    let mut named = 0;
    loop {
        if let Some(owner) = world.last_owner() {
            return Ok(owner);
        }
        // One that was stopping has stopped by now.
        if world.living().is_empty() {
            let starting = world.boot(COORDINATORS[0]);
            let started = tokio::time::timeout(OWNED_WITHIN, starting).await;
            started.map_err(|_| "liveness: no coordinator starts".to_owned())?;
        }
        if began.elapsed() > OWNED_WITHIN / 3 && named < world.disks.len() {
            let to = SITES[named];
            let moved = operator::fail_over(world, to, true).await;
            world.trace.count("the operator had to name a site");
            let why = moved.err().unwrap_or_else(|| "done".into());
            let said = format_args!("names {to}: {why}");
            world.trace.say("operator", said);
            named += 1;
        }
        if began.elapsed() > OWNED_WITHIN {
            let troubles = world.living().into_iter().flat_map(|process| {
                let name = process.name.clone();
                let slots = process.node.list().into_iter();
                slots.map(move |slot| format!("{name}: {}", slot.trouble))
            });
            let troubles: Vec<String> = troubles.collect();
            return Err(format!("liveness: nobody owns the vault: {troubles:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Brings back every site that was left behind. False: what people held on a branch was given up meanwhile, and a person has
/// to decide.
async fn bring_back(world: &Arc<World>) -> Result<bool, String> {
    let began = Instant::now();
    loop {
        let owner = world.last_owner();
        let vault = owner.and_then(|owner| owner.node.vault(&world.vault_name()).ok());
        let mut waiting = fill_new_disks(world).await;
        if let Some(vault) = &vault {
            let trouble = vault.own_branch_trouble();
            if !trouble.is_empty() {
                waiting.push((vault.primary.site.name().to_string(), trouble));
            }
        }
        for (site, standing) in vault.iter().flat_map(|vault| vault.standings()) {
            if standing.diverged || !standing.trouble.is_empty() || standing.head.is_none() {
                waiting.push((site.to_string(), standing.trouble));
            }
        }
        // What the primary itself has to bring back is looked for by whoever asks.
        if waiting.is_empty()
            && let Some(vault) = &vault
            && operator::fail_back(world, "").await.is_ok()
            && vault.own_branch_trouble().is_empty()
        {
            return Ok(true);
        }
        if began.elapsed() > LEVEL_WITHIN {
            return Err(format!("liveness: sites do not come back: {waiting:?}"));
        }
        for (site, trouble) in waiting {
            let back = operator::fail_back(world, &site).await;
            let (word, why) = match &back {
                Ok(snapshots) => ("back", format!("{snapshots} snapshots")),
                Err(why) => ("not back", why.clone()),
            };
            world.trace.count(&format!("a site is {word}"));
            tracing::info!(site, trouble, why, "failback: {word}");
            // What the message names as the way out.
            let why = back.err().unwrap_or_default();
            if why.contains("--accept-loss") {
                let _ = operator::fail_over(world, &site, true).await;
            }
            if why.contains("have been given up here since") {
                world.trace.count("left to a person: holds on a branch");
                return Ok(false);
            }
            // What has rotted there may stand in the way.
            if !why.is_empty() || !trouble.is_empty() {
                let _ = operator::verify(world, true).await;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Says of each empty disk that it was put there on purpose; gives those of which nobody heard it yet.
async fn fill_new_disks(world: &Arc<World>) -> Vec<(String, String)> {
    let mut waiting = Vec::new();
    for disk in &world.disks {
        if disk.mark(false).is_none() {
            let filled = operator::fail_back(world, disk.site_name().as_str()).await;
            let said = format_args!("fills a new disk: {}", filled.is_ok());
            world.trace.say("operator", said);
            if let Err(why) = filled {
                waiting.push((disk.site_name().to_string(), why));
            }
        }
    }
    waiting
}

/// Repairs what has rotted: nothing that one site still has may be left open.
async fn mend(world: &Arc<World>) -> Result<(), String> {
    let mut left = String::new();
    for _ in 0..6 {
        match operator::verify(world, true).await {
            Ok((findings, repaired, open)) => {
                world.trace.say(
                    "operator",
                    format_args!("verify: {findings} findings, {repaired} repaired"),
                );
                if open.is_empty() {
                    return Ok(());
                }
                left = open.join("; ");
            }
            Err(why) => left = why,
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("I8: damage that no site can mend: {left}"))
}

/// Waits until every site has everything.
pub(crate) async fn level(world: &Arc<World>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let owner = world.last_owner();
        if let Some(vault) = owner.and_then(|owner| owner.node.vault(&world.vault_name()).ok()) {
            let head = vault.state().chain.head;
            if head.is_some_and(|head| vault.is_everywhere(head)) {
                return Ok(());
            }
            if began.elapsed() > LEVEL_WITHIN {
                let standings = vault.standings();
                return Err(format!(
                    "liveness: {head:?} is not everywhere: {standings:?}"
                ));
            }
        } else if began.elapsed() > LEVEL_WITHIN {
            return Err("liveness: the owner is gone again".into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Collects until nothing waits to be swept anywhere.
async fn clean(world: &Arc<World>) -> Result<(), String> {
    let began = Instant::now();
    loop {
        // After a clock that jumped.
        let _ = operator::confirm(world).await;
        let collected = operator::collect(world, true).await;
        let done = collected == Ok(true);
        let waits = garbage(world);
        if done && waits.is_empty() {
            return Ok(());
        }
        if began.elapsed() > CLEAN_WITHIN {
            return Err(format!("liveness: garbage stays: {collected:?}, {waits:?}"));
        }
        tokio::time::sleep(LOOK * 15).await;
    }
}

/// What waits to go at the owner, as it stands now.
fn garbage(world: &World) -> Vec<String> {
    let owner = world.last_owner();
    let vault = owner.and_then(|owner| owner.node.vault(&world.vault_name()).ok());
    vault.map_or_else(
        || vec!["nobody owns it".into()],
        |vault| waiting(&vault, world.clock.true_millis()),
    )
}

/// What waits to go, and why a person would want to know.
fn waiting(vault: &Vault, true_millis: i64) -> Vec<String> {
    let state = vault.state();
    let now = state.next_time(vault.context.now_millis());
    let catalog = &state.catalog;
    // A session that came to this owner and whose agent died stays open for days, by design; one that never came must not.
    let epoch = vault.claimant.epoch;
    let former = catalog.sessions.iter().filter(|(id, session)| {
        session.opened_at.epoch < epoch && !vault.promises().is_attached(id)
    });
    let mut waits: Vec<String> = former
        .map(|(id, session)| format!("session {id} of {}", session.opened_at))
        .collect();
    for (id, snapshot) in &catalog.snapshots {
        // By a clock that was ahead then its time may be over only in days.
        let over = |trash: &&Trash| trash.until_millis <= true_millis;
        let trash = snapshot.trash.as_ref().filter(over);
        if trash.is_some() && !catalog.is_held(id, &snapshot.source, now) {
            waits.push(format!("snapshot {id} in the trash: {trash:?}"));
        }
    }
    let packs = catalog
        .packs
        .values()
        .filter(|pack| pack.condemned.is_some());
    waits.extend(packs.map(|pack| format!("pack {}", pack.id)));
    let keys = catalog
        .keys
        .iter()
        .filter(|(_, key)| key.condemned.is_some());
    waits.extend(keys.map(|(key, _)| format!("key {key}")));
    waits
}
