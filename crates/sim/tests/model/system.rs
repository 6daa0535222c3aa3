//! The transition system: who can do what next. Every action is one effect that others can see.
//!
//! State: the configuration, with its bounds. Whoever is never chosen again has crashed, hangs, or is cut off: there are no
//! actions for that.

use holdfast_vault::replicate::Diverged;
use stateright::{Model, Property};

use crate::copier::{self, Copied};
use crate::history::Catalog;
use crate::world::{
    Copier, Fact, Failback, Mask, Outcome, Owner, Rec, Site, Stage, Why, World, bit, each,
};
use crate::{collector, failback, owner, properties};

/// How an ownership comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It owns epoch 1 at site 0 from the start, and wrote these records.
    Founder,
    /// It takes the vault over at this site: a restart, a standby, or a failover whose old primary does not answer.
    At(u8),
    /// It fails over from site 0 to site 1, and may find the old primary answering or not.
    Failover,
}

/// A configuration: who is there, and how much of everything.
#[derive(Debug, Clone)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) sites: u8,
    pub(crate) roles: Vec<Role>,
    /// What the founder wrote.
    pub(crate) wrote: Vec<Fact>,
    /// How many of its records, the claim among them, the other site holds at the start.
    pub(crate) copied: u8,
    /// Requests that may go wrong, and how.
    pub(crate) faults: u8,
    pub(crate) outcomes: &'static [Outcome],
    /// Words that each owner appends at most.
    pub(crate) words: u8,
    /// Sessions, at most, those of the start among them.
    pub(crate) sessions: u8,
    /// Whether sessions reuse chunks of earlier packs.
    pub(crate) dedup: bool,
    /// Snapshots that may be forgotten.
    pub(crate) forget: Mask,
    /// Whether something else can happen between mark and record.
    pub(crate) marks_apart: bool,
    /// How often site 1 may leave or join.
    pub(crate) moves: u8,
    pub(crate) failback: bool,
    /// Whether sites let a create replace what is there.
    pub(crate) overwrites: bool,
    /// States that must be reached, so that a property does not hold for want of anything happening.
    pub(crate) reached: &'static [properties::Reached],
    /// How many actions in a row are looked at; all of them, if none is said.
    pub(crate) depth: Option<usize>,
    /// The guard that is taken away.
    #[cfg(feature = "mutation")]
    pub(crate) without: Option<holdfast_vault::Guard>,
}

impl Default for System {
    fn default() -> Self {
        Self {
            name: "",
            sites: 2,
            roles: vec![Role::Founder],
            wrote: Vec::new(),
            copied: 0,
            faults: 0,
            outcomes: &[],
            words: 0,
            sessions: 0,
            dedup: false,
            forget: 0,
            marks_apart: false,
            moves: 0,
            failback: false,
            overwrites: false,
            reached: &[],
            depth: None,
            #[cfg(feature = "mutation")]
            without: None,
        }
    }
}

/// What can happen next. The first number names an ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// It is issued an epoch, and looks where the log ends.
    Issue(u8),
    /// The same, to seal the old primary first.
    IssueToDrain(u8),
    /// The next effect of its takeover.
    Take(u8, Outcome),
    /// The next effect of its drain.
    Drain(u8, Outcome),
    /// A record is handed to its writer.
    Propose(u8, Fact),
    /// The next effect of its append.
    Append(u8, Outcome),
    /// A late put is done.
    Land(u8),
    /// A session opens, offers, commits.
    Open(u8),
    Offer(u8, Mask),
    Commit(u8),
    /// What was owed to a record comes after it.
    Pay(u8),
    /// Its replicator looks where a member stands.
    Look(u8, u8),
    /// The next effect of its replicator.
    Copy(u8, u8, Outcome),
    /// Its collector marks.
    Mark(u8),
    Condemn(u8),
    Sweep(u8),
    SweepOn(u8),
    /// A failback starts, closes the branch, commits it again.
    FailBack(u8, u8),
    Close(u8, Outcome),
    Recommit(u8),
}

