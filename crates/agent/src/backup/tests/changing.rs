//! Files that change, shrink, grow, vanish, are swapped, or cannot be read to the end.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_format::tree::Xattr;

use crate::backup::folder::Folder;
use crate::backup::metadata::FileStat;
use crate::backup::read::{Files, OpenFile, SystemFiles};
use crate::backup::testing::{Found, MapSink, cache, noise, options, run, run_by};
use crate::backup::{BackupResult, FilesOptions};

type MeddleOpen = dyn Fn(&Path) -> io::Result<()> + Send + Sync;
type Meddle = dyn Fn(&Path, u64, u32) -> io::Result<()> + Send + Sync;

/// The system's files, with somebody meddling: before each read, with the file's path, the offset and how many reads
/// there were before.
struct Meddled {
    open: Box<MeddleOpen>,
    read: Arc<Meddle>,
    /// The size that every file claims.
    size: Option<u64>,
}

impl Meddled {
    fn reads(
        read: impl Fn(&Path, u64, u32) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            open: Box::new(|_| Ok(())),
            read: Arc::new(read),
            size: None,
        })
    }

    fn opens(open: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            open: Box::new(open),
            read: Arc::new(|_, _, _| Ok(())),
            size: None,
        })
    }
}

impl Meddled {
    fn sizes(size: u64) -> Arc<Self> {
        Arc::new(Self {
            open: Box::new(|_| Ok(())),
            read: Arc::new(|_, _, _| Ok(())),
            size: Some(size),
        })
    }
}

impl Debug for Meddled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddled")
    }
}

impl Files for Meddled {
    fn open(&self, folder: &Folder, name: &[u8]) -> io::Result<Box<dyn OpenFile>> {
        let path = PathBuf::from(String::from_utf8(folder.path_of(name)).unwrap());
        (self.open)(&path)?;
        let file = SystemFiles.open(folder, name)?;
        Ok(Box::new(MeddledFile {
            file,
            path,
            read: Arc::clone(&self.read),
            reads: AtomicU32::new(0),
            size: self.size,
        }))
    }
}

struct MeddledFile {
    file: Box<dyn OpenFile>,
    path: PathBuf,
    read: Arc<Meddle>,
    reads: AtomicU32,
    size: Option<u64>,
}

impl Debug for MeddledFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl OpenFile for MeddledFile {
    fn stat(&self) -> io::Result<FileStat> {
        let mut stat = self.file.stat()?;
        stat.key.size = self.size.unwrap_or(stat.key.size);
        Ok(stat)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (self.read)(
            &self.path,
            offset,
            self.reads.fetch_add(1, Ordering::SeqCst),
        )?;
        self.file.read_at(buffer, offset)
    }

    fn data_after(&self, offset: u64) -> io::Result<Option<(u64, u64)>> {
        self.file.data_after(offset)
    }

    fn xattrs(&self) -> io::Result<Option<Vec<Xattr>>> {
        self.file.xattrs()
    }

    fn will_read_all(&self) {}
}

async fn back_up(options: FilesOptions, files: Arc<Meddled>) -> (BackupResult, Arc<MapSink>) {
    let sink = MapSink::new();
    let result = run_by(options, &sink, files).await.unwrap();
    (result, sink)
}

fn only(sink: &MapSink, result: &BackupResult, path: &Path) -> Found {
    sink.tree(&result.root)[path].clone()
}

const SIZES: [usize; 2] = [200_000, 30 << 20];

#[tokio::test]
async fn a_file_that_changes_once_is_read_again() {
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, noise(1, size)).unwrap();
        let files = Meddled::reads(|path, _, reads| {
            if reads == 1 {
                File::options()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .write_all_at(b"changed", 10)
                    .unwrap();
            }
            Ok(())
        });
        let (result, sink) = back_up(options([&path]), files).await;
        assert_eq!(result.problems, Vec::new());
        assert!(only(&sink, &result, &path).bytes() == fs::read(&path).unwrap());
        assert_eq!(result.bytes_read, 2 * size as u64);
        assert_eq!((result.files, result.bytes_logical), (1, size as u64));
    }
}

