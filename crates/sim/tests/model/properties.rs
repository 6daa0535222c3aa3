//! What must hold in every state, and what must be reached in some.
//!
//! State: none. Properties read sites and what owners acknowledged; they never ask a guard.

use stateright::Property;

use crate::history::{Catalog, Fork, Records, find_fork, history, lies};
use crate::owner::is_able;
use crate::system::System;
use crate::world::{At, Fact, Failback, Owner, Rec, Stage, Why, World, bit, each, keys_of};

pub(crate) fn always() -> Vec<Property<System>> {
    vec![
        Property::always(
            "I9: every acknowledged record is history at the primary, or in a branch that a failback finds, or was salvaged",
            |_: &System, world: &World| acknowledged(world),
        ),
        Property::always(
            "I4: no two owners can append at one site",
            |_: &System, world: &World| one_able(world),
        ),
        Property::always(
            "I4: a snapshot that an owner takes for protected is committed in every member's log",
            |_: &System, world: &World| copied(world),
        ),
        Property::always(
            "I3: two logs part only where one has a seal",
            |_: &System, world: &World| parted(world),
        ),
        Property::always(
            "I1, I2: what a live snapshot needs is at every site whose log holds it",
            |_: &System, world: &World| whole(world),
        ),
        Property::always(
            "I5: what is gone was condemned in every member's log",
            |_: &System, world: &World| condemned(world),
        ),
        Property::always("no epoch is claimed twice", |_: &System, world: &World| {
            claimed_once(world)
        }),
        Property::always(
            "no owner finds a record of its own that it did not write",
            |_: &System, world: &World| !ended(world, Why::Broken),
        ),
        Property::always(
            "what a branch is under is not given up before its salvage",
            |_: &System, world: &World| salvageable(world),
        ),
        Property::always(
            "a failover whose old primary answers leaves nothing behind",
            |_: &System, world: &World| drained(world),
        ),
    ]
}

/// States that a configuration must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Fenced,
    Superseded,
    Unfit,
    ThirdOwner,
    Swept,
    SweptByTwo,
    Reused,
    Salvaged,
    Follows,
    Drained,
    Left,
    Rejoined,
}

impl Reached {
    pub(crate) fn property(self) -> Property<System> {
        match self {
            Self::Fenced => Property::sometimes(
                "reached: an owner is fenced",
                |_: &System, world: &World| ended(world, Why::Fenced),
            ),
            Self::Superseded => Property::sometimes(
                "reached: a claimant is superseded",
                |_: &System, world: &World| ended(world, Why::Superseded),
            ),
            Self::Unfit => Property::sometimes(
                "reached: a site is found unfit",
                |_: &System, world: &World| ended(world, Why::Unfit),
            ),
            Self::ThirdOwner => Property::sometimes(
                "reached: a third owner appends",
                |_: &System, world: &World| {
                    world
                        .owners
                        .iter()
                        .any(|o| o.epoch >= 3 && o.wrote.len() > 1)
                },
            ),
            Self::Swept => Property::sometimes(
                "reached: a sweep is recorded",
                |_: &System, world: &World| says(world, |fact| matches!(fact, Fact::Swept { .. })),
            ),
            Self::SweptByTwo => Property::sometimes(
                "reached: two owners delete at once",
                |_: &System, world: &World| {
                    world
                        .owners
                        .iter()
                        .filter(|owner| owner.sweep.is_some())
                        .count()
                        > 1
                },
            ),
            Self::Reused => {
                Property::sometimes("reached: a chunk is reused", |_: &System, world: &World| {
                    says(
                        world,
                        |fact| matches!(fact, Fact::Commit { packs, uses, .. } if packs != uses),
                    )
                })
            }
            Self::Salvaged => Property::sometimes(
                "reached: a branch is salvaged",
                |_: &System, world: &World| {
                    says(world, |fact| matches!(fact, Fact::Salvaged { .. }))
                },
            ),
            Self::Follows => Property::sometimes(
                "reached: the site that was left behind holds the record of its salvage",
                |_: &System, world: &World| {
                    world.sites.iter().all(|site| {
                        let (records, _) = history(site);
                        records
                            .iter()
                            .any(|(_, r)| matches!(r.fact, Fact::Salvaged { .. }))
                    })
                },
            ),
            Self::Drained => Property::sometimes(
                "reached: an old primary is sealed and drained",
                |_: &System, world: &World| {
                    world
                        .owners
                        .iter()
                        .any(|owner| owner.drained && owner.owns())
                },
            ),
            Self::Left => {
                Property::sometimes("reached: a site leaves", |_: &System, world: &World| {
                    says(world, |fact| matches!(fact, Fact::Leave(_)))
                })
            }
            Self::Rejoined => Property::sometimes(
                "reached: a site that joined holds its own joining",
                |_: &System, world: &World| {
                    let there = world.sites.get(1).map(history);
                    there.is_some_and(|(records, _)| {
                        records.iter().any(|(_, r)| matches!(r.fact, Fact::Join(1)))
                    })
                },
            ),
        }
    }
}

