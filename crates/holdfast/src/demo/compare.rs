//! Compares a restored tree with what the original was: every path, every attribute, every byte.
//!
//! What a snapshot does not decide on is left aside: security labels of the machine, sockets. An ordinary user cannot
//! give files away or make devices; what that takes away is counted as forbidden and not as a difference.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_agent::restore::shown;
use rustix::fs::FileType;

use super::fingerprint::{Facts, Fingerprint};

/// Differences that are kept; the count goes on.
const KEPT_MAX: usize = 50;

/// The extended attributes that a snapshot decides on begin so.
const OURS: [&[u8]; 4] = [
    b"user.",
    b"trusted.",
    b"security.capability",
    b"system.posix_acl_",
];

/// Paths of an original that cannot be compared.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// They changed while they were backed up: each by itself.
    pub(super) moved: BTreeSet<Vec<u8>>,
    /// They could not be read: with everything below.
    pub(super) unread: BTreeSet<Vec<u8>>,
}

impl Aside {
    fn holds(&self, path: &[u8]) -> bool {
        let above = |n: usize| self.unread.contains(&path[..n]);
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        self.moved.contains(path)
            || self.unread.contains(path)
            || above(0)
            || slashes.map(|(n, _)| n).any(above)
    }

    /// Whether a path that only the copy has may have come and gone in a folder that changed.
    fn may_have_been(&self, path: &[u8]) -> bool {
        let folder = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.holds(path) || self.moved.contains(&path[..folder])
    }
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Paths that were compared.
    pub(super) paths: u64,
    /// Bytes of content that were, holes left out.
    pub(super) bytes: u64,
    /// Bytes of holes.
    pub(super) hole_bytes: u64,
    /// Further names of hard-linked files.
    pub(super) links: u64,
    /// Extended attributes, ACLs among them.
    pub(super) xattrs: u64,
    /// Paths that were left aside because they changed while they were backed up, or could not be read.
    pub(super) left_aside: u64,
    /// What the kernel forbids an ordinary user to restore: how often.
    pub(super) forbidden: BTreeMap<&'static str, u64>,
    /// The first differences, in words.
    pub(super) differences: Vec<String>,
    /// All of them.
    pub(super) differences_count: u64,
}

impl Comparison {
    /// Adds what differs between an original and its copy. `aside` are paths of the original that are not compared.
    pub(super) fn add(
        &mut self,
        label: &str,
        original: &Fingerprint,
        copy: &Fingerprint,
        aside: &Aside,
    ) {
        for (path, wanted) in &original.facts {
            if aside.holds(path) {
                self.left_aside += 1;
                continue;
            }
            if wanted.kind == FileType::Socket {
                continue;
            }
            let at = |what: String| format!("{}: {what}", name(label, path));
            match copy.facts.get(path) {
                Some(found) => {
                    for what in self.pair(wanted, found, aside) {
                        self.differs(at(what));
                    }
                }
                None if is_device(wanted) && !is_root() => {
                    self.forbid("device nodes, which only root can make")
                }
                None => self.differs(at(format!("{} is missing", kind(wanted)))),
            }
        }
        for (path, found) in &copy.facts {
            if !original.facts.contains_key(path) && !aside.may_have_been(path) {
                self.differs(format!(
                    "{}: {} is there that was not backed up",
                    name(label, path),
                    kind(found)
                ));
            }
        }
        for (path, why) in &copy.unread {
            self.differs(format!("{}: it cannot be read: {why}", name(label, path)));
        }
    }

    fn differs(&mut self, what: String) {
        self.differences_count += 1;
        if self.differences.len() < KEPT_MAX {
            self.differences.push(what);
        }
    }

    fn forbid(&mut self, what: &'static str) {
        *self.forbidden.entry(what).or_default() += 1;
    }

