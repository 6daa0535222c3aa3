//! Verifying.

use std::sync::atomic::Ordering;

use holdfast_context::Context;
use holdfast_format::tree::Piece;
use holdfast_format::{ChunkId, ChunkKind};

use super::build::{Builder, noise};
use super::open;
use crate::restore::{ChunksRead, VerifyDepth, VerifyResult, verify};

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
