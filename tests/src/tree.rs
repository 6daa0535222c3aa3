//! File trees with every awkward kind of file, and ways to change them. All from a seed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, mknodat, utimensat};

use crate::noise::Noise;

/// How deep the deepest folder is.
const DEPTH: usize = 30;

/// Makes a tree with every awkward kind of file: some megabytes, a few hundred entries. Needs root for owners and
/// devices.
pub fn awkward(top: &Path, seed: u64) {
    let noise = &mut Noise::new(seed);
    fs::create_dir_all(top).unwrap();
    plain(top, noise);
    names(top);
    links(top);
    attributes(top);
    special(top);
    sparse(&top.join("sparse"), 256 << 20);
    deep(&top.join("deep"), DEPTH);
    times(top);
}

/// A small tree of plain files: fast to back up, still of many chunks.
pub fn plain_only(top: &Path, seed: u64) {
    fs::create_dir_all(top).unwrap();
    plain(top, &mut Noise::new(seed));
}

/// A tree that is backed up in a moment: a few dozen small files and one of a mebibyte.
pub fn small(top: &Path, seed: u64) {
    let noise = &mut Noise::new(seed);
    for number in 0..30 {
        let len = noise.below(9000) as usize;
        write(
            &top.join(format!("{}/{number}", number % 4)),
            &noise.text(len),
        );
    }
    write(&top.join("large"), &noise.bytes(1 << 20));
}

/// Changes such a tree: some files are new, one goes, a part of the large one is other bytes.
pub fn change_small(top: &Path, noise: &mut Noise) {
    for _ in 0..3 {
        let path = top.join(format!("{}/{}", noise.below(4), noise.below(60)));
        let len = noise.below(40_000) as usize;
        write(&path, &noise.bytes(len));
    }
    let _ = fs::remove_file(top.join(format!("{}/{}", noise.below(4), noise.below(60))));
    let large = File::options().write(true).open(top.join("large")).unwrap();
    let patch = noise.bytes(100_000);
    large.write_all_at(&patch, noise.below(900_000)).unwrap();
}

fn plain(top: &Path, noise: &mut Noise) {
    for (name, len) in [
        ("empty", 0),
        ("one", 1),
        ("small", 97),
        ("page", 4096),
        ("edge", 65_536),
        ("above", 65_537),
        ("random", 3 << 20),
    ] {
        write(&top.join(name), &noise.bytes(len));
    }
    write(&top.join("text"), &noise.text(2 << 20));
    let twin = fs::read(top.join("random")).unwrap();
    write(&top.join("twin-of-random"), &twin);
    for folder in 0..8 {
        for file in 0..25 {
            let len = noise.below(6000) as usize;
            let path = top.join(format!("many/{folder}/{file}.txt"));
            write(&path, &noise.text(len));
        }
    }
    fs::create_dir(top.join("nothing")).unwrap();
}

/// Names with a line break, a leading dash, bytes that are no UTF-8, every length up to the longest.
fn names(top: &Path) {
    let folder = top.join("names");
    for name in [
        &b"line\nbreak"[..],
        b"-dash",
        b"no \xff\xfe utf-8",
        b"*?[x]",
        "\u{fc}ml\u{e4}ut".as_bytes(),
        b" blank ",
        b"back\\slash",
        b"tab\tquote\"'",
        &[b'x'; 255],
    ] {
        write(&folder.join(OsStr::from_bytes(name)), name);
    }
    let inner = folder.join(OsStr::from_bytes(b"folder\n\xff"));
    write(&inner.join("inside"), b"inside");
}

fn links(top: &Path) {
    let folder = top.join("links");
    fs::create_dir(&folder).unwrap();
    symlink("../random", folder.join("to-file")).unwrap();
    symlink("/nonexistent/\u{e9}", folder.join("dangling")).unwrap();
    symlink(".", folder.join("loop")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\n"), folder.join("odd")).unwrap();
    lchown(folder.join("odd"), Some(1234), Some(4321)).unwrap();
    for name in ["hard-one", "hard-two"] {
        fs::hard_link(top.join("small"), folder.join(name)).unwrap();
    }
}

fn attributes(top: &Path) {
    let folder = top.join("attributes");
    for (name, mode) in [
        ("setuid", 0o4755),
        ("none", 0o000),
        ("private", 0o600),
        ("group", 0o2771),
    ] {
        let path = folder.join(name);
        write(&path, name.as_bytes());
        chown(&path, Some(1000), Some(2000)).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let path = folder.join("xattrs");
    write(&path, b"x");
    xattr::set(&path, "user.text", b"a value").unwrap();
    xattr::set(&path, "user.empty", b"").unwrap();
    xattr::set(&path, "user.binary", &[0, 255, 10, 13]).unwrap();
    xattr::set(&path, "trusted.kept", b"by root").unwrap();
    let path = folder.join("acl");
    write(&path, b"x");
    run("setfacl", &["-m", "u:1000:rw,g:2000:r"], &path);
    let path = folder.join("acl-default");
    fs::create_dir(&path).unwrap();
    run("setfacl", &["-d", "-m", "u:1000:rwx"], &path);
    let path = folder.join("sticky");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o1777)).unwrap();
}

