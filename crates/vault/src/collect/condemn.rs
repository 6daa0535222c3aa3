//! From a mark to a condemn record: the plan, and its completion in the writer's turn.

use std::collections::BTreeSet;

use holdfast_format::fact::Condemned;
use holdfast_format::{Epoch, KeyId, Ordinal, PackOrdinal, Position, SnapshotId};
use roaring::RoaringTreemap;

use super::mark::{Mark, blocked_by, idle_keys};
use crate::fold::State;
use crate::guard::Guard;
use crate::promises::Promises;

/// What a collection means to give up. Serves once, for one epoch.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The epoch whose owner may carry it out.
    pub epoch: Epoch,
    /// The head of the log that the mark was taken at.
    pub marked_at: Position,
    /// The next free ordinal at the mark: everything given up is below it.
    pub bound: Ordinal,
    /// Chunks to give up.
    pub absent: RoaringTreemap,
    /// Snapshots to give up.
    pub snapshots: Vec<SnapshotId>,
    /// Packs to give up, once nothing live is at home in them.
    pub packs: Vec<PackOrdinal>,
    /// Keys that came before this epoch stay, used or not: a member that was left behind may hold snapshots under them,
    /// which a salvage brings back.
    pub keys_from: Epoch,
    /// Who asked.
    pub who: String,
}

impl Plan {
    /// A plan from a mark: gives up every live chunk that was not reached, and the packs in `packs`.
    pub fn new(
        state: &State,
        mark: &Mark,
        packs: Vec<PackOrdinal>,
        keys_from: Epoch,
        who: &str,
    ) -> Option<Self> {
        let head = state.chain.head?;
        let mut absent = RoaringTreemap::new();
        absent.insert_range(0..mark.bound.0);
        absent -= state.index.absent();
        absent -= &mark.reached;
        Some(Self {
            epoch: head.epoch,
            marked_at: head,
            bound: mark.bound,
            absent,
            snapshots: mark.leaving.clone(),
            packs,
            keys_from,
            who: who.into(),
        })
    }

    /// Whether it gives up nothing.
    pub fn is_empty(&self) -> bool {
        self.absent.is_empty() && self.snapshots.is_empty() && self.packs.is_empty()
    }
}

/// Completes a plan in the writer's turn: whatever has come to be needed since the mark is taken out of it. From this
/// call on none of what the record gives up is answered *known*. `None`: nothing is left to give up.
///
/// ORDER: this runs under the lock on the promises, in the turn that appends the record. An agent that was told
/// *known* before this is in the promises and keeps its chunk; one that asks after it is told *want*. Finishing the
/// plan earlier, outside the turn, would let a chunk be promised between the look and the record.
pub fn finish(
    state: &State,
    promises: &mut Promises,
    now_millis: i64,
    plan: &Plan,
) -> Result<Option<Condemned>, String> {
    let head = state.chain.head.ok_or("the vault has no record yet")?;
    if head.epoch != plan.epoch {
        return Err("the plan was made for another epoch; plan again".into());
    }
    if let Some((_, why)) = blocked_by(state, |id| promises.is_attached(id))
        && Guard::FormerSessionsFirst.stands()
    {
        return Err(why);
    }
    let catalog = &state.catalog;
    let mut absent = &plan.absent - state.index.absent();
    let snapshots: Vec<SnapshotId> = (plan.snapshots.iter())
        .filter(|id| {
            catalog.snapshots.get(id).is_some_and(|snapshot| {
                snapshot
                    .trash
                    .as_ref()
                    .is_some_and(|trash| trash.until_millis <= now_millis)
                    && !(catalog.is_held(id, &snapshot.source, now_millis)
                        && Guard::HoldInTheTurn.stands())
            })
        })
        .copied()
        .collect();
    let going: BTreeSet<&SnapshotId> = snapshots.iter().collect();
    let staying = catalog
        .snapshots
        .iter()
        .filter(|(id, _)| !going.contains(id));
    let mut needed: Vec<Ordinal> = staying.map(|(_, snapshot)| snapshot.root).collect();
    needed.extend(promises.all());
    for session in catalog.sessions.values() {
        needed.extend(session.again.iter().copied());
        for run in &session.named {
            needed.extend((run.0.0..run.1.0).map(Ordinal));
        }
    }
    // Named since the mark: not given up themselves, but what they refer to may be older.
    needed.extend((plan.bound.0..state.index.next().0).map(Ordinal));
    if Guard::MarkBroughtUpToDate.stands() {
        spare(state, &mut absent, plan.bound, needed);
    }
    let packs: Vec<PackOrdinal> = (plan.packs.iter())
        .filter(|pack| {
            catalog.packs.get(pack).is_some_and(|info| {
                info.condemned.is_none()
                    && info.ordinals().all(|chunk| {
                        absent.contains(chunk.0)
                            || state.index.absent().contains(chunk.0)
                            || state
                                .index
                                .entry(chunk)
                                .is_none_or(|entry| entry.pack != **pack)
                            || !Guard::HomesStay.stands()
                    })
            })
        })
        .copied()
        .collect();
    let keys: Vec<KeyId> = (idle_keys(state, &packs).into_iter())
        .filter(|key| {
            let known = catalog.keys.get(key);
            known.is_some_and(|known| {
                known.added.epoch >= plan.keys_from || !Guard::KeysOfBranchesStay.stands()
            })
        })
        .collect();
    if absent.is_empty() && snapshots.is_empty() && packs.is_empty() && keys.is_empty() {
        return Ok(None);
    }
    promises.condemn(&absent);
    let mut bytes = Vec::new();
    absent
        .serialize_into(&mut bytes)
        .map_err(|e| e.to_string())?;
    Ok(Some(Condemned {
        absent: bytes,
        snapshots,
        packs,
        keys,
        who: plan.who.clone(),
        bound: plan.bound,
        marked_at: plan.marked_at,
    }))
}

/// Takes the closure of `needed` out of `absent`. A chunk that the mark reached has its whole closure reached, so the
/// descent stops wherever it meets one that is not to be given up; only nodes named since the mark are always entered.
fn spare(state: &State, absent: &mut RoaringTreemap, bound: Ordinal, needed: Vec<Ordinal>) {
    let mut open = needed;
    while let Some(ordinal) = open.pop() {
        if absent.remove(ordinal.0) || ordinal >= bound {
            let children = state.index.refs(ordinal);
            // Those named since the mark are in `needed` themselves, each once.
            open.extend(
                children
                    .into_iter()
                    .filter(|&child| child < bound && absent.contains(child.0)),
            );
        }
    }
}
