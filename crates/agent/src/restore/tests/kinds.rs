//! Every awkward kind of entry comes back as it was.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use holdfast_format::tree::{EntryKind, Xattr};

use super::build::{Builder, Made, entry, noise};
use super::compare::assert_same;
use super::{into, run};
use crate::restore::OwnerMode;

fn sh(directory: &Path, script: &str) {
    let status = Command::new("bash")
        .args(["-euc", script])
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(status.success());
}

/// A directory with one of everything.
pub(super) fn make_awkward(top: &Path) {
    sh(
        top,
        r#"
        mkdir -p a/b/c empty closed 'with space' setgid
        printf small > a/small
        : > a/b/nothing
        head -c 300000 /dev/urandom > a/b/large
        head -c 97 /dev/urandom > a/b/c/just-not-inline
        ln a/b/large a/b/another-name; ln a/b/large a/a-third-name
        ln a/small zz-small
        ln -s ../small a/b/relative; ln -s /etc/passwd absolute; ln -s nowhere dangling
        ln -P absolute absolute-too
        mkfifo -m 0620 pipe
        mknod -m 0640 block b 7 200; mknod -m 0666 char c 1 3; mknod big c 300 70000
        printf setuid > suid; chown 1234:5678 suid; chmod 6755 suid
        chmod 2775 setgid; chown 0:5678 setgid
        chmod 1777 empty
        printf x > closed/file; chmod 0000 closed/file; chmod 0000 closed
        truncate -s 5M sparse; printf mid | dd of=sparse bs=1 seek=2000000 conv=notrunc status=none
        truncate -s 1M all-hole
        printf newline > $'new\nline'; printf bad > $'bad\xff\xfename'
        printf -- x > ' lead'; printf y > -- '-dash' || printf y > ./-dash
        touch -d '1969-12-31 23:59:58.000000001 UTC' old; touch -d '2099-01-01 00:00:00.999999999 UTC' future
        setfacl -m u:1111:rw,g:2222:r,m::rwx a/small
        setfacl -d -m u:1111:rwx setgid
        setfattr -n user.note -v hello a/b/large
        setfattr -n user.empty a/b/nothing
        setfattr -n trusted.t -v secret absolute -h
        setfattr -n user.on-directory -v 1 'with space'
        cp /bin/true capable; setcap cap_net_raw+ep capable 2>/dev/null || true
        chown -h 4242:4243 dangling absolute; chown 99:98 a/b
        touch -h -d '2001-02-03 04:05:06.789 UTC' dangling
        touch -d '2003-03-03 03:03:03.000000333 UTC' a/b a empty setgid closed
        "#,
    );
}

#[tokio::test]
async fn every_awkward_kind_comes_back() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    make_awkward(&from);
    let builder = Builder::new();
    let root = builder.snapshot(builder.import(&from));
    let result = run(&builder, root, &into(&to)).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_eq!(result.notes, vec![]);
    assert_same(&from, &to);
}

#[tokio::test]
async fn an_inherited_acl_does_not_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    make_awkward(&from);
    std::fs::create_dir(&to).unwrap();
    sh(&to, "setfacl -d -m u:7777:rwx .");
    let builder = Builder::new();
    let root = builder.snapshot(builder.import(&from));
    let result = run(&builder, root, &into(&to)).await.unwrap();
    assert!(result.complete(), "{result:?}");
    assert_same(&from, &to);
}

