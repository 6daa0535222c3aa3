//! The invariants of `docs/ARCHITECTURE.md`, by their numbers: one predicate for each, used by the simulator, by the tests
//! and, where it is cheap, by the running system.
//!
//! Each takes what it looks at and gives what is wrong; none reads or writes anything. A breach in the running system stops
//! that vault's writer and is counted ([`breaches`]).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_format::{ObjectName, Ordinal, PackId, PackOrdinal, Position, SessionId, SiteName};
use roaring::RoaringTreemap;

use crate::fold::State;

/// What is broken, with the invariant's number first.
pub type Breach = String;

/// Breaches that this process found in itself.
static BREACHES: AtomicU64 = AtomicU64::new(0);

/// How many breaches this process has found in itself: a metric, which is 0.
pub fn breaches() -> u64 {
    BREACHES.load(Ordering::Relaxed)
}

/// Counts and tells a breach that the running system found; gives the error that stops the vault's writer.
pub fn broken(breach: Breach) -> crate::Error {
    BREACHES.fetch_add(1, Ordering::Relaxed);
    tracing::error!(
        breach,
        "an invariant is broken; this vault's writer stops. Keep the sites as they are, run `holdfast verify`, and report this"
    );
    crate::Error::Bug(breach)
}

/// I1, as far as a log tells: every chunk of every snapshot is live, and its home is a pack that was not condemned, under
/// keys that were not.
pub fn i1_snapshots_are_whole(state: &State) -> Result<(), Breach> {
    let mut reached = RoaringTreemap::new();
    for (id, snapshot) in &state.catalog.snapshots {
        let mut closure = RoaringTreemap::new();
        state.index.close(&mut closure, [snapshot.root]);
        for chunk in &closure {
            if reached.contains(chunk) {
                continue;
            }
            is_kept(state, Ordinal(chunk)).map_err(|why| format!("I1: snapshot {id}: {why}"))?;
        }
        reached |= closure;
    }
    Ok(())
}

/// Whether a chunk is live and lies in a pack that stays, under keys that stay.
fn is_kept(state: &State, chunk: Ordinal) -> Result<(), String> {
    if !state.index.is_live(chunk) {
        return Err(format!("chunk {chunk} was given up"));
    }
    let home = state.index.entry(chunk).map(|entry| entry.pack);
    let Some(pack) = home.and_then(|home| state.catalog.packs.get(&home)) else {
        return Err(format!("chunk {chunk} has no home"));
    };
    if let Some(at) = pack.condemned {
        return Err(format!("its pack {} was condemned by record {at}", pack.id));
    }
    for key in &pack.keys {
        let known = state.catalog.keys.get(key);
        if known.is_none_or(|known| known.condemned.is_some()) {
            return Err(format!("key {key} of its pack {} was given up", pack.id));
        }
    }
    Ok(())
}

/// I1 and I2, cheap enough for the owner at each condemn record: roots of what stays are live.
pub fn i2_roots_stay(state: &State) -> Result<(), Breach> {
    let snapshots = state.catalog.snapshots.iter();
    for (id, snapshot) in snapshots {
        if !state.index.is_live(snapshot.root) {
            return Err(format!(
                "I2: the root of snapshot {id}, which stays, was given up"
            ));
        }
    }
    Ok(())
}

/// I2: nothing that is live is at home in a pack that goes. Looked at by the owner before each pack is deleted.
pub fn i2_nothing_live_at_home(state: &State, pack: PackOrdinal) -> Result<(), Breach> {
    let Some(info) = state.catalog.packs.get(&pack) else {
        return Ok(());
    };
    for chunk in info.ordinals() {
        let home = state.index.entry(chunk).map(|entry| entry.pack);
        if home == Some(pack) && state.index.is_live(chunk) {
            return Err(format!(
                "I2: chunk {chunk} is live and at home in pack {}, which is to be deleted",
                info.id
            ));
        }
    }
    Ok(())
}

