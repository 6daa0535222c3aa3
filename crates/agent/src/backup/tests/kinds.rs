//! Every awkward kind of file comes out as what it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use holdfast_format::tree::EntryKind;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat};

use crate::backup::testing::{Found, MapSink, noise, options, run, run_seeded};

type Tree = BTreeMap<PathBuf, Found>;

async fn back_up(folder: &Path) -> Tree {
    let sink = MapSink::new();
    let result = run(options([folder]), &sink).await.unwrap();
    assert_eq!(result.problems, Vec::new());
    let tree = sink.tree(&result.root);
    let seeded_sink = MapSink::new();
    let seeded = run_seeded(options([folder]), &seeded_sink).await.unwrap();
    let (one, two) = (
        sink.folder(&result.root, folder),
        seeded_sink.folder(&seeded.root, folder),
    );
    assert_eq!(one, two, "the same tree, the same node");
    tree
}

#[tokio::test]
async fn plain_files_of_every_size_with_their_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        0,
        1,
        96,
        97,
        65_535,
        65_536,
        262_144,
        262_145,
        3 << 20,
        (4 << 20) + 1,
        21 << 20,
    ];
    for size in sizes {
        let path = folder.path().join(size.to_string());
        fs::write(&path, noise(size as u64, size)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o4750)).unwrap();
        let time = UNIX_EPOCH + Duration::new(1_234_567_890, 987_654_321);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
    let tree = back_up(folder.path()).await;
    for size in sizes {
        let found = &tree[&folder.path().join(size.to_string())];
        assert!(found.bytes() == noise(size as u64, size), "{size}");
        let entry = &found.entry;
        assert_eq!(
            (entry.kind, entry.mode, entry.size),
            (EntryKind::File, 0o4750, size as u64)
        );
        assert_eq!(
            (entry.mtime_seconds, entry.mtime_nanos),
            (1_234_567_890, 987_654_321)
        );
        assert_eq!((entry.uid, entry.gid), (0, 0));
        assert_eq!(
            (entry.user.as_deref(), entry.group.as_deref()),
            (Some("root"), Some("root"))
        );
        let inline = entry.content.as_ref().unwrap().inline.is_some();
        assert_eq!(inline, (1..=96).contains(&size), "{size}");
        if (97..=262_144).contains(&size) {
            assert_eq!(found.pieces.len(), 1, "{size}");
        }
    }
    let top = &tree[folder.path()];
    let itself = fs::metadata(folder.path()).unwrap();
    assert_eq!(top.entry.mode, itself.mode() & 0o7777);
    assert_eq!(top.entry.mtime_nanos, itself.mtime_nsec() as u32);
}

#[tokio::test]
async fn what_must_never_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mode = Mode::from_raw_mode(0o640);
    mknodat(CWD, path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    mknodat(CWD, path("null"), FileType::CharacterDevice, mode, null).unwrap();
    let disk = rustix::fs::makedev(7, 99);
    mknodat(CWD, path("disk"), FileType::BlockDevice, mode, disk).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    symlink("no/where/\u{e9}", path("broken")).unwrap();
    symlink("/etc", path("to-etc")).unwrap();
    symlink(".", path("loop")).unwrap();

    let tree = back_up(folder.path()).await;
    let entry = |name: &str| tree[&path(name)].entry.clone();
    assert_eq!(entry("fifo").kind, EntryKind::Fifo);
    assert_eq!(entry("socket").kind, EntryKind::Socket);
    assert_eq!(
        (entry("null").kind, entry("null").device),
        (EntryKind::CharDevice, Some(null))
    );
    assert_eq!(
        (entry("disk").kind, entry("disk").device),
        (EntryKind::BlockDevice, Some(disk))
    );
    assert_eq!(
        entry("broken").target.unwrap(),
        "no/where/\u{e9}".as_bytes()
    );
    assert_eq!(entry("to-etc").target.unwrap(), b"/etc");
    assert_eq!(entry("loop").kind, EntryKind::Symlink);
    assert_eq!(
        tree.keys()
            .filter(|found| found.starts_with(folder.path()))
            .count(),
        8
    );
}

#[tokio::test]
async fn names_that_are_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let names: [&[u8]; 6] = [
        b"\xff\xfe",
        b"new\nline",
        b" ",
        b"-rf",
        b"\x01\x1b[0m",
        &[b'n'; 255],
    ];
    for name in names {
        fs::write(folder.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let tree = back_up(folder.path()).await;
    for name in names {
        assert_eq!(
            tree[&folder.path().join(OsStr::from_bytes(name))].bytes(),
            name
        );
    }
}

#[tokio::test]
async fn hard_links_share_a_number_and_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("b")).unwrap();
    fs::write(path("a"), noise(1, 100_000)).unwrap();
    fs::hard_link(path("a"), path("b/c")).unwrap();
    fs::hard_link(path("a"), path("d")).unwrap();
    fs::write(path("e"), "alone").unwrap();
    symlink("x", path("s1")).unwrap();
    fs::hard_link(path("s1"), path("s2")).unwrap();

    let sink = MapSink::new();
    let result = run(options([folder.path()]), &sink).await.unwrap();
    assert_eq!(result.bytes_read, 100_005);
    assert_eq!((result.files, result.bytes_logical), (4, 300_005));
    let tree = sink.tree(&result.root);
    let number = |name: &str| tree[&path(name)].entry.hard_link;
    assert!(number("a").is_some());
    assert_eq!(
        (number("b/c"), number("d"), number("e")),
        (number("a"), number("a"), None)
    );
    assert!(number("s1").is_some() && number("s1") == number("s2") && number("s1") != number("a"));
    for name in ["a", "b/c", "d"] {
        assert_eq!(tree[&path(name)].bytes(), noise(1, 100_000));
    }
}

