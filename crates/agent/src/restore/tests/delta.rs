//! Deltas: what is right stays, what differs comes to the snapshot's state, nothing outside is touched.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::build::{Builder, noise};
use super::compare::{assert_same, describe};
use super::kinds::make_awkward;
use super::{delta_into, into, run, run_with};
use crate::error::Error;

/// A snapshot of awkward things with a large file, and a place where it was restored.
async fn restored(scratch: &Path) -> (Builder, holdfast_format::ChunkId, std::path::PathBuf) {
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    std::fs::create_dir(&from).unwrap();
    make_awkward(&from);
    std::fs::write(from.join("huge"), noise(7, 20 << 20)).unwrap();
    let mut builder = Builder::new();
    builder.chunk_len = 64 << 10;
    let root = builder.snapshot(builder.import(&from));
    let result = run(&builder, root, &into(&to)).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_same(&from, &to);
    (builder, root, to)
}

#[tokio::test]
async fn a_second_run_fetches_and_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let (builder, root, to) = restored(scratch.path()).await;
    let changed = |to: &Path| -> Vec<_> {
        describe(to)
            .into_keys()
            .map(|path| {
                let facts = std::fs::symlink_metadata(to.join(&path)).unwrap();
                (path, facts.ino(), facts.ctime(), facts.ctime_nsec())
            })
            .collect()
    };
    let before = changed(&to);
    builder.source.reset_counts();
    let result = run(&builder, root, &delta_into(&to)).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(builder.source.data_fetched.load(Ordering::SeqCst), 0);
    assert_eq!(result.bytes_written, 0);
    assert!(result.bytes_kept > 20 << 20);
    assert_eq!(before, changed(&to));
}

