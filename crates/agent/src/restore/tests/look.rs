//! Listing, searching, comparing, dumping, verifying.

use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use holdfast_context::Context;
use holdfast_format::tree::{EntryKind, Piece};
use holdfast_format::{ChunkId, ChunkKind};

use super::build::{Builder, Made, entry, noise};
use super::open;
use crate::error::{Error, Result};
use crate::restore::{
    Change, ChunksRead, FindOptions, Listing, VerifyDepth, VerifyResult, diff, dump, find, list,
    mode_text, shown, verify,
};

fn sample(builder: &Builder) -> ChunkId {
    let many = (0..100)
        .map(|n| builder.file(format!("f{n:03}"), &noise(n, n as usize * 50)))
        .collect();
    let mut link = entry("link", EntryKind::Symlink);
    link.target = Some(b"a/\xff".to_vec());
    builder.snapshot(vec![
        builder.dir(
            "a",
            vec![
                builder.file("one.c", b"1"),
                builder.dir("b", vec![builder.file("two.c", b"2")]),
            ],
        ),
        builder.dir("empty", vec![]),
        builder.dir("many", many),
        Made {
            entry: link,
            refs: vec![],
        },
    ])
}

async fn paths(builder: &Builder, root: ChunkId, path: &str, recursive: bool) -> Vec<String> {
    let tree = open(builder, root).await;
    let all: Vec<_> = list(&tree, path.as_bytes(), recursive)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    all.into_iter()
        .map(|one| match one {
            Listing::Entry(listed) => shown(&listed.path),
            Listing::Damaged { path, .. } => format!("damaged {}", shown(&path)),
        })
        .collect()
}