fn ended(world: &World, why: Why) -> bool {
    world
        .owners
        .iter()
        .any(|owner| owner.stage == Stage::Ended(why))
}

fn says(world: &World, what: impl Fn(Fact) -> bool) -> bool {
    world
        .owners
        .iter()
        .any(|owner| owner.wrote.iter().any(|rec| what(rec.fact)))
}

/// The owner with the last epoch that was claimed.
fn last_owner(world: &World) -> Option<&Owner> {
    let claimed = world.owners.iter().filter(|owner| !owner.wrote.is_empty());
    claimed.max_by_key(|owner| owner.epoch)
}

/// The sites whose history may count: the longest, and of two that part the one with the seal at the fork, which deposed
/// the other. Where both have one, a person says which goes on, and may choose either.
fn primaries(world: &World) -> Vec<u8> {
    let histories: Vec<Records> = world.sites.iter().map(|site| history(site).0).collect();
    let all = 0..world.sites.len() as u8;
    let counts = |one: u8, other: u8| {
        let (ours, theirs) = (&histories[one as usize], &histories[other as usize]);
        let mut pairs = ours.iter().zip(theirs);
        match pairs.find(|(one, other)| one != other) {
            Some(((_, rec), _)) => matches!(rec.fact, Fact::Seal { .. }),
            None if ours.len() == theirs.len() => {
                is_primary(world, one) || !is_primary(world, other)
            }
            None => ours.len() > theirs.len(),
        }
    };
    all.clone()
        .filter(|&one| all.clone().all(|other| one == other || counts(one, other)))
        .collect()
}

fn is_primary(world: &World, site: u8) -> bool {
    last_owner(world).is_some_and(|owner| owner.site == site)
}

fn holds(records: &Records, at: At, rec: Rec) -> bool {
    records.binary_search(&(at, rec)).is_ok()
}

fn acknowledged(world: &World) -> bool {
    let primaries = primaries(world);
    !primaries.is_empty()
        && primaries
            .into_iter()
            .all(|primary| acknowledged_at(world, primary))
}

fn acknowledged_at(world: &World, primary: u8) -> bool {
    let here = &world.sites[primary as usize];
    let (records, _) = history(here);
    let catalog = Catalog::of(&records);
    world.owners.iter().all(|owner| {
        let there = &world.sites[owner.site as usize];
        owner.wrote.iter().enumerate().all(|(slot, &rec)| {
            let at = At {
                epoch: owner.epoch,
                slot: slot as u8,
            };
            if slot == 0 || holds(&records, at, rec) {
                return true;
            }
            let recommitted = match rec.fact {
                // What the branch itself gave up, by record, does not come back.
                Fact::Commit { snap, .. } => {
                    let given_up = || Catalog::of(&lies(there).0).uses[snap as usize] == 0;
                    catalog.committed & bit(snap) != 0 || given_up()
                }
                _ => true,
            };
            let mut salvages = catalog.salvaged.iter();
            let is_over = salvages.any(|&(site, from)| site == owner.site && from <= at);
            if is_over && recommitted {
                return true;
            }
            let fork = find_fork((here, there), owner.site, &catalog.salvaged);
            matches!(fork, Fork::At(fork) if fork <= at) && there.raw(at) == Some(rec)
        })
    })
}

fn one_able(world: &World) -> bool {
    (0..world.sites.len() as u8).all(|site| {
        let there = world.owners.iter().filter(|owner| owner.site == site);
        there.filter(|owner| is_able(world, owner)).count() < 2
    })
}

fn copied(world: &World) -> bool {
    let held: Vec<u8> = (world.sites.iter())
        .map(|site| {
            let [history, lies] = [history(site).0, lies(site).0].map(|r| Catalog::of(&r));
            history.committed | lies.committed
        })
        .collect();
    world.owners.iter().all(|owner| {
        let fold = owner.fold();
        owner.copiers.iter().zip(&held).all(|(copier, held)| {
            let taken = fold
                .iter()
                .filter(|(at, _)| copier.head.is_some_and(|head| *at <= head));
            taken.copied().all(|(_, rec)| match rec.fact {
                Fact::Commit { snap, .. } => held & bit(snap) != 0,
                _ => true,
            })
        })
    })
}

