//! Large and sparse files.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use holdfast_format::ChunkKind;

use crate::backup::FilesOptions;
use crate::backup::limits::GROUP_FILES_MAX;
use crate::backup::testing::{MapSink, noise, options, run, run_seeded};

#[tokio::test]
async fn a_hundred_gigabytes_of_nothing_cost_nothing() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = folder.path().join("sparse");
    File::create(&path).unwrap().set_len(100 << 30).unwrap();
    let sink = MapSink::new();
    let result = run(options([&path]), &sink).await.unwrap();
    assert_eq!((result.bytes_read, result.bytes_logical), (0, 100 << 30));
    assert_eq!(sink.fresh_of(ChunkKind::Data), 0);
    let found = &sink.tree(&result.root)[&path];
    assert_eq!((found.pieces.len(), found.hole_bytes()), (1, 100 << 30));
}

#[tokio::test]
async fn holes_stay_holes_and_small_data_between_them_gathers_in_chunks() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = folder.path().join("sparse");
    let file = File::create(&path).unwrap();
    let mut expected = vec![0; (40 << 20) + 4321];
    for n in 0..300usize {
        let (at, data) = (n * 128 * 1024 + 65_536, noise(n as u64, 16_384));
        file.write_all_at(&data, at as u64).unwrap();
        expected[at..at + data.len()].copy_from_slice(&data);
    }
    file.set_len(expected.len() as u64).unwrap();
    let sink = MapSink::new();
    let result = run(options([&path]), &sink).await.unwrap();
    assert_eq!(result.problems, Vec::new());
    let found = &sink.tree(&result.root)[&path];
    assert!(found.bytes() == expected);
    assert_eq!(result.bytes_read, 300 * 16_384);
    assert_eq!(
        found.hole_bytes(),
        expected.len() as u64 - result.bytes_read
    );
    let chunks = sink.fresh_of(ChunkKind::Data);
    assert!(chunks < 20, "{chunks} chunks for 4.7 MiB");
}

/// So that a restore reads long stretches of a pack.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chunks_are_put_in_the_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let bytes = noise(1, 96 << 20);
    fs::write(&path, &bytes).unwrap();
    for page_bytes in [None, Some(8192)] {
        let sink = MapSink::new();
        let options = FilesOptions {
            page_bytes,
            ..options([&path])
        };
        let result = run(options, &sink).await.unwrap();
        assert_eq!(result.bytes_read, bytes.len() as u64);
        assert!(put_data(&sink).concat() == bytes, "pages: {page_bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_next_to_each_other_are_put_together() {
    const FILES: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<_> = (0..FILES).map(|n| noise(n as u64, 5000)).collect();
    for (n, bytes) in bytes.iter().enumerate() {
        fs::write(folder.path().join(format!("{n:04}")), bytes).unwrap();
    }
    let sink = MapSink::new();
    let result = run(options([folder.path()]), &sink).await.unwrap();
    assert_eq!(result.problems, Vec::new());
    let put: Vec<usize> = put_data(&sink)
        .iter()
        .map(|chunk| bytes.iter().position(|file| file == chunk).unwrap())
        .collect();
    let gaps = put.windows(2).filter(|two| two[1] != two[0] + 1).count();
    assert_eq!(put.len(), FILES);
    assert!(gaps <= FILES / GROUP_FILES_MAX + 1, "{put:?}");
}

/// The bytes of the data chunks, as they were put.
fn put_data(sink: &MapSink) -> Vec<Bytes> {
    let fresh = sink.fresh.lock().unwrap();
    let data = fresh.iter().filter(|chunk| chunk.kind == ChunkKind::Data);
    data.map(|chunk| chunk.bytes.clone()).collect()
}

#[tokio::test]
async fn one_byte_changed_in_a_large_file_makes_few_new_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large");
    let mut bytes = noise(1, 64 << 20).to_vec();
    fs::write(&path, &bytes).unwrap();
    let sink = MapSink::new();
    let first = run(options([&path]), &sink).await.unwrap();
    assert!(sink.tree(&first.root)[&path].bytes() == bytes);
    let all = sink.fresh_of(ChunkKind::Data);

    bytes.insert(31 << 20, 42);
    fs::write(&path, &bytes).unwrap();
    let second = run(options([&path]), &sink).await.unwrap();
    assert!(sink.tree(&second.root)[&path].bytes() == bytes);
    let fresh = sink.fresh_of(ChunkKind::Data);
    println!("{all} chunks, {fresh} new after an insertion");
    assert!(all > 40 && fresh <= 3, "{fresh} of {all}");
    let node = |root| sink.folder(root, folder.path());
    assert_ne!(node(&first.root), node(&second.root));

    let third = run_seeded(options([&path]), &sink).await.unwrap();
    assert_eq!(node(&third.root), node(&second.root));
    assert_eq!(sink.fresh_of(ChunkKind::Data), 0);
}
