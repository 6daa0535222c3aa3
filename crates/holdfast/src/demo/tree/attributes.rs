//! Attributes: modes, owners, times to the nanosecond, extended attributes, ACLs, file capabilities.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, lsetxattr, utimensat};

use super::{Attempt, Maker, attempt};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

pub(super) fn make(maker: &mut Maker) -> io::Result<()> {
    modes(maker)?;
    owners(maker)?;
    xattrs(maker)?;
    acls(maker)?;
    times(maker)
}

fn modes(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("modes")?;
    let kinds = [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("both and sticky", 0o7711),
        ("read only", 0o444),
        ("write only, for the group", 0o620),
    ];
    for (name, mode) in kinds {
        let path = folder.join(name);
        maker.file(&path, name.as_bytes())?;
        set_mode(&path, mode)?;
    }
    if crate::demo::compare::is_root() {
        maker.file(&folder.join("nobody"), b"without any right\n")?;
        set_mode(&folder.join("nobody"), 0)?;
    }
    for (name, mode) in [("sticky", 0o1777), ("setgid", 0o2775)] {
        let path = maker.folder(&format!("modes/{name} folder"))?;
        set_mode(&path, mode)?;
    }
    let closed = maker.folder("modes/read-only folder")?;
    maker.file(&closed.join("in it"), b"x")?;
    set_mode(&closed, 0o555)
}

fn owners(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("owners")?;
    let kinds = [
        ("known to nobody", 123_456, 654_321),
        ("high", 4_294_967_294, 4_294_967_294),
        ("of another, setuid", 65_534, 65_534),
    ];
    let own = rustix::process::geteuid().as_raw();
    let mut given: Attempt = Ok(());
    for (name, user, group) in kinds {
        let path = folder.join(name);
        maker.file(&path, name.as_bytes())?;
        given = given.and(attempt(lchown(&path, Some(user), Some(group))));
        set_mode(&path, 0o4750)?;
    }
    let link = folder.join("a symlink of another");
    std::os::unix::fs::symlink("anywhere", &link)?;
    given = given.and(attempt(lchown(&link, Some(65_534), Some(65_534))));
    let below = maker.folder("owners/folder of another")?;
    given = given.and(attempt(lchown(&below, Some(65_534), Some(65_534))));
    maker.try_to(&format!("owners other than user {own}"), given)
}

fn xattrs(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("xattrs")?;
    let large = maker.noise(2000);
    let file = folder.join("file");
    maker.file(&file, b"with attributes\n")?;
    let below = maker.folder("xattrs/folder")?;
    let mut set: Attempt = Ok(());
    for path in [&file, &below] {
        let values: [(&str, &[u8]); 4] = [
            ("user.comment", b"a plain one"),
            ("user.empty", b""),
            ("user.binary", b"\x00\xff\n"),
            ("user.large", &large),
        ];
        for (name, value) in values {
            set = set.and(lsetxattr(path, name, value, XattrFlags::empty()));
        }
    }
    maker.try_to("extended attributes", set)?;
    // Only root may set these; the second is a file capability, cap_net_raw=ep, in its 20 bytes.
    let mut capability = vec![0; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    let kinds = [
        ("trusted.note", b"for root only".to_vec()),
        ("security.capability", capability),
    ];
    for (name, value) in kinds {
        let set = lsetxattr(&file, name, &value, XattrFlags::empty());
        maker.try_to(&format!("the extended attribute {name}"), set)?;
    }
    let link = folder.join("symlink");
    std::os::unix::fs::symlink("file", &link)?;
    let set = lsetxattr(&link, "trusted.note", b"on a symlink", XattrFlags::empty());
    maker.try_to("an extended attribute of a symlink", set)
}

fn acls(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("acls")?;
    let file = folder.join("file");
    maker.file(&file, b"user 1000 may read it\n")?;
    set_mode(&file, 0o640)?;
    let set = lsetxattr(&file, ACCESS, &acl(6, 4, 4, 0), XattrFlags::empty());
    maker.try_to("POSIX ACLs", set)?;
    let below = maker.folder("acls/folder that hands its ACL on")?;
    let set = lsetxattr(&below, DEFAULT, &acl(7, 5, 5, 0), XattrFlags::empty());
    maker.try_to("default ACLs", set)?;
    maker.file(&below.join("made in it"), b"x")?;
    fs::create_dir(below.join("folder made in it"))
}

/// An ACL as the kernel writes it: owner, user 1000, group and others, with a mask.
fn acl(owner: u8, user_1000: u8, group: u8, others: u8) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries = [
        (0x01, owner, NOBODY),
        (0x02, user_1000, 1000),
        (0x04, group, NOBODY),
        (0x10, user_1000 | group, NOBODY),
        (0x20, others, NOBODY),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, whom) in entries {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&u16::to_le_bytes(rights.into()));
        bytes.extend_from_slice(&whom.to_le_bytes());
    }
    bytes
}

fn times(maker: &mut Maker) -> io::Result<()> {
    let folder = maker.folder("times")?;
    let moments = [
        ("one nanosecond", 1_234_567_890, 1),
        ("the last nanosecond", 1_234_567_890, 999_999_999),
        ("the beginning", 0, 0),
        ("before 1970", -1_000_000_000, 500_000_000),
        ("far ahead", 4_102_444_799, 123_456_789),
    ];
    for (name, seconds, nanos) in moments {
        let path = folder.join(name);
        maker.file(&path, name.as_bytes())?;
        set_time(maker, &path, seconds, nanos)?;
    }
    let link = folder.join("a symlink with a time");
    std::os::unix::fs::symlink("anywhere", &link)?;
    set_time(maker, &link, 1_111_111_111, 111_111_111)?;
    let below = maker.folder("times/a folder with a time")?;
    maker.file(&below.join("younger than its folder"), b"x")?;
    set_time(maker, &below, 1_000_000_001, 987_654_321)?;
    set_time(maker, &folder, 1_700_000_000, 123_456_789)
}

fn set_time(maker: &mut Maker, path: &Path, seconds: i64, nanos: i64) -> io::Result<()> {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let set = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    maker.try_to(&format!("the time {seconds}.{nanos:09}"), set)
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
