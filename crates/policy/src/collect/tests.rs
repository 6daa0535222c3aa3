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
fn rewrites_denser_packs_until_no_more_than_a_share_is_dead() {
    let packs = [
        pack(0, 1000, 1000),
        pack(1, 1000, 900),
        pack(2, 1000, 600),
        pack(3, 1000, 450),
        pack(4, 1000, 900),
    ];
    for (percent, rewrite) in [
        (None, vec![vec![3]]),
        (Some(100), vec![vec![3]]),
        // 600 of 4000 are dead, then 200 of 3600.
        (Some(15), vec![vec![3]]),
        (Some(14), vec![vec![3], vec![2]]),
        (Some(5), vec![vec![3], vec![2], vec![1]]),
        // What has nothing dead stays.
        (Some(0), vec![vec![3], vec![2], vec![1], vec![4]]),
    ] {
        let options = CollectOptions {
            unused_percent_max: percent,
            ..options()
        };
        let plan = plan_collection(&packs, &options).unwrap();
        assert_eq!(ordinals(&plan.rewrite), rewrite, "{percent:?}");
        assert!(plan.merge.is_empty());
    }
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
