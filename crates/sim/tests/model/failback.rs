//! Failback: closing a branch, driven by the product's `closing` and `takeover` steps, and committing it again.
//!
//! State: none but the world's. The order is that of `crates/coordinator/src/salvage/mod.rs`, with its guards.

use holdfast_format::Slot;
use holdfast_vault::Guard;
use holdfast_vault::branch::closing::{self, Effect, Event};
use holdfast_vault::log::takeover;

use crate::history::{Catalog, Fork, find_fork, lies, position, read};
use crate::owner::{claimant, drive, propose};
use crate::world::{Answer, At, Branch, Fact, Failback, Outcome, Rec, World, bit, each};

/// Starts to bring a site back.
pub(crate) fn start(world: &mut World, who: u8, site: u8) -> Option<()> {
    let owner = &world.owners[who as usize];
    if !owner.owns() || owner.failback != Failback::None || owner.sweep.is_some() {
        return None;
    }
    let is_primary = site == owner.site;
    if owner.plan.is_some() || !(is_primary || owner.copiers[site as usize].diverged) {
        return None;
    }
    let catalog = owner.catalog();
    let (here, there) = (
        &world.sites[owner.site as usize],
        &world.sites[site as usize],
    );
    let Fork::At(fork) = find_fork((here, there), site, &catalog.salvaged) else {
        return None;
    };
    world.issued += 1;
    let mut branch = Branch {
        site,
        fork,
        epoch: world.issued,
        nonce: world.issued,
        commits: None,
        opened: 0,
        removed_a_member: false,
    };
    if !Guard::BranchClosedFirst.stands() {
        read_branch(world, &mut branch);
    }
    let there = &world.sites[site as usize];
    let last = there.raw(At {
        epoch: fork.epoch,
        slot: there.slots(fork.epoch) - 1,
    });
    let is_closed = last.is_some_and(|rec| matches!(rec.fact, Fact::BranchSeal { .. }));
    let next = if is_closed {
        closed(world, branch)
    } else {
        let (state, effect) = closing::start();
        Failback::Closing(branch, state, effect)
    };
    world.owners[who as usize].failback = next;
    Some(())
}

/// One step of closing the branch.
pub(crate) fn close(world: &mut World, who: u8, outcome: Outcome) -> Option<()> {
    let next = match world.owners[who as usize].failback.clone() {
        Failback::Sealing(branch, state, effect) => {
            let own = claimant(branch.epoch, branch.nonce);
            let (state, effect) = drive(world, branch.site, own, (state, effect), outcome, false)?;
            match state {
                takeover::State::Claiming => salvages(world, branch),
                // Tried again with a higher number.
                takeover::State::Superseded(_) => closed(world, branch),
                _ => Failback::Sealing(branch, state, effect),
            }
        }
        Failback::Closing(branch, state, effect) => {
            let (state, effect) = match effect {
                Effect::Look if outcome == Outcome::Answered => look(world, who, &branch, state)?,
                Effect::PutSeal(slot) => {
                    let at = At {
                        epoch: branch.fork.epoch,
                        slot: slot.0 as u8,
                    };
                    let rec = seal_of(world, who, &branch)?;
                    match world.put((branch.site, at), rec, outcome, false)? {
                        Answer::Created | Answer::Exists => {}
                        Answer::NotDone => return None,
                        // The shell gives up; a person starts it again.
                        Answer::Unknown => {
                            world.owners[who as usize].failback = Failback::None;
                            return Some(());
                        }
                    }
                    let (state, _) = closing::step(state, Event::Answered);
                    look(world, who, &branch, state)?
                }
                _ => return None,
            };
            match state {
                closing::State::Closed => closed(world, branch),
                closing::State::Looking | closing::State::Sealing(_) => {
                    Failback::Closing(branch, state, effect)
                }
                other => panic!("closing a branch ended as {other:?}"),
            }
        }
        _ => return None,
    };
    world.owners[who as usize].failback = next;
    Some(())
}

/// The survivor's seal in the branch's own.
fn seal_of(world: &World, who: u8, branch: &Branch) -> Option<Rec> {
    let here = &world.sites[world.owners[who as usize].site as usize];
    let survivor = read(here, branch.fork)?;
    let Fact::Seal { next, .. } = survivor.fact else {
        return None;
    };
    Some(Rec {
        nonce: branch.nonce,
        fact: Fact::BranchSeal {
            next,
            next_nonce: survivor.nonce,
            ends_at: branch.fork.slot,
        },
    })
}