#[tokio::test]
async fn extended_attributes_and_acls() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("file"), "x").unwrap();
    fs::create_dir(path("folder")).unwrap();
    symlink("x", path("link")).unwrap();
    mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let large = noise(5, 2000).to_vec();
    // version 2; user:: rw, user 1000: r, group:: r, mask: r, other: none
    let acl: Vec<u8> = [
        &2u32.to_le_bytes()[..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    for name in ["file", "folder"] {
        xattr::set(path(name), "user.b", b"\x00\xff").unwrap();
        xattr::set(path(name), "user.a", b"").unwrap();
        xattr::set(path(name), "user.large", &large).unwrap();
        xattr::set(path(name), "system.posix_acl_access", &acl).unwrap();
    }
    xattr::set(path("link"), "trusted.l", b"on the link").unwrap();
    xattr::set(path("fifo"), "trusted.f", b"on the fifo").unwrap();

    let tree = back_up(folder.path()).await;
    let xattrs = |name: &str| -> Vec<(String, Vec<u8>)> {
        let all = tree[&path(name)].entry.xattrs.clone().unwrap();
        all.into_iter()
            .map(|one| (String::from_utf8(one.name).unwrap(), one.value))
            .collect()
    };
    for name in ["file", "folder"] {
        let found = xattrs(name);
        let names: Vec<&str> = found.iter().map(|(name, _)| &name[..]).collect();
        assert_eq!(
            names,
            ["system.posix_acl_access", "user.a", "user.b", "user.large"]
        );
        assert_eq!(found[0].1, acl);
        assert_eq!(
            (&found[1].1[..], &found[2].1[..]),
            (&b""[..], &b"\x00\xff"[..])
        );
        assert_eq!(found[3].1, large);
    }
    assert_eq!(
        xattrs("link"),
        [("trusted.l".into(), b"on the link".to_vec())]
    );
    assert_eq!(
        xattrs("fifo"),
        [("trusted.f".into(), b"on the fifo".to_vec())]
    );
    assert_eq!(tree[folder.path()].entry.xattrs, None);
}

#[tokio::test]
async fn files_that_do_not_know_their_size() {
    for path in [
        "/proc/version",
        "/proc/sys/vm/overcommit_memory",
        "/proc/self/limits",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ] {
        let expected = fs::read(path).unwrap();
        let sink = MapSink::new();
        let result = run(options([path]), &sink).await.unwrap();
        assert_eq!(result.problems, Vec::new());
        assert_eq!(
            sink.tree(&result.root)[Path::new(path)].bytes(),
            expected,
            "{path}"
        );
    }
}

#[tokio::test]
async fn deeper_than_any_path_may_be_long() {
    let folder = tempfile::tempdir().unwrap();
    let (levels, name) = (210, "n".repeat(200));
    let mut at = openat(
        CWD,
        folder.path(),
        OFlags::DIRECTORY | OFlags::RDONLY,
        Mode::empty(),
    )
    .unwrap();
    for level in 0..levels {
        for (file, content) in [("a-before", "1"), ("z-after", "2")] {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = openat(&at, file, flags, Mode::RWXU).unwrap();
            rustix::io::write(file, format!("{content} {level}").as_bytes()).unwrap();
        }
        mkdirat(&at, &*name, Mode::RWXU).unwrap();
        at = openat(
            &at,
            &*name,
            OFlags::DIRECTORY | OFlags::RDONLY,
            Mode::empty(),
        )
        .unwrap();
    }
    drop(at);
    let tree = back_up(folder.path()).await;
    assert_eq!(
        tree.len(),
        3 * levels + folder.path().components().count() - 1
    );
    let mut path = folder.path().to_owned();
    for level in 0..levels {
        assert_eq!(
            tree[&path.join("a-before")].bytes(),
            format!("1 {level}").as_bytes()
        );
        assert_eq!(
            tree[&path.join("z-after")].bytes(),
            format!("2 {level}").as_bytes()
        );
        path.push(&name);
    }
    // The standard library's own removal handles it; see that it did not follow us anywhere.
    assert!(rustix::fs::statat(CWD, folder.path(), AtFlags::empty()).is_ok());
}

#[tokio::test]
async fn a_hundred_thousand_files_in_a_folder() {
    // In memory: the disk's journal is not what is tested.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    for n in 0..100_000 {
        File::create(folder.path().join(format!("{n}"))).unwrap();
    }
    let sink = MapSink::new();
    let result = run(options([folder.path()]), &sink).await.unwrap();
    assert_eq!((result.files, result.problems_count), (100_000, 0));
    assert_eq!(
        sink.tree(&result.root)
            .keys()
            .filter(|p| p.starts_with(folder.path()))
            .count(),
        100_001
    );

    File::create(folder.path().join("one more")).unwrap();
    let _ = run(options([folder.path()]), &sink).await.unwrap();
    let fresh = sink.fresh.lock().unwrap().len();
    println!("one name more: {fresh} new nodes");
    let ancestors = folder.path().components().count() + 1;
    assert!(fresh <= 4 + ancestors, "{fresh} nodes are new");
}

#[tokio::test]
async fn an_empty_folder_and_an_empty_top() {
    let folder = tempfile::tempdir().unwrap();
    let tree = back_up(folder.path()).await;
    assert_eq!(tree[folder.path()].entry.directory, None);
}