fn run(program: &str, words: &[&str], path: &Path) {
    let status = Command::new(program).args(words).arg(path).status();
    assert!(status.unwrap().success(), "{program}");
}

fn special(top: &Path) {
    let folder = top.join("special");
    fs::create_dir(&folder).unwrap();
    let mode = Mode::from_raw_mode(0o640);
    let make = |name: &str, kind, device| mknodat(CWD, folder.join(name), kind, mode, device);
    make("fifo", FileType::Fifo, 0).unwrap();
    let null = rustix::fs::makedev(1, 3);
    make("null", FileType::CharacterDevice, null).unwrap();
    let disk = rustix::fs::makedev(7, 99);
    make("disk", FileType::BlockDevice, disk).unwrap();
}

/// A file of `len` bytes with data at the start, in the middle, and a hole at the end.
pub fn sparse(path: &Path, len: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.write_all_at(b"the start", 0).unwrap();
    let middle = (len / 2) & !0xffff;
    file.write_all_at(&[7; 65_536], middle).unwrap();
    file.set_len(len).unwrap();
}

/// Folders within folders, with a file in the last.
pub fn deep(top: &Path, depth: usize) {
    let mut path = top.to_owned();
    for level in 0..depth {
        path.push(format!("d{level}"));
    }
    write(&path.join("bottom"), b"deep down");
}

/// Gives everything a time of its own, to the nanosecond, from the leaves up.
fn times(path: &Path) {
    let is_folder = fs::symlink_metadata(path).unwrap().is_dir();
    if is_folder {
        for entry in fs::read_dir(path).unwrap() {
            times(&entry.unwrap().path());
        }
    }
    let mark = blake3::hash(path.file_name().unwrap().as_bytes());
    let mark: [u8; 4] = mark.as_bytes()[..4].try_into().unwrap();
    let number = u32::from_le_bytes(mark);
    let time = Timespec {
        tv_sec: i64::from(number) / 4,
        tv_nsec: (number % 1_000_000_000).into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes a tree as a day's work does: a file grows, one is rewritten, one is replaced, some go, some come, a mode
/// and an attribute change, a name moves.
pub fn change(top: &Path, seed: u64) {
    let noise = &mut Noise::new(seed ^ 0xc4a6e);
    let random = top.join("random");
    let mut bytes = fs::read(&random).unwrap();
    let at = noise.below(bytes.len() as u64 - 5000) as usize;
    let patch = noise.bytes(4096);
    bytes[at..at + 4096].copy_from_slice(&patch);
    bytes.extend_from_slice(&noise.bytes(100_000));
    fs::write(&random, bytes).unwrap();
    write(&top.join("page"), &noise.bytes(5000));
    let folder = noise.below(8);
    fs::remove_dir_all(top.join(format!("many/{folder}"))).unwrap();
    for file in 0..10 {
        let path = top.join(format!("new-{seed}/{file}"));
        let len = noise.below(9000) as usize;
        write(&path, &noise.bytes(len));
    }
    fs::create_dir_all(top.join(format!("many/{folder}"))).unwrap();
    fs::set_permissions(top.join("above"), PermissionsExt::from_mode(0o640)).unwrap();
    xattr::set(top.join("edge"), "user.changed", &seed.to_le_bytes()).unwrap();
    fs::rename(top.join("text"), top.join("text.moved")).unwrap();
    fs::rename(top.join("text.moved"), top.join("text")).unwrap();
}

/// Writes a file, and the folders above it.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A file below a folder whose path below it has this in it.
///
/// # Panics
/// If there is none.
pub fn any_file(folder: &Path, within: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .strip_prefix(folder)
                .unwrap()
                .to_str()
                .is_some_and(|path| path.contains(within))
            {
                return path;
            }
        }
    }
    panic!("no file like {within} in {}", folder.display());
}

/// So many small files in one folder. Their times are long gone, so that none counts as just changed.
pub fn crowd(folder: &Path, count: usize) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let path = folder.join(format!("{number:06}"));
        fs::write(&path, number.to_string()).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(1_500_000_000 + number as u64);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }
}

/// Where a restore to `target` puts what was backed up at `path`.
pub fn restored(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}
