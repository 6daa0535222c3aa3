//! Reading the model's logs: the history at a site, what lies there, and what a fold of it knows.
//!
//! State: none. It follows `crates/vault/src/log/reader.rs`, `branch.rs` and `fold/apply.rs`, in small.

use holdfast_format::{Epoch, Position, Slot};
use holdfast_vault::replicate::copying::{Shared, judge};
use holdfast_vault::replicate::{Diverged, Standing};

use crate::world::{At, Fact, Mask, Rec, Site, bit, keys_of};

pub(crate) type Records = Vec<(At, Rec)>;

pub(crate) fn position(at: At) -> Position {
    Position {
        epoch: Epoch(at.epoch.into()),
        slot: Slot(at.slot.into()),
    }
}

pub(crate) fn at_of(position: Position) -> At {
    At {
        epoch: position.epoch.0 as u8,
        slot: position.slot.0 as u8,
    }
}

/// Where an epoch's history ends although records follow there, and the survivor's seal, read in their place.
fn branch(site: &Site, epoch: u8) -> Option<(At, Rec)> {
    let last = *site.log.get(epoch as usize)?.last()?;
    let Fact::BranchSeal {
        next,
        next_nonce,
        ends_at,
    } = last.fact
    else {
        return None;
    };
    let survivor = Rec {
        nonce: next_nonce,
        fact: Fact::Seal { next, ends_at },
    };
    let at = At {
        epoch,
        slot: ends_at,
    };
    Some((at, survivor))
}

/// The record of the history at a place.
pub(crate) fn read(site: &Site, at: At) -> Option<Rec> {
    match branch(site, at.epoch) {
        Some((fork, survivor)) if at.slot >= fork.slot => Some(survivor),
        _ => site.raw(at),
    }
}

/// The place behind a record.
pub(crate) fn after(at: At, rec: Rec) -> At {
    match rec.fact {
        Fact::Seal { next, .. } => At {
            epoch: next,
            slot: 0,
        },
        _ => at.next(),
    }
}

const FIRST: At = At { epoch: 1, slot: 0 };

/// The history at a site, and where it goes on.
pub(crate) fn history(site: &Site) -> (Records, At) {
    walk(|at| read(site, at))
}

/// What lies at a site, be it history or a branch.
pub(crate) fn lies(site: &Site) -> (Records, At) {
    walk(|at| {
        site.raw(at)
            .filter(|rec| !matches!(rec.fact, Fact::BranchSeal { .. }))
    })
}

fn walk(read: impl Fn(At) -> Option<Rec>) -> (Records, At) {
    let (mut records, mut next) = (Vec::new(), FIRST);
    while let Some(rec) = read(next) {
        records.push((next, rec));
        next = after(next, rec);
    }
    (records, next)
}

/// What a fold knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    pub(crate) members: Mask,
    /// What each live snapshot needs; zero: it is not live.
    pub(crate) uses: [Mask; 4],
    /// Committed at any time.
    pub(crate) committed: Mask,
    pub(crate) trashed: Mask,
    pub(crate) packs: Mask,
    pub(crate) packs_condemned: Mask,
    pub(crate) keys: Mask,
    pub(crate) keys_condemned: Mask,
    pub(crate) open: Mask,
    /// The epoch in which each open session was opened.
    pub(crate) opened_in: [u8; 4],
    pub(crate) condemned_at: Option<At>,
    pub(crate) salvaged: Vec<(u8, At)>,
    /// Ever joined after the vault was made.
    pub(crate) joined: Mask,
}

impl Catalog {
    pub(crate) fn of(records: &[(At, Rec)]) -> Self {
        let mut this = Self {
            // The vault is made with two members, whether or not both are looked at.
            members: 0b11,
            ..Self::default()
        };
        for &(at, rec) in records {
            this.take(at, rec.fact);
        }
        this
    }