#[tokio::test]
async fn sockets_are_noted_and_left_out() {
    let builder = Builder::new();
    let root = builder.snapshot(vec![Made {
        entry: entry("sock", EntryKind::Socket),
        refs: vec![],
    }]);
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete());
    assert_eq!(result.notes.len(), 1);
    assert_eq!(result.notes[0].path.0, b"/sock");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn owners_go_by_name_when_asked() {
    let builder = Builder::new();
    let mut one = builder.file("one", b"1");
    (one.entry.uid, one.entry.gid) = (4321, 4321);
    (one.entry.user, one.entry.group) = (Some("daemon".into()), Some("no such group".into()));
    let root = builder.snapshot(vec![one]);
    let scratch = tempfile::tempdir().unwrap();
    let mut options = into(scratch.path());
    options.owner = OwnerMode::Name;
    run(&builder, root, &options).await.unwrap();
    let facts = std::fs::metadata(scratch.path().join("one")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((facts.uid(), facts.gid()), (1, 4321));
}

#[tokio::test]
async fn includes_bring_what_they_name_and_the_way_to_it() {
    let builder = Builder::new();
    let file = |name: &str| builder.file(name, name.as_bytes());
    let mut srv = builder.dir(
        "srv",
        vec![
            builder.dir("db", vec![file("one.sql"), file("two.txt")]),
            builder.dir("www", vec![file("index.html")]),
            file("note"),
        ],
    );
    srv.entry.mode = 0o751;
    let root = builder.snapshot(vec![srv, builder.dir("etc", vec![file("passwd")])]);
    let scratch = tempfile::tempdir().unwrap();
    for (number, (include, want)) in [
        (vec!["/srv/db"], vec!["srv/db/one.sql", "srv/db/two.txt"]),
        (vec!["srv/note", "etc"], vec!["srv/note", "etc/passwd"]),
        (vec!["*.sql"], vec!["srv/db/one.sql"]),
        (vec!["/srv/*/*.html"], vec!["srv/www/index.html"]),
    ]
    .into_iter()
    .enumerate()
    {
        let to = scratch.path().join(number.to_string());
        let mut options = into(&to);
        options.include = include
            .iter()
            .map(|path| path.as_bytes().to_vec())
            .collect();
        let result = run(&builder, root, &options).await.unwrap();
        assert!(result.complete(), "{result:?}");
        let mut found: Vec<_> = super::compare::describe(&to)
            .into_keys()
            .filter(|path| to.join(path).is_file())
            .collect();
        found.sort();
        let mut want: Vec<_> = want.into_iter().map(std::path::PathBuf::from).collect();
        want.sort();
        assert_eq!(found, want, "{include:?}");
        if to.join("srv").exists() {
            let mode = std::fs::metadata(to.join("srv"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o751);
        }
    }
    let mut options = into(&scratch.path().join("none"));
    options.include = vec![b"/nope".to_vec()];
    let error = run(&builder, root, &options).await.unwrap_err();
    assert!(matches!(error, crate::Error::Missing { .. }), "{error}");
    options.include.push(b"/etc".to_vec());
    let result = run(&builder, root, &options).await.unwrap();
    assert_eq!(result.problems_count, 1);
    assert_eq!(result.problems[0].path.0, b"/nope");
}

#[tokio::test]
async fn without_root_owners_are_said_once_and_set_ids_left_off() {
    // Runs the restore under another user id by a child that drops root, since a process has one.
    let builder = Builder::new();
    let mut files: Vec<_> = (0..20)
        .map(|n| builder.file(format!("f{n}"), b"x"))
        .collect();
    (files[3].entry.mode, files[3].entry.gid) = (0o6755, 777);
    files[4].entry.xattrs = Some(vec![Xattr {
        name: b"trusted.x".to_vec(),
        value: b"1".to_vec(),
    }]);
    files.push(Made {
        entry: {
            let mut one = entry("null", EntryKind::CharDevice);
            one.device = Some(rustix::fs::makedev(1, 3));
            one
        },
        refs: vec![],
    });
    let mut closed = builder.dir("closed", vec![builder.file("in", b"y")]);
    closed.entry.mode = 0o500;
    files.push(closed);
    let root = builder.snapshot(files);
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let to = scratch.path().join("to");
    let target = to.clone();
    // Credentials belong to a thread on Linux: one that drops root leaves the others as they are.
    let result = std::thread::spawn(move || {
        let uid = rustix::process::Uid::from_raw(54321);
        rustix::thread::set_thread_uid(uid).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clock = std::sync::Arc::new(holdfast_context::ManualClock::at(0));
        // A seeded world works inline, on this very thread.
        let ctx = holdfast_context::Context::seeded(1, clock);
        let once = |options: crate::restore::RestoreOptions| {
            runtime.block_on(crate::restore::restore(
                &ctx,
                builder.source.clone(),
                root,
                Some(&builder.keys),
                &options,
                Default::default(),
                Default::default(),
            ))
        };
        let first = once(into(&target)).unwrap();
        let again = once(super::delta_into(&target)).unwrap();
        assert_eq!(again.bytes_written, 0);
        assert_eq!(first.problems, again.problems);
        first
    })
    .join()
    .unwrap();
    assert_eq!(result.problems_count, 1, "{result:?}");
    assert_eq!(result.problems[0].path.0, b"/null");
    let counts: Vec<_> = result.notes.iter().map(|note| note.count).collect();
    assert_eq!(counts, [1, 22, 1], "{:?}", result.notes);
    let mode = std::fs::metadata(to.join("f3"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[tokio::test]
async fn names_are_kept_byte_for_byte() {
    let builder = Builder::new();
    let names: [&[u8]; 4] = [b"\xff\xfe", b"a\nb", &[b'x'; 255], b" "];
    let root = builder.snapshot(
        names
            .iter()
            .map(|name| builder.file(name, &noise(1, 500)))
            .collect(),
    );
    let scratch = tempfile::tempdir().unwrap();
    let result = run(&builder, root, &into(scratch.path())).await.unwrap();
    assert!(result.complete());
    for name in names {
        let path = scratch.path().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(std::fs::read(path).unwrap(), noise(1, 500));
    }
    let long = builder.snapshot(vec![
        builder.file([b'x'; 256], b"1"),
        builder.file("ok", b"2"),
    ]);
    let to = scratch.path().join("long");
    let result = run(&builder, long, &into(&to)).await.unwrap();
    assert_eq!((result.files, result.problems_count), (1, 1));
    let _ = symlink("x", scratch.path().join("y"));
}