fn parted(world: &World) -> bool {
    let histories: Vec<Records> = world.sites.iter().map(|site| history(site).0).collect();
    histories.iter().enumerate().all(|(number, one)| {
        histories[..number].iter().all(|other| {
            let mut pairs = one.iter().zip(other);
            pairs
                .find(|(one, other)| one != other)
                .is_none_or(|((_, one), (_, other))| {
                    [one, other]
                        .iter()
                        .any(|rec| matches!(rec.fact, Fact::Seal { .. }))
                })
        })
    })
}

/// The members that count, by the primary's log: whoever joined must have come as far as its joining.
fn members(world: &World) -> (u8, Vec<Records>) {
    let histories: Vec<Records> = world.sites.iter().map(|site| history(site).0).collect();
    let primary = primaries(world).first().copied().unwrap_or(0);
    let records = &histories[primary as usize];
    let catalog = Catalog::of(records);
    let all = (0..world.sites.len() as u8).filter(|&site| {
        let joined = records
            .iter()
            .rev()
            .find(|(_, rec)| rec.fact == Fact::Join(site));
        let is_there = joined.is_none_or(|&(at, rec)| holds(&histories[site as usize], at, rec));
        catalog.members & bit(site) != 0 && is_there
    });
    (all.fold(0, |all, site| all | bit(site)), histories)
}

fn whole(world: &World) -> bool {
    let (members, histories) = members(world);
    let salvaged: Vec<_> = (histories.iter())
        .flat_map(|records| Catalog::of(records).salvaged)
        .collect();
    each(members).all(|number| {
        let site = &world.sites[number as usize];
        let complete = |records: &Records| {
            let needed = Catalog::of(records).needed(0);
            needed & !site.packs == 0 && keys_of(needed) & !site.keys == 0
        };
        let is_over = salvaged.iter().any(|&(salvaged, _)| salvaged == number);
        // A branch needs its bytes until it was salvaged.
        complete(&histories[number as usize]) && (is_over || complete(&lies(site).0))
    })
}

fn condemned(world: &World) -> bool {
    let (members, histories) = members(world);
    each(members).all(|number| {
        let site = &world.sites[number as usize];
        let records = &histories[number as usize];
        let (mut packs, mut keys) = (0, 0);
        for (_, rec) in records {
            match rec.fact {
                Fact::Open(key) => keys |= bit(key),
                Fact::Commit { packs: named, .. } => packs |= named,
                _ => {}
            }
        }
        let (packs, keys) = (packs & !site.packs, keys & !site.keys);
        each(members).all(|member| {
            let (mut given_up, mut keys_given_up) = (0, 0);
            for (_, rec) in &histories[member as usize] {
                if let Fact::Condemn { packs, keys, .. } = rec.fact {
                    given_up |= packs;
                    keys_given_up |= keys;
                }
            }
            packs & !given_up == 0 && keys & !keys_given_up == 0
        })
    })
}

fn claimed_once(world: &World) -> bool {
    let mut claims = Vec::new();
    for site in &world.sites {
        for epoch in site.epochs() {
            if let Some(rec) = site.raw(At { epoch, slot: 0 })
                && matches!(rec.fact, Fact::Claim { .. })
            {
                claims.push((epoch, rec));
            }
        }
    }
    claims.sort_unstable();
    claims.dedup();
    claims.windows(2).all(|pair| pair[0].0 != pair[1].0)
}

fn drained(world: &World) -> bool {
    let mut drained =
        (world.owners.iter()).filter(|owner| owner.drained && !owner.wrote.is_empty());
    drained.all(|owner| {
        // What was sealed at the old primary, or lies there unsealed, is in the history that went on.
        let (records, _) = history(&world.sites[1 - owner.site as usize]);
        let fold = owner.fold();
        let mut before = records.iter().filter(|(at, _)| at.epoch < owner.epoch);
        before.all(|&(at, rec)| holds(&fold, at, rec))
    })
}

fn salvageable(world: &World) -> bool {
    world.owners.iter().all(|owner| {
        let Failback::Recommitting(branch) = &owner.failback else {
            return true;
        };
        let catalog = owner.catalog();
        branch.commits.iter().flatten().all(|fact| match fact {
            Fact::Commit { snap, uses, .. } => {
                let missing = uses & !catalog.live_packs();
                let is_here = catalog.uses[*snap as usize] != 0;
                is_here || keys_of(missing | bit(*snap)) & catalog.keys_condemned == 0
            }
            _ => true,
        })
    })
}