    fn take(&mut self, at: At, fact: Fact) {
        match fact {
            Fact::Open(session) => {
                self.open |= bit(session);
                self.opened_in[session as usize] = at.epoch;
                self.keys |= bit(session);
                self.keys_condemned &= !bit(session);
            }
            Fact::Commit { snap, packs, uses } => {
                self.open &= !bit(snap);
                self.packs |= packs;
                self.packs_condemned &= !packs;
                self.uses[snap as usize] = uses;
                self.committed |= bit(snap);
                self.trashed &= !bit(snap);
            }
            Fact::End(session) => self.open &= !bit(session),
            Fact::Trash(snap) => self.trashed |= bit(snap),
            Fact::Condemn { snaps, packs, keys } => {
                for snap in crate::world::each(snaps) {
                    self.uses[snap as usize] = 0;
                }
                self.packs_condemned |= packs;
                self.keys_condemned |= keys;
                self.condemned_at = Some(at);
            }
            Fact::Swept { packs, keys } => {
                self.packs &= !packs;
                self.packs_condemned &= !packs;
                self.keys &= !keys;
                self.keys_condemned &= !keys;
            }
            Fact::Join(site) => {
                self.members |= bit(site);
                self.joined |= bit(site);
            }
            Fact::Leave(site) => self.members &= !bit(site),
            Fact::Salvaged { site, from } => self.salvaged.push((site, from)),
            Fact::Claim { .. } | Fact::Seal { .. } | Fact::BranchSeal { .. } | Fact::Word(_) => {}
        }
    }

    pub(crate) fn live_packs(&self) -> Mask {
        self.packs & !self.packs_condemned
    }

    pub(crate) fn live_keys(&self) -> Mask {
        self.keys & !self.keys_condemned
    }

    /// Packs that the live snapshots of `but` aside need.
    pub(crate) fn needed(&self, but: Mask) -> Mask {
        let staying = (0..4u8).filter(|&snap| but & bit(snap) == 0);
        staying.fold(0, |needed, snap| needed | self.uses[snap as usize])
    }

    /// Keys that these packs, or an open session, are under.
    pub(crate) fn keys_in_use(&self, packs: Mask) -> Mask {
        keys_of(packs) | self.open
    }
}

/// Where a member stands against a primary, whose fold knows these salvages.
pub(crate) fn standing(
    (here, there): (&Site, &Site),
    member: u8,
    salvaged: &[(u8, At)],
) -> Standing {
    for epoch in there.epochs().rev() {
        let place = |slot| At { epoch, slot };
        if let Some((fork, _)) = branch(there, epoch) {
            let goes_on = match read(there, fork).map(|rec| rec.fact) {
                Some(Fact::Seal { next, .. }) if there.slots(next) > 0 => Some(Epoch(next.into())),
                _ => None,
            };
            return judge(Shared::Closed {
                fork: position(fork),
                salvaged: salvaged.contains(&(member, fork)),
                goes_on,
            });
        }
        let same = |at| read(here, at).is_some() && read(here, at) == there.raw(at);
        if !same(place(0)) {
            continue;
        }
        let last = place(there.slots(epoch) - 1);
        let same = same(last);
        let last_record = there.raw(last);
        let last = position(last);
        return judge(match last_record.map(|rec| rec.fact) {
            Some(Fact::Seal { next, .. }) => Shared::Sealed {
                last,
                same,
                goes_on: (there.slots(next) > 0).then_some(Epoch(next.into())),
            },
            _ => Shared::Open { last, same },
        });
    }
    match there.epochs().next() {
        Some(epoch) => Standing::Diverged(Diverged::Branch(position(At { epoch, slot: 0 }))),
        None => Standing::Prefix(None),
    }
}

/// A fork as a failback finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    None,
    /// The primary has its seal there.
    At(At),
    /// The logs part where it has none.
    Unknown(At),
}

/// Finds the fork between the primary's log and another site's.
pub(crate) fn find_fork((here, there): (&Site, &Site), member: u8, salvaged: &[(u8, At)]) -> Fork {
    for epoch in there.epochs() {
        let place = |slot| At { epoch, slot };
        let fork = match branch(there, epoch) {
            Some((fork, _)) if salvaged.contains(&(member, fork)) => continue,
            Some((fork, _)) => fork,
            None => {
                let own = match branch(here, epoch) {
                    Some((fork, _)) => fork.slot + 1,
                    None => here.slots(epoch),
                };
                let bound = own.min(there.slots(epoch));
                let mut slots = (0..bound).map(place);
                match slots.find(|&at| read(here, at) != there.raw(at)) {
                    Some(at) => at,
                    None => continue,
                }
            }
        };
        return match read(here, fork).map(|rec| rec.fact) {
            Some(Fact::Seal { .. }) => Fork::At(fork),
            _ => Fork::Unknown(fork),
        };
    }
    Fork::None
}
