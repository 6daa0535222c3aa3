//! Laws: what goes in comes out, for any tree; the same tree gives the same node; ending early ends.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::tree::EntryKind;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::backup::testing::{MapSink, cache, keys, noise, options, run};
use crate::backup::{CountingSink, FilesOptions, Progress, backup_files};
use crate::error::Error;
use crate::sink::ChunkSink;

#[derive(Debug, Clone)]
enum Thing {
    File(u64, usize),
    Link(Vec<u8>),
    Folder(BTreeMap<Vec<u8>, Thing>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'a'), Just(b'.'), Just(b'\n'), Just(0xff), 1u8..=255];
    vec(byte.prop_filter("no slash", |byte| *byte != b'/'), 1..12)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

fn thing() -> impl Strategy<Value = Thing> {
    let size = prop_oneof![
        0usize..200,
        0usize..70_000,
        Just(65_536),
        200_000usize..900_000
    ];
    let leaf = prop_oneof![
        4 => (any::<u64>(), size).prop_map(|(seed, size)| Thing::File(seed, size)),
        1 => name().prop_map(Thing::Link),
    ];
    leaf.prop_recursive(5, 60, 12, |inner| {
        btree_map(name(), inner, 0..12).prop_map(Thing::Folder)
    })
}

fn make(path: &Path, thing: &Thing, found: &mut BTreeMap<PathBuf, Thing>) {
    match thing {
        Thing::File(seed, size) => fs::write(path, noise(*seed, *size)).unwrap(),
        Thing::Link(target) => std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap(),
        Thing::Folder(inner) => {
            fs::create_dir(path).unwrap();
            for (name, thing) in inner {
                make(&path.join(OsStr::from_bytes(name)), thing, found);
            }
        }
    }
    found.insert(path.to_owned(), thing.clone());
}

proptest! {
    // A failing tree is printed; no file of seeds is kept.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_tree_comes_out_as_it_went_in(things in btree_map(name(), thing(), 0..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let (top, state) = (folder.path().join("top"), folder.path().join("cache"));
            let mut made = BTreeMap::new();
            make(&top, &Thing::Folder(things), &mut made);
            let sink = MapSink::new();
            let with_cache = FilesOptions { cache: Some(cache(&state)), ..options([&top]) };
            let first = run(with_cache.clone(), &sink).await.unwrap();
            let tree = sink.tree(&first.root);
            let below = tree.keys().filter(|path| path.starts_with(&top)).count();
            assert_eq!(below, made.len());
            for (path, thing) in &made {
                let found = &tree[path];
                match thing {
                    Thing::File(seed, size) => assert!(found.bytes() == noise(*seed, *size)),
                    Thing::Link(target) => assert_eq!(found.entry.target.as_ref(), Some(target)),
                    Thing::Folder(_) => assert_eq!(found.entry.kind, EntryKind::Directory),
                }
            }
            let node = sink.folder(&first.root, &top);
            first.cache.finish(true);
            let again = run(with_cache, &sink).await.unwrap();
            assert_eq!((again.bytes_read, sink.folder(&again.root, &top)), (0, node));
            let plain = run(options([&top]), &sink).await.unwrap();
            assert_eq!(sink.folder(&plain.root, &top), node);
        });
    }
}

#[tokio::test]
async fn counters_of_a_dry_run_are_those_of_a_real_one() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..50 {
        fs::write(folder.path().join(format!("{n}")), noise(n % 40, 50_000)).unwrap();
    }
    let sink = MapSink::new();
    let dry = |over: Option<Arc<dyn ChunkSink>>| {
        let options = options([folder.path()]);
        async move {
            let counting = Arc::new(over.map_or_else(CountingSink::new, CountingSink::over));
            let (ctx, cancel) = (Context::system(), CancellationToken::new());
            let sink: Arc<dyn ChunkSink> = counting.clone();
            let keys = keys("vault");
            let run = backup_files(&ctx, &keys, options, sink, cancel, Arc::default());
            assert_eq!(run.await.unwrap().files, 50);
            counting.counts().await.unwrap()
        }
    };
    let counts = dry(None).await;
    assert_eq!(counts.chunks_reused, 10);
    let _ = run(options([folder.path()]), &sink).await.unwrap();
    assert_eq!(counts.chunks_new, sink.chunks.lock().unwrap().len() as u64);
    let counts = dry(Some(sink.clone())).await;
    // The root, which says when; and the page above `/tmp`, if a test beside this one made something there meanwhile.
    assert!((1..=2).contains(&counts.chunks_new), "{counts:?}");
    assert!(counts.bytes_new < 50_000, "no file's content: {counts:?}");
}

#[tokio::test]
async fn cancelling_ends_it_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..300 {
        fs::create_dir(folder.path().join(format!("{n}"))).unwrap();
        fs::write(folder.path().join(format!("{n}/f")), noise(n, 40_000)).unwrap();
    }
    fs::write(folder.path().join("large"), noise(1, 64 << 20)).unwrap();
    let state = folder.path().join("state");
    for polls in 0..200 {
        let cancel = CancellationToken::new();
        let progress = Arc::<Progress>::default();
        let options = FilesOptions {
            cache: Some(cache(&state)),
            ..options([folder.path()])
        };
        let (ctx, keys, sink) = (Context::system(), keys("vault"), MapSink::new());
        let run = backup_files(
            &ctx,
            &keys,
            options,
            sink,
            cancel.clone(),
            Arc::clone(&progress),
        );
        let stop = async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
        };
        let (result, ()) = tokio::join!(run, stop);
        match result {
            Err(Error::Interrupted) => {}
            Ok(result) => result.cache.finish(false),
            Err(other) => panic!("{other}"),
        }
    }
}