#[tokio::test]
async fn differences_of_every_kind_are_mended() {
    let scratch = tempfile::tempdir().unwrap();
    let (builder, root, to) = restored(scratch.path()).await;
    let before = describe(&to);
    // Content, in place and as a whole; sizes; holes; kinds; owners, modes, times, attributes; names.
    let huge = std::fs::OpenOptions::new()
        .write(true)
        .open(to.join("huge"))
        .unwrap();
    huge.write_all_at(b"changed", 5 << 20).unwrap();
    huge.write_all_at(b"changed", 19 << 20).unwrap();
    std::fs::write(to.join("a/b/c/just-not-inline"), b"short").unwrap();
    let sparse = std::fs::OpenOptions::new()
        .write(true)
        .open(to.join("sparse"))
        .unwrap();
    sparse.write_all_at(&[1; 100_000], 3_000_000).unwrap();
    sparse.set_len(7_000_000).unwrap();
    std::fs::remove_file(to.join("all-hole")).unwrap();
    std::fs::create_dir(to.join("all-hole")).unwrap();
    std::fs::remove_file(to.join("absolute")).unwrap();
    std::fs::write(to.join("absolute"), b"was a link").unwrap();
    std::fs::remove_file(to.join("pipe")).unwrap();
    symlink("/etc", to.join("pipe")).unwrap();
    std::fs::set_permissions(to.join("suid"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(to.join("setgid"), Some(3), Some(4)).unwrap();
    xattr::set(to.join("empty"), "user.extra", b"1").unwrap();
    xattr::set(to.join("a/b/large"), "user.note", b"other").unwrap();
    std::fs::remove_file(to.join("a/a-third-name")).unwrap();
    std::fs::write(to.join("a/a-third-name"), b"no link any more").unwrap();
    std::fs::write(to.join("extra"), b"extra").unwrap();
    builder.source.reset_counts();
    let result = run(&builder, root, &delta_into(&to)).await.unwrap();
    assert!(result.complete(), "{result:?}");
    // Two chunks of the huge file, and the few of what was replaced; nothing like the 320 of all of it.
    let fetched = builder.source.data_fetched.load(Ordering::SeqCst);
    assert!(fetched < 10, "{fetched}");
    let mut after = describe(&to);
    assert!(after.remove(Path::new("extra")).is_some());
    assert_eq!(before, after);
    let mut options = delta_into(&to);
    options.delete_extra = true;
    std::fs::create_dir_all(to.join("a/extra/deep/er")).unwrap();
    std::fs::write(to.join("a/extra/deep/er/file"), b"1").unwrap();
    let result = run(&builder, root, &options).await.unwrap();
    assert_eq!(result.deleted, 5);
    assert_eq!(before, describe(&to));
}

#[tokio::test]
async fn without_keys_bytes_are_fetched_and_compared() {
    let scratch = tempfile::tempdir().unwrap();
    let (builder, root, to) = restored(scratch.path()).await;
    let before = describe(&to);
    let huge = std::fs::OpenOptions::new()
        .write(true)
        .open(to.join("huge"))
        .unwrap();
    huge.write_all_at(b"changed", 5 << 20).unwrap();
    let result = run_with(&builder, root, &delta_into(&to), false, Default::default()).await;
    let result = result.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.bytes_written, 64 << 10);
    assert_eq!(before, describe(&to));
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let builder = Builder::new();
    let root = builder.snapshot(vec![builder.file("a", b"1")]);
    std::fs::write(scratch.path().join("mine"), b"mine").unwrap();
    let error = run(&builder, root, &into(scratch.path()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--delta"), "{error}");
    assert!(matches!(error, Error::Invalid { .. }));
    assert_eq!(describe(scratch.path()).len(), 1);
    let mut options = into(&scratch.path().join("new"));
    options.delete_extra = true;
    assert!(run(&builder, root, &options).await.is_err());
    // A fresh file system's own folder does not count.
    let fresh = scratch.path().join("fresh");
    std::fs::create_dir_all(fresh.join("lost+found")).unwrap();
    run(&builder, root, &into(&fresh)).await.unwrap();
}

#[tokio::test]
async fn nothing_outside_the_target_is_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let (outside, to) = (scratch.path().join("outside"), scratch.path().join("to"));
    std::fs::create_dir_all(outside.join("dir")).unwrap();
    std::fs::create_dir_all(to.join("real")).unwrap();
    std::fs::write(outside.join("file"), b"outside").unwrap();
    std::fs::write(outside.join("linked"), noise(1, 30 << 20)).unwrap();
    std::fs::write(outside.join("small"), b"outside").unwrap();
    // What stands in the target leads out, by symlinks and by hard links.
    symlink(outside.join("dir"), to.join("dir")).unwrap();
    symlink(outside.join("file"), to.join("file")).unwrap();
    symlink("../../outside/file", to.join("real/up")).unwrap();
    std::fs::hard_link(outside.join("linked"), to.join("large")).unwrap();
    std::fs::hard_link(outside.join("small"), to.join("small")).unwrap();
    std::fs::hard_link(outside.join("file"), to.join("same")).unwrap();
    let before = describe(&outside);
    let mut builder = Builder::new();
    builder.chunk_len = 1 << 20;
    let mut same = builder.file("same", b"outside");
    same.entry.mode = 0o4777;
    let root = builder.snapshot(vec![
        builder.dir(
            "dir",
            vec![
                builder.file("inside", b"1"),
                builder.file("l", &noise(2, 5000)),
            ],
        ),
        builder.file("file", b"from the snapshot"),
        builder.dir("real", vec![builder.file("up", b"2")]),
        builder.file("large", &noise(3, 30 << 20)),
        builder.file("small", b"inside!"),
        same,
    ]);
    let mut options = delta_into(&to);
    options.delete_extra = true;
    let result = run(&builder, root, &options).await.unwrap();
    assert!(result.complete(), "{result:?}");
    let mut after = describe(&outside);
    // Only the number of names may have changed.
    for line in after.values_mut() {
        assert!(!line.contains("linked 2"), "{line}");
    }
    let plain = |all: std::collections::BTreeMap<std::path::PathBuf, String>| -> Vec<String> {
        let cut = |line: String| match line.split_once(" linked ") {
            Some((head, tail)) => format!("{head} size {}", tail.split_once(" size ").unwrap().1),
            None => line,
        };
        all.into_values().map(cut).collect()
    };
    assert_eq!(plain(before), plain(after));
    assert!(to.join("dir").symlink_metadata().unwrap().is_dir());
    assert_eq!(std::fs::read(to.join("large")).unwrap(), noise(3, 30 << 20));
    assert_eq!(std::fs::read(to.join("same")).unwrap(), b"outside");
}

#[tokio::test]
async fn a_directory_with_content_is_not_replaced_by_a_file() {
    let scratch = tempfile::tempdir().unwrap();
    let builder = Builder::new();
    let root = builder.snapshot(vec![builder.file("x", b"file"), builder.file("y", b"file")]);
    std::fs::create_dir(scratch.path().join("x")).unwrap();
    std::fs::write(scratch.path().join("x/mine"), b"mine").unwrap();
    let result = run(&builder, root, &delta_into(scratch.path()))
        .await
        .unwrap();
    assert_eq!((result.files, result.problems_count), (1, 1));
    assert_eq!(
        std::fs::read(scratch.path().join("x/mine")).unwrap(),
        b"mine"
    );
    let mut options = delta_into(scratch.path());
    options.delete_extra = true;
    let result = run(&builder, root, &options).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(std::fs::read(scratch.path().join("x")).unwrap(), b"file");
}

#[tokio::test]
async fn a_directory_makes_room_for_a_further_name_of_a_file() {
    let scratch = tempfile::tempdir().unwrap();
    let builder = Builder::new();
    let linked = |name| {
        let mut made = builder.file(name, b"linked");
        made.entry.hard_link = Some(1);
        made
    };
    let root = builder.snapshot(vec![linked("x"), linked("y")]);
    std::fs::create_dir(scratch.path().join("y")).unwrap();
    std::fs::write(scratch.path().join("y/mine"), b"mine").unwrap();
    let mut options = delta_into(scratch.path());
    let result = run(&builder, root, &options).await.unwrap();
    assert_eq!((result.files, result.problems_count), (1, 1));
    assert_eq!(
        std::fs::read(scratch.path().join("y/mine")).unwrap(),
        b"mine"
    );
    options.delete_extra = true;
    let result = run(&builder, root, &options).await.unwrap();
    assert!(result.complete(), "{result:?}");
    let inode = |name| {
        use std::os::unix::fs::MetadataExt;
        scratch.path().join(name).symlink_metadata().unwrap().ino()
    };
    assert_eq!(inode("x"), inode("y"));
}

#[tokio::test]
async fn parts_of_chunks_are_kept_in_place() {
    // As page sources write: many extents point into one chunk, in any order.
    use holdfast_format::tree::Piece;
    let builder = Builder::new();
    let chunk = noise(9, 4 << 20);
    let other = noise(10, 4 << 20);
    let refs = vec![builder.data(&chunk), builder.data(&other)];
    let page = 8192u64;
    let mut want = Vec::new();
    let pieces: Vec<_> = (0..1536u64)
        .map(|n| {
            let (which, offset) = (n % 3 == 0, (n * 7 % 512) * page);
            let from = if which { &other } else { &chunk };
            want.extend_from_slice(&from[offset as usize..(offset + page) as usize]);
            Piece {
                chunk: Some(u32::from(which)),
                offset,
                len: page,
            }
        })
        .collect();
    let root = builder.snapshot(vec![builder.file_of_pieces("pages", pieces, refs)]);
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    let path = scratch.path().join("pages");
    assert_eq!(std::fs::read(&path).unwrap(), want);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 100], 1_000_000).unwrap();
    let result = run(&builder, root, &delta_into(scratch.path()))
        .await
        .unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(std::fs::read(&path).unwrap(), want);
}
