//! Owners: taking over and appending, driven by the product's `takeover` and `append` steps; failover's order of them.
//!
//! State: none but the world's. A step here carries out one effect, as the shells `log/claim.rs` and `log/writer.rs` do.
//! Reading a slot that is filled is not told apart from the step before it: what stands there never changes.

use std::sync::Arc;

use holdfast_format::{ClaimNonce, Epoch};
use holdfast_vault::Guard;
use holdfast_vault::log::append;
use holdfast_vault::log::takeover::{self, Claimant, Effect, Slotted};
use holdfast_vault::replicate::Standing;

use crate::copier::{self, Copied};
use crate::history::{Catalog, Records, at_of, history, position, read, standing};
use crate::world::{
    Answer, At, Copier, Fact, Flight, Outcome, Owner, Rec, Session, Stage, Why, World,
};

impl Owner {
    pub(crate) fn new(site: u8, sites: u8) -> Self {
        Self {
            epoch: 0,
            nonce: 0,
            site,
            stage: Stage::Unborn,
            base: Arc::default(),
            wrote: Vec::new(),
            flight: None,
            copiers: vec![Copier::default(); sites as usize],
            sweep: None,
            plan: None,
            session: None,
            failback: crate::world::Failback::None,
            drained: false,
        }
    }

    /// What its fold is made of.
    pub(crate) fn fold(&self) -> Records {
        let own = self.wrote.iter().enumerate().map(|(slot, &rec)| {
            let at = At {
                epoch: self.epoch,
                slot: slot as u8,
            };
            (at, rec)
        });
        self.base.iter().copied().chain(own).collect()
    }

    pub(crate) fn catalog(&self) -> Catalog {
        Catalog::of(&self.fold())
    }

    pub(crate) fn owns(&self) -> bool {
        self.stage == Stage::Owns
    }
}

pub(crate) fn claimant(epoch: u8, nonce: u8) -> Claimant {
    Claimant {
        epoch: Epoch(epoch.into()),
        nonce: ClaimNonce([nonce; 16]),
    }
}

/// Gives an owner its epoch. `from`: a failover that seals the old primary first.
pub(crate) fn issue(world: &mut World, who: u8, from: Option<u8>) -> Option<()> {
    let site = world.owners[who as usize].site;
    world.issued += 1;
    let issued = world.issued;
    let is_new = world.sites[site as usize].slots(1) == 0;
    let owner = &mut world.owners[who as usize];
    // A new vault's first epoch is 1, whoever makes it.
    (owner.epoch, owner.nonce) = (if is_new { 1 } else { issued }, issued);
    let Some(from) = from else {
        start_taking(world, who);
        return Some(());
    };
    let (old, new) = (&world.sites[from as usize], &world.sites[site as usize]);
    let (records, next) = history(old);
    let salvaged = Catalog::of(&records).salvaged;
    if let Standing::Diverged(_) = standing((old, new), site, &salvaged) {
        return None;
    }
    owner.drained = true;
    owner.stage = match Guard::SealBeforeDrain.stands() {
        true => {
            let (state, effect) = claimant(issued, issued).start(position(next), false);
            Stage::Sealing(from, state, effect)
        }
        false => Stage::Draining(Arc::new(records), Copier::default(), true),
    };
    Some(())
}

fn start_taking(world: &mut World, who: u8) {
    let owner = &mut world.owners[who as usize];
    let (records, next) = history(&world.sites[owner.site as usize]);
    let announced = |rec: &Rec| matches!(rec.fact, Fact::Seal { next, .. } if next == owner.epoch && rec.nonce == owner.nonce);
    let ready = records.is_empty() || records.last().is_some_and(|(_, rec)| announced(rec));
    let (state, effect) = claimant(owner.epoch, owner.nonce).start(position(next), ready);
    owner.stage = Stage::Taking(state, effect);
}

/// One step of a takeover.
pub(crate) fn take(world: &mut World, who: u8, outcome: Outcome, overwrites: bool) -> Option<()> {
    let owner = &world.owners[who as usize];
    let (own, target) = (claimant(owner.epoch, owner.nonce), owner.site);
    match owner.stage.clone() {
        Stage::Sealing(site, state, effect) => {
            let (state, effect) = drive(world, site, own, (state, effect), outcome, overwrites)?;
            let stage = match state {
                // The shell stops here: the seal stands, and nothing is claimed yet.
                takeover::State::Claiming if site == target => {
                    start_taking(world, who);
                    return Some(());
                }
                takeover::State::Claiming => {
                    let (records, _) = history(&world.sites[site as usize]);
                    Stage::Draining(Arc::new(records), Copier::default(), false)
                }
                takeover::State::Superseded(_) => Stage::Ended(Why::Superseded),
                _ => Stage::Sealing(site, state, effect),
            };
            world.owners[who as usize].stage = stage;
        }
        Stage::Taking(state, effect) => {
            let (state, effect) = drive(world, target, own, (state, effect), outcome, overwrites)?;
            let stage = match state {
                takeover::State::Owner => {
                    own_it(world, who);
                    Stage::Owns
                }
                takeover::State::Superseded(_) => Stage::Ended(Why::Superseded),
                takeover::State::Unfit => Stage::Ended(Why::Unfit),
                _ => Stage::Taking(state, effect),
            };
            world.owners[who as usize].stage = stage;
        }
        _ => return None,
    }
    Some(())
}

