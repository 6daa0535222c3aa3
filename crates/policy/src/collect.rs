//! The collection plan: which packs are condemned whole, rewritten or merged (architecture §8).
//!
//! Input is what a finished mark says of each pack; output is data that the collector prints as
//! its dry run and carries out once. Anything contradictory in the input is doubt, and doubt keeps:
//! there is no plan then.
//!
//! 1. A pack without a live chunk is **condemned** whole, at any age and beyond any budget: it
//!    costs nothing, and the trash was its second chance.
//! 2. A pack whose live share is below a threshold is **rewritten**: its live frames are copied
//!    into a new pack and it is condemned. Emptiest first, so that a byte copied frees the most.
//!    If the plan is told how large a share of dead bytes may be left, packs above the threshold
//!    follow, until no more than that is.
//! 3. Packs smaller than a quarter of a full one are **merged**, if they fill at least half a new
//!    one or are at least [`CollectOptions::merge_packs_min`] together. A merged pack is either
//!    no longer small or counts for many, so that bytes are not merged over and over.
//!
//! Copies never mix scopes, so that a source alone in its scope can be shredded alone, nor nodes
//! with data. Young packs are not copied: what is about to be joined by others, or to die with its
//! session, is left to settle. What the budget does not cover waits for the next run.
//!
//! More than half of this file's lines are tests.
//!
//! Long because half of it is the tests of the plan.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Error;

/// The size that packs aim at.
pub const PACK_BYTES_TARGET: u64 = 32 << 20;

/// What frames a pack holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PackKind {
    /// Frames of data chunks.
    Data,
    /// Frames of nodes.
    Nodes,
}

/// What a mark says of one live pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackFacts {
    /// The pack's ordinal.
    pub ordinal: u32,
    /// Data or nodes.
    pub kind: PackKind,
    /// The dedup scope of its chunks.
    pub scope: u32,
    /// Bytes of all its frames.
    pub bytes: u64,
    /// Bytes of its frames that hold at least one live chunk at home here: what a copy writes.
    pub bytes_live: u64,
    /// Its chunks.
    pub chunks: u32,
    /// Its chunks that are live and at home here.
    pub chunks_live: u32,
    /// Session keys that its frames are sealed with.
    pub keys: u32,
    /// How long ago it was sealed.
    pub age_millis: u64,
}

impl PackFacts {
    fn bytes_dead(&self) -> u64 {
        self.bytes - self.bytes_live
    }
}

/// Limits of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// Packs with a smaller share of live bytes, in per cent, are rewritten. At 50 a copied byte
    /// frees more than one, and dead bytes never outweigh live ones for long.
    pub rewrite_below_percent: u8,
    /// The share of dead bytes, in per cent of all bytes, that may be left: denser packs are rewritten too, the emptiest first, until
    /// no more is. None: only those below [`Self::rewrite_below_percent`].
    pub unused_percent_max: Option<u8>,
    /// The size that new packs aim at. None is planned larger, but of a single pack that is.
    pub pack_bytes_target: u64,
    /// How many small packs are worth a merge that does not fill half a pack.
    pub merge_packs_min: usize,
    /// A new pack has no more keys than this, but for those of a single pack that has.
    pub keys_max: u32,
    /// Younger packs are not copied.
    pub settle_millis: u64,
    /// Bytes that one run may copy.
    pub copy_bytes_max: u64,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            rewrite_below_percent: 50,
            unused_percent_max: None,
            pack_bytes_target: PACK_BYTES_TARGET,
            merge_packs_min: 16,
            keys_max: 1024,
            settle_millis: 60 * 60 * 1000,
            copy_bytes_max: 32 << 30,
        }
    }
}

/// Packs whose live frames go together into one new pack. They are condemned with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyGroup {
    /// Kind of all of them.
    pub kind: PackKind,
    /// Scope of all of them.
    pub scope: u32,
    /// Their ordinals, in the order in which they are copied.
    pub packs: Vec<u32>,
    /// Bytes to copy: the new pack's frames.
    pub bytes_copied: u64,
    /// Bytes that are gone afterwards.
    pub bytes_freed: u64,
    /// Keys of all of them, counted apart.
    #[serde(skip)]
    keys: u32,
}

