//! Nodes that lie: each is named, nothing of it is believed, the rest is restored.

use holdfast_format::ChunkId;
use holdfast_format::tree::{
    Content, DirectoryIndex, Entry, EntryKind, ExtentsIndex, ExtentsPage, Node, Piece,
};

use super::build::{Builder, Made, entry, noise};
use super::compare::describe;
use super::{delta_into, into, run};

fn made(change: impl FnOnce(&mut Entry)) -> Made {
    let mut one = entry("bad", EntryKind::File);
    change(&mut one);
    Made {
        entry: one,
        refs: Vec::new(),
    }
}

/// Restores a page with one bad entry between good ones.
async fn check(what: &str, change: impl FnOnce(&mut Entry)) {
    let builder = Builder::new();
    let bad = made(change);
    let page = builder.page(vec![
        builder.file("a", b"good"),
        bad,
        builder.file("z", b"good"),
    ]);
    let scratch = tempfile::tempdir().unwrap();
    let to = scratch.path().join("in/to");
    let result = run(&builder, builder.root(page), &into(&to)).await.unwrap();
    assert_eq!(
        (result.files, result.losses_count),
        (2, 1),
        "{what}: {result:?}"
    );
    assert_eq!(describe(&to).len(), 2, "{what}");
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        1,
        "{what}"
    );
}

#[tokio::test]
async fn impossible_entries_are_left_out_and_named() {
    for name in [
        &b""[..],
        b".",
        b"..",
        b"../out",
        b"/etc/out",
        b"a/b",
        b"nul\0",
        b"a",
    ] {
        check(&name.escape_ascii().to_string(), |one| {
            one.name = name.to_vec()
        })
        .await;
    }
    check("a size without content", |one| one.size = 5).await;
    check("inline of another length", |one| {
        one.size = 5;
        one.content = Some(Content {
            inline: Some(b"1234".to_vec()),
            ..Content::default()
        });
    })
    .await;
    check("two kinds of content", |one| {
        one.content = Some(Content {
            inline: Some(Vec::new()),
            pieces: Some(Vec::new()),
            ..Content::default()
        });
    })
    .await;
    let piece = |chunk, offset, len| {
        move |one: &mut Entry| {
            one.size = 10;
            one.content = Some(Content {
                pieces: Some(vec![Piece { chunk, offset, len }]),
                ..Content::default()
            });
        }
    };
    check("a reference out of range", piece(Some(9), 0, 10)).await;
    check("pieces that do not add up", piece(None, 0, 9)).await;
    check(
        "a piece past the largest chunk",
        piece(Some(0), 8 << 20, 10),
    )
    .await;
    check(
        "a piece past the end of numbers",
        piece(Some(0), u64::MAX, 10),
    )
    .await;
    check("an extents node out of range", |one| {
        one.content = Some(Content {
            extents: Some(3),
            ..Content::default()
        });
    })
    .await;
    check("a directory out of range", |one| {
        one.kind = EntryKind::Directory;
        one.directory = Some(77);
    })
    .await;
    check("a file with entries", |one| one.directory = Some(0)).await;
    check("a symlink to nowhere", |one| one.kind = EntryKind::Symlink).await;
    check("a symlink with NUL", |one| {
        one.kind = EntryKind::Symlink;
        one.target = Some(b"a\0b".to_vec());
    })
    .await;
    check("a device without a number", |one| {
        one.kind = EntryKind::BlockDevice
    })
    .await;
    check("a directory with content", |one| {
        one.kind = EntryKind::Directory;
        one.content = Some(Content::default());
    })
    .await;
}

#[tokio::test]
async fn a_symlink_and_a_directory_of_one_name_do_not_lead_out() {
    let builder = Builder::new();
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let mut link = entry("x", EntryKind::Symlink);
    link.target = Some(outside.as_os_str().as_encoded_bytes().to_vec());
    let link = Made {
        entry: link,
        refs: vec![],
    };
    let directory = builder.dir("x", vec![builder.file("passwd", b"root::0:0")]);
    for order in [
        vec![link.clone(), directory.clone()],
        vec![directory.clone(), link.clone()],
    ] {
        let root = builder.root(builder.page(order));
        let to = scratch.path().join("to");
        let result = run(&builder, root, &into(&to)).await.unwrap();
        assert_eq!(result.losses_count, 1);
        std::fs::remove_dir_all(&to).unwrap();
    }
    // In two snapshots one after the other.
    let to = scratch.path().join("to");
    run(&builder, builder.root(builder.page(vec![link])), &into(&to))
        .await
        .unwrap();
    let root = builder.root(builder.page(vec![directory]));
    run(&builder, root, &delta_into(&to)).await.unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(to.join("x/passwd").is_file());
}

