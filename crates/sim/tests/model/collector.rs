//! Sessions and the collector. The sweep is driven by the product's `sweeping` step; which packs and keys a record gives up
//! is worked out here, in small, with the guards of `collect/condemn.rs` and `promises.rs` at the same places.
//!
//! State: none but the world's.

use holdfast_format::Epoch;
use holdfast_vault::Guard;
use holdfast_vault::collect::sweeping::{self, Effect, Event};

use crate::history::{Catalog, read};
use crate::owner::{propose, session};
use crate::world::{Fact, Mask, Owner, Sweeping, World, bit, each};

/// Opens the next session: its key, then its record.
pub(crate) fn open(world: &mut World, who: u8) -> Option<()> {
    let id = world.opened;
    let site = world.owners[who as usize].site;
    if world.owners[who as usize].session.is_some() {
        return None;
    }
    propose(world, who, Fact::Open(id))?;
    world.opened += 1;
    let mut session = session(id);
    match Guard::KeyBeforeRecord.stands() {
        true => world.sites[site as usize].keys |= bit(id),
        false => session.key_owed = true,
    }
    world.owners[who as usize].session = Some(session);
    Some(())
}

/// The session offers a chunk of `known`, and is answered.
pub(crate) fn offer(world: &mut World, who: u8, known: Mask) -> Option<()> {
    let owner = &mut world.owners[who as usize];
    let catalog = owner.catalog();
    let session = owner.session?;
    if session.known.is_some() || catalog.open & bit(session.id) == 0 {
        return None;
    }
    let condemning = match owner.flight.map(|flight| flight.rec.fact) {
        Some(Fact::Condemn { packs, .. }) if Guard::CondemningNotKnown.stands() => packs,
        _ => 0,
    };
    if known & !(catalog.live_packs() & !condemning) != 0 {
        return None;
    }
    owner.session = Some(crate::world::Session {
        known: Some(known),
        ..session
    });
    Some(())
}

/// The session's pack, then the record that names it and commits the snapshot.
pub(crate) fn commit(world: &mut World, who: u8) -> Option<()> {
    let owner = &world.owners[who as usize];
    let site = owner.site;
    let mut session = owner.session?;
    let known = session.known?;
    let catalog = owner.catalog();
    if catalog.open & bit(session.id) == 0 || owner.flight.is_some() {
        return None;
    }
    if known & !catalog.live_packs() != 0 && Guard::CommitChecked.stands() {
        // Refused: it is told what is missing, and offers again.
        session.known = None;
        world.owners[who as usize].session = Some(session);
        return Some(());
    }
    let own = bit(session.id);
    let fact = Fact::Commit {
        snap: session.id,
        packs: own,
        uses: own | known,
    };
    propose(world, who, fact)?;
    match Guard::PackBeforeRecord.stands() {
        true => world.sites[site as usize].packs |= own,
        false => session.pack_owed = true,
    }
    world.owners[who as usize].session = Some(session);
    Some(())
}

/// What should have stood before its record comes at last.
pub(crate) fn pay(world: &mut World, who: u8) -> Option<()> {
    let owner = &mut world.owners[who as usize];
    let session = owner.session.as_mut()?;
    let site = &mut world.sites[owner.site as usize];
    if session.key_owed {
        session.key_owed = false;
        site.keys |= bit(session.id);
    } else if session.pack_owed {
        site.packs |= bit(session.id);
        owner.session = None;
    } else {
        return None;
    }
    Some(())
}

fn promised(owner: &Owner) -> Mask {
    let kept = owner.session.filter(|_| Guard::PromisesKept.stands());
    kept.and_then(|session| session.known).unwrap_or(0)
}

/// A mark: what is given up if nothing comes between.
pub(crate) fn mark(owner: &Owner) -> Option<(Mask, Mask, Mask)> {
    let catalog = owner.catalog();
    let live = (0..4u8).filter(|&snap| catalog.uses[snap as usize] != 0);
    let snaps = live.fold(0, |live, snap| live | bit(snap)) & catalog.trashed;
    let packs = catalog.live_packs() & !(catalog.needed(snaps) | promised(owner));
    let plan = (snaps, packs, keys(owner, &catalog, packs));
    (plan != (0, 0, 0)).then_some(plan)
}

