//! The cache of unchanged files: what it saves, and that it never lies.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use holdfast_context::{Context, ManualClock};
use holdfast_format::{ChunkKind, Scope, VaultId};
use tokio_util::sync::CancellationToken;

use crate::backup::testing::{MapSink, cache, keys, noise, options, run, run_seeded};
use crate::backup::{BackupResult, FilesOptions, backup_files};

type Node = Option<holdfast_format::ChunkId>;

struct Place {
    folder: tempfile::TempDir,
    sink: Arc<MapSink>,
}

impl Place {
    /// A tree with folders, tiny, small, large, sparse and odd files.
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let place = Self {
            folder,
            sink: MapSink::new(),
        };
        for n in 0..30 {
            let below = place.tree().join(format!("d{}/e{}", n % 3, n % 5));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join(format!("tiny{n}")), format!("tiny {n}")).unwrap();
            fs::write(below.join(format!("small{n}")), noise(n, 5000)).unwrap();
            fs::write(below.join(format!("empty{n}")), "").unwrap();
        }
        fs::create_dir(place.tree().join("d0/none")).unwrap();
        fs::write(place.tree().join("large"), noise(99, 24 << 20)).unwrap();
        fs::File::create(place.tree().join("sparse"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        xattr::set(place.tree().join("d1/e1/small1"), "user.x", b"y").unwrap();
        place
    }

    fn tree(&self) -> std::path::PathBuf {
        self.folder.path().join("tree")
    }

    fn cache_file(&self) -> std::path::PathBuf {
        self.folder.path().join("state/agent/cache")
    }

    fn options(&self) -> FilesOptions {
        FilesOptions {
            cache: Some(cache(&self.cache_file())),
            ..options([self.tree()])
        }
    }

    async fn run(&self) -> BackupResult {
        let result = run(self.options(), &self.sink).await.unwrap();
        assert_eq!(result.problems, Vec::new());
        result
    }

    /// Backs up and commits; gives the bytes read and the tree's node.
    async fn commit(&self) -> (u64, Node) {
        let result = self.run().await;
        let read = (result.bytes_read, self.node(&result));
        result.cache.finish(true);
        read
    }

    fn node(&self, result: &BackupResult) -> Node {
        self.sink.folder(&result.root, &self.tree())
    }

    fn questions(&self) -> Vec<usize> {
        self.sink.questions.lock().unwrap().clone()
    }
}

const TINY: u64 = 10 * 6 + 20 * 7;
const ALL: u64 = 30 * 5000 + (24 << 20) + TINY;

#[tokio::test]
async fn a_second_run_reads_nothing_asks_once_and_puts_the_root_alone() {
    let place = Place::new();
    let first = place.run().await;
    assert_eq!(
        (first.bytes_read, first.unchanged_files, first.files),
        (ALL, 0, 92)
    );
    let node = place.node(&first);
    first.cache.finish(true);

    let second = place.run().await;
    assert_eq!((second.bytes_read, second.files), (0, 92));
    // Empty files are opened each time: a pseudo file of size 0 may have got content.
    assert_eq!(second.unchanged_files, 62);
    assert_eq!(place.node(&second), node);
    assert_eq!(place.questions(), [1]);
    // The folders above the given path have changed times, perhaps; and the root says when.
    assert!(*place.sink.puts.lock().unwrap() <= 5);
    second.cache.finish(true);

    let seeded = run_seeded(place.options(), &place.sink).await.unwrap();
    assert_eq!((seeded.bytes_read, place.node(&seeded)), (0, node));
}

#[tokio::test]
async fn what_was_touched_is_read_again() {
    let place = Place::new();
    place.commit().await;
    let path = place.tree().join("d1/e1/small1");
    fs::write(&path, noise(1234, 5000)).unwrap();
    fs::write(place.tree().join("d1/e1/newcomer"), noise(77, 3000)).unwrap();
    fs::remove_file(place.tree().join("d2/e2/small2")).unwrap();
    fs::remove_dir_all(place.tree().join("d0")).unwrap();
    let result = place.run().await;
    assert_eq!(result.bytes_read, 8000);
    let tree = place.sink.tree(&result.root);
    assert_eq!(tree[&path].bytes(), noise(1234, 5000));
    assert_eq!(tree[&path].entry.xattrs.as_ref().unwrap()[0].value, b"y");
    assert_eq!(tree[&place.tree().join("d2/e0/tiny5")].bytes(), b"tiny 5");
    assert!(!tree.contains_key(&place.tree().join("d0")));
    let sink = MapSink::new();
    let plain = run(options([place.tree()]), &sink).await.unwrap();
    let plain = sink.folder(&plain.root, &place.tree());
    assert_eq!(
        plain,
        place.node(&result),
        "with and without cache the same"
    );
    result.cache.finish(true);
    assert_eq!(place.commit().await.0, 0);
}

#[tokio::test]
async fn a_cache_of_an_uncommitted_snapshot_is_not_kept() {
    let place = Place::new();
    place.run().await.cache.finish(false);
    assert!(!place.cache_file().exists());
    drop(place.run().await);
    assert_eq!(
        fs::read_dir(place.cache_file().parent().unwrap())
            .unwrap()
            .count(),
        0
    );
    place.commit().await;
    fs::write(place.tree().join("new"), noise(5, 5000)).unwrap();
    place.run().await.cache.finish(false);
    assert_eq!(
        place.commit().await.0,
        5000,
        "the cache before is still there"
    );
}

