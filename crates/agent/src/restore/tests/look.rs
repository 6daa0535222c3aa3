//! Listing, searching, comparing, dumping.

use std::sync::atomic::Ordering;

use futures::TryStreamExt;
use holdfast_context::Context;
use holdfast_format::ChunkId;
use holdfast_format::tree::EntryKind;

use super::build::{Builder, Made, entry, noise};
use super::open;
use crate::error::{Error, Result};
use crate::restore::{Change, FindOptions, Listing, diff, dump, find, list, mode_text, shown};

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