impl System {
    fn founded(&self) -> World {
        let mut sites = vec![Site::default(); self.sites as usize];
        let mut owners: Vec<Owner> = Vec::new();
        let mut wrote = vec![Rec {
            nonce: 1,
            fact: Fact::Claim { decoy: false },
        }];
        wrote.extend(self.wrote.iter().map(|&fact| Rec { nonce: 1, fact }));
        let mut opened = 0;
        for &role in &self.roles {
            let site = match role {
                Role::Founder => 0,
                Role::At(site) => site,
                Role::Failover => 1,
            };
            let mut owner = Owner::new(site, self.sites);
            if role == Role::Founder {
                (owner.epoch, owner.nonce, owner.stage) = (1, 1, Stage::Owns);
                owner.wrote.clone_from(&wrote);
            }
            owners.push(owner);
        }
        let is_founded = self.roles.contains(&Role::Founder);
        if is_founded {
            for (site, holds) in [(0, wrote.len()), (1, self.copied as usize)] {
                let Some(site) = sites.get_mut(site) else {
                    continue;
                };
                for (slot, &rec) in wrote.iter().take(holds).enumerate() {
                    let slot = slot as u8;
                    site.fill(crate::world::At { epoch: 1, slot }, rec);
                    match rec.fact {
                        Fact::Open(key) => site.keys |= bit(key),
                        Fact::Commit { packs, .. } => site.packs |= packs,
                        _ => {}
                    }
                }
            }
        }
        for rec in &wrote {
            if let Fact::Open(key) = rec.fact {
                opened = opened.max(key + 1);
            }
        }
        World {
            sites,
            owners,
            late: Vec::new(),
            issued: u8::from(is_founded),
            faults: self.faults,
            opened,
            moves: self.moves,
        }
    }

    /// What a request may come to: done, refused, or one of the faults.
    fn outcomes(&self, world: &World) -> impl Iterator<Item = Outcome> {
        let faults = match world.faults {
            0 => &[],
            _ => self.outcomes,
        };
        let ordinary = [Outcome::Answered, Outcome::Refused];
        ordinary.into_iter().chain(faults.iter().copied())
    }

    fn actions_of(&self, world: &World, who: u8, actions: &mut Vec<Action>) {
        let owner = &world.owners[who as usize];
        match &owner.stage {
            Stage::Unborn => {
                actions.push(Action::Issue(who));
                if self.roles[who as usize] == Role::Failover {
                    actions.push(Action::IssueToDrain(who));
                }
            }
            Stage::Sealing(..) | Stage::Taking(..) => {
                actions.extend(
                    self.outcomes(world)
                        .map(|outcome| Action::Take(who, outcome)),
                );
            }
            Stage::Draining(..) => {
                actions.extend(
                    self.outcomes(world)
                        .map(|outcome| Action::Drain(who, outcome)),
                );
            }
            Stage::Owns => self.actions_of_owner(world, who, actions),
            Stage::Ended(_) => {}
        }
    }

    fn actions_of_owner(&self, world: &World, who: u8, actions: &mut Vec<Action>) {
        let owner = &world.owners[who as usize];
        let catalog = owner.catalog();
        match owner.flight {
            Some(_) => {
                actions.extend(
                    self.outcomes(world)
                        .map(|outcome| Action::Append(who, outcome)),
                );
            }
            None => self.proposals(world, who, &catalog, actions),
        }
        if let Some(session) = owner.session {
            if session.known.is_none() {
                actions.push(Action::Offer(who, 0));
                if self.dedup {
                    let live = each(catalog.live_packs());
                    actions.extend(live.map(|pack| Action::Offer(who, bit(pack))));
                }
            } else {
                actions.push(Action::Commit(who));
            }
            if session.key_owed || session.pack_owed {
                actions.push(Action::Pay(who));
            }
        }
        let others = (0..self.sites).filter(|&site| site != owner.site);
        for site in others.filter(|&site| catalog.members & bit(site) != 0) {
            let copier = &owner.copiers[site as usize];
            if copier.next.is_some() {
                actions
                    .extend((self.outcomes(world)).map(|outcome| Action::Copy(who, site, outcome)));
            } else {
                actions.push(Action::Look(who, site));
            }
        }
        if owner.sweep.is_some() {
            actions.push(Action::SweepOn(who));
        } else if owner.failback == Failback::None {
            actions.push(Action::Sweep(who));
        }
        if self.failback {
            match owner.failback {
                Failback::None => {
                    actions.extend((0..self.sites).map(|site| Action::FailBack(who, site)));
                }
                Failback::Sealing(..) | Failback::Closing(..) => actions
                    .extend((self.outcomes(world)).map(|outcome| Action::Close(who, outcome))),
                Failback::Recommitting(..) => actions.push(Action::Recommit(who)),
            }
        }
    }

    fn proposals(&self, world: &World, who: u8, catalog: &Catalog, actions: &mut Vec<Action>) {
        let owner = &world.owners[who as usize];
        let words = owner
            .wrote
            .iter()
            .filter(|rec| matches!(rec.fact, Fact::Word(_)));
        let words = words.count() as u8;
        if words < self.words {
            // Whoever proposes again after a request went wrong says something else.
            let again = 4 * (self.faults - world.faults);
            actions.push(Action::Propose(who, Fact::Word(words + again)));
        }
        if world.opened < self.sessions && owner.session.is_none() {
            actions.push(Action::Open(who));
        }
        for id in each(catalog.open) {
            if catalog.opened_in[id as usize] < owner.epoch && owner.failback == Failback::None {
                actions.push(Action::Propose(who, Fact::End(id)));
            }
        }
        for snap in each(self.forget & !catalog.trashed) {
            if catalog.uses[snap as usize] != 0 {
                actions.push(Action::Propose(who, Fact::Trash(snap)));
            }
        }
        if self.forget != 0 && owner.failback == Failback::None {
            match owner.plan {
                Some(_) => actions.push(Action::Condemn(who)),
                None => actions.push(Action::Mark(who)),
            }
        }
        // Only a site that is not the primary may leave.
        if world.moves > 0 && owner.site == 0 {
            actions.push(Action::Propose(
                who,
                match catalog.members & bit(1) {
                    0 => Fact::Join(1),
                    _ => Fact::Leave(1),
                },
            ));
        }
    }

