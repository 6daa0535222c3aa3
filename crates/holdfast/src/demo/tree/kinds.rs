//! Kinds of files that are no plain files, and names that are no plain names.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat};

use super::{Maker, attempt};

/// Folders one in the other, with names this long: deeper than any path may be.
const DEEP: usize = 45;
const DEEP_NAME: usize = 120;

pub(super) fn make(maker: &mut Maker) -> io::Result<()> {
    links(maker)?;
    nodes(maker)?;
    names(maker)?;
    deep(maker)?;
    let empty = maker.folder("empty")?;
    fs::create_dir(empty.join("folder"))?;
    maker.file(&empty.join("file"), b"")
}

fn links(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("links")?;
    symlink("target", folder.join("to a file"))?;
    maker.file(&folder.join("target"), b"what the symlink points to\n")?;
    symlink("/etc/hostname", folder.join("to the outside"))?;
    symlink("no/such/thing", folder.join("dangling"))?;
    symlink(".", folder.join("to its own folder"))?;
    symlink("circle b", folder.join("circle a"))?;
    symlink("circle a", folder.join("circle b"))?;
    symlink(OsStr::from_bytes(b"\xff\n"), folder.join("to no text"))?;
    let long = symlink("t/".repeat(1000), folder.join("to far away"));
    maker.try_to("a symlink with a long target", attempt(long))?;

    let hard = maker.folder("links/hard")?;
    let shared = maker.noise(300_000);
    maker.file(&hard.join("one"), &shared)?;
    fs::hard_link(hard.join("one"), hard.join("two"))?;
    fs::hard_link(hard.join("one"), folder.join("one, from another folder"))?;
    maker.file(&hard.join("tiny"), b"tiny")?;
    fs::hard_link(hard.join("tiny"), hard.join("tiny too"))?;
    let of_symlink = fs::hard_link(folder.join("dangling"), hard.join("dangling too"));
    maker.try_to("a hard link of a symlink", attempt(of_symlink))
}

fn nodes(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("nodes")?;
    let mode = Mode::from_raw_mode(0o640);
    let fifo = mknodat(CWD, folder.join("fifo"), FileType::Fifo, mode, 0);
    maker.try_to("a fifo", fifo)?;
    let kinds = [
        ("null", FileType::CharacterDevice, makedev(1, 3)),
        ("disk", FileType::BlockDevice, makedev(7, 99)),
    ];
    for (name, kind, device) in kinds {
        let made = mknodat(CWD, folder.join(name), kind, mode, device);
        maker.try_to(&format!("a device node ({name})"), made)?;
    }
    Ok(())
}

fn names(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("names")?;
    let names: [&[u8]; 12] = [
        b"\xff\xfe no UTF-8",
        b"two\nlines",
        b" space before and after ",
        b"-rf",
        b"\x01\x1b[31mred\x1b[0m",
        b"*",
        b"'\"$HOME`date`\\",
        b"...",
        "Gr\u{f6}\u{df}e \u{1f5c4}".as_bytes(),
        // The same to the eye, other bytes: composed and decomposed.
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        &[b'n'; 255],
    ];
    for name in names {
        let path = folder.join(OsStr::from_bytes(name));
        let made = attempt(maker.file(&path, name));
        maker.try_to(&format!("the name {:?}", OsStr::from_bytes(name)), made)?;
    }
    let odd = folder.join(OsStr::from_bytes(b"folder \xf0\x28 no UTF-8"));
    let made = attempt(fs::create_dir(&odd).and_then(|()| maker.file(&odd.join("in it"), b"x")));
    maker.try_to("a folder whose name is no UTF-8", made)
}

fn deep(maker: &Maker) -> io::Result<()> {
    let top = maker.folder("deep")?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, &top, flags, Mode::empty())?;
    let name = "d".repeat(DEEP_NAME);
    for level in 0..DEEP {
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&at, "file", create, Mode::from_raw_mode(0o644))?;
        rustix::io::write(file, format!("level {level}\n").as_bytes())?;
        mkdirat(&at, &*name, Mode::from_raw_mode(0o755))?;
        at = openat(&at, &*name, flags, Mode::empty())?;
    }
    Ok(())
}