/// Keys that no pack which stays and no open session uses.
fn keys(owner: &Owner, catalog: &Catalog, going: Mask) -> Mask {
    let used = match Guard::KeysInUseStay.stands() {
        true => catalog.keys_in_use(catalog.live_packs() & !going),
        false => catalog.open,
    };
    let mut idle = catalog.live_keys() & !used;
    // While a member may hold a branch, keys from before this owner's epoch stay.
    let all_here = each(catalog.members & others(owner)).all(|site| {
        let copier = &owner.copiers[site as usize];
        !copier.diverged && copier.head.is_some_and(|head| head.epoch == owner.epoch)
    });
    if !all_here && Guard::KeysOfBranchesStay.stands() {
        idle &= each(idle)
            .filter(|&key| catalog.opened_in[key as usize] >= owner.epoch)
            .fold(0, |keys, key| keys | bit(key));
    }
    idle
}

fn others(owner: &Owner) -> Mask {
    let all = (1u16 << owner.copiers.len()) - 1;
    all as Mask & !bit(owner.site)
}

/// Completes a plan in the writer's turn, and hands the record over.
pub(crate) fn condemn(world: &mut World, who: u8, plan: (Mask, Mask, Mask)) -> Option<()> {
    let owner = &world.owners[who as usize];
    let catalog = owner.catalog();
    let former = each(catalog.open).any(|id| catalog.opened_in[id as usize] < owner.epoch);
    if former && Guard::FormerSessionsFirst.stands() {
        return None;
    }
    let (snaps, mut packs, _) = plan;
    let snaps = snaps & catalog.trashed;
    packs &= catalog.live_packs();
    if Guard::MarkBroughtUpToDate.stands() {
        packs &= !(catalog.needed(snaps) | promised(owner));
    }
    let keys = keys(owner, &catalog, packs);
    if (snaps, packs, keys) == (0, 0, 0) {
        return None;
    }
    propose(world, who, Fact::Condemn { snaps, packs, keys })
}

/// Starts a sweep: asks every member. That a record stands never changes again, so that all are asked at once.
pub(crate) fn sweep(world: &mut World, who: u8) -> Option<()> {
    let owner = &world.owners[who as usize];
    let catalog = owner.catalog();
    let (packs, keys) = (catalog.packs_condemned, catalog.keys_condemned);
    if !owner.owns() || owner.sweep.is_some() || (packs, keys) == (0, 0) {
        return None;
    }
    let at = catalog.condemned_at?;
    let members = catalog.members & (others(owner) | bit(owner.site));
    let names: Vec<u8> = each(members).collect();
    let order = sweeping::Sweep {
        members: names.len(),
    };
    let (mut state, mut effect) = order.start();
    while let Effect::Ask(member) = effect {
        let own = read(&world.sites[owner.site as usize], at);
        let there = world.sites[names[member] as usize].raw(at);
        let event = match (own, there) {
            (None, _) => Event::Unreadable,
            (own, there) if own == there => Event::Stands,
            _ => Event::Lacks,
        };
        (state, effect) = order.step(state, event);
    }
    if effect == Effect::End {
        return None;
    }
    world.owners[who as usize].sweep = Some(Sweeping {
        members,
        packs,
        keys,
        state,
        effect,
    });
    Some(())
}

/// One step of a sweep.
pub(crate) fn sweep_on(world: &mut World, who: u8) -> Option<()> {
    let owner = &world.owners[who as usize];
    let sweep = owner.sweep?;
    let (packs, keys) = (sweep.packs, sweep.keys);
    match sweep.effect {
        Effect::Delete(member) => {
            let site = each(sweep.members).nth(member)?;
            let site = &mut world.sites[site as usize];
            site.packs &= !packs;
            site.keys &= !keys;
            let order = sweeping::Sweep {
                members: sweep.members.count_ones() as usize,
            };
            let (state, effect) = order.step(sweep.state, Event::Gone);
            world.owners[who as usize].sweep = Some(Sweeping {
                state,
                effect,
                ..sweep
            });
            Some(())
        }
        Effect::Record => propose(world, who, Fact::Swept { packs, keys }),
        _ => None,
    }
}

/// Whether a divergence ends an ownership.
pub(crate) fn fences(diverged: &holdfast_vault::replicate::Diverged, owner: &Owner) -> bool {
    diverged.fences(Epoch(owner.epoch.into()))
}