#[tokio::test]
async fn listings_show_one_level_or_all() {
    let builder = Builder::new();
    let root = sample(&builder);
    assert_eq!(
        paths(&builder, root, "/", false).await,
        ["/a", "/empty", "/link", "/many"]
    );
    assert_eq!(
        paths(&builder, root, "a", false).await,
        ["/a/b", "/a/one.c"]
    );
    assert_eq!(
        paths(&builder, root, "/a/", true).await,
        ["/a/b", "/a/b/two.c", "/a/one.c"]
    );
    assert_eq!(paths(&builder, root, "/a/one.c", true).await, ["/a/one.c"]);
    assert_eq!(paths(&builder, root, "/", true).await.len(), 107);
    let tree = open(&builder, root).await;
    for missing in ["/nope", "/a/one.c/deeper", "/a/b/c"] {
        let error = list(&tree, missing.as_bytes(), false).await.err().unwrap();
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_lookup_reads_only_its_pages() {
    let builder = Builder::new();
    let many = (0..5000)
        .map(|n| builder.file(format!("f{n:05}"), b"x"))
        .collect();
    let root = builder.snapshot(vec![builder.dir("d", many)]);
    builder.source.reset_counts();
    let tree = open(&builder, root).await;
    for n in [0, 1, 2500, 4999] {
        let item = tree
            .find(format!("/d/f{n:05}").as_bytes())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(item.entry.name, format!("f{n:05}").as_bytes());
    }
    assert!(tree.find(b"/d/f99999").await.is_err());
    assert!(tree.find(b"/d/a").await.is_err());
    // Root, top, four indexes above each page, and pages: not the 313 pages of the directory.
    let nodes = builder.source.nodes_fetched.load(Ordering::SeqCst);
    assert!(nodes < 30, "{nodes}");
}

#[tokio::test]
async fn listings_are_json() {
    let builder = Builder::new();
    let mut file = builder.file("f", b"123");
    file.entry.mode = 0o4751;
    let root = builder.snapshot(vec![file, builder.file(b"\xff", b"")]);
    let tree = open(&builder, root).await;
    let all: Vec<_> = list(&tree, b"/", false)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let json = serde_json::to_value(&all).unwrap();
    assert_eq!(json[0]["path"], "/f");
    assert_eq!(json[0]["size"], 3);
    assert_eq!(json[0]["kind"], "file");
    assert_eq!(json[0].get("path_bytes"), None);
    assert_eq!(json[1]["path"], "/\\xff");
    assert_eq!(json[1]["path_bytes"], "2fff");
    let Listing::Entry(first) = &all[0] else {
        panic!()
    };
    assert_eq!(mode_text(&first.entry), "-rwsr-x--x");
}

#[tokio::test]
async fn searches_meet_all_conditions() {
    let builder = Builder::new();
    let mut old = builder.file("OLD.C", &noise(1, 300));
    old.entry.mtime_seconds = 1000;
    let root = builder.snapshot(vec![
        builder.dir(
            "src",
            vec![builder.file("a.c", b"1"), builder.dir("x.c", vec![]), old],
        ),
        builder.file("b.c", &noise(2, 5000)),
    ]);
    let tree = open(&builder, root).await;
    let check = async |options: FindOptions, want: &[&str]| {
        let all: Vec<_> = find(&tree, b"/", &options)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let all: Vec<_> = all
            .into_iter()
            .map(|one| match one {
                Listing::Entry(listed) => shown(&listed.path),
                Listing::Damaged { .. } => panic!(),
            })
            .collect();
        assert_eq!(all, want, "{options:?}");
    };
    let named = |name: &str| FindOptions {
        names: vec![name.into()],
        ..FindOptions::default()
    };
    check(named("*.c"), &["/b.c", "/src/a.c", "/src/x.c"]).await;
    check(named("src/*.c"), &["/src/a.c", "/src/x.c"]).await;
    check(named("/**/*.c"), &["/b.c", "/src/a.c", "/src/x.c"]).await;
    let ignore_case = FindOptions {
        ignore_case: true,
        kinds: vec![EntryKind::File],
        ..named("*.c")
    };
    check(ignore_case, &["/b.c", "/src/OLD.C", "/src/a.c"]).await;
    let sized = FindOptions {
        size_min: Some(300),
        size_max: Some(4999),
        ..FindOptions::default()
    };
    check(sized, &["/src/OLD.C"]).await;
    let dated = FindOptions {
        mtime_before_millis: Some(1_000_124),
        mtime_from_millis: Some(1_000_123),
        ..FindOptions::default()
    };
    check(dated, &["/src/OLD.C"]).await;
}

#[tokio::test]
async fn comparisons_read_only_what_differs() {
    let builder = Builder::new();
    let large = || (0..2000).map(|n| builder.file(format!("f{n:04}"), &noise(n, 200)));
    let mut linked = builder.file("linked", b"x");
    linked.entry.hard_link = Some(1);
    let one = builder.snapshot(vec![
        builder.dir("same", large().collect()),
        builder.dir("changed", large().collect()),
        builder.file("gone", b"1"),
        builder.dir("gone-dir", vec![builder.file("in", b"2")]),
        builder.file("was-file", b"3"),
        linked.clone(),
        builder.file("touched", b"t"),
    ]);
    linked.entry.hard_link = Some(9);
    let mut changed: Vec<_> = large().collect();
    changed[1000] = builder.file("f1000", b"other");
    changed.push(builder.file("zz-new", b"new"));
    let mut touched = builder.file("touched", b"t");
    touched.entry.mode = 0o600;
    let two = builder.snapshot(vec![
        builder.dir("same", large().collect()),
        builder.dir("changed", changed),
        builder.dir("was-file", vec![builder.file("now", b"3")]),
        linked,
        touched,
    ]);
    builder.source.reset_counts();
    let (before, after) = (open(&builder, one).await, open(&builder, two).await);
    let all: Vec<_> = diff(&before, &after).try_collect().await.unwrap();
    let lines: Vec<_> = all
        .iter()
        .map(|one| format!("{:?} {}", one.change, shown(&one.path)))
        .collect();
    assert_eq!(
        lines,
        [
            "Content /changed/f1000",
            "Added /changed/zz-new",
            "Removed /gone",
            "Removed /gone-dir",
            "Removed /gone-dir/in",
            "Metadata /touched",
            "Kind /was-file",
            "Added /was-file/now",
        ]
    );
    let json = serde_json::to_value(&all[0]).unwrap();
    assert_eq!(
        (&json["change"], &json["after"]["size"]),
        (&"content".into(), &5.into())
    );
    let none: Vec<_> = diff(&before, &before).try_collect().await.unwrap();
    assert_eq!(none, vec![]);
    builder.source.lose(
        before
            .find(b"/changed")
            .await
            .unwrap()
            .unwrap()
            .directory
            .unwrap(),
    );
    let (before, after) = (open(&builder, one).await, open(&builder, two).await);
    let all: Vec<_> = diff(&before, &after).try_collect().await.unwrap();
    assert!(
        all.iter()
            .any(|one| matches!(one.change, Change::Damaged { after: false, .. }))
    );
}

async fn dumped(builder: &Builder, root: ChunkId, path: &str) -> (Result<u64>, Vec<u8>) {
    let tree = open(builder, root).await;
    let mut out = Vec::new();
    let done = dump(
        &Context::system(),
        &tree,
        path.as_bytes(),
        &mut out,
        Default::default(),
        Default::default(),
    )
    .await;
    (done, out)
}

#[tokio::test]
async fn dumps_are_in_order_and_never_wrong() {
    let mut builder = Builder::new();
    builder.chunk_len = 100_000;
    let (head, tail) = (noise(1, 30 << 20), noise(2, 1000));
    let mut link = entry("link", EntryKind::Symlink);
    link.target = Some(b"file".to_vec());
    let root = builder.snapshot(vec![
        builder.file_of(
            "file",
            &[
                (None, 10),
                (Some(&head), head.len() as u64),
                (None, 200_000),
                (Some(&tail), 1000),
                (None, 5),
            ],
        ),
        builder.file("tiny", b"tiny"),
        builder.file("nothing", b""),
        builder.dir("d", vec![]),
        Made {
            entry: link,
            refs: vec![],
        },
    ]);
    let want = [&[0; 10][..], &head, &[0; 200_000], &tail, &[0; 5]].concat();
    let (done, out) = dumped(&builder, root, "/file").await;
    assert_eq!(done.unwrap(), want.len() as u64);
    assert!(out == want);
    assert_eq!(dumped(&builder, root, "tiny").await.1, b"tiny");
    assert_eq!(dumped(&builder, root, "nothing").await.1, b"");
    for path in ["/", "/d", "/link"] {
        let error = dumped(&builder, root, path).await.0.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    builder
        .source
        .lose(builder.keys.data_id(&head[20_000_000..20_100_000]));
    let (done, out) = dumped(&builder, root, "/file").await;
    assert!(matches!(done, Err(Error::Damaged { .. })), "{done:?}");
    assert_eq!(out.len(), 10 + 20_000_000);
    assert!(want.starts_with(&out));
}

async fn verified(builder: &Builder, root: ChunkId, depth: VerifyDepth) -> VerifyResult {
    verified_after(builder, root, depth, &mut ChunksRead::default()).await
}

async fn verified_after(
    builder: &Builder,
    root: ChunkId,
    depth: VerifyDepth,
    read: &mut ChunksRead,
) -> VerifyResult {
    let source = builder.source.clone();
    let ctx = Context::system();
    verify(
        &ctx,
        source,
        root,
        depth,
        read,
        Default::default(),
        Default::default(),
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn what_snapshots_share_is_read_once_and_its_damage_is_told_of_each() {
    let builder = Builder::new();
    let (shared, own) = (noise(1, 300_000), noise(2, 100_000));
    let one = builder.snapshot(vec![builder.file("shared", &shared)]);
    let other = builder.snapshot(vec![
        builder.file("own", &own),
        builder.file("shared too", &shared),
    ]);
    let mut read = ChunksRead::default();
    assert!(
        verified_after(&builder, one, ALL, &mut read)
            .await
            .complete()
    );
    builder.source.reset_counts();
    let result = verified_after(&builder, other, ALL, &mut read).await;
    assert!(result.complete());
    let fetched = || {
        builder
            .source
            .data_fetched
            .load(std::sync::atomic::Ordering::SeqCst)
    };
    let chunks_own = own.len().div_ceil(builder.chunk_len) as u64;
    assert_eq!((fetched(), result.chunks), (chunks_own, chunks_own));
    // Damage is found once, and told of both.
    builder
        .source
        .lose(builder.keys.data_id(&shared[..builder.chunk_len]));
    let mut read = ChunksRead::default();
    for (root, path) in [(one, "/shared"), (other, "/shared too")] {
        let result = verified_after(&builder, root, ALL, &mut read).await;
        assert_eq!((result.chunks_damaged, result.damaged_count), (1, 1));
        assert_eq!(result.damaged[0].path.0, path.as_bytes());
    }
    let clean = builder.snapshot(vec![builder.file("own", &own)]);
    let result = verified_after(&builder, clean, ALL, &mut read).await;
    assert!(result.complete(), "{result:?}");
}

#[tokio::test]
async fn directories_that_snapshots_share_are_read_once_and_told_of_where_they_are_damaged() {
    let builder = Builder::new();
    let files = |n: u64| vec![builder.file("f", &noise(n, 300))];
    let (shared, own) = (
        builder.dir("shared", files(1)),
        builder.dir("own", files(2)),
    );
    let one = builder.snapshot(vec![shared.clone()]);
    let other = builder.snapshot(vec![shared.clone(), own]);
    let mut read = ChunksRead::default();
    let first = verified_after(&builder, one, ALL, &mut read).await;
    assert!(first.complete());
    let again = verified_after(&builder, one, ALL, &mut read).await;
    // Its root and its top.
    assert_eq!((again.nodes, again.chunks, again.files), (2, 0, 0));
    let second = verified_after(&builder, other, ALL, &mut read).await;
    assert!(second.complete());
    // Its root, its top, its own directory.
    assert_eq!((second.nodes, second.files), (3, 1));

    // Nothing is known to be whole of a snapshot in which something is damaged.
    let lost = builder.keys.data_id(&noise(1, 300));
    builder.source.lose(lost);
    let mut read = ChunksRead::default();
    for root in [one, other, one] {
        let result = verified_after(&builder, root, ALL, &mut read).await;
        assert_eq!(result.damaged_count, 1, "{result:?}");
        assert_eq!(result.damaged[0].path.0, b"/shared/f");
    }
}

const ALL: VerifyDepth = VerifyDepth::Data {
    share: 1.0,
    seed: 0,
};

#[tokio::test]
async fn verification_reads_every_distinct_chunk_once() {
    let builder = Builder::new();
    let twice = builder.dir(
        "d",
        vec![
            builder.file("x", &noise(5, 20_000)),
            builder.file("y", &noise(5, 20_000)),
        ],
    );
    let root = builder.snapshot(vec![
        builder.dir("one", vec![twice.clone()]),
        builder.dir("two", vec![twice]),
        builder.dir(
            "many",
            (0..200)
                .map(|n| builder.file(format!("f{n}"), &noise(n, 300)))
                .collect(),
        ),
    ]);
    let (nodes, data) = (
        builder.source.ids(ChunkKind::Node),
        builder.source.ids(ChunkKind::Data),
    );
    builder.source.reset_counts();
    let result = verified(&builder, root, VerifyDepth::Nodes).await;
    assert!(result.complete(), "{result:?}");
    assert_eq!((result.chunks, result.nodes), (0, nodes.len() as u64));
    builder.source.reset_counts();
    let result = verified(&builder, root, ALL).await;
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.chunks, data.len() as u64);
    assert_eq!(
        builder.source.data_fetched.load(Ordering::SeqCst),
        data.len() as u64
    );
    let half = |seed| VerifyDepth::Data { share: 0.5, seed };
    let some = verified(&builder, root, half(1)).await;
    let again = verified(&builder, root, half(1)).await;
    assert_eq!(some, again);
    assert!(some.chunks > 60 && some.chunks < 160, "{}", some.chunks);
    let none = VerifyDepth::Data {
        share: 0.0,
        seed: 3,
    };
    assert_eq!(verified(&builder, root, none).await.chunks, 0);
}

#[tokio::test]
async fn verification_names_every_path_that_is_touched() {
    let builder = Builder::new();
    let shared = noise(5, 5000);
    let twice = || {
        builder.dir(
            "d",
            vec![builder.file("x", &shared), builder.file("y", &shared)],
        )
    };
    let root = builder.snapshot(vec![
        builder.dir("one", vec![twice()]),
        builder.dir("two", vec![twice()]),
        builder.file("fine", &noise(6, 500)),
    ]);
    let names = |result: &VerifyResult| -> Vec<String> {
        result
            .damaged
            .iter()
            .map(|one| one.path.to_string())
            .collect()
    };
    builder
        .source
        .lose(builder.keys.data_id(&shared[2000..3000]));
    let result = verified(&builder, root, ALL).await;
    assert_eq!(
        names(&result),
        ["/one/d/x", "/one/d/y", "/two/d/x", "/two/d/y"]
    );
    assert_eq!((result.chunks_damaged, result.damaged_count), (1, 4));
    assert!(
        verified(&builder, root, VerifyDepth::Nodes)
            .await
            .complete()
    );
    builder.source.regain_all();
    let tree = open(&builder, root).await;
    builder.source.lose(
        tree.find(b"/two/d")
            .await
            .unwrap()
            .unwrap()
            .directory
            .unwrap(),
    );
    let result = verified(&builder, root, VerifyDepth::Nodes).await;
    assert_eq!(names(&result), ["/one/d", "/two/d"]);
    builder.source.regain_all();
    builder.source.lose(root);
    let result = verified(&builder, root, VerifyDepth::Nodes).await;
    assert_eq!(names(&result), ["/"]);
    builder.source.regain_all();
    // An extent that reaches beyond its chunk, with others that do not.
    let chunk = builder.data(&noise(7, 1000));
    let part = |name: &str, offset, len| {
        let piece = Piece {
            chunk: Some(0),
            offset,
            len,
        };
        builder.file_of_pieces(name, vec![piece], vec![chunk])
    };
    let root = builder.snapshot(vec![
        part("a", 0, 10),
        part("b", 900, 101),
        part("c", 0, 1000),
    ]);
    let result = verified(&builder, root, ALL).await;
    assert_eq!(names(&result), ["/b"]);
}
