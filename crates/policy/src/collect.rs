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
pub const PACK_BYTES_TARGET: u64 = 64 << 20;

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

/// Limits of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectOptions {
    /// Packs with a smaller share of live bytes, in per cent, are rewritten. At 50 a copied byte
    /// frees more than one, and dead bytes never outweigh live ones for long.
    pub rewrite_below_percent: u8,
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
    let (sparse, dense): (Vec<_>, Vec<_>) = settled.partition(|pack| is_sparse(pack, options));
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
        self.bytes_freed += pack.bytes - pack.bytes_live;
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
        sparse.sort_by(|a, b| {
            // Live shares compared crosswise, without division.
            let share = |one: &PackFacts, other: &PackFacts| {
                u128::from(one.bytes_live) * u128::from(other.bytes)
            };
            share(a, b)
                .cmp(&share(b, a))
                .then(a.ordinal.cmp(&b.ordinal))
        });
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
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const TARGET: u64 = 1000;

    fn options() -> CollectOptions {
        CollectOptions {
            pack_bytes_target: TARGET,
            merge_packs_min: 4,
            keys_max: 10,
            settle_millis: 100,
            copy_bytes_max: u64::MAX,
            ..CollectOptions::default()
        }
    }

    fn pack(ordinal: u32, bytes: u64, bytes_live: u64) -> PackFacts {
        PackFacts {
            ordinal,
            kind: PackKind::Data,
            scope: 0,
            bytes,
            bytes_live,
            chunks: 10,
            chunks_live: if bytes_live == 0 { 0 } else { 5 },
            keys: 1,
            age_millis: 100,
        }
    }

    fn ordinals(groups: &[CopyGroup]) -> Vec<Vec<u32>> {
        groups.iter().map(|group| group.packs.clone()).collect()
    }

    #[test]
    fn condemns_dead_packs_at_any_age_and_budget() {
        let packs = [
            pack(2, 900, 0),
            PackFacts {
                age_millis: 0,
                ..pack(1, 900, 0)
            },
            pack(3, 900, 900),
        ];
        let plan = plan_collection(
            &packs,
            &CollectOptions {
                copy_bytes_max: 0,
                ..options()
            },
        )
        .unwrap();
        assert_eq!((plan.condemn, plan.bytes_condemned), (vec![1, 2], 1800));
        assert!(plan.rewrite.is_empty() && plan.merge.is_empty() && plan.deferred.is_empty());
    }

    #[test]
    fn rewrites_sparse_packs_emptiest_first() {
        fn check(packs: &[(u64, u64)], copy_bytes_max: u64, rewrite: &[&[u32]], deferred: &[u32]) {
            let packs: Vec<PackFacts> = (0..)
                .zip(packs)
                .map(|(ordinal, (bytes, live))| pack(ordinal, *bytes, *live))
                .collect();
            let options = CollectOptions {
                copy_bytes_max,
                ..options()
            };
            let plan = plan_collection(&packs, &options).unwrap();
            assert_eq!(ordinals(&plan.rewrite), rewrite);
            assert_eq!(plan.deferred, deferred);
            assert!(plan.merge.is_empty());
        }
        check(
            &[(1000, 500), (1000, 499), (1000, 100), (500, 100)],
            u64::MAX,
            &[&[2, 3, 1]],
            &[],
        );
        check(
            &[(1000, 400), (1000, 400), (1000, 400)],
            u64::MAX,
            &[&[0, 1], &[2]],
            &[],
        );
        check(
            &[(1000, 300), (1000, 100), (1000, 400)],
            500,
            &[&[1, 0]],
            &[2],
        );
        // What does not fit is passed over for what does.
        check(&[(4000, 800), (1000, 400)], 500, &[&[1]], &[0]);
        check(&[(1000, 400)], 0, &[], &[0]);
    }

    #[test]
    fn merges_small_packs_that_are_worth_it() {
        fn check(packs: Vec<PackFacts>, copy_bytes_max: u64, merge: &[&[u32]], deferred: &[u32]) {
            let options = CollectOptions {
                copy_bytes_max,
                ..options()
            };
            let plan = plan_collection(&packs, &options).unwrap();
            assert_eq!(ordinals(&plan.merge), merge);
            assert_eq!(plan.deferred, deferred);
            assert!(plan.rewrite.is_empty());
        }
        let full = |ordinals: std::ops::Range<u32>, bytes| -> Vec<PackFacts> {
            ordinals
                .map(|ordinal| pack(ordinal, bytes, bytes))
                .collect()
        };
        // Half a pack is worth it, and so are four packs, however small.
        check(full(0..3, 200), u64::MAX, &[&[0, 1, 2]], &[]);
        check(full(0..2, 200), u64::MAX, &[], &[]);
        check(full(0..3, 10), u64::MAX, &[], &[]);
        check(full(0..4, 10), u64::MAX, &[&[0, 1, 2, 3]], &[]);
        // A quarter of the target is not small.
        check(full(0..9, 250), u64::MAX, &[], &[]);
        check(full(0..4, 249), u64::MAX, &[&[0, 1, 2, 3]], &[]);
        check(
            full(0..8, 200),
            u64::MAX,
            &[&[0, 1, 2, 3, 4], &[5, 6, 7]],
            &[],
        );
        check(full(0..8, 200), 600, &[&[5, 6, 7]], &[0, 1, 2, 3, 4]);
        // The most packs for a byte come first.
        let two_scopes = |scope: u32, bytes| {
            (0..4).map(move |index| PackFacts {
                scope,
                ..pack(scope * 10 + index, bytes, bytes)
            })
        };
        check(
            two_scopes(0, 200).chain(two_scopes(1, 20)).collect(),
            u64::MAX,
            &[&[10, 11, 12, 13], &[0, 1, 2, 3]],
            &[],
        );
    }

    #[test]
    fn keeps_scopes_kinds_and_keys_apart() {
        fn check(change: impl Fn(u32, PackFacts) -> PackFacts, copies: &[&[u32]]) {
            for bytes_live in [10, 200] {
                let packs: Vec<PackFacts> = (0..8)
                    .map(|ordinal| {
                        change(
                            ordinal,
                            PackFacts {
                                bytes: 200,
                                ..pack(ordinal, 200, bytes_live)
                            },
                        )
                    })
                    .collect();
                let options = CollectOptions {
                    pack_bytes_target: 10_000,
                    merge_packs_min: 2,
                    ..options()
                };
                let plan = plan_collection(&packs, &options).unwrap();
                assert_eq!(
                    ordinals(&plan.rewrite).len() + ordinals(&plan.merge).len(),
                    copies.len()
                );
                assert_eq!(
                    [ordinals(&plan.rewrite), ordinals(&plan.merge)].concat(),
                    copies
                );
            }
        }
        check(|_, pack| pack, &[&[0, 1, 2, 3, 4, 5, 6, 7]]);
        check(
            |ordinal, pack| PackFacts {
                scope: ordinal % 2,
                ..pack
            },
            &[&[0, 2, 4, 6], &[1, 3, 5, 7]],
        );
        check(
            |ordinal, pack| PackFacts {
                kind: if ordinal < 4 {
                    PackKind::Nodes
                } else {
                    PackKind::Data
                },
                ..pack
            },
            &[&[0, 1, 2, 3], &[4, 5, 6, 7]],
        );
        check(
            |_, pack| PackFacts { keys: 2, ..pack },
            &[&[0, 1, 2, 3, 4], &[5, 6, 7]],
        );
    }

    #[test]
    fn leaves_young_packs_alone() {
        let young = |pack| PackFacts {
            age_millis: 99,
            ..pack
        };
        let packs: Vec<PackFacts> = (0..8)
            .map(|ordinal| young(pack(ordinal, 200, if ordinal < 4 { 200 } else { 10 })))
            .collect();
        assert_eq!(
            plan_collection(&packs, &options()),
            Ok(CollectPlan::default())
        );
    }

    #[test]
    fn makes_no_plan_from_contradictions() {
        fn check(change: impl Fn(&mut PackFacts), problem: &'static str) {
            let mut packs = vec![pack(0, 900, 0), pack(1, 900, 100)];
            change(&mut packs[1]);
            let ordinal = packs[1].ordinal;
            assert_eq!(
                plan_collection(&packs, &options()),
                Err(Error::Pack { ordinal, problem })
            );
        }
        check(|pack| pack.ordinal = 0, "is listed twice");
        check(
            |pack| pack.bytes_live = 901,
            "has more live bytes than bytes",
        );
        check(
            |pack| pack.chunks_live = 11,
            "has more live chunks than chunks",
        );
        check(
            |pack| pack.chunks_live = 0,
            "has live bytes and no live chunk",
        );
        check(
            |pack| pack.bytes_live = 0,
            "has live chunks and no live byte",
        );
    }

    fn any_pack() -> impl Strategy<Value = PackFacts> {
        let bytes = (1_u64..1200).prop_flat_map(|bytes| (Just(bytes), 0..=bytes));
        (bytes, any::<bool>(), 0_u32..3, 1_u32..4, 0_u64..400).prop_map(
            |((bytes, bytes_live), nodes, scope, keys, age_millis)| PackFacts {
                kind: if nodes {
                    PackKind::Nodes
                } else {
                    PackKind::Data
                },
                scope,
                keys,
                age_millis,
                chunks_live: if bytes_live == 0 { 0 } else { 1 + scope },
                ..pack(0, bytes, bytes_live)
            },
        )
    }

    fn any_packs() -> impl Strategy<Value = Vec<PackFacts>> {
        prop::collection::vec(any_pack(), 0..60).prop_map(|mut packs| {
            (0..)
                .zip(&mut packs)
                .for_each(|(ordinal, pack)| pack.ordinal = ordinal);
            packs
        })
    }

    fn copies(plan: &CollectPlan) -> impl Iterator<Item = &CopyGroup> {
        plan.rewrite.iter().chain(&plan.merge)
    }

    /// The packs after the plan was carried out.
    fn carry_out(packs: &[PackFacts], plan: &CollectPlan) -> Vec<PackFacts> {
        let gone: BTreeSet<u32> = plan
            .condemn
            .iter()
            .chain(copies(plan).flat_map(|group| &group.packs))
            .copied()
            .collect();
        let first_new = packs.iter().map(|pack| pack.ordinal + 1).max().unwrap_or(0);
        let new = (first_new..)
            .zip(copies(plan))
            .map(|(ordinal, group)| PackFacts {
                kind: group.kind,
                scope: group.scope,
                keys: group.keys,
                age_millis: 1000,
                ..pack(ordinal, group.bytes_copied, group.bytes_copied)
            });
        packs
            .iter()
            .filter(|pack| !gone.contains(&pack.ordinal))
            .cloned()
            .chain(new)
            .collect()
    }

    proptest! {
        #[test]
        fn plans_keep_their_laws(packs in any_packs(), copy_bytes_max in 0_u64..20_000) {
            let options = CollectOptions { copy_bytes_max, ..options() };
            let plan = plan_collection(&packs, &options).unwrap();
            let by_ordinal = |ordinal: &u32| &packs[*ordinal as usize];

            // Condemned whole is exactly what has no live chunk.
            let dead: Vec<u32> = packs.iter().filter(|pack| pack.chunks_live == 0).map(|pack| pack.ordinal).collect();
            prop_assert_eq!(&plan.condemn, &dead);
            // No pack is in two places.
            let named: Vec<u32> = plan.condemn.iter().chain(&plan.deferred).chain(copies(&plan).flat_map(|group| &group.packs)).copied().collect();
            prop_assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len());
            for group in copies(&plan) {
                let members: Vec<&PackFacts> = group.packs.iter().map(by_ordinal).collect();
                prop_assert!(!members.is_empty());
                for pack in &members {
                    prop_assert_eq!((pack.kind, pack.scope), (group.kind, group.scope));
                    prop_assert!(pack.age_millis >= options.settle_millis);
                }
                prop_assert_eq!(group.bytes_copied, members.iter().map(|pack| pack.bytes_live).sum::<u64>());
                prop_assert!(members.len() == 1 || group.bytes_copied <= TARGET);
            }
            // Every live byte is copied or stays.
            let copied: u64 = copies(&plan).map(|group| group.bytes_copied).sum();
            prop_assert_eq!(plan.bytes_copied, copied);
            prop_assert!(copied <= copy_bytes_max);
            prop_assert!(plan.merge.iter().flat_map(|group| &group.packs).map(by_ordinal).all(|pack| pack.bytes < TARGET / 4));
            prop_assert!(plan.rewrite.iter().flat_map(|group| &group.packs).map(by_ordinal).all(|pack| pack.bytes_live * 2 < pack.bytes));
            prop_assert!(copy_bytes_max < 20_000 || plan.deferred.is_empty() || copied > 0);
        }

        #[test]
        fn the_order_of_the_input_does_not_matter(packs in any_packs(), copy_bytes_max in 0_u64..5000, seed: u64) {
            let options = CollectOptions { copy_bytes_max, ..options() };
            let mut shuffled = packs.clone();
            shuffled.sort_by_key(|pack| u64::from(pack.ordinal).wrapping_mul(seed | 1));
            prop_assert_eq!(plan_collection(&shuffled, &options), plan_collection(&packs, &options));
        }

        #[test]
        fn collecting_comes_to_an_end(packs in any_packs()) {
            let mut packs = packs;
            let live = |packs: &[PackFacts]| packs.iter().map(|pack| pack.bytes_live).sum::<u64>();
            let live_before = live(&packs);
            for _ in 0..8 {
                packs.iter_mut().for_each(|pack| pack.age_millis = 1000);
                let plan = plan_collection(&packs, &options()).unwrap();
                packs = carry_out(&packs, &plan);
                prop_assert_eq!(live(&packs), live_before);
            }
            prop_assert_eq!(plan_collection(&packs, &options()).unwrap(), CollectPlan::default());
        }
    }
}
