//! What damage at a site means for snapshots.
//!
//! Pure. It takes time with everything that snapshots reach, on a copy of the state, and is asked only while damage is known.

use std::collections::BTreeMap;

use holdfast_format::{Ordinal, PackOrdinal, SiteName, SnapshotId};
use roaring::RoaringTreemap;

use crate::fold::State;
use crate::fold::catalog::{Damage, PackInfo, Snapshot};

/// The chunks that live in a pack, and not in another one by now.
pub fn chunks_at_home(state: &State, ordinal: PackOrdinal, pack: &PackInfo) -> Vec<Ordinal> {
    let live = pack.ordinals().filter(|chunk| state.index.is_live(*chunk));
    live.filter(|chunk| is_at_home(state, ordinal, *chunk))
        .collect()
}

fn is_at_home(state: &State, ordinal: PackOrdinal, chunk: Ordinal) -> bool {
    let entry = state.index.entry(chunk);
    entry.is_some_and(|entry| entry.pack == ordinal)
}

/// Snapshots that need something that is damaged at a member, and of which that is not said yet: they were committed after
/// somebody looked. `among`: only this one.
pub fn not_said(state: &State, among: Option<SnapshotId>) -> BTreeMap<SiteName, Vec<SnapshotId>> {
    let damage = state.catalog.damage.iter().flatten();
    let damage = damage.filter(|(site, _)| state.catalog.members.contains_key(*site));
    let all = damage.map(|(site, damage)| {
        let asked = (state.catalog.snapshots.iter())
            .filter(|(id, _)| among.is_none_or(|one| one == **id))
            .filter(|(_, snapshot)| !snapshot.is_damaged_at(site));
        (site.clone(), hurt_by(state, damage, asked.collect()))
    });
    all.filter(|(_, hurt)| !hurt.is_empty()).collect()
}

fn hurt_by(
    state: &State,
    damage: &Damage,
    asked: Vec<(&SnapshotId, &Snapshot)>,
) -> Vec<SnapshotId> {
    if damage.is_unreadable {
        return asked.into_iter().map(|(id, _)| *id).collect();
    }
    let mut reached = RoaringTreemap::new();
    let roots = asked.iter().map(|(_, snapshot)| snapshot.root);
    state.index.close(&mut reached, roots);
    let bad = state.catalog.packs.iter().filter(|(ordinal, pack)| {
        let is_bad = damage.packs.contains(*ordinal)
            || pack.keys.iter().any(|key| damage.keys.contains(key));
        is_bad && pack.condemned.is_none()
    });
    let mut hurt = RoaringTreemap::new();
    for (ordinal, pack) in bad {
        let needed = pack.ordinals().filter(|chunk| reached.contains(chunk.0));
        let at_home = needed.filter(|chunk| is_at_home(state, *ordinal, *chunk));
        hurt.extend(at_home.map(|chunk| chunk.0));
        if let ([(id, _)], false) = (&asked[..], hurt.is_empty()) {
            return vec![**id];
        }
    }
    if hurt.is_empty() {
        return Vec::new();
    }
    // What a node refers to has a lower ordinal.
    for chunk in &reached {
        let mut refs = state.index.refs(Ordinal(chunk)).into_iter();
        if refs.any(|child| hurt.contains(child.0)) {
            hurt.insert(chunk);
        }
    }
    let hurt = asked.iter().filter(|(_, s)| hurt.contains(s.root.0));
    hurt.map(|(id, _)| **id).collect()
}
