//! What is taken and what is left out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup::testing::{MapSink, options, run};
use crate::backup::{Excludes, FilesOptions};
use crate::error::Error;

fn make(folder: &Path, files: &[&str]) {
    for file in files {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

/// Backs up and lists what is below `folder`, relative to it; folders end with `/`.
async fn listing(folder: &Path, options: FilesOptions) -> Vec<String> {
    let sink = MapSink::new();
    let result = run(options, &sink).await.unwrap();
    assert_eq!(result.problems, Vec::new());
    let tree = sink.tree(&result.root);
    let below = tree.iter().filter_map(|(path, found)| {
        let path = path
            .strip_prefix(folder)
            .ok()
            .filter(|path| path != &Path::new(""))?;
        let directory = found.entry.kind == holdfast_format::tree::EntryKind::Directory;
        Some(format!(
            "{}{}",
            path.display(),
            if directory { "/" } else { "" }
        ))
    });
    below.collect()
}

#[tokio::test]
async fn ancestors_come_with_their_metadata_and_siblings_do_not() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["srv/db/x/1", "srv/db/y", "srv/z", "other"]);
    let given = [folder.path().join("srv/db/x"), folder.path().join("other")];
    assert_eq!(
        listing(folder.path(), options(given)).await,
        ["other", "srv/", "srv/db/", "srv/db/x/", "srv/db/x/1"]
    );
}

#[tokio::test]
async fn overlapping_paths_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a/b/1", "a/c"]);
    let paths = ["a/b", "a", "a/b/1", "a/../a/b/"].map(|path| folder.path().join(path));
    let sink = MapSink::new();
    let result = run(options(paths), &sink).await.unwrap();
    assert_eq!(result.files, 2);
    let alone = run(options([folder.path().join("a")]), &sink)
        .await
        .unwrap();
    let node = |root| sink.folder(root, folder.path());
    assert_eq!(node(&result.root), node(&alone.root));
    let arguments = sink.root(&result.root).arguments;
    assert_eq!(arguments.len(), 3);
    assert!(arguments.iter().all(|path| path.starts_with(b"/")));
}

#[tokio::test]
async fn a_path_that_does_not_exist_is_an_error_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a"]);
    for missing in ["b", "a/b", "b/c/d"] {
        let sink = MapSink::new();
        let given = [folder.path().to_owned(), folder.path().join(missing)];
        let error = run(options(given), &sink).await.unwrap_err();
        assert!(error.to_string().contains(missing), "{error}");
        assert_eq!(*sink.puts.lock().unwrap(), 0);
    }
    let nothing: [PathBuf; 0] = [];
    let error = run(options(nothing), &MapSink::new()).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test]
async fn symlinks_above_a_given_path_are_followed_and_the_path_itself_is_not() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["real/db/1"]);
    symlink("real", folder.path().join("srv")).unwrap();
    symlink("db", folder.path().join("real/link")).unwrap();
    let through = listing(folder.path(), options([folder.path().join("srv/db")])).await;
    assert_eq!(through, ["srv/", "srv/db/", "srv/db/1"]);
    let itself = listing(folder.path(), options([folder.path().join("real/link")])).await;
    assert_eq!(itself, ["real/", "real/link"]);
}

#[tokio::test]
async fn patterns_leave_out() {
    let folder = tempfile::tempdir().unwrap();
    make(
        folder.path(),
        &[
            "a/1.o", "a/keep.o", "a/2.c", "cache/3", "a/cache", "node/x/4", "node/5",
        ],
    );
    let text = format!("*.o\n!keep.o\ncache/\n{}/node/x\n", folder.path().display());
    let excludes = Excludes::builder()
        .lines("test", &text)
        .unwrap()
        .build()
        .unwrap();
    let options = FilesOptions {
        excludes: excludes.clone(),
        ..options([folder.path()])
    };
    assert_eq!(
        listing(folder.path(), options.clone()).await,
        ["a/", "a/2.c", "a/cache", "a/keep.o", "node/", "node/5"]
    );
    // What was given is taken, and what leads there.
    let paths = vec![folder.path().to_owned(), folder.path().join("node/x/4")];
    let options = FilesOptions { paths, ..options };
    assert_eq!(
        listing(folder.path(), options).await,
        [
            "a/", "a/2.c", "a/cache", "a/keep.o", "node/", "node/5", "node/x/", "node/x/4"
        ]
    );
}