#[tokio::test]
async fn lying_indexes_are_caught() {
    let builder = Builder::new();
    let page =
        |names: &[&str]| builder.page(names.iter().map(|name| builder.file(name, b"1")).collect());
    let index = |names: &[&str], children: Vec<ChunkId>| {
        let first_names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        builder.node(
            &Node::directory_index(DirectoryIndex { first_names }),
            children,
        )
    };
    let scratch = tempfile::tempdir().unwrap();
    let cases: Vec<(&str, ChunkId, u64, u64)> = vec![
        (
            "names out of order",
            index(&["b", "a"], vec![page(&["b"]), page(&["a"])]),
            0,
            1,
        ),
        (
            "too few names",
            index(&["a"], vec![page(&["a"]), page(&["b"])]),
            0,
            1,
        ),
        (
            "a page that overlaps the next",
            index(&["a", "c"], vec![page(&["a", "d"]), page(&["c", "d"])]),
            3,
            1,
        ),
        (
            "a page before its name",
            index(&["a", "c"], vec![page(&["a"]), page(&["b", "c"])]),
            2,
            1,
        ),
        (
            "one page twice",
            index(&["a", "b"], vec![page(&["a"]), page(&["a"])]),
            1,
            1,
        ),
        (
            "another kind of node",
            builder.node(&Node::extents(ExtentsPage { pieces: vec![] }), vec![]),
            0,
            1,
        ),
        ("a data chunk", builder.data(b"no node"), 0, 1),
    ];
    for (number, (what, top, files, losses)) in cases.into_iter().enumerate() {
        let to = scratch.path().join(number.to_string());
        let result = run(&builder, builder.root(top), &into(&to)).await.unwrap();
        assert_eq!(
            (result.files, result.losses_count),
            (files, losses),
            "{what}: {result:?}"
        );
        assert_eq!(describe(&to).len() as u64, files, "{what}");
    }
    let mut deep = page(&["a"]);
    for _ in 0..12 {
        deep = index(&["a"], vec![deep]);
    }
    let to = scratch.path().join("deep");
    let result = run(&builder, builder.root(deep), &into(&to)).await.unwrap();
    assert_eq!((result.files, result.losses_count), (0, 1));
}

#[tokio::test]
async fn lying_lists_of_extents_are_caught() {
    let builder = Builder::new();
    let data = noise(1, 1000);
    let chunk = builder.data(&data);
    let extents = |lens: &[u64]| {
        let pieces = lens
            .iter()
            .map(|len| Piece {
                chunk: Some(0),
                offset: 0,
                len: *len,
            })
            .collect();
        builder.node(&Node::extents(ExtentsPage { pieces }), vec![chunk])
    };
    let index = |lens: &[u64], children: Vec<ChunkId>| {
        let lens = lens.to_vec();
        builder.node(&Node::extents_index(ExtentsIndex { lens }), children)
    };
    let file = |name: &str, node: ChunkId, size: u64| {
        let mut one = entry(name, EntryKind::File);
        one.size = size;
        one.content = Some(Content {
            extents: Some(0),
            ..Content::default()
        });
        Made {
            entry: one,
            refs: vec![node],
        }
    };
    let mut deep = extents(&[1000]);
    for _ in 0..12 {
        deep = index(&[1000], vec![deep]);
    }
    let beyond = builder.file_of_pieces(
        "beyond",
        vec![Piece {
            chunk: Some(0),
            offset: 500,
            len: 501,
        }],
        vec![chunk],
    );
    let files = vec![
        file(
            "a-good",
            index(&[1000, 500], vec![extents(&[1000]), extents(&[500])]),
            1500,
        ),
        beyond,
        file("c-short", extents(&[1000]), 1001),
        file("d-long", extents(&[1000]), 999),
        file(
            "e-index-sum",
            index(&[1000, 500], vec![extents(&[1000]), extents(&[500])]),
            1501,
        ),
        file(
            "f-index-lies",
            index(&[900, 600], vec![extents(&[1000]), extents(&[500])]),
            1500,
        ),
        file(
            "g-overflow",
            index(&[u64::MAX, 2], vec![extents(&[1000]), extents(&[1])]),
            1,
        ),
        file(
            "h-empty-part",
            index(&[1000, 0], vec![extents(&[1000]), extents(&[])]),
            1000,
        ),
        file("i-deep", deep, 1000),
        file("j-data", chunk, 1000),
        file("k-directory", builder.page(vec![]), 0),
        file("z-good", extents(&[1000, 1000]), 2000),
    ];
    let bad = files.len() as u64 - 2;
    let root = builder.snapshot(files);
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert_eq!((result.files, result.losses_count), (2, bad), "{result:?}");
    let left: Vec<_> = describe(scratch.path()).into_keys().collect();
    assert_eq!(
        left,
        [
            std::path::Path::new("a-good"),
            std::path::Path::new("z-good")
        ]
    );
    let good = std::fs::read(scratch.path().join("a-good")).unwrap();
    assert_eq!(good, [&data[..], &data[..500]].concat());
}

#[tokio::test]
async fn impossible_metadata_do_no_harm() {
    let builder = Builder::new();
    let mut one = builder.file("times", b"1");
    one.entry.mtime_nanos = (1 << 30) - 2; // UTIME_OMIT
    let mut two = builder.file("owner", b"2");
    (two.entry.uid, two.entry.gid) = (u32::MAX, u32::MAX);
    let mut three = builder.file("mode", b"3");
    three.entry.mode = 0o170_644;
    let mut four = builder.file("xattr", b"4");
    four.entry.xattrs = Some(vec![holdfast_format::tree::Xattr {
        name: b"user.\0x".to_vec(),
        value: vec![],
    }]);
    let root = builder.snapshot(vec![one, two, three, four]);
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert_eq!((result.files, result.problems_count), (4, 1), "{result:?}");
    use std::os::unix::fs::MetadataExt;
    let facts = |name: &str| std::fs::metadata(scratch.path().join(name)).unwrap();
    assert_eq!(facts("times").mtime_nsec(), 999_999_999);
    assert_eq!(facts("mode").mode(), 0o100_644);
}

#[tokio::test]
async fn the_markers_name_is_not_taken_from_a_snapshot() {
    let builder = Builder::new();
    let root = builder.snapshot(vec![
        builder.file(".holdfast-restore-unfinished", b"root 0000"),
        builder.file("x", b"1"),
    ]);
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert_eq!((result.files, result.problems_count), (1, 1));
    assert_eq!(describe(scratch.path()).len(), 1);
}