#[tokio::test]
async fn a_lost_cache_or_another_ones_costs_reading_only() {
    let place = Place::new();
    let (_, node) = place.commit().await;
    let kept = fs::read(place.cache_file()).unwrap();
    fs::remove_file(place.cache_file()).unwrap();
    assert_eq!(place.commit().await, (ALL, node));

    let mut foreign = place.options();
    foreign.cache.as_mut().unwrap().vault = VaultId([9; 16]);
    let result = run(foreign, &place.sink).await.unwrap();
    assert_eq!(result.bytes_read, ALL);
    result.cache.finish(false);

    let mut foreign = place.options();
    foreign.cache.as_mut().unwrap().source = "other".parse().unwrap();
    foreign.cache.as_mut().unwrap().scope = Scope::source(&"other".parse().unwrap());
    let result = run(foreign, &place.sink).await.unwrap();
    assert_eq!(result.bytes_read, ALL);
    result.cache.finish(true);
    assert_eq!(
        place.commit().await.0,
        ALL,
        "the other one's took its place"
    );

    fs::write(
        place.cache_file(),
        b"something else entirely, longer than a header",
    )
    .unwrap();
    assert_eq!(place.commit().await.0, ALL);
    fs::write(place.cache_file(), kept).unwrap();
    assert_eq!(place.commit().await.0, 0);
}

#[tokio::test]
async fn a_damaged_cache_is_never_believed() {
    let place = Place::new();
    let (_, node) = place.commit().await;
    let whole = fs::read(place.cache_file()).unwrap();
    let mut read = 0;
    for step in 0..60 {
        let at = step * whole.len() / 60;
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(place.cache_file(), damaged).unwrap();
        let result = place.run().await;
        assert_eq!(place.node(&result), node, "a bit flipped at {at}");
        read += u64::from(result.bytes_read > 0);
        result.cache.finish(false);

        fs::write(place.cache_file(), &whole[..at]).unwrap();
        let result = place.run().await;
        assert_eq!(
            (place.node(&result), result.bytes_read),
            (node, ALL),
            "cut off at {at}"
        );
        result.cache.finish(false);
    }
    assert!(read >= 59, "{read} of 60 flips were noticed");
    // Something that is no file at all.
    fs::remove_file(place.cache_file()).unwrap();
    fs::create_dir(place.cache_file()).unwrap();
    let result = place.run().await;
    assert_eq!(result.bytes_read, ALL);
    result.cache.finish(true);
}

#[tokio::test]
async fn a_file_as_young_as_the_run_is_not_trusted() {
    let place = Place::new();
    let now = Context::system().now_millis();
    for (clock, read) in [(now - 60_000, ALL), (now + 60_000, 0)] {
        let ctx = Context::system().with_clock(Arc::new(ManualClock::at(clock)));
        for expected in [None, Some(read)] {
            let (sink, cancel) = (place.sink.clone(), CancellationToken::new());
            let keys = keys("vault");
            let run = backup_files(&ctx, &keys, place.options(), sink, cancel, Arc::default());
            let result = run.await.unwrap();
            if let Some(expected) = expected {
                assert_eq!(result.bytes_read, expected, "at {}", clock - now);
            }
            result.cache.finish(true);
        }
    }
}

#[tokio::test]
async fn a_file_whose_chunk_is_gone_is_read_again() {
    let place = Place::new();
    let (_, node) = place.commit().await;
    let lost = keys("vault").data_id(&noise(7, 5000));
    place.sink.lose(&lost);
    let result = place.run().await;
    assert_eq!((result.bytes_read, place.node(&result)), (5000, node));
    // The top, then directories, then the files of those that are gone.
    let questions = place.questions();
    assert!(questions.len() == 3 && questions[0] == 1, "{questions:?}");
    assert_eq!(place.sink.fresh_of(ChunkKind::Data), 1);
    let tree = place.sink.tree(&result.root);
    assert_eq!(
        tree[&place.tree().join("d1/e2/small7")].bytes(),
        noise(7, 5000)
    );
    result.cache.finish(true);

    // A chunk of the large file, listed by a node of extents.
    let tree = place.sink.tree(&place.run().await.root);
    let part = match &tree[&place.tree().join("large")].parts[5] {
        crate::backup::testing::Part::Data(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    place.sink.lose(&keys("vault").data_id(&part));
    assert_eq!(place.commit().await, (24 << 20, node));

    // Everything; tiny files need no chunk.
    place.sink.chunks.lock().unwrap().clear();
    assert_eq!(place.commit().await, (ALL - TINY, node));
}

#[tokio::test]
async fn two_runs_at_once_do_not_mix_their_caches() {
    let place = Place::new();
    let (one, two) = (MapSink::new(), MapSink::new());
    let (one, two) = tokio::join!(run(place.options(), &one), run(place.options(), &two));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.bytes_logical, two.bytes_logical);
    one.cache.finish(true);
    two.cache.finish(true);
    assert!(place.cache_file().exists());
    assert_eq!(names(place.cache_file().parent().unwrap()), ["cache"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_costs_the_cache_only() {
    let place = Place::new();
    let mut options = place.options();
    options.cache = Some(cache(Path::new("/proc/no/cache")));
    let result = run(options, &place.sink).await.unwrap();
    assert_eq!(result.bytes_read, ALL);
    result.cache.finish(true);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
