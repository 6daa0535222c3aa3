//! What the owner has promised to keep and no record says yet: chunks answered *known* to open sessions.
//!
//! State: for each session the ordinals promised to it, and what is being condemned right now. It lives in the owner's
//! memory only: after a takeover the collector waits until former sessions have offered again or ended.
//!
//! One lock covers looking and promising, and condemning takes the same lock, so a chunk is never promised and given
//! up at once.

use std::collections::HashMap;

use holdfast_format::{ChunkId, Ordinal, SessionId};
use roaring::RoaringTreemap;

use crate::fold::State;
use crate::guard::Guard;

/// The promises of one owner.
#[derive(Debug, Default)]
pub struct Promises {
    sessions: HashMap<SessionId, RoaringTreemap>,
    condemning: RoaringTreemap,
}

impl Promises {
    /// A session is here: it was opened, or has come back after a takeover.
    pub fn attach(&mut self, session: SessionId) {
        self.sessions.entry(session).or_default();
    }

    /// Whether a session has come to this owner.
    pub fn is_attached(&self, session: &SessionId) -> bool {
        self.sessions.contains_key(session)
    }

    /// A session is over: what it was promised, and no snapshot or other session needs, may be collected.
    pub fn detach(&mut self, session: &SessionId) {
        self.sessions.remove(session);
    }

    /// Answers which chunks are known, and promises them to the session. A chunk is known if it is live in the
    /// session's scope, is not being condemned, and is not stale.
    pub fn answer(&mut self, state: &State, session: SessionId, ids: &[ChunkId]) -> Vec<bool> {
        let Some(open) = state.catalog.sessions.get(&session) else {
            return vec![false; ids.len()];
        };
        let promised = self.sessions.entry(session).or_default();
        let answer = |id| {
            let known = state.find(&open.scope, id).filter(|ordinal| {
                (!self.condemning.contains(ordinal.0) || !Guard::CondemningNotKnown.stands())
                    && (state.catalog.stale.binary_search(ordinal).is_err()
                        || !Guard::StaleWanted.stands())
            });
            if let Some(ordinal) = known {
                promised.insert(ordinal.0);
            }
            known.is_some()
        };
        ids.iter().map(answer).collect()
    }

    /// Everything promised to anyone.
    pub fn all(&self) -> impl Iterator<Item = Ordinal> + '_ {
        self.sessions
            .values()
            .filter(|_| Guard::PromisesKept.stands())
            .flat_map(|promised| promised.iter().map(Ordinal))
    }

    /// From here on none of these is answered *known*, until [`Self::condemned`].
    pub fn condemn(&mut self, absent: &RoaringTreemap) {
        self.condemning |= absent;
    }

    /// The condemn record stands (or will never): the state knows by itself.
    pub fn condemned(&mut self) {
        self.condemning.clear();
    }
}