    /// What differs between two that have the same path.
    fn pair(&mut self, wanted: &Facts, found: &Facts, aside: &Aside) -> Vec<String> {
        self.paths += 1;
        self.links += u64::from(wanted.link.is_some());
        if wanted.kind != found.kind {
            return vec![format!("was {}, is {}", kind(wanted), kind(found))];
        }
        let mut differ = Vec::new();
        let given_away = wanted.owner != found.owner && !is_root();
        if given_away {
            self.forbid("owners other than oneself, which only root can set");
        } else if wanted.owner != found.owner {
            let (was, is) = (wanted.owner, found.owner);
            differ.push(format!(
                "owner was {}:{}, is {}:{}",
                was.0, was.1, is.0, is.1
            ));
        }
        // Set-id bits are left off where the owner is another: they would give away that owner's rights.
        let kept_bits = if given_away { 0o1777 } else { 0o7777 };
        if wanted.kind != FileType::Symlink && (wanted.mode ^ found.mode) & kept_bits != 0 {
            differ.push(format!(
                "mode was {:04o}, is {:04o}",
                wanted.mode, found.mode
            ));
        }
        if wanted.mtime != found.mtime {
            let show = |(seconds, nanos): (i64, u32)| format!("{seconds}.{nanos:09}");
            let (was, is) = (show(wanted.mtime), show(found.mtime));
            differ.push(format!("time of modification was {was}, is {is}"));
        }
        if wanted.device != found.device {
            differ.push("it is another device".into());
        }
        if wanted.target != found.target {
            differ.push("the symlink points elsewhere".into());
        }
        let known = wanted.link.as_ref().is_none_or(|link| !aside.holds(link));
        if known && wanted.link != found.link {
            differ.push(match (&wanted.link, &found.link) {
                (Some(first), None) => format!("is no hard link of {} any more", shown(first)),
                _ => "is a hard link of something else".into(),
            });
        }
        self.compare_xattrs(wanted, found, &mut differ);
        self.compare_content(wanted, found, &mut differ);
        differ
    }

    fn compare_xattrs(&mut self, wanted: &Facts, found: &Facts, differ: &mut Vec<String>) {
        let ours = |name: &&Vec<u8>| OURS.iter().any(|start| name.starts_with(start));
        for name in wanted.xattrs.keys().filter(ours) {
            let same = wanted.xattrs.get(name) == found.xattrs.get(name);
            let needs_root = name.starts_with(b"trusted.") || name.starts_with(b"security.");
            match (same, needs_root && !is_root()) {
                (true, _) => self.xattrs += 1,
                (false, true) => self.forbid("extended attributes that only root can set"),
                (false, false) => differ.push(format!("attribute {} differs", shown(name))),
            }
        }
        let new = |name: &&Vec<u8>| !wanted.xattrs.contains_key(*name);
        for name in found.xattrs.keys().filter(ours).filter(new) {
            differ.push(format!("has an attribute {} that it had not", shown(name)));
        }
    }

    fn compare_content(&mut self, wanted: &Facts, found: &Facts, differ: &mut Vec<String>) {
        if wanted.size != found.size {
            differ.push(format!("size was {}, is {}", wanted.size, found.size));
            return;
        }
        let (Some(one), Some(other)) = (&wanted.content, &found.content) else {
            return;
        };
        if one.hash != other.hash {
            differ.push("its content differs".into());
        }
        let block = wanted.block.max(found.block);
        if let Some((from, to)) = one.lost_hole(other, wanted.size, block) {
            differ.push(format!("the hole from byte {from} to {to} takes space now"));
        }
        if wanted.link.is_none() {
            self.bytes += one.data_bytes();
            self.hole_bytes += wanted.size.saturating_sub(one.data_bytes());
        }
    }
}

/// Whether the kernel lets this process do everything.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_device(facts: &Facts) -> bool {
    matches!(
        facts.kind,
        FileType::BlockDevice | FileType::CharacterDevice
    )
}

fn name(label: &str, path: &[u8]) -> String {
    match path.is_empty() {
        true => label.into(),
        false => format!("{label}/{}", shown(path)),
    }
}