fn own_it(world: &mut World, who: u8) {
    let owner = &mut world.owners[who as usize];
    let (mut base, _) = history(&world.sites[owner.site as usize]);
    base.retain(|(at, _)| at.epoch < owner.epoch);
    owner.base = Arc::new(base);
    owner.wrote = vec![Rec {
        nonce: owner.nonce,
        fact: Fact::Claim { decoy: false },
    }];
}

/// Carries out one effect of a takeover, and every read of a filled slot behind it.
pub(crate) fn drive(
    world: &mut World,
    site: u8,
    own: Claimant,
    (mut state, mut effect): (takeover::State, Effect),
    outcome: Outcome,
    overwrites: bool,
) -> Option<(takeover::State, Effect)> {
    let (epoch, nonce) = (own.epoch.0 as u8, own.nonce.0[0]);
    let claim_at = At { epoch, slot: 0 };
    let (at, rec) = match effect {
        Effect::Read(_) | Effect::ReadLater(_) => {
            if outcome != Outcome::Answered {
                return None;
            }
            return Some(follow(world, site, own, (state, effect)));
        }
        Effect::PutSeal(at) | Effect::PutSealLater(at) => {
            let at = at_of(at);
            let fact = Fact::Seal {
                next: epoch,
                ends_at: at.slot,
            };
            (at, Rec { nonce, fact })
        }
        Effect::PutClaim | Effect::PutClaimLater => {
            let fact = Fact::Claim { decoy: false };
            (claim_at, Rec { nonce, fact })
        }
        Effect::PutDecoy | Effect::PutDecoyLater => {
            let fact = Fact::Claim { decoy: true };
            (claim_at, Rec { nonce, fact })
        }
        Effect::End => return None,
    };
    let event = match world.put((site, at), rec, outcome, overwrites)? {
        Answer::Created => takeover::Event::Created,
        Answer::Exists => takeover::Event::Exists,
        Answer::NotDone => takeover::Event::NotDone,
        Answer::Unknown => takeover::Event::Unknown,
    };
    (state, effect) = own.step(state, event);
    // A pause is no step.
    effect = match effect {
        Effect::PutSealLater(at) => Effect::PutSeal(at),
        Effect::PutClaimLater => Effect::PutClaim,
        Effect::PutDecoyLater => Effect::PutDecoy,
        other => other,
    };
    Some((state, effect))
}

/// Reads on for as long as slots are filled, and the first that is not.
fn follow(
    world: &World,
    site: u8,
    own: Claimant,
    (mut state, mut effect): (takeover::State, Effect),
) -> (takeover::State, Effect) {
    let (epoch, nonce) = (own.epoch.0 as u8, own.nonce.0[0]);
    let own_claim = Rec {
        nonce,
        fact: Fact::Claim { decoy: false },
    };
    while let Effect::Read(at) = effect {
        let at = at_of(at);
        let found = read(&world.sites[site as usize], at);
        let slotted = match found {
            None => Slotted::Absent,
            Some(rec) if rec == own_claim && at.epoch == epoch => Slotted::OwnClaim,
            Some(Rec {
                nonce,
                fact: Fact::Seal { next, .. },
            }) => Slotted::Seal {
                next_epoch: Epoch(next.into()),
                next_nonce: ClaimNonce([nonce; 16]),
            },
            Some(_) => Slotted::Record,
        };
        (state, effect) = own.step(state, takeover::Event::Read(slotted));
        if found.is_none() {
            break;
        }
    }
    (state, effect)
}

/// One step of a failover's drain.
pub(crate) fn drain(world: &mut World, who: u8, outcome: Outcome) -> Option<()> {
    let owner = &world.owners[who as usize];
    let (target, epoch, nonce) = (owner.site, owner.epoch, owner.nonce);
    let Stage::Draining(fold, mut copier, seals_after) = owner.stage.clone() else {
        return None;
    };
    // Two sites only: the old primary is the other one.
    let source = 1 - target;
    let stage = if copier.next.is_none() {
        match copier::look(world, (source, target), &fold, &mut copier) {
            None => Stage::Draining(fold, copier, seals_after),
            Some(_) => Stage::Ended(Why::Diverged),
        }
    } else {
        match copier::copy(world, (source, target), &fold, &mut copier, outcome) {
            Some(Copied::Diverged(_)) => Stage::Ended(Why::Diverged),
            Some(Copied::On) => Stage::Draining(fold, copier, seals_after),
            None if outcome != Outcome::Answered || copier.step.is_some() => return None,
            // Nothing is left to copy.
            None if seals_after => {
                let (_, next) = history(&world.sites[target as usize]);
                let (state, effect) = claimant(epoch, nonce).start(position(next), false);
                Stage::Sealing(target, state, effect)
            }
            None => {
                start_taking(world, who);
                return Some(());
            }
        }
    };
    world.owners[who as usize].stage = stage;
    Some(())
}

