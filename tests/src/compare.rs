//! Two file trees, compared by every attribute that a restore has to bring back: kinds, modes, owners, times to the
//! nanosecond, contents, holes, link targets, hard links, devices, extended attributes and ACLs.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};

/// Contents are hashed in blocks of this many bytes; those of zeroes alone are left out, hole or not.
const BLOCK: usize = 4096;

/// How many differences are told.
const TOLD_MAX: usize = 20;

/// What a tree is like: one text for each path below its top; the top's own path is empty.
pub type Tree = BTreeMap<PathBuf, String>;

/// Describes a tree.
pub fn describe(top: &Path) -> Tree {
    let mut tree = Tree::new();
    describe_into(top, Path::new(""), &mut tree, &mut HashMap::new());
    tree
}

fn describe_into(
    top: &Path,
    below: &Path,
    tree: &mut Tree,
    links: &mut HashMap<(u64, u64), PathBuf>,
) {
    let path = match below.as_os_str().is_empty() {
        true => top.to_owned(),
        false => top.join(below),
    };
    let facts = fs::symlink_metadata(&path).unwrap();
    let mut text = format!(
        "mode {:o} owner {}:{} mtime {}.{:09}",
        facts.mode(),
        facts.uid(),
        facts.gid(),
        facts.mtime(),
        facts.mtime_nsec()
    );
    if facts.is_symlink() {
        text += &format!(" to {:?}", fs::read_link(&path).unwrap());
    }
    if facts.rdev() != 0 {
        text += &format!(" device {}", facts.rdev());
    }
    if !facts.is_dir() && facts.nlink() > 1 {
        let first = links.entry((facts.dev(), facts.ino()));
        let first = first.or_insert_with(|| below.to_owned());
        text += &format!(" one of {} with {first:?}", facts.nlink());
    }
    if facts.is_file() {
        text += &format!(
            " size {} content {}",
            facts.size(),
            content(&path, facts.size())
        );
    }
    text += &attributes(&path);
    tree.insert(below.to_owned(), text);
    if facts.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            describe_into(top, &below.join(name), tree, links);
        }
    }
}

/// A hash of what a file holds, and whether a large part of it is holes.
fn content(path: &Path, size: u64) -> String {
    let file = File::open(path).unwrap();
    let mut hash = blake3::Hasher::new();
    let (mut at, mut data_bytes) = (0, 0);
    while at < size {
        let Ok(start) = seek(&file, SeekFrom::Data(at)) else {
            break;
        };
        let end = seek(&file, SeekFrom::Hole(start)).unwrap().min(size);
        data_bytes += end - start;
        let first = start - start % BLOCK as u64;
        for offset in (first..end).step_by(BLOCK) {
            let mut block = [0; BLOCK];
            let len = (size - offset).min(BLOCK as u64) as usize;
            file.read_exact_at(&mut block[..len], offset).unwrap();
            if block.iter().any(|&byte| byte != 0) {
                hash.update(&offset.to_le_bytes());
                hash.update(&block);
            }
        }
        at = end;
    }
    let is_sparse = size > 1 << 20 && data_bytes < size / 2;
    let holes = if is_sparse { " in holes mostly" } else { "" };
    format!("{}{holes}", &hash.finalize().to_hex()[..16])
}

fn attributes(path: &Path) -> String {
    let mut all: Vec<String> = xattr::list(path)
        .unwrap()
        .map(|name| {
            let value = xattr::get(path, &name).unwrap().unwrap();
            let name = name.as_bytes().escape_ascii();
            format!(" {name}={}", value.escape_ascii())
        })
        .collect();
    all.sort();
    all.concat()
}

/// Requires that a tree is as it was described.
///
/// # Panics
/// With the first differences, one a line.
#[track_caller]
pub fn assert_as_described(want: &Tree, got: &Path) {
    let got = describe(got);
    let mut told = Vec::new();
    for (path, line) in want {
        match got.get(path) {
            Some(other) if other == line => {}
            Some(other) => told.push(format!("{path:?}\n  want {line}\n  got  {other}")),
            None => told.push(format!("{path:?} is missing: {line}")),
        }
    }
    for path in got.keys().filter(|path| !want.contains_key(*path)) {
        told.push(format!("{path:?} is too much"));
    }
    let count = told.len();
    told.truncate(TOLD_MAX);
    assert!(count == 0, "{count} differences\n{}", told.join("\n"));
}

/// Requires that two trees are alike.
#[track_caller]
pub fn assert_same(want: &Path, got: &Path) {
    assert_as_described(&describe(want), got);
}

/// Requires that what was restored to `target` is what lies at `path`.
#[track_caller]
pub fn assert_same_below(target: &Path, path: &Path) {
    assert_same(path, &crate::tree::restored(target, path));
}

#[cfg(test)]
mod tests {
    use super::{assert_same, describe};
    use crate::tree;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_is_the_same_and_each_change_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        tree::awkward(&one, 1);
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&one, &two])
            .status();
        assert!(copied.unwrap().success());
        // cp keeps everything but the top folder's own name, which nothing here depends on.
        assert_same(&one, &two);
        let before = describe(&two);
        let changed = |name: &str| {
            let now = describe(&two);
            let differing: Vec<_> = now
                .iter()
                .filter(|(path, line)| before.get(*path) != Some(*line))
                .map(|(path, _)| path.display().to_string())
                .collect();
            assert!(differing.iter().any(|path| path == name), "{differing:?}");
        };
        fs::set_permissions(two.join("one"), PermissionsExt::from_mode(0o600)).unwrap();
        changed("one");
        xattr::set(two.join("page"), "user.x", b"y").unwrap();
        changed("page");
        fs::remove_file(two.join("links/hard-one")).unwrap();
        changed("small");
        let mut bytes = fs::read(two.join("random")).unwrap();
        bytes[100_000] ^= 1;
        fs::write(two.join("random"), bytes).unwrap();
        changed("random");
    }
}
