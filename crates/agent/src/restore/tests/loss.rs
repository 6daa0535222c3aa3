//! Every chunk of a snapshot lost in turn: the rest is restored, the loss is named, no wrong byte stands anywhere.

use std::os::unix::fs::FileExt;

use holdfast_format::ChunkKind;

use super::build::{Builder, noise};
use super::compare::describe;
use super::{delta_into, into, run};
use crate::error::Error;

fn sample(builder: &Builder) -> holdfast_format::ChunkId {
    let many = (0..60)
        .map(|n| builder.file(format!("f{n:02}"), &noise(n, 200 + n as usize)))
        .collect();
    let mut link = builder.file("one-name", &noise(100, 2500));
    link.entry.hard_link = Some(1);
    let mut other = builder.file("other-name", &noise(100, 2500));
    other.entry.hard_link = Some(1);
    builder.snapshot(vec![
        builder.dir(
            "deep",
            vec![builder.dir("er", vec![builder.file("x", &noise(101, 1500))])],
        ),
        builder.file("large", &noise(102, 60_000)),
        link,
        builder.dir("many", many),
        other,
        builder.file("plain", b"inline"),
    ])
}

#[tokio::test]
async fn any_one_chunk_lost_leaves_the_rest() {
    let builder = Builder::new();
    let root = sample(&builder);
    let scratch = tempfile::tempdir().unwrap();
    let whole = scratch.path().join("whole");
    assert!(run(&builder, root, &into(&whole)).await.unwrap().complete());
    let whole = describe(&whole);
    let ids = [
        builder.source.ids(ChunkKind::Node),
        builder.source.ids(ChunkKind::Data),
    ]
    .concat();
    for (number, id) in ids.into_iter().enumerate() {
        builder.source.lose(id);
        let to = scratch.path().join(number.to_string());
        let result = run(&builder, root, &into(&to)).await;
        if id == root {
            assert!(matches!(result, Err(Error::Damaged { .. })), "{result:?}");
            assert!(!to.exists());
        } else {
            let result = result.unwrap();
            assert!(!result.complete());
            assert!(
                result.losses.iter().any(|loss| loss.chunk == Some(id)),
                "{result:?}"
            );
            let left = describe(&to);
            for (path, line) in &left {
                // Fewer links than before is the only difference there may be.
                if !line.contains("linked") {
                    assert_eq!(Some(line), whole.get(path), "{path:?}");
                }
            }
            assert!(
                left.keys()
                    .all(|path| !path.to_string_lossy().contains("holdfast"))
            );
            builder.source.regain_all();
            let result = run(&builder, root, &delta_into(&to)).await.unwrap();
            assert!(result.complete(), "{result:?}");
            assert_eq!(describe(&to), whole);
        }
        builder.source.regain_all();
    }
}

#[tokio::test]
async fn a_large_file_damaged_in_place_is_moved_aside() {
    let mut builder = Builder::new();
    builder.chunk_len = 1 << 20;
    let bytes = noise(1, 40 << 20);
    let root = builder.snapshot(vec![builder.file("db", &bytes)]);
    let scratch = tempfile::tempdir().unwrap();
    assert!(
        run(&builder, root, &into(scratch.path()))
            .await
            .unwrap()
            .complete()
    );
    let path = scratch.path().join("db");
    let change = |at: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", at).unwrap();
    };
    // Lost before anything was changed: what stands there stays as it is.
    change(35 << 20);
    builder
        .source
        .lose(builder.keys.data_id(&bytes[35 << 20..36 << 20]));
    let result = run(&builder, root, &delta_into(scratch.path()))
        .await
        .unwrap();
    assert_eq!(
        (result.losses_count, result.problems_count),
        (1, 0),
        "{result:?}"
    );
    assert_eq!(&std::fs::read(&path).unwrap()[35 << 20..][..7], b"changed");
    // Lost after an earlier part was changed already: nothing stands under the real name. In a seeded world batches
    // run one after the other.
    change(0);
    let clock = std::sync::Arc::new(holdfast_context::ManualClock::at(0));
    let result = crate::restore::restore(
        &holdfast_context::Context::seeded(1, clock),
        builder.source.clone(),
        root,
        Some(&builder.keys),
        &delta_into(scratch.path()),
        Default::default(),
        Default::default(),
    )
    .await
    .unwrap();
    assert_eq!(
        (result.losses_count, result.problems_count),
        (1, 1),
        "{result:?}"
    );
    assert!(!path.exists());
    assert!(scratch.path().join("db.holdfast-incomplete").exists());
    builder.source.regain_all();
    let result = run(&builder, root, &delta_into(scratch.path()))
        .await
        .unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn what_is_lost_is_never_extra() {
    let builder = Builder::new();
    let root = sample(&builder);
    let scratch = tempfile::tempdir().unwrap();
    assert!(
        run(&builder, root, &into(scratch.path()))
            .await
            .unwrap()
            .complete()
    );
    let before = describe(scratch.path());
    let mut options = delta_into(scratch.path());
    options.delete_extra = true;
    for id in builder.source.ids(ChunkKind::Node) {
        if id != root {
            builder.source.lose(id);
            let result = run(&builder, root, &options).await.unwrap();
            assert_eq!(result.deleted, 0, "{result:?}");
            assert_eq!(describe(scratch.path()), before);
            builder.source.regain_all();
        }
    }
}
