//! A delta from any state of a tree to any other ends as a fresh restore of the other.

use std::collections::BTreeMap;

use holdfast_format::ChunkId;
use holdfast_format::tree::{EntryKind, Xattr};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::build::{Builder, Made, entry, noise};
use super::compare::describe;
use super::{delta_into, into, run_with};

#[derive(Debug, Clone)]
enum Thing {
    File(Vec<Stretch>),
    /// One of a few files with several names.
    Linked(u8),
    Directory(BTreeMap<String, (Thing, Facts)>),
    Symlink(String),
    Fifo,
}

/// Data of a seed or a hole, of a length.
type Stretch = (Option<u64>, usize);

#[derive(Debug, Clone)]
struct Facts {
    mode: u32,
    owner: u32,
    mtime: i64,
    xattr: Option<u8>,
}

fn facts() -> impl Strategy<Value = Facts> {
    let mode = prop_oneof![Just(0o644), Just(0o600), Just(0o4755), Just(0o000)];
    (
        mode,
        0..3u32,
        0..3i64,
        proptest::option::weighted(0.2, 0..3u8),
    )
        .prop_map(|(mode, owner, mtime, xattr)| Facts {
            mode,
            owner,
            mtime,
            xattr,
        })
}

fn things() -> impl Strategy<Value = BTreeMap<String, (Thing, Facts)>> {
    let stretch = (
        proptest::option::weighted(0.8, 0..3u64),
        prop_oneof![1..200usize, Just(4096), 1000..20_000usize],
    );
    let leaf = prop_oneof![
        4 => vec(stretch, 0..5).prop_map(Thing::File),
        2 => (0..3u8).prop_map(Thing::Linked),
        1 => "[a-c]{1,2}".prop_map(Thing::Symlink),
        1 => Just(Thing::Fifo),
    ];
    let named = |thing: BoxedStrategy<Thing>| btree_map("[a-d]", (thing, facts()), 0..5);
    let tree = leaf.prop_recursive(3, 30, 5, move |inner| {
        named(inner.boxed()).prop_map(Thing::Directory)
    });
    btree_map("[a-d]", (tree, facts()), 0..5)
}

fn build(builder: &Builder, things: &BTreeMap<String, (Thing, Facts)>) -> Vec<Made> {
    let one = |(name, (thing, facts)): (&String, &(Thing, Facts))| {
        let special = |kind| Made {
            entry: entry(name, kind),
            refs: vec![],
        };
        let mut made = match thing {
            Thing::File(stretches) => {
                let bytes: Vec<_> = stretches
                    .iter()
                    .map(|(seed, len)| (seed.map(|seed| noise(seed, *len)), *len as u64))
                    .collect();
                let borrowed: Vec<_> = bytes.iter().map(|(b, len)| (b.as_deref(), *len)).collect();
                match &borrowed[..] {
                    [] => builder.file(name, b""),
                    [(Some(bytes), _)] => builder.file(name, bytes),
                    all => builder.file_of(name, all),
                }
            }
            Thing::Linked(number) => {
                let mut made = builder.file(name, &noise(100 + u64::from(*number), 3000));
                made.entry.hard_link = Some(u64::from(*number) + 1);
                made.entry.mtime_seconds = i64::from(*number);
                return made;
            }
            Thing::Directory(inner) => builder.dir(name, build(builder, inner)),
            Thing::Symlink(target) => {
                let mut made = special(EntryKind::Symlink);
                made.entry.target = Some(target.clone().into_bytes());
                made
            }
            Thing::Fifo => special(EntryKind::Fifo),
        };
        let is_link = matches!(thing, Thing::Symlink(_));
        made.entry.mode = if is_link { 0o777 } else { facts.mode };
        (made.entry.uid, made.entry.gid) = (facts.owner, facts.owner);
        made.entry.mtime_seconds = facts.mtime;
        let xattr = facts.xattr.filter(|_| matches!(thing, Thing::File(_)));
        made.entry.xattrs = xattr.map(|value| {
            vec![Xattr {
                name: b"user.x".to_vec(),
                value: vec![value],
            }]
        });
        made
    };
    things.iter().map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_delta_ends_as_a_fresh_restore(one in things(), other in things(), keys: bool) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let scratch = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let builder = Builder::new();
        let go = |root: ChunkId, options: crate::restore::RestoreOptions| {
            let result = runtime
                .block_on(run_with(&builder, root, &options, keys, Default::default()))
                .unwrap();
            assert!(result.complete(), "{result:?}");
            result
        };
        let (changed, fresh) = (scratch.path().join("changed"), scratch.path().join("fresh"));
        let first = builder.snapshot(build(&builder, &one));
        let second = builder.snapshot(build(&builder, &other));
        go(first, into(&changed));
        let mut options = delta_into(&changed);
        options.delete_extra = true;
        go(second, options.clone());
        go(second, into(&fresh));
        prop_assert_eq!(describe(&changed), describe(&fresh));
        let again = go(second, options);
        prop_assert_eq!((again.bytes_written, again.deleted), (0, 0));
    }
}

/// A file that is nothing but a hole writes no byte: what stood there before must go all the same.
#[test]
fn a_hole_takes_the_place_of_what_stood_there() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let builder = Builder::new();
    for before in [&b""[..], b"x", b"longer than the hole"] {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("target");
        let go = |root: ChunkId, options: crate::restore::RestoreOptions| {
            let restored = run_with(&builder, root, &options, false, Default::default());
            assert!(runtime.block_on(restored).unwrap().complete());
        };
        go(
            builder.snapshot(vec![builder.file("c", before)]),
            into(&target),
        );
        let hole = builder.file_of("c", &[(None, 1)]);
        go(builder.snapshot(vec![hole]), delta_into(&target));
        assert_eq!(std::fs::read(target.join("c")).unwrap(), [0], "{before:?}");
    }
}
