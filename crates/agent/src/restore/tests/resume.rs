//! A restore that is interrupted anywhere and run again ends as if it had never been.

use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::build::{Builder, noise};
use super::compare::{assert_same, describe};
use super::kinds::make_awkward;
use super::{into, run, run_with};
use crate::error::Error;

const MARKER: &str = ".holdfast-restore-unfinished";

#[tokio::test]
async fn interrupted_anywhere_it_goes_on() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join("from");
    std::fs::create_dir(&from).unwrap();
    make_awkward(&from);
    std::fs::write(from.join("huge"), noise(7, 30 << 20)).unwrap();
    let mut builder = Builder::new();
    builder.chunk_len = 100_000;
    let root = builder.snapshot(builder.import(&from));
    builder.source.slow.store(20, Ordering::SeqCst);
    builder.source.reset_counts();
    let calls = {
        let to = scratch.path().join("uninterrupted");
        assert!(run(&builder, root, &into(&to)).await.unwrap().complete());
        builder.source.calls.load(Ordering::SeqCst)
    };
    for seed in 0..calls + 2 {
        let to = scratch.path().join(format!("to-{seed}"));
        builder.source.reset_counts();
        let keys = seed % 3 != 0;
        let first = if seed % 2 == 0 {
            // The source goes away after some calls.
            builder
                .source
                .gone_after
                .store(seed / 2 + 1, Ordering::SeqCst);
            let result = run_with(&builder, root, &into(&to), keys, Default::default()).await;
            builder.source.gone_after.store(0, Ordering::SeqCst);
            result
        } else {
            // Somebody cancels after some calls.
            let cancel = CancellationToken::new();
            let source = builder.source.clone();
            let token = cancel.clone();
            let watcher = holdfast_context::Context::system().spawn(async move {
                while source.calls.load(Ordering::SeqCst) < seed / 2 {
                    tokio::task::yield_now().await;
                }
                token.cancel();
            });
            let result = run_with(&builder, root, &into(&to), keys, cancel).await;
            watcher.abort();
            result
        };
        match &first {
            Ok(_) => {}
            Err(Error::Interrupted | Error::Unavailable { .. }) => {
                if to.exists() {
                    assert!(to.join(MARKER).exists(), "seed {seed}");
                }
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        if first.is_err() {
            let result = run_with(&builder, root, &into(&to), keys, Default::default()).await;
            let result = result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(result.complete(), "seed {seed}: {result:?}");
        }
        assert_same(&from, &to);
        std::fs::remove_dir_all(&to).unwrap();
    }
}

#[tokio::test]
async fn a_large_file_goes_on_where_it_was() {
    let mut builder = Builder::new();
    builder.chunk_len = 100_000;
    let bytes = noise(3, 100 << 20);
    let root = builder.snapshot(vec![builder.file("huge", &bytes)]);
    let scratch = tempfile::tempdir().unwrap();
    builder.source.reset_counts();
    let source = builder.source.clone();
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let watcher = holdfast_context::Context::system().spawn(async move {
        while source.data_fetched.load(Ordering::SeqCst) < 700 {
            tokio::task::yield_now().await;
        }
        token.cancel();
    });
    let options = into(scratch.path());
    let first = run_with(&builder, root, &options, true, cancel).await;
    watcher.await.unwrap();
    assert!(matches!(first, Err(Error::Interrupted)));
    assert!(!scratch.path().join("huge").exists());
    builder.source.reset_counts();
    let result = run(&builder, root, &options).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert!(result.bytes_kept > 0, "{result:?}");
    assert!(result.bytes_written < 100 << 20);
    assert_eq!(std::fs::read(scratch.path().join("huge")).unwrap(), bytes);
    assert_eq!(describe(scratch.path()).len(), 1);
}

#[tokio::test]
async fn an_unfinished_target_belongs_to_its_snapshot() {
    let builder = Builder::new();
    let one = builder.snapshot(vec![builder.file("a", &noise(1, 5000))]);
    let two = builder.snapshot(vec![builder.file("b", &noise(2, 5000))]);
    let scratch = tempfile::tempdir().unwrap();
    let to = scratch.path();
    let source = builder.source.clone();
    source.gone_after.store(2, Ordering::SeqCst);
    let error = run(&builder, one, &into(to)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    source.gone_after.store(0, Ordering::SeqCst);
    std::fs::write(to.join("seen"), b"1").unwrap();
    let error = run(&builder, two, &into(to)).await.unwrap_err();
    assert!(error.to_string().contains("unfinished"), "{error}");
    run(&builder, two, &super::delta_into(to)).await.unwrap();
    let names: Vec<_> = describe(to).into_keys().collect();
    assert_eq!(
        names,
        [std::path::Path::new("b"), std::path::Path::new("seen")]
    );
}

#[tokio::test]
async fn two_restores_into_one_target_do_not_mix() {
    let builder = Builder::new();
    let root = builder.snapshot(vec![builder.file("a", &noise(1, 5000))]);
    let scratch = tempfile::tempdir().unwrap();
    let held = super::super::write::hold_for_test(scratch.path(), root);
    let error = run(&builder, root, &into(scratch.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("another restore"), "{error}");
    drop(held);
    run(&builder, root, &into(scratch.path())).await.unwrap();
}

#[tokio::test]
async fn leftovers_of_a_kill_are_cleared_away() {
    let builder = Builder::new();
    // A snapshot may hold names of that form: a backup of a half-restored tree.
    let theirs = format!(".holdfast-restore-{}.part", "ab".repeat(16));
    let root = builder.snapshot(vec![builder.dir(
        "d",
        vec![
            builder.file(&theirs, b"theirs"),
            builder.file("x", &noise(1, 500)),
        ],
    )]);
    let scratch = tempfile::tempdir().unwrap();
    run(&builder, root, &into(scratch.path())).await.unwrap();
    let ours = format!(".holdfast-restore-{}.part", "cd".repeat(16));
    std::fs::write(scratch.path().join("d").join(&ours), b"left behind").unwrap();
    std::fs::write(scratch.path().join("d/.holdfast-restore-mine"), b"mine").unwrap();
    run(&builder, root, &super::delta_into(scratch.path()))
        .await
        .unwrap();
    assert!(!scratch.path().join("d").join(&ours).exists());
    assert!(scratch.path().join("d").join(&theirs).exists());
    assert!(scratch.path().join("d/.holdfast-restore-mine").exists());
}