#[tokio::test]
async fn tagged_caches_keep_their_tag_only() {
    let folder = tempfile::tempdir().unwrap();
    make(
        folder.path(),
        &["c/CACHEDIR.TAG", "c/x", "c/d/y", "n/CACHEDIR.TAG", "n/x"],
    );
    let signature = "Signature: 8a477f597d28d172789f06886806bc55\n# made by a test\n";
    fs::write(folder.path().join("c/CACHEDIR.TAG"), signature).unwrap();
    let mut options = options([folder.path()]);
    assert_eq!(listing(folder.path(), options.clone()).await.len(), 8);
    options.exclude_caches = true;
    assert_eq!(
        listing(folder.path(), options).await,
        ["c/", "c/CACHEDIR.TAG", "n/", "n/CACHEDIR.TAG", "n/x"]
    );
}

#[tokio::test]
async fn a_tree_of_which_nothing_is_left_has_an_empty_top() {
    let excludes = Excludes::builder().pattern("/*").unwrap().build().unwrap();
    let sink = MapSink::new();
    let everything = FilesOptions {
        excludes,
        ..options(["/"])
    };
    let result = run(everything, &sink).await.unwrap();
    assert_eq!((result.files, result.directories), (0, 0));
    assert!(sink.tree(&result.root).is_empty());
    assert_eq!(sink.root(&result.root).arguments, [b"/"]);
}

/// Undoes a mount, whatever the test does.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(
            Command::new("umount")
                .arg(&self.0)
                .status()
                .is_ok_and(|status| status.success())
        );
    }
}

#[tokio::test]
async fn other_file_systems_stay_out_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &["a", "m/hidden", "z"]);
    let point = folder.path().join("m");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "none"])
        .arg(&point)
        .status();
    assert!(
        mounted.is_ok_and(|status| status.success()),
        "this test mounts a tmpfs, as root"
    );
    let _mounted = Mounted(point.clone());
    make(&point, &["x/y"]);

    let mut options = options([folder.path()]);
    assert_eq!(
        listing(folder.path(), options.clone()).await,
        ["a", "m/", "m/x/", "m/x/y", "z"]
    );
    options.one_file_system = true;
    assert_eq!(
        listing(folder.path(), options.clone()).await,
        ["a", "m/", "z"]
    );
    options.paths.push(point.join("x"));
    assert_eq!(
        listing(folder.path(), options).await,
        ["a", "m/", "m/x/", "m/x/y", "z"]
    );
}

const AS_NOBODY: &str = "HOLDFAST_TEST_AS_NOBODY";

/// Root reads everything, so this test runs itself again as somebody who does not.
#[tokio::test]
async fn what_cannot_be_read_is_a_problem_and_the_rest_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    if let Some(folder) = std::env::var_os(AS_NOBODY) {
        return unreadable(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    make(
        folder.path(),
        &["fine", "secret", "closed/x", "passage/in/y", "list-only/z"],
    );
    let mode = |name: &str, mode| {
        fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("secret", 0o600);
    mode("closed", 0o700);
    mode("passage", 0o711);
    mode("list-only", 0o744);
    let name = "backup::tests::selection::what_cannot_be_read_is_a_problem_and_the_rest_is_kept";
    let child = Command::new("/proc/self/exe")
        .args([name, "--exact", "--nocapture"])
        .env(AS_NOBODY, folder.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

async fn unreadable(folder: &Path) {
    let sink = MapSink::new();
    let result = run(options([folder]), &sink).await.unwrap();
    let tree = sink.tree(&result.root);
    let names: Vec<String> = result
        .problems
        .iter()
        .map(|problem| String::from_utf8(problem.path.clone()).unwrap())
        .map(|path| {
            path.strip_prefix(folder.to_str().unwrap())
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(names, ["/closed", "/list-only/z", "/passage", "/secret"]);
    assert_eq!(result.problems_count, 4);
    assert_eq!(sink.root(&result.root).problems, result.problems);
    assert_eq!(tree[&folder.join("fine")].bytes(), b"fine");
    assert!(!tree.contains_key(&folder.join("secret")));
    for shut in ["closed", "passage", "list-only"] {
        assert_eq!(tree[&folder.join(shut)].entry.directory, None, "{shut}");
    }
    // A folder that may be passed and not listed is no hindrance to a path given below it.
    let result = run(options([folder.join("passage/in")]), &sink)
        .await
        .unwrap();
    assert_eq!(result.problems, Vec::new());
    assert_eq!(
        sink.tree(&result.root)[&folder.join("passage/in/y")].bytes(),
        b"passage/in/y"
    );
}
