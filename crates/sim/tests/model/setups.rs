//! The configurations: who is there, and the bounds.

use crate::properties::Reached;
use crate::system::{Role, System};
use crate::world::{Fact, Outcome};

const FAULTS: &[Outcome] = &[Outcome::Landed, Outcome::Late, Outcome::Again];

/// A snapshot with a pack of its own: the two records that make it.
fn snapshot(id: u8) -> [Fact; 2] {
    let commit = Fact::Commit {
        snap: id,
        packs: 1 << id,
        uses: 1 << id,
    };
    [Fact::Open(id), commit]
}

/// Two owners and a stale claimant on one site, from the first claim of the vault on; any request may fail after it was done,
/// or be done later.
pub(crate) fn claims() -> System {
    System {
        name: "claims",
        sites: 1,
        roles: vec![Role::At(0), Role::At(0), Role::At(0)],
        faults: 2,
        outcomes: FAULTS,
        words: 2,
        reached: &[Reached::Fenced, Reached::Superseded, Reached::ThirdOwner],
        ..System::default()
    }
}

/// The same on a site whose create replaces what is there.
pub(crate) fn overwriting() -> System {
    System {
        name: "overwriting",
        roles: vec![Role::At(0), Role::At(0)],
        faults: 1,
        words: 1,
        overwrites: true,
        reached: &[Reached::Unfit],
        ..claims()
    }
}

/// Two sites, two owners of which one is deposed while it works; each replicates, forgets, condemns and sweeps.
pub(crate) fn collection() -> System {
    System {
        name: "collection",
        roles: vec![Role::Founder, Role::At(0)],
        wrote: snapshot(0).to_vec(),
        copied: 1,
        faults: 1,
        outcomes: &[Outcome::Landed],
        sessions: 2,
        forget: 0b01,
        reached: &[Reached::Fenced, Reached::Swept, Reached::SweptByTwo],
        ..System::default()
    }
}

/// One owner: a session reuses a chunk while the collector marks and condemns.
pub(crate) fn promises() -> System {
    System {
        name: "promises",
        roles: vec![Role::Founder],
        wrote: snapshot(0).to_vec(),
        copied: 3,
        faults: 1,
        outcomes: &[Outcome::Landed],
        sessions: 3,
        dedup: true,
        forget: 0b11,
        marks_apart: true,
        reached: &[Reached::Swept, Reached::Reused],
        ..System::default()
    }
}

/// A failover whose old primary answers or does not, with its owner going on meanwhile, and the failback.
pub(crate) fn failover() -> System {
    System {
        name: "failover",
        roles: vec![Role::Founder, Role::Failover],
        wrote: snapshot(0).to_vec(),
        copied: 2,
        sessions: 2,
        dedup: true,
        failback: true,
        reached: &[
            Reached::Fenced,
            Reached::Drained,
            Reached::Salvaged,
            Reached::Follows,
        ],
        ..System::default()
    }
}

/// A failover whose old primary does not answer and holds a snapshot that shares a pack with history; the one that it shares
/// with is forgotten on either side, condemned and swept.
pub(crate) fn forgetting() -> System {
    let shares = Fact::Commit {
        snap: 1,
        packs: 0b10,
        uses: 0b11,
    };
    let mut wrote = snapshot(0).to_vec();
    wrote.extend([Fact::Open(1), shares]);
    System {
        name: "failover with a collection",
        roles: vec![Role::Founder, Role::At(1)],
        wrote,
        copied: 3,
        sessions: 2,
        forget: 0b01,
        reached: &[Reached::Salvaged, Reached::Follows, Reached::Swept],
        ..failover()
    }
}

/// Two failovers: to the other site, and back before the first was undone. Too many states to see them all.
pub(crate) fn twice() -> System {
    System {
        name: "failover twice",
        roles: vec![Role::Founder, Role::At(1), Role::At(0)],
        wrote: Vec::new(),
        copied: 1,
        dedup: false,
        sessions: 1,
        reached: &[Reached::ThirdOwner, Reached::Salvaged],
        depth: Some(24),
        ..failover()
    }
}

/// A site leaves and joins again while snapshots come and go.
pub(crate) fn members() -> System {
    System {
        name: "members",
        roles: vec![Role::Founder],
        wrote: snapshot(0).to_vec(),
        copied: 2,
        sessions: 2,
        forget: 0b11,
        moves: 2,
        reached: &[Reached::Left, Reached::Rejoined, Reached::Swept],
        ..System::default()
    }
}