    fn apply(&self, world: &mut World, action: Action) -> Option<()> {
        let overwrites = self.overwrites;
        match action {
            Action::Issue(who) => owner::issue(world, who, None),
            Action::IssueToDrain(who) => owner::issue(world, who, Some(0)),
            Action::Take(who, outcome) => owner::take(world, who, outcome, overwrites),
            Action::Drain(who, outcome) => owner::drain(world, who, outcome),
            Action::Propose(who, fact) => {
                owner::propose(world, who, fact)?;
                if let Fact::Join(site) | Fact::Leave(site) = fact {
                    world.moves -= 1;
                    world.owners[who as usize].copiers[site as usize] = Copier::default();
                }
                Some(())
            }
            Action::Append(who, outcome) => owner::append(world, who, outcome, overwrites),
            Action::Land(late) => {
                let (site, at, rec) = *world.late.get(late as usize)?;
                world.land(site, at, rec);
                Some(())
            }
            Action::Open(who) => collector::open(world, who),
            Action::Offer(who, known) => collector::offer(world, who, known),
            Action::Commit(who) => collector::commit(world, who),
            Action::Pay(who) => collector::pay(world, who),
            Action::Look(who, site) => {
                let owner = &world.owners[who as usize];
                let (from, mut copier) = (owner.site, owner.copiers[site as usize]);
                let diverged = copier::look(world, (from, site), &owner.fold(), &mut copier);
                followed(
                    &mut world.owners[who as usize],
                    site,
                    copier,
                    diverged.as_ref(),
                );
                Some(())
            }
            Action::Copy(who, site, outcome) => self.copy(world, who, site, outcome),
            Action::Mark(who) => {
                let owner = &world.owners[who as usize];
                let plan = collector::mark(owner)?;
                match self.marks_apart {
                    true => world.owners[who as usize].plan = Some(plan),
                    false => collector::condemn(world, who, plan)?,
                }
                Some(())
            }
            Action::Condemn(who) => {
                let plan = world.owners[who as usize].plan.take()?;
                // A plan that nothing is left of is dropped.
                let _ = collector::condemn(world, who, plan);
                Some(())
            }
            Action::Sweep(who) => collector::sweep(world, who),
            Action::SweepOn(who) => collector::sweep_on(world, who),
            Action::FailBack(who, site) => failback::start(world, who, site),
            Action::Close(who, outcome) => failback::close(world, who, outcome),
            Action::Recommit(who) => failback::recommit(world, who),
        }
    }

    fn copy(&self, world: &mut World, who: u8, site: u8, outcome: Outcome) -> Option<()> {
        let owner = &world.owners[who as usize];
        let (from, fold) = (owner.site, owner.fold());
        let mut copier = owner.copiers[site as usize];
        let copied = copier::copy(world, (from, site), &fold, &mut copier, outcome)?;
        let diverged = match &copied {
            Copied::Diverged(diverged) => Some(diverged),
            Copied::On => None,
        };
        followed(&mut world.owners[who as usize], site, copier, diverged);
        Some(())
    }
}

/// What a replicator saw, and whether that ends its ownership.
fn followed(owner: &mut Owner, site: u8, copier: Copier, diverged: Option<&Diverged>) {
    owner.copiers[site as usize] = copier;
    if diverged.is_some_and(|diverged| collector::fences(diverged, owner)) {
        owner::stop(owner, Why::Fenced);
    }
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<Self::State> {
        vec![self.founded()]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<Self::Action>) {
        for who in 0..state.owners.len() as u8 {
            self.actions_of(state, who, actions);
        }
        actions.extend((0..state.late.len() as u8).map(Action::Land));
    }

    fn next_state(&self, state: &Self::State, action: Self::Action) -> Option<Self::State> {
        // The switch is this thread's, and the checker steps on threads of its own.
        #[cfg(feature = "mutation")]
        let _away = self.without.map(holdfast_vault::Guard::remove);
        let mut next = state.clone();
        self.apply(&mut next, action)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = properties::always();
        all.extend(self.reached.iter().map(|reached| reached.property()));
        all
    }
}