#[tokio::test]
async fn a_file_that_keeps_changing_is_kept_as_read_and_a_problem() {
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, noise(1, size)).unwrap();
        let files = Meddled::reads(|path, _, reads| {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&reads.to_le_bytes(), 0).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(reads.into()))
                .unwrap();
            Ok(())
        });
        let (result, sink) = back_up(options([&path]), files).await;
        assert_eq!(result.problems_count, 1);
        assert!(
            result.problems[0]
                .what
                .contains("changed while it was read")
        );
        let found = only(&sink, &result, &path);
        assert_eq!(found.bytes().len(), size);
        assert!(found.bytes()[4..] == noise(1, size)[4..]);
    }
}

#[tokio::test]
async fn a_file_that_shrinks_has_the_size_of_what_was_read() {
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, noise(1, size)).unwrap();
        let files = Meddled::reads(move |path, offset, reads| {
            if offset == 0 && reads < 8 {
                let file = File::options().write(true).open(path).unwrap();
                file.set_len(size as u64 / 2 - u64::from(reads) * 1000)
                    .unwrap();
            }
            Ok(())
        });
        let (result, sink) = back_up(options([&path]), files).await;
        let found = only(&sink, &result, &path);
        assert_eq!(found.entry.size, found.bytes().len() as u64);
        assert!(
            found.bytes() == fs::read(&path).unwrap(),
            "what is there now, for it shrank first"
        );
        assert_eq!(result.problems_count, 1);
    }
}

#[tokio::test]
async fn a_file_that_grows_ends_where_it_ended_when_it_was_opened() {
    use std::io::Write;
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, noise(1, size)).unwrap();
        let files = Meddled::reads(|path, _, _| {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .write_all(b"one more line\n")
        });
        let (result, sink) = back_up(options([&path]), files).await;
        assert_eq!(result.problems_count, 1);
        let found = only(&sink, &result, &path);
        let now = fs::read(&path).unwrap();
        assert_eq!(found.entry.size, found.bytes().len() as u64);
        assert!(found.bytes().len() >= size && now.starts_with(&found.bytes()));
    }
}

#[tokio::test]
async fn a_file_that_lies_about_its_size_is_read_to_its_end_and_never_cached() {
    for size in SIZES {
        for says in [0, 4096, 2 * size as u64] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            fs::write(&path, noise(1, size)).unwrap();
            let with_cache = FilesOptions {
                cache: Some(cache(&folder.path().join("cache"))),
                ..options([&path])
            };
            let (result, sink) = back_up(with_cache.clone(), Meddled::sizes(says)).await;
            assert_eq!(result.problems, Vec::new());
            let found = only(&sink, &result, &path);
            assert!(found.bytes() == noise(1, size), "{size} that says {says}");
            assert_eq!(found.entry.size, size as u64);
            result.cache.finish(true);
            let again = run(with_cache, &sink).await.unwrap();
            assert_eq!(again.bytes_read, size as u64);
        }
    }
}

#[tokio::test]
async fn an_error_in_the_middle_leaves_the_file_out() {
    for (size, at) in [
        (200_000, 0),
        (200_000, 200_000),
        (30 << 20, 0),
        (30 << 20, 16 << 20),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "bad", "c"] {
            fs::write(folder.path().join(name), noise(1, size)).unwrap();
        }
        let files = Meddled::reads(move |path, offset, _| {
            let bad = path.ends_with("bad") && offset >= at;
            if bad {
                Err(rustix::io::Errno::IO.into())
            } else {
                Ok(())
            }
        });
        let (result, sink) = back_up(options([folder.path()]), files).await;
        let tree = sink.tree(&result.root);
        assert!(!tree.contains_key(&folder.path().join("bad")));
        assert!(tree[&folder.path().join("c")].bytes() == noise(1, size));
        assert_eq!((result.files, result.problems_count), (2, 1));
        assert!(
            result.problems[0]
                .what
                .contains("left out: Input/output error"),
            "{:?}",
            result.problems
        );
    }
}