fn kind(facts: &Facts) -> &'static str {
    match facts.kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink",
        FileType::Fifo => "a fifo",
        FileType::BlockDevice => "a block device",
        FileType::CharacterDevice => "a character device",
        FileType::Socket => "a socket",
        _ => "something unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, UNIX_EPOCH};

    use tokio_util::sync::CancellationToken;

    use super::super::tree::{Maker, Scale};
    use super::*;

    const TINY: Scale = Scale {
        incompressible: 100_000,
        doomed: 100_000,
        pages: 8192 * 100,
        log: 10_000,
        twin: 10_000,
        small_files: 300,
    };

    fn make(top: &Path) {
        let cancel = CancellationToken::new();
        let done = Arc::new(AtomicU64::new(0));
        let maker = Maker::new(top.to_owned(), 1, cancel, done);
        maker.make(&TINY).unwrap();
    }

    fn take(top: &Path) -> Fingerprint {
        let cancel = CancellationToken::new();
        Fingerprint::take(top, &cancel, &AtomicU64::new(0)).unwrap()
    }

    /// Changes one thing at a time in a tree, and wants each to be found, by what is said of it.
    #[test]
    fn everything_that_differs_is_found() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let top = folder.path().join("tree");
        make(&top);
        let mut before = take(&top);
        let at = |name: &str| top.join(name);
        let open = |name: &str| File::options().write(true).open(at(name)).unwrap();
        let mut check = |found: &[&str], change: &dyn Fn()| {
            change();
            let after = take(&top);
            let mut comparison = Comparison::default();
            comparison.add("tree", &before, &after, &Aside::default());
            for words in found {
                let is_told = comparison
                    .differences
                    .iter()
                    .any(|told| told.contains(words));
                assert!(is_told, "{words}: {:?}", comparison.differences);
            }
            let least = found.len() as u64;
            assert!(comparison.differences_count >= least);
            assert_eq!(found.is_empty(), comparison.differences_count == 0);
            before = after;
        };
        check(&[], &|| ());
        check(&["twin: its content differs", "twin: time"], &|| {
            std::os::unix::fs::FileExt::write_all_at(&open("big/twin"), b"x", 5_000).unwrap();
        });
        check(&["incompressible: size was"], &|| {
            open("big/incompressible").set_len(99_999).unwrap();
        });
        check(&["times/one nanosecond: time of modification"], &|| {
            let time = UNIX_EPOCH + Duration::new(1_234_567_890, 2);
            open("times/one nanosecond").set_modified(time).unwrap();
        });
        check(&["modes/setgid: mode was 2755, is 0755"], &|| {
            fs::set_permissions(at("modes/setgid"), Permissions::from_mode(0o755)).unwrap();
        });
        check(&["attribute user.comment differs"], &|| {
            let flags = rustix::fs::XattrFlags::REPLACE;
            rustix::fs::setxattr(at("xattrs/file"), "user.comment", b"?", flags).unwrap();
        });
        check(&["an attribute user.new that it had not"], &|| {
            let flags = rustix::fs::XattrFlags::CREATE;
            rustix::fs::setxattr(at("empty/file"), "user.new", b"?", flags).unwrap();
        });
        check(&["attribute system.posix_acl_access differs"], &|| {
            rustix::fs::removexattr(at("acls/file"), "system.posix_acl_access").unwrap();
        });
        check(
            &["hard/two: is no hard link of", "links/hard: time"],
            &|| {
                fs::copy(at("links/hard/two"), at("links/hard/copy")).unwrap();
                fs::rename(at("links/hard/copy"), at("links/hard/two")).unwrap();
            },
        );
        check(&["dangling: the symlink points elsewhere"], &|| {
            fs::remove_file(at("links/to no text")).unwrap();
            symlink("else", at("links/to no text")).unwrap();
            fs::remove_file(at("links/dangling")).unwrap();
            symlink("else", at("links/dangling")).unwrap();
        });
        check(&["a hole and nothing else: the hole from byte 0"], &|| {
            let file = open("sparse/a hole and nothing else");
            let time = file.metadata().unwrap().modified().unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[0; 1 << 20], 500 << 20).unwrap();
            file.set_modified(time).unwrap();
        });
        check(&["empty/file: was a file, is a folder"], &|| {
            fs::remove_file(at("empty/file")).unwrap();
            fs::create_dir(at("empty/file")).unwrap();
        });
        check(&["deep/file: a file is missing"], &|| {
            fs::remove_file(at("deep/file")).unwrap();
        });
        check(&["deep/more: a file is there that was not"], &|| {
            fs::write(at("deep/more"), "x").unwrap();
        });
        if is_root() {
            check(&["owner was 4294967294:4294967294, is 1:1"], &|| {
                std::os::unix::fs::lchown(at("owners/high"), Some(1), Some(1)).unwrap();
            });
        }
    }

    #[test]
    fn what_moved_or_could_not_be_read_is_left_aside() {
        let aside = Aside {
            moved: [b"a".to_vec()].into(),
            unread: [b"b/c".to_vec()].into(),
        };
        let held = |path: &str| aside.holds(path.as_bytes());
        assert!(held("a") && !held("a/x") && !held("ab"));
        assert!(held("b/c") && held("b/c/d/e") && !held("b/cc") && !held("b"));
        assert!(aside.may_have_been(b"a/new") && !aside.may_have_been(b"z/new"));
    }
}