/// What a collection run does. All lists are disjoint; what stands in none of them stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CollectPlan {
    /// Packs to condemn whole, by ordinal.
    pub condemn: Vec<u32>,
    /// Packs to rewrite, the most worthwhile first.
    pub rewrite: Vec<CopyGroup>,
    /// Packs to merge, after that.
    pub merge: Vec<CopyGroup>,
    /// Packs that the budget left for the next run, by ordinal.
    pub deferred: Vec<u32>,
    /// Bytes that condemning whole packs frees.
    pub bytes_condemned: u64,
    /// Bytes that are copied; no more than the budget.
    pub bytes_copied: u64,
    /// Bytes that are freed by copying.
    pub bytes_freed: u64,
}

/// Makes the plan for packs of one vault. The order of the input does not matter.
///
/// # Errors
/// [`Error::Pack`] if a pack's facts contradict themselves or two have one ordinal: the mark is
/// not to be trusted, and nothing may be collected on it.
pub fn plan_collection(
    packs: &[PackFacts],
    options: &CollectOptions,
) -> Result<CollectPlan, Error> {
    let packs = sorted_and_checked(packs)?;
    let (dead, mixed): (Vec<_>, Vec<_>) = packs.into_iter().partition(|pack| pack.chunks_live == 0);
    let settled = mixed
        .into_iter()
        .filter(|pack| pack.age_millis >= options.settle_millis);
    let (mut sparse, mut dense): (Vec<_>, Vec<_>) =
        settled.partition(|pack| is_sparse(pack, options));
    if let Some(percent) = options.unused_percent_max {
        sparse.extend(emptiest(&mut dense, percent));
    }
    let small: Vec<_> = dense
        .into_iter()
        .filter(|pack| is_small(pack, options))
        .collect();

    let mut budget = Budget {
        bytes_left: options.copy_bytes_max,
        deferred: Vec::new(),
    };
    let rewrite = groups(&budget.choose_sparse(sparse), options);
    let merge = budget.choose_merges(worth_merging(groups(&small, options), options));
    let copies = || rewrite.iter().chain(&merge);
    let (bytes_copied, bytes_freed) = (
        copies().map(|group| group.bytes_copied).sum(),
        copies().map(|group| group.bytes_freed).sum(),
    );
    budget.deferred.sort_unstable();
    Ok(CollectPlan {
        condemn: dead.iter().map(|pack| pack.ordinal).collect(),
        bytes_condemned: dead.iter().map(|pack| pack.bytes).sum(),
        bytes_copied,
        bytes_freed,
        rewrite,
        merge,
        deferred: budget.deferred,
    })
}

fn sorted_and_checked(packs: &[PackFacts]) -> Result<Vec<&PackFacts>, Error> {
    let mut sorted: Vec<&PackFacts> = packs.iter().collect();
    sorted.sort_by_key(|pack| pack.ordinal);
    let twice = sorted
        .windows(2)
        .find(|pair| pair[0].ordinal == pair[1].ordinal);
    if let Some(pair) = twice {
        return Err(Error::Pack {
            ordinal: pair[0].ordinal,
            problem: "is listed twice",
        });
    }
    for pack in &sorted {
        if let Some(problem) = contradiction(pack) {
            return Err(Error::Pack {
                ordinal: pack.ordinal,
                problem,
            });
        }
    }
    Ok(sorted)
}

fn contradiction(pack: &PackFacts) -> Option<&'static str> {
    let problems = [
        (
            pack.chunks_live > pack.chunks,
            "has more live chunks than chunks",
        ),
        (
            pack.bytes_live > pack.bytes,
            "has more live bytes than bytes",
        ),
        (
            pack.chunks_live == 0 && pack.bytes_live > 0,
            "has live bytes and no live chunk",
        ),
        (
            pack.chunks_live > 0 && pack.bytes_live == 0,
            "has live chunks and no live byte",
        ),
    ];
    problems
        .into_iter()
        .find(|(holds, _)| *holds)
        .map(|(_, problem)| problem)
}

fn is_sparse(pack: &PackFacts, options: &CollectOptions) -> bool {
    let percent = u128::from(options.rewrite_below_percent.min(100));
    u128::from(pack.bytes_live) * 100 < u128::from(pack.bytes) * percent
}