#[tokio::test]
async fn what_vanishes_is_left_out_and_no_problem() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let files = Meddled::opens(|path| match path.ends_with("b") {
        true => fs::remove_file(path),
        false => Ok(()),
    });
    let (result, sink) = back_up(options([folder.path()]), files).await;
    assert_eq!(
        (result.files, result.vanished, result.problems_count),
        (2, 1, 0)
    );
    assert!(
        !sink
            .tree(&result.root)
            .contains_key(&folder.path().join("b"))
    );
}

#[tokio::test]
async fn the_other_name_of_a_link_that_vanishes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    let (first, second) = (folder.path().join("a"), folder.path().join("d/b"));
    fs::write(&first, noise(1, 5000)).unwrap();
    fs::hard_link(&first, &second).unwrap();
    let files = Meddled::opens(|path| match path.ends_with("a") {
        true => fs::remove_file(path),
        false => Ok(()),
    });
    let (result, sink) = back_up(options([folder.path()]), files).await;
    assert_eq!(
        (result.files, result.vanished, result.problems_count),
        (1, 1, 0)
    );
    assert_eq!(only(&sink, &result, &second).bytes(), noise(1, 5000));
}

#[tokio::test]
async fn a_file_swapped_for_something_else_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a-link", "b-fifo", "c-folder", "d"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let files = Meddled::opens(|path| match path.file_name().unwrap().to_str().unwrap() {
        "a-link" => {
            fs::remove_file(path)?;
            std::os::unix::fs::symlink("/etc/passwd", path)
        }
        "b-fifo" => {
            fs::remove_file(path)?;
            let kind = rustix::fs::FileType::Fifo;
            Ok(rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                kind,
                rustix::fs::Mode::RWXU,
                0,
            )?)
        }
        "c-folder" => {
            fs::remove_file(path)?;
            fs::create_dir(path)
        }
        _ => Ok(()),
    });
    let (result, sink) = back_up(options([folder.path()]), files).await;
    assert_eq!((result.files, result.problems_count), (1, 3));
    assert!(
        result
            .problems
            .iter()
            .all(|problem| problem.what.contains("became something else"))
    );
    assert_eq!(only(&sink, &result, &folder.path().join("d")).bytes(), b"d");
}

#[tokio::test]
async fn a_folder_moved_away_under_the_walk_leads_nowhere_else() {
    // Deep enough that the way back must be opened again.
    let folder = tempfile::tempdir().unwrap();
    let deep: PathBuf = (0..100).map(|n| format!("{n}")).collect();
    fs::create_dir_all(folder.path().join("in").join(&deep)).unwrap();
    fs::write(folder.path().join("in").join(&deep).join("file"), "x").unwrap();
    fs::write(folder.path().join("in/0/z-after"), "y").unwrap();
    fs::write(folder.path().join("z-last"), "z").unwrap();
    let moved = folder.path().to_owned();
    // All paths are found in one batch of the walk here, so files are what is opened after the move.
    let files = Meddled::opens(move |path| {
        if path.ends_with("file") {
            fs::rename(moved.join("in"), moved.join("elsewhere"))?;
            std::os::unix::fs::symlink("/etc", moved.join("in"))?;
        }
        Ok(())
    });
    let (result, sink) = back_up(options([folder.path()]), files).await;
    let tree = sink.tree(&result.root);
    assert_eq!(tree[&folder.path().join("z-last")].bytes(), b"z");
    assert!(tree.values().all(|found| found.entry.name != b"passwd"));
}

#[tokio::test]
async fn a_sink_that_fails_ends_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..1000 {
        fs::write(folder.path().join(format!("{n}")), noise(n, 10_000)).unwrap();
    }
    let sink = MapSink::new();
    *sink.broken.lock().unwrap() = true;
    let error = run(options([folder.path()]), &sink).await.unwrap_err();
    assert!(error.to_string().contains("the test broke it"), "{error}");
}