/// I2: everything live in a site's log lies there. `names`: all objects of the vault at the site.
pub fn i2_live_is_there(state: &State, names: &BTreeSet<String>) -> Result<(), Breach> {
    let vault = state.header.vault;
    for pack in state.catalog.packs.values() {
        let name = ObjectName::pack(vault, pack.id);
        if pack.condemned.is_none() && !names.contains(name.as_str()) {
            return Err(format!("I2: pack {} is not there", pack.id));
        }
    }
    for (key, info) in &state.catalog.keys {
        let name = ObjectName::session_key(vault, *key, info.reference.generation);
        if info.condemned.is_none() && !names.contains(name.as_str()) {
            return Err(format!("I2: key {key} is not there"));
        }
    }
    Ok(())
}

/// I3: one history is a prefix of the other. `there` and `here` give each record's place and hash, in order.
pub fn i3_prefix<H: PartialEq>(
    there: &[(Position, H)],
    here: &[(Position, H)],
) -> Result<(), Breach> {
    if there.len() > here.len() {
        return Err(format!(
            "I3: a member has {} records more than the primary",
            there.len() - here.len()
        ));
    }
    match there.iter().zip(here).find(|(there, here)| there != here) {
        Some((there, _)) => Err(format!("I3: a member holds another record at {}", there.0)),
        None => Ok(()),
    }
}

/// What a slot of an epoch holds, for [`i4_fenced`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slotted<N> {
    /// A record of the claim with this nonce.
    Record(N),
    /// A seal.
    Seal,
}

/// I4: at one site no epoch goes on behind its seal, and none holds records of two claims. A branch's seal behind the end
/// of history is the last there, too.
pub fn i4_fenced<N: PartialEq>(epoch: &[Slotted<N>]) -> Result<(), Breach> {
    let mut claim: Option<&N> = None;
    for (at, slot) in epoch.iter().enumerate() {
        match slot {
            // A branch's seal closes an epoch behind the seal, or the record, where it parted.
            Slotted::Seal if at + 2 < epoch.len() => {
                return Err(format!(
                    "I4: the epoch goes on behind its seal in slot {at}"
                ));
            }
            Slotted::Seal => {}
            Slotted::Record(nonce) if claim.is_some_and(|claim| claim != nonce) => {
                return Err(format!("I4: slot {at} holds a record of another claim"));
            }
            Slotted::Record(nonce) => claim = Some(nonce),
        }
    }
    Ok(())
}

/// I5: a pack may go only where every site's log says that it was given up: it was condemned there, or swept since. A log
/// that never named it is of a site that has not come so far: then it may not go.
pub fn i5_pack_may_go(logs: &[(&SiteName, &State)], pack: PackId) -> Result<(), Breach> {
    each_member(logs, |state| {
        let mut packs = state.catalog.packs.iter();
        match packs.find(|(_, info)| info.id == pack) {
            Some((ordinal, info)) => match info.condemned {
                Some(_) => i2_nothing_live_at_home(state, *ordinal),
                None => Err(format!("I5: pack {pack} was not condemned")),
            },
            // Swept since, or named later: numbers and epochs rise.
            None => match state
                .chain
                .head
                .is_some_and(|head| head.epoch >= pack.epoch)
            {
                true => Ok(()),
                false => Err(format!("I5: pack {pack} was not named yet")),
            },
        }
    })
}

/// I5: a key may go only where every site's log says that it was given up.
pub fn i5_key_may_go(logs: &[(&SiteName, &State)], name: &ObjectName) -> Result<(), Breach> {
    each_member(logs, |state| {
        let vault = state.header.vault;
        let live = state.catalog.keys.iter().find(|(key, info)| {
            let object = ObjectName::session_key(vault, **key, info.reference.generation);
            object == *name && info.condemned.is_none()
        });
        match live {
            Some((key, _)) => Err(format!("I5: key {key} was not condemned")),
            None => Ok(()),
        }
    })
}

