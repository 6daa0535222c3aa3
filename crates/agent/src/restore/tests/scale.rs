//! Big directories, deep trees, huge sparse files, and bounds that hold.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering;

use super::build::{Builder, noise};
use super::{into, run};

/// In memory where there is such a place: these tests are about numbers, not about a disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

#[tokio::test]
async fn a_hole_of_100_gb_is_quick_and_takes_no_space() {
    let mut builder = Builder::new();
    builder.chunk_len = 1 << 20;
    let (head, tail) = (noise(1, 3 << 20), noise(2, 2_345_678));
    let hole = 100u64 << 30;
    let root = builder.snapshot(vec![
        builder.file_of(
            "file",
            &[
                (Some(&head), 3 << 20),
                (None, hole),
                (Some(&tail), 2_345_678),
            ],
        ),
        builder.file_of("all-hole", &[(None, hole)]),
    ]);
    let scratch = scratch();
    let check = || {
        let file = std::fs::File::open(scratch.path().join("file")).unwrap();
        let facts = file.metadata().unwrap();
        assert_eq!(facts.len(), hole + (3 << 20) + 2_345_678);
        assert!(facts.blocks() * 512 < 8 << 20);
        let mut read = vec![0; 2_345_678];
        file.read_exact_at(&mut read, hole + (3 << 20)).unwrap();
        assert!(read == tail);
        let facts = std::fs::metadata(scratch.path().join("all-hole")).unwrap();
        assert_eq!((facts.len(), facts.blocks()), (hole, 0));
    };
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.bytes_holes, 2 * hole);
    check();
    let result = run(&builder, root, &super::delta_into(scratch.path()))
        .await
        .unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!((result.bytes_written, result.bytes_holes), (0, 2 * hole));
    check();
}

#[tokio::test]
async fn a_hundred_thousand_files_in_a_folder() {
    let mut builder = Builder::new();
    builder.entries_per_page = 2000;
    builder.pages_per_index = 20;
    let count = 100_000u64;
    let many = (0..count)
        .map(|n| match n % 10 {
            0 => builder.file(format!("f{n:06}"), &n.to_le_bytes().repeat(20)),
            _ => builder.file(format!("f{n:06}"), &n.to_le_bytes()),
        })
        .collect();
    let root = builder.snapshot(vec![builder.dir("d", many)]);
    let scratch = scratch();
    builder.source.reset_counts();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.files, count);
    assert_eq!(
        std::fs::read_dir(scratch.path().join("d")).unwrap().count() as u64,
        count
    );
    for n in [0, 1, 50_000, 99_990, 99_999] {
        let read = std::fs::read(scratch.path().join(format!("d/f{n:06}"))).unwrap();
        assert!(read.starts_with(&(n as u64).to_le_bytes()));
    }
    // 10,000 chunks and some 55 nodes: many in each call.
    let calls = builder.source.calls.load(Ordering::SeqCst);
    assert!(calls < 80, "{calls}");
}

#[tokio::test]
async fn trees_deeper_than_there_are_descriptors() {
    let builder = Builder::new();
    let depth = 1500;
    let mut tree = builder.dir("d", vec![builder.file("bottom", &noise(1, 1000))]);
    for n in 0..depth - 1 {
        let file = builder.file("f", &noise(n, 200));
        tree = builder.dir("d", vec![tree, file]);
        tree.entry.mode = 0o751;
    }
    let root = builder.snapshot(vec![tree]);
    let scratch = scratch();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!((result.files, result.directories), (depth, depth));
    // Other tests run beside this one.
    assert!(open() < before + 200);
    let result = run(&builder, root, &super::delta_into(scratch.path()))
        .await
        .unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.bytes_written, 0);
    let status = std::process::Command::new("rm")
        .arg("-rf")
        .arg(scratch.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn one_call_never_asks_for_more_than_a_batch() {
    let mut builder = Builder::new();
    builder.chunk_len = 3 << 20;
    builder.pieces_per_node = 64;
    let bytes = noise(1, 100 << 20);
    let small = (0..3000)
        .map(|n| builder.file(format!("s{n}"), &noise(n, 5000)))
        .collect();
    let root = builder.snapshot(vec![
        builder.file("large", &bytes),
        builder.dir("small", small),
    ]);
    let scratch = scratch();
    builder.source.reset_counts();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert!(std::fs::read(scratch.path().join("large")).unwrap() == bytes);
    let most = builder.source.bytes_max.load(Ordering::SeqCst);
    assert!(most <= 8 << 20, "{most}");
}

#[tokio::test]
async fn many_directories_with_few_files_each() {
    let builder = Builder::new();
    let all = (0..3000)
        .map(|n| builder.dir(format!("d{n:04}"), vec![builder.file("f", &noise(n, 150))]))
        .collect();
    let root = builder.snapshot(all);
    let scratch = scratch();
    builder.source.reset_counts();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!((result.files, result.directories), (3000, 3000));
    // Nodes of neighbouring directories come together.
    let calls = builder.source.calls.load(Ordering::SeqCst);
    assert!(calls < 700, "{calls}");
}

#[tokio::test]
async fn a_chunk_whose_pieces_lie_all_over_a_file_is_fetched_once() {
    const PAGE: usize = 8 << 10;
    const REGION: usize = 1 << 20;
    let builder = Builder::new();
    let (homes, gathered) = (noise(1, 40 * REGION), noise(2, 40 * PAGE));
    let mut refs = vec![builder.data(&gathered)];
    let (mut pieces, mut want) = (Vec::new(), homes.clone());
    let mut piece = |chunk: usize, offset: usize, len: usize| {
        pieces.push(holdfast_format::tree::Piece {
            chunk: Some(chunk as u32),
            offset: offset as u64,
            len: len as u64,
        });
    };
    for n in 0..40 {
        refs.push(builder.data(&homes[n * REGION..(n + 1) * REGION]));
        // One page of each region lies in the chunk that all share, the last one of the file in front.
        let (page, from) = (n * 3 % 128, 39 - n);
        if page > 0 {
            piece(n + 1, 0, page * PAGE);
        }
        piece(0, from * PAGE, PAGE);
        piece(n + 1, (page + 1) * PAGE, REGION - (page + 1) * PAGE);
        want[n * REGION + page * PAGE..][..PAGE].copy_from_slice(&gathered[from * PAGE..][..PAGE]);
    }
    let root = builder.snapshot(vec![builder.file_of_pieces("file", pieces, refs)]);
    for is_fresh in [true, false] {
        let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut options = into(scratch.path());
        if !is_fresh {
            std::fs::write(scratch.path().join("file"), noise(3, 10 * REGION + 5)).unwrap();
            options = super::delta_into(scratch.path());
        }
        builder.source.reset_counts();
        let result = run(&builder, root, &options).await.unwrap();
        assert!(result.complete(), "{result:?}");
        assert!(std::fs::read(scratch.path().join("file")).unwrap() == want);
        assert_eq!(builder.source.data_fetched.load(Ordering::SeqCst), 41);
    }
}