/// Hands a record to the writer.
pub(crate) fn propose(world: &mut World, who: u8, fact: Fact) -> Option<()> {
    let owner = &mut world.owners[who as usize];
    if !owner.owns() || owner.flight.is_some() {
        return None;
    }
    let (state, effect) = append::start();
    owner.flight = Some(Flight {
        rec: Rec {
            nonce: owner.nonce,
            fact,
        },
        state,
        effect,
    });
    Some(())
}

/// One step of an append.
pub(crate) fn append(world: &mut World, who: u8, outcome: Outcome, overwrites: bool) -> Option<()> {
    let owner = &world.owners[who as usize];
    let Flight { rec, state, effect } = owner.flight?;
    let at = At {
        epoch: owner.epoch,
        slot: owner.wrote.len() as u8,
    };
    let site = owner.site;
    let event = match effect {
        append::Effect::Put | append::Effect::PutLater => {
            match world.put((site, at), rec, outcome, overwrites)? {
                Answer::Created => append::Event::Created,
                Answer::Exists => append::Event::Exists,
                Answer::NotDone => append::Event::NotDone,
                Answer::Unknown => append::Event::Unknown,
            }
        }
        append::Effect::Read | append::Effect::ReadLater if outcome == Outcome::Answered => {
            match world.sites[site as usize].raw(at) {
                None => append::Event::Absent,
                Some(there) if there == rec => append::Event::Mine,
                Some(there) if there.nonce == rec.nonce && !is_seal(there) => {
                    append::Event::MineButOther
                }
                Some(_) => append::Event::Others,
            }
        }
        _ => return None,
    };
    let owner = &mut world.owners[who as usize];
    // As the shell: whoever gives up here proposes other bytes for this slot next.
    if event == append::Event::Unknown && !Guard::OneProposalPerSlot.stands() {
        owner.flight = None;
        return Some(());
    }
    let (state, effect) = append::step(state, event);
    match effect {
        append::Effect::Acknowledge => acknowledged(owner, rec),
        append::Effect::StopFenced => stop(owner, Why::Fenced),
        append::Effect::StopBroken => stop(owner, Why::Broken),
        append::Effect::PutLater => {
            owner.flight = Some(Flight {
                rec,
                state,
                effect: append::Effect::Put,
            });
        }
        effect => owner.flight = Some(Flight { rec, state, effect }),
    }
    Some(())
}

fn is_seal(rec: Rec) -> bool {
    matches!(rec.fact, Fact::Seal { .. } | Fact::BranchSeal { .. })
}

/// An ownership ends: its actors stop, and what they had in mind is gone.
pub(crate) fn stop(owner: &mut Owner, why: Why) {
    owner.stage = Stage::Ended(why);
    owner.flight = None;
    owner.sweep = None;
    owner.plan = None;
    owner.session = None;
    owner.failback = crate::world::Failback::None;
    // A late answer finds nobody; where each member stood stays known for the properties.
    for copier in &mut owner.copiers {
        copier.step = None;
    }
}

fn acknowledged(owner: &mut Owner, rec: Rec) {
    owner.flight = None;
    owner.wrote.push(rec);
    match rec.fact {
        Fact::Commit { snap, .. }
            if owner.session.is_some_and(|s| s.id == snap && !s.pack_owed) =>
        {
            owner.session = None;
        }
        Fact::Swept { .. } => owner.sweep = None,
        // The site is told that it may follow.
        Fact::Salvaged { site, .. } => {
            owner.failback = crate::world::Failback::None;
            owner.copiers[site as usize] = Copier::default();
        }
        _ => {}
    }
}

/// An agent's session, newly opened.
pub(crate) fn session(id: u8) -> Session {
    Session {
        id,
        known: None,
        key_owed: false,
        pack_owed: false,
    }
}

/// Whether an owner could append right now, if it tried.
pub(crate) fn is_able(world: &World, owner: &Owner) -> bool {
    let site = &world.sites[owner.site as usize];
    let at = At {
        epoch: owner.epoch,
        slot: owner.wrote.len() as u8,
    };
    let sealed = site.log.get(owner.epoch as usize);
    let sealed = sealed.is_some_and(|slots| slots.iter().any(|&rec| is_seal(rec)));
    owner.owns() && site.raw(at).is_none() && !sealed
}
