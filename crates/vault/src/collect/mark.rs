//! The mark: every chunk that anything needs, at one head of the log.
//!
//! Pure: works on a copy of the state (its segments are shared, not copied), so backups go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_format::{KeyId, Ordinal, PackOrdinal, SessionId, SnapshotId};
use roaring::RoaringTreemap;

use crate::fold::State;
use crate::guard::Guard;

/// What one pack holds of live chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackShare {
    /// Plaintext bytes of all chunks that it names.
    pub total_bytes: u64,
    /// Plaintext bytes of reached chunks at home in it.
    pub live_bytes: u64,
    /// Reached chunks at home in it.
    pub live_chunks: u32,
}

/// The outcome of a mark.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Everything that is needed, below `bound`.
    pub reached: RoaringTreemap,
    /// The next free ordinal when it was taken.
    pub bound: Ordinal,
    /// Snapshots whose time in the trash is over and which nothing holds: to be given up.
    pub leaving: Vec<SnapshotId>,
    /// Live packs and what of them is needed.
    pub packs: BTreeMap<PackOrdinal, PackShare>,
}

/// Marks. `promised` is everything promised to open sessions. `trash_millis` is the time by which the trash is judged:
/// log time, or earlier where the clock is not trusted; `now_millis` is log time.
pub fn mark(
    state: &State,
    promised: impl IntoIterator<Item = Ordinal>,
    trash_millis: i64,
    now_millis: i64,
) -> Mark {
    let catalog = &state.catalog;
    let leaving: Vec<SnapshotId> = (catalog.snapshots.iter())
        .filter(|(id, snapshot)| {
            snapshot
                .trash
                .as_ref()
                .is_some_and(|trash| trash.until_millis <= trash_millis)
                && !catalog.is_held(id, &snapshot.source, now_millis)
        })
        .map(|(id, _)| *id)
        .collect();
    let mut reached = RoaringTreemap::new();
    let staying = catalog
        .snapshots
        .iter()
        .filter(|(id, _)| leaving.binary_search(id).is_err());
    state
        .index
        .close(&mut reached, staying.map(|(_, snapshot)| snapshot.root));
    for session in catalog.sessions.values() {
        let named = session
            .named
            .iter()
            .flat_map(|run| (run.0.0..run.1.0).map(Ordinal));
        state
            .index
            .close(&mut reached, named.chain(session.again.iter().copied()));
    }
    state.index.close(&mut reached, promised);
    let packs = catalog
        .packs
        .iter()
        .filter(|(_, pack)| pack.condemned.is_none());
    let packs = packs.map(|(&ordinal, pack)| {
        let mut share = PackShare::default();
        let run = pack.first.0..pack.first.0 + u64::from(pack.named);
        let again = pack.again.iter();
        let again = again.filter_map(|&chunk| Some((chunk, state.index.entry(chunk)?)));
        for (chunk, entry) in state.index.entries(run).chain(again) {
            share.total_bytes += u64::from(entry.len);
            if entry.pack == ordinal && reached.contains(chunk.0) {
                share.live_bytes += u64::from(entry.len);
                share.live_chunks += 1;
            }
        }
        (ordinal, share)
    });
    Mark {
        bound: state.index.next(),
        leaving,
        packs: packs.collect(),
        reached,
    }
}

/// Keys that no pack which stays and no open session uses.
pub fn idle_keys(state: &State, going: &[PackOrdinal]) -> Vec<KeyId> {
    let catalog = &state.catalog;
    let going: BTreeSet<&PackOrdinal> = going.iter().collect();
    let mut used: Vec<KeyId> = catalog
        .sessions
        .values()
        .map(|session| session.key.key)
        .collect();
    for (ordinal, pack) in &catalog.packs {
        if pack.condemned.is_none() && !going.contains(ordinal) && Guard::KeysInUseStay.stands() {
            used.extend(&pack.keys);
        }
    }
    used.sort_unstable();
    used.dedup();
    let idle = catalog
        .keys
        .iter()
        .filter(|(id, key)| key.condemned.is_none() && used.binary_search(id).is_err());
    idle.map(|(id, _)| *id).collect()
}

/// A former owner's session that has not come back to the next one within this is ended by a record. Longer than an agent tries
/// to reach a coordinator, a quarter of an hour, so that none that still tries loses its session.
pub const RETURN_WITHIN: Duration = Duration::from_secs(20 * 60);

/// Why nothing may be condemned now: a session of a former epoch that has neither offered again nor ended.
pub fn blocked_by(
    state: &State,
    is_attached: impl Fn(&SessionId) -> bool,
) -> Option<(SessionId, String)> {
    let epoch = state.chain.head?.epoch;
    let waiting = state
        .catalog
        .sessions
        .iter()
        .find(|(id, session)| session.opened_at.epoch < epoch && !is_attached(id));
    waiting.map(|(id, session)| {
        (
            *id,
            format!(
                "session {id} of source {} (agent {}) was open when the former owner ended and has not come back yet; \
                 run `holdfast gc --vault {} --end-sessions` if that agent is not at work any more, or wait: the session is ended by itself \
                 {} minutes after this owner opened the vault",
                session.source,
                session.agent,
                state.header.name,
                RETURN_WITHIN.as_secs() / 60
            ),
        )
    })
}