/// Takes packs out, the emptiest first, until no more than a share of all bytes of those that stay is dead.
fn emptiest<'a>(dense: &mut Vec<&'a PackFacts>, percent: u8) -> Vec<&'a PackFacts> {
    sort_emptiest_first(dense);
    let sum = |of: fn(&PackFacts) -> u64| dense.iter().map(|pack| u128::from(of(pack))).sum();
    let (mut all, mut dead): (u128, u128) = (sum(|pack| pack.bytes), sum(PackFacts::bytes_dead));
    let mut taken = 0;
    for pack in dense.iter() {
        if dead * 100 <= all * u128::from(percent) || pack.bytes_dead() == 0 {
            break;
        }
        // Its live bytes stay, in a new pack.
        all -= u128::from(pack.bytes_dead());
        dead -= u128::from(pack.bytes_dead());
        taken += 1;
    }
    let taken = dense.drain(..taken).collect();
    dense.sort_by_key(|pack| pack.ordinal);
    taken
}

/// Of packs alike, the oldest first.
fn sort_emptiest_first(packs: &mut [&PackFacts]) {
    packs.sort_by(|a, b| {
        // Live shares compared crosswise, without division.
        let share = |one: &PackFacts, other: &PackFacts| {
            u128::from(one.bytes_live) * u128::from(other.bytes)
        };
        share(a, b)
            .cmp(&share(b, a))
            .then(a.ordinal.cmp(&b.ordinal))
    });
}

fn is_small(pack: &PackFacts, options: &CollectOptions) -> bool {
    pack.bytes < options.pack_bytes_target / 4
}

/// Puts packs, in their order, into groups of one kind and scope that fill a new pack each.
fn groups(packs: &[&PackFacts], options: &CollectOptions) -> Vec<CopyGroup> {
    let mut groups: Vec<CopyGroup> = Vec::new();
    let mut open: BTreeMap<(PackKind, u32), usize> = BTreeMap::new();
    for pack in packs {
        let key = (pack.kind, pack.scope);
        let roomy = open
            .get(&key)
            .copied()
            .filter(|at| groups[*at].has_room(pack, options));
        let at = roomy.unwrap_or_else(|| {
            groups.push(CopyGroup::empty(key));
            groups.len() - 1
        });
        open.insert(key, at);
        groups[at].add(pack);
    }
    groups
}

/// Merges that are worth their bytes, those first that do away with the most packs for them.
fn worth_merging(mut groups: Vec<CopyGroup>, options: &CollectOptions) -> Vec<CopyGroup> {
    groups.retain(|group| {
        let fills = group.bytes_copied >= options.pack_bytes_target / 2;
        group.packs.len() >= 2 && (fills || group.packs.len() >= options.merge_packs_min)
    });
    groups.sort_by_key(|group| {
        (
            group.bytes_copied / group.packs.len() as u64,
            group.packs[0],
        )
    });
    groups
}

impl CopyGroup {
    fn empty((kind, scope): (PackKind, u32)) -> Self {
        Self {
            kind,
            scope,
            packs: Vec::new(),
            bytes_copied: 0,
            bytes_freed: 0,
            keys: 0,
        }
    }

    fn has_room(&self, pack: &PackFacts, options: &CollectOptions) -> bool {
        let bytes = self.bytes_copied.saturating_add(pack.bytes_live);
        let keys = self.keys.saturating_add(pack.keys);
        bytes <= options.pack_bytes_target && keys <= options.keys_max
    }

    fn add(&mut self, pack: &PackFacts) {
        self.packs.push(pack.ordinal);
        self.bytes_copied += pack.bytes_live;
        self.bytes_freed += pack.bytes_dead();
        self.keys = self.keys.saturating_add(pack.keys);
    }
}

/// What is left to copy. What does not fit is passed over for what does, and told.
struct Budget {
    bytes_left: u64,
    deferred: Vec<u32>,
}

impl Budget {
    fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.bytes_left;
        if fits {
            self.bytes_left -= bytes;
        }
        fits
    }

    /// Emptiest first; of packs alike, the oldest.
    fn choose_sparse<'a>(&mut self, mut sparse: Vec<&'a PackFacts>) -> Vec<&'a PackFacts> {
        sort_emptiest_first(&mut sparse);
        sparse.retain(|pack| {
            let fits = self.take(pack.bytes_live);
            if !fits {
                self.deferred.push(pack.ordinal);
            }
            fits
        });
        sparse
    }

    fn choose_merges(&mut self, mut merges: Vec<CopyGroup>) -> Vec<CopyGroup> {
        merges.retain(|group| {
            let fits = self.take(group.bytes_copied);
            if !fits {
                self.deferred.extend(&group.packs);
            }
            fits
        });
        merges
    }
}

#[cfg(test)]
mod tests;