fn look(
    world: &World,
    who: u8,
    branch: &Branch,
    state: closing::State,
) -> Option<(closing::State, Effect)> {
    let there = &world.sites[branch.site as usize];
    let slot = there.slots(branch.fork.epoch) - 1;
    let last = there.raw(At {
        epoch: branch.fork.epoch,
        slot,
    })?;
    let event = match last.fact {
        Fact::BranchSeal { .. } => Event::Seal {
            same_fork: seal_of(world, who, branch).is_some_and(|own| own.fact == last.fact),
        },
        _ => Event::Last(Slot(slot.into())),
    };
    Some(closing::step(state, event))
}

/// The branch's seal stands: whatever later epochs it has are closed in the ordinary way, under a number issued now.
fn closed(world: &mut World, mut branch: Branch) -> Failback {
    let (_, next) = lies(&world.sites[branch.site as usize]);
    if next.epoch == branch.fork.epoch {
        return salvages(world, branch);
    }
    world.issued += 1;
    (branch.epoch, branch.nonce) = (world.issued, world.issued);
    let (state, effect) = claimant(branch.epoch, branch.nonce).start(position(next), false);
    Failback::Sealing(branch, state, effect)
}

/// All of the branch is closed: what it committed is read, unless it was read too early.
fn salvages(world: &World, mut branch: Branch) -> Failback {
    if branch.commits.is_none() {
        read_branch(world, &mut branch);
    }
    Failback::Recommitting(branch)
}

fn read_branch(world: &World, branch: &mut Branch) {
    let (records, _) = lies(&world.sites[branch.site as usize]);
    let catalog = Catalog::of(&records);
    let mut commits = Vec::new();
    for (_, rec) in records.iter().filter(|(at, _)| *at >= branch.fork) {
        match rec.fact {
            // Given up on the branch itself, by record, is given up.
            Fact::Commit { snap, .. } if catalog.uses[snap as usize] != 0 => commits.push(rec.fact),
            Fact::Open(session) => branch.opened |= bit(session),
            Fact::Leave(_) => branch.removed_a_member = true,
            _ => {}
        }
    }
    branch.commits = Some(commits);
}

/// One step of committing the branch again.
pub(crate) fn recommit(world: &mut World, who: u8) -> Option<()> {
    let owner = &world.owners[who as usize];
    let Failback::Recommitting(mut branch) = owner.failback.clone() else {
        return None;
    };
    if owner.flight.is_some() {
        return None;
    }
    let catalog = owner.catalog();
    let (from, site) = (branch.site, owner.site);
    let commits = branch.commits.clone().unwrap_or_default();
    for fact in commits {
        let Fact::Commit { snap, uses, .. } = fact else {
            continue;
        };
        if catalog.uses[snap as usize] != 0 {
            continue;
        }
        let missing = uses & !catalog.live_packs();
        let is_own = |key| key == snap && catalog.open & bit(snap) == 0;
        for key in each(crate::world::keys_of(missing | bit(snap))) {
            if catalog.live_keys() & bit(key) != 0 && !is_own(key) {
                continue;
            }
            // Given up here while the branch still needs it: a person restores that snapshot from there.
            if catalog.keys_condemned & bit(key) != 0 {
                return None;
            }
            if world.sites[from as usize].keys & bit(key) == 0 {
                return None;
            }
            propose(world, who, Fact::Open(key))?;
            world.sites[site as usize].keys |= bit(key);
            branch.opened |= bit(key);
            world.owners[who as usize].failback = Failback::Recommitting(branch);
            return Some(());
        }
        if missing & !world.sites[from as usize].packs != 0 {
            return None;
        }
        let copies = missing << 4;
        let again = Fact::Commit {
            snap,
            packs: copies,
            uses: copies | (uses & !missing),
        };
        propose(world, who, again)?;
        world.sites[site as usize].packs |= copies;
        return Some(());
    }
    let open = catalog.open & branch.opened;
    if let Some(session) = each(open).next() {
        return propose(world, who, Fact::End(session));
    }
    if branch.removed_a_member {
        return None;
    }
    let salvaged = Fact::Salvaged {
        site: from,
        from: branch.fork,
    };
    propose(world, who, salvaged)
}
