//! A real mount, compared with the files that it was made from.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use holdfast_context::Context;
use holdfast_format::{ChunkId, SnapshotId};
use tokio_util::sync::CancellationToken;

use super::build::{Builder, noise};
use super::compare::describe;
use super::kinds::make_awkward;
use crate::restore::{MountOptions, MountSnapshot, MountWhat, mount};

fn snapshot(number: u8, time_millis: i64, root: ChunkId) -> MountSnapshot {
    MountSnapshot {
        id: SnapshotId::from_slice(&[number; 16]).unwrap(),
        time_millis,
        root,
    }
}

/// Mounts, looks on a thread that may block, unmounts.
async fn with_mount<T: Send + 'static>(
    builder: &Builder,
    what: MountWhat,
    allow_other: bool,
    look: impl FnOnce(PathBuf) -> T + Send + 'static,
) -> T {
    let scratch = tempfile::tempdir().unwrap();
    let ctx = Context::system();
    let mut options = MountOptions::new(scratch.path());
    options.allow_other = allow_other;
    let mounted = mount(&ctx, builder.source.clone(), what, &options)
        .await
        .unwrap();
    let cancel = CancellationToken::new();
    let waiting = ctx.spawn(mounted.wait(cancel.clone()));
    let at = scratch.path().to_owned();
    let seen = ctx.run_blocking(move || look(at)).await;
    cancel.cancel();
    waiting.await.unwrap().unwrap();
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_shows_what_was_backed_up() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join("from");
    std::fs::create_dir(&from).unwrap();
    make_awkward(&from);
    std::fs::write(from.join("huge"), noise(7, 20 << 20)).unwrap();
    let mut builder = Builder::new();
    builder.chunk_len = 100_000;
    let root = builder.snapshot(builder.import(&from));
    for allow_other in [false, true] {
        let what = MountWhat::One(snapshot(1, 0, root));
        let from = from.clone();
        with_mount(&builder, what, allow_other, move |at| {
            // Two names are all that a mount knows of; and a real file system keeps holes in whole blocks.
            let plain = |all: std::collections::BTreeMap<PathBuf, String>| -> Vec<_> {
                all.into_iter()
                    .filter(|(path, _)| !path.starts_with("sparse"))
                    .map(|(path, line)| (path, line.replace(" linked 3 ", " linked 2 ")))
                    .collect()
            };
            let (want, got) = (plain(describe(&from)), plain(describe(&at)));
            for (want, got) in want.iter().zip(&got) {
                assert_eq!(want, got);
            }
            assert_eq!(want.len(), got.len());
            let sparse = std::fs::read(from.join("sparse")).unwrap();
            assert!(std::fs::read(at.join("sparse")).unwrap() == sparse);
            assert!(std::fs::write(at.join("new"), b"1").is_err());
            assert!(std::fs::remove_file(at.join("huge")).is_err());
            let huge = std::fs::File::open(at.join("huge")).unwrap();
            let mut middle = vec![0; 300_000];
            huge.read_exact_at(&mut middle, 12_345_678).unwrap();
            assert!(middle == noise(7, 20 << 20)[12_345_678..][..300_000]);
            assert_eq!(huge.read_at(&mut middle, 20 << 20).unwrap(), 0);
            let missing = std::fs::metadata(at.join("nope")).unwrap_err();
            assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_snapshots_make_a_folder() {
    let builder = Builder::new();
    let one = builder.snapshot(vec![builder.file("v", b"one")]);
    let two = builder.snapshot(vec![builder.file("v", b"two")]);
    let what = MountWhat::Folder(vec![snapshot(2, 86_400_000, two), snapshot(1, 1000, one)]);
    with_mount(&builder, what, false, |at| {
        let mut names: Vec<_> = std::fs::read_dir(&at)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let want = [
            "1970-01-01T00-00-01Z-01010101",
            "1970-01-02T00-00-00Z-02020202",
            "latest",
        ];
        assert_eq!(names, want);
        assert_eq!(std::fs::read(at.join("latest/v")).unwrap(), b"two");
        assert_eq!(std::fs::read(at.join(want[0]).join("v")).unwrap(), b"one");
        assert_eq!(std::fs::metadata(at.join(want[0])).unwrap().mtime(), 1);
        assert_eq!(
            std::fs::read_link(at.join("latest")).unwrap(),
            Path::new(want[1])
        );
    })
    .await;
    with_mount(&builder, MountWhat::Folder(vec![]), false, |at| {
        assert_eq!(std::fs::read_dir(at).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn big_directories_are_listed_whole_and_inodes_let_go() {
    let mut builder = Builder::new();
    builder.entries_per_page = 1000;
    let count = 100_000;
    let many = (0..count)
        .map(|n| builder.file(format!("file-{n:06}"), b"x"))
        .collect();
    let root = builder.snapshot(vec![builder.dir("d", many)]);
    let scratch = tempfile::tempdir().unwrap();
    let ctx = Context::system();
    let options = MountOptions::new(scratch.path());
    let what = MountWhat::One(snapshot(1, 0, root));
    let mounted = mount(&ctx, builder.source.clone(), what, &options)
        .await
        .unwrap();
    let at = scratch.path().to_owned();
    ctx.run_blocking(move || {
        for looked_at in [false, true] {
            let mut names = std::collections::HashSet::new();
            for entry in std::fs::read_dir(at.join("d")).unwrap() {
                let entry = entry.unwrap();
                if looked_at {
                    assert_eq!(entry.metadata().unwrap().len(), 1);
                }
                assert!(names.insert(entry.file_name()));
            }
            assert_eq!(names.len(), count);
        }
        for n in [0, 77_777, count - 1] {
            let path = at.join(format!("d/file-{n:06}"));
            assert_eq!(std::fs::read(path).unwrap(), b"x");
        }
    })
    .await;
    // Letting go happens beside the requests.
    let most = super::super::mount::INODES_MAX_FOR_TEST + (1 << 14);
    for _ in 0..1000 {
        if mounted.inode_count() <= most {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(mounted.inode_count() <= most, "{}", mounted.inode_count());
    let cancel = CancellationToken::new();
    cancel.cancel();
    mounted.wait(cancel).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losses_are_errors_and_the_rest_is_read() {
    let mut builder = Builder::new();
    builder.chunk_len = 200_000;
    let bytes = noise(1, 2_000_000);
    let lost = builder.dir("lost", vec![builder.file("in", b"2")]);
    let lost_node = lost.refs[0];
    let many = (0..100)
        .map(|n| builder.file(format!("f{n:03}"), b"x"))
        .collect();
    let root = builder.snapshot(vec![
        builder.file("file", &bytes),
        builder.dir("fine", vec![builder.file("in", b"1")]),
        lost,
        builder.dir("many", many),
    ]);
    builder
        .source
        .lose(builder.keys.data_id(&bytes[1_000_000..1_200_000]));
    builder.source.lose(lost_node);
    let source = builder.source.clone();
    let middle_page = builder.page(
        (48..64)
            .map(|n| builder.file(format!("f{n:03}"), b"x"))
            .collect(),
    );
    source.lose(middle_page);
    let what = MountWhat::One(snapshot(1, 0, root));
    with_mount(&builder, what, false, move |at| {
        let file = std::fs::File::open(at.join("file")).unwrap();
        let mut part = vec![0; 100_000];
        file.read_exact_at(&mut part, 1_500_000).unwrap();
        assert!(part == bytes[1_500_000..1_600_000]);
        let error = file.read_exact_at(&mut part, 1_050_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        assert!(std::fs::read(at.join("file")).is_err());
        let listed = std::fs::read_dir(at.join("lost"))
            .unwrap()
            .collect::<Vec<_>>();
        assert!(matches!(&listed[..], [Err(_)]), "{listed:?}");
        assert!(std::fs::metadata(at.join("lost/in")).is_err());
        let listed = std::fs::read_dir(at.join("many"))
            .unwrap()
            .collect::<Vec<_>>();
        assert_eq!(listed.iter().filter(|one| one.is_ok()).count(), 84);
        assert!(listed.last().unwrap().is_err());
        assert_eq!(std::fs::read(at.join("fine/in")).unwrap(), b"1");
        // Repaired meanwhile, it can be read.
        source.regain_all();
        assert!(std::fs::read(at.join("file")).unwrap() == bytes);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_are_told_and_chunks_fetched_once() {
    let mut builder = Builder::new();
    builder.chunk_len = 1 << 20;
    let bytes = noise(1, 32 << 20);
    let hole = 100u64 << 30;
    let root = builder.snapshot(vec![builder.file_of(
        "sparse",
        &[
            (None, hole),
            (Some(&bytes), bytes.len() as u64),
            (None, hole),
        ],
    )]);
    builder.source.reset_counts();
    let what = MountWhat::One(snapshot(1, 0, root));
    let source = builder.source.clone();
    with_mount(&builder, what, false, move |at| {
        use rustix::fs::{SeekFrom, seek};
        let file = std::fs::File::open(at.join("sparse")).unwrap();
        assert_eq!(seek(&file, SeekFrom::Data(0)).unwrap(), hole);
        assert_eq!(
            seek(&file, SeekFrom::Hole(hole + 5)).unwrap(),
            hole + (32 << 20)
        );
        assert!(seek(&file, SeekFrom::Data(hole + (40 << 20))).is_err());
        let mut read = vec![1; 64 << 20];
        file.read_exact_at(&mut read, hole - (16 << 20)).unwrap();
        assert!(read[..16 << 20].iter().all(|b| *b == 0));
        assert!(read[16 << 20..][..32 << 20] == bytes);
        assert_eq!(source.data_fetched.load(Ordering::SeqCst), 32);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_when_somebody_unmounts_it_and_detaches_when_in_use() {
    let builder = Builder::new();
    let root = builder.snapshot(vec![builder.file("f", b"1")]);
    let scratch = tempfile::tempdir().unwrap();
    let ctx = Context::system();
    let options = MountOptions::new(scratch.path());
    let what = || MountWhat::One(snapshot(1, 0, root));
    let mounted = mount(&ctx, builder.source.clone(), what(), &options)
        .await
        .unwrap();
    let at = scratch.path().to_owned();
    let status = ctx
        .run_blocking(move || {
            std::process::Command::new("umount")
                .arg(at)
                .status()
                .unwrap()
        })
        .await;
    assert!(status.success());
    mounted.wait(CancellationToken::new()).await.unwrap();
    let mounted = mount(&ctx, builder.source.clone(), what(), &options)
        .await
        .unwrap();
    let path = scratch.path().join("f");
    let open = ctx
        .run_blocking(move || std::fs::File::open(path).unwrap())
        .await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let waiting = ctx.spawn(mounted.wait(cancel));
    let top = scratch.path().to_owned();
    while ctx
        .run_blocking({
            let top = top.clone();
            move || std::fs::read_dir(top).unwrap().count()
        })
        .await
        > 0
    {
        tokio::task::yield_now().await;
    }
    ctx.run_blocking(move || drop(open)).await;
    waiting.await.unwrap().unwrap();
    let nowhere = MountOptions::new(scratch.path().join("nowhere"));
    let error = mount(&ctx, builder.source.clone(), what(), &nowhere)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no directory"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_may_look_only_if_allowed_and_only_at_what_is_theirs() {
    let builder = Builder::new();
    let mut secret = builder.file("secret", b"1");
    secret.entry.mode = 0o600;
    let mut theirs = builder.file("theirs", b"2");
    (theirs.entry.mode, theirs.entry.uid) = (0o400, 54321);
    let root = builder.snapshot(vec![secret, theirs]);
    for allow_other in [false, true] {
        let what = MountWhat::One(snapshot(1, 0, root));
        with_mount(&builder, what, allow_other, move |at| {
            assert_eq!(std::fs::read(at.join("secret")).unwrap(), b"1");
            let seen = std::thread::spawn(move || {
                let uid = rustix::process::Uid::from_raw(54321);
                rustix::thread::set_thread_uid(uid).unwrap();
                let read = |name: &str| std::fs::read(at.join(name)).ok();
                (read("secret"), read("theirs"))
            })
            .join()
            .unwrap();
            let theirs = allow_other.then(|| b"2".to_vec());
            assert_eq!(seen, (None, theirs));
        })
        .await;
    }
}