/// I5: besides packs and keys only saved folds are ever deleted, and of these never the two that are kept.
pub fn i5_saved_fold_may_go(logs: &[(&SiteName, &State)], name: &ObjectName) -> Result<(), Breach> {
    for (_, state) in logs {
        let vault = state.header.vault;
        let covers = name.as_checkpoint(vault);
        let prefix = format!("{}segments/", ObjectName::vault_prefix(vault));
        if covers.is_none() && !name.as_str().starts_with(&prefix) {
            return Err(format!("I5: {name} is nothing that is ever deleted"));
        }
    }
    // The newest history knows which are kept; a member that is behind may still name an older one.
    let newest = logs.iter().max_by_key(|(_, state)| state.chain.head);
    if let Some((_, state)) = newest
        && let Some(covers) = name.as_checkpoint(state.header.vault)
        && state.catalog.checkpoints.iter().any(|c| c.covers == covers)
    {
        return Err(format!("I5: checkpoint {covers} is kept"));
    }
    Ok(())
}

/// Looks at the log of each site that is a member by its own word and by the newest log's.
fn each_member(
    logs: &[(&SiteName, &State)],
    look: impl Fn(&State) -> Result<(), Breach>,
) -> Result<(), Breach> {
    let newest = logs.iter().max_by_key(|(_, state)| state.chain.head);
    let Some((_, newest)) = newest else {
        return Ok(());
    };
    for (site, state) in logs {
        if newest.catalog.members.contains_key(*site) {
            look(state).map_err(|why| format!("{why} in the log at site {site}"))?;
        }
    }
    Ok(())
}

/// I6, as far as a log tells: whatever a chunk of one scope refers to lies in that scope, and each pack's keys are of its
/// scope.
pub fn i6_scopes_are_apart(state: &State) -> Result<(), Breach> {
    for pack in state.catalog.packs.values() {
        for key in &pack.keys {
            let scope = state.catalog.keys.get(key).map(|info| &info.scope);
            if scope.is_some_and(|scope| *scope != pack.scope) {
                return Err(format!("I6: pack {} has a key of another scope", pack.id));
            }
        }
    }
    for ordinal in (0..state.index.next().0).map(Ordinal) {
        if !state.index.is_live(ordinal) {
            continue;
        }
        let scope = state.scope_of(ordinal);
        for child in state.index.refs(ordinal) {
            if state.index.is_live(child) && state.scope_of(child) != scope {
                return Err(format!(
                    "I6: node {ordinal} refers to {child} of another scope"
                ));
            }
        }
    }
    Ok(())
}

/// I7: what the log no longer has lies nowhere: the packs and keys at a site that its log named once and has given up. Gives
/// how many objects of packs lie there that no record ever named: leaks, which are no breach.
pub fn i7_garbage_is_gone(state: &State, names: &BTreeSet<String>) -> Result<u64, Breach> {
    let vault = state.header.vault;
    if let Some(pack) = state.catalog.packs.values().find(|p| p.condemned.is_some()) {
        return Err(format!("I7: pack {} waits to be swept", pack.id));
    }
    let live: BTreeSet<PackId> = state.catalog.packs.values().map(|pack| pack.id).collect();
    let packs = names.iter().filter_map(|name| ObjectName::parse(name).ok());
    let lying = packs.filter_map(|name| name.as_pack(vault));
    Ok(lying.filter(|pack| !live.contains(pack)).count() as u64)
}

/// I8: what was handed out is what was stored.
pub fn i8_is_right(wanted: &[u8], given: &[u8], what: &str) -> Result<(), Breach> {
    match wanted == given {
        true => Ok(()),
        false => Err(format!("I8: {what} was handed out with wrong bytes")),
    }
}

/// I9: what was acknowledged as committed stands in the history, or was given up there by record (`given_up`).
pub fn i9_acknowledged_stands(
    state: &State,
    acknowledged: impl IntoIterator<Item = SessionId>,
    given_up: impl Fn(&SessionId) -> bool,
) -> Result<(), Breach> {
    let lost: Vec<String> = acknowledged
        .into_iter()
        .filter(|id| !state.catalog.snapshots.contains_key(id) && !given_up(id))
        .map(|id| id.to_string())
        .collect();
    match lost.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "I9: acknowledged and not in the history: {}",
            lost.join(", ")
        )),
    }
}
