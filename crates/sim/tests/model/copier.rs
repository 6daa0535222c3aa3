//! Replicators, driven by the product's `copying` steps.
//!
//! State: none but the world's. Reading a record, and comparing one that stands, are not told apart from the step before:
//! what stands never changes. Copying what a record names, and putting the record, are two steps.

use holdfast_format::Epoch;
use holdfast_vault::replicate::copying::{self, Effect, Event, Found, Named, Wanted};
use holdfast_vault::replicate::{Diverged, Standing};

use crate::history::{Catalog, Records, after, at_of, position, read, standing};
use crate::world::{Answer, At, Copier, Fact, Mask, Outcome, Rec, Site, World, bit, each};

/// What a step of a replicator did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    On,
    Diverged(Diverged),
}

/// Looks where the member stands; gives why it does not follow.
pub(crate) fn look(
    world: &World,
    (source, target): (u8, u8),
    fold: &Records,
    copier: &mut Copier,
) -> Option<Diverged> {
    let (here, there) = (&world.sites[source as usize], &world.sites[target as usize]);
    let salvaged = Catalog::of(fold).salvaged;
    let diverged = match standing((here, there), target, &salvaged) {
        Standing::Prefix(None) => {
            copier.next = Some(At { epoch: 1, slot: 0 });
            copier.diverged = false;
            return None;
        }
        Standing::Prefix(Some(head)) => {
            let at = at_of(head);
            let rec = read(here, at)?;
            if folded(here, at, rec, fold) != Event::OtherSeal {
                copier.head = Some(at);
                copier.next = Some(after(at, rec));
                copier.diverged = false;
                return None;
            }
            Diverged::Sealed(head)
        }
        Standing::Diverged(diverged) => diverged,
    };
    copier.diverged = true;
    Some(diverged)
}

fn folded(here: &Site, at: At, rec: Rec, fold: &Records) -> Event {
    let seals = match rec.fact {
        Fact::Seal { next, .. } => Some((Epoch(next.into()), read(here, after(at, rec)).is_some())),
        _ => None,
    };
    let head = fold.last();
    copying::look(Found {
        at: position(at),
        seals,
        head: head.map(|&(head, _)| position(head)),
        head_is_seal: head.is_some_and(|(_, rec)| matches!(rec.fact, Fact::Seal { .. })),
    })
}

/// One step. Nothing: there is nothing that could be done, or not with that outcome.
pub(crate) fn copy(
    world: &mut World,
    (source, target): (u8, u8),
    fold: &Records,
    copier: &mut Copier,
    outcome: Outcome,
) -> Option<Copied> {
    let at = copier.next?;
    let from = &world.sites[source as usize];
    // What is being copied is in memory: the source may have been closed as a branch since.
    let rec = match copier.step {
        Some(_) => from.raw(at)?,
        None => read(from, at)?,
    };
    let (mut state, mut effect) = copier.step.unwrap_or_else(copying::start);
    let mut done = false;
    loop {
        let event = match effect {
            Effect::Read => folded(&world.sites[source as usize], at, rec, fold),
            Effect::CopyNamed if names_nothing(rec) => Event::NamedStands,
            // One action carries out one effect that others can see.
            Effect::CopyNamed | Effect::Put if done => break,
            Effect::CopyNamed if outcome != Outcome::Answered => return None,
            Effect::CopyNamed => {
                copy_named(world, (source, target), &Catalog::of(fold), rec)?;
                done = true;
                Event::NamedStands
            }
            Effect::Put => {
                done = true;
                match world.put((target, at), rec, outcome, false)? {
                    Answer::Created => Event::Created,
                    Answer::Exists => Event::Exists,
                    Answer::NotDone => return None,
                    // The shell gives up and starts over.
                    Answer::Unknown => {
                        *copier = Copier {
                            head: copier.head,
                            ..Copier::default()
                        };
                        return Some(Copied::On);
                    }
                }
            }
            Effect::Compare => match world.sites[target as usize].raw(at) {
                Some(there) if there == rec => Event::Same,
                Some(there)
                    if matches!(there.fact, Fact::Seal { .. } | Fact::BranchSeal { .. }) =>
                {
                    Event::OtherSeal
                }
                _ => Event::OtherRecord,
            },
            Effect::End => break,
        };
        (state, effect) = copying::step(state, event);
    }
    copier.step = (effect != Effect::End).then_some((state, effect));
    match state {
        copying::State::Level => return None,
        copying::State::Branch | copying::State::Sealed => {
            copier.diverged = true;
            copier.next = None;
            return Some(Copied::Diverged(match state {
                copying::State::Sealed => Diverged::Sealed(position(at)),
                _ => Diverged::Branch(position(at)),
            }));
        }
        copying::State::Copied => {
            copier.head = Some(at);
            copier.next = Some(after(at, rec));
        }
        copying::State::Broken => panic!("a copy broke at {at:?}"),
        _ => {}
    }
    Some(Copied::On)
}

fn names_nothing(rec: Rec) -> bool {
    !matches!(rec.fact, Fact::Open(_) | Fact::Commit { .. })
}

/// Copies what a record names, as the shell does by its fold. Nothing: something live is missing at the source.
fn copy_named(
    world: &mut World,
    (source, target): (u8, u8),
    fold: &Catalog,
    rec: Rec,
) -> Option<()> {
    let from = world.sites[source as usize].clone();
    let to = &mut world.sites[target as usize];
    match rec.fact {
        Fact::Open(key) => {
            let named = named(bit(key), fold.keys, fold.keys_condemned);
            to.keys |= copied(bit(key), from.keys, named)?;
        }
        Fact::Commit { packs, .. } => {
            for pack in each(packs).map(bit) {
                let named = named(pack, fold.packs, fold.packs_condemned);
                to.packs |= copied(pack, from.packs, named)?;
            }
        }
        _ => {}
    }
    Some(())
}

fn named(one: Mask, known: Mask, condemned: Mask) -> Named {
    match (known & one != 0, condemned & one != 0) {
        (false, _) => Named::Swept,
        (true, true) => Named::Condemned,
        (true, false) => Named::Live,
    }
}

fn copied(one: Mask, there: Mask, named: Named) -> Option<Mask> {
    match copying::wanted(named) {
        Wanted::Must if there & one == 0 => None,
        Wanted::Must | Wanted::WhileThere => Some(there & one),
        Wanted::Not => Some(0),
    }
}
