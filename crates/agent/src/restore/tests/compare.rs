//! Describes a real directory so that two can be compared: every attribute that a restore is to bring back.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One line for each entry below `top`, the top itself left out.
pub(super) fn describe(top: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut links = HashMap::new();
    describe_into(top, top, &mut all, &mut links);
    all
}

fn describe_into(
    top: &Path,
    directory: &Path,
    all: &mut BTreeMap<PathBuf, String>,
    links: &mut HashMap<u64, PathBuf>,
) {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let facts = std::fs::symlink_metadata(&path).unwrap();
        let below = path.strip_prefix(top).unwrap().to_owned();
        let mut line = format!(
            "{:?} mode {:o} owner {}:{} mtime {}.{:09}",
            facts.file_type(),
            facts.mode(),
            facts.uid(),
            facts.gid(),
            facts.mtime(),
            facts.mtime_nsec(),
        );
        if facts.is_symlink() {
            line += &format!(" to {:?}", std::fs::read_link(&path).unwrap());
        }
        if facts.rdev() != 0 {
            line += &format!(" device {}", facts.rdev());
        }
        if !facts.is_dir() && facts.nlink() > 1 {
            let first = links.entry(facts.ino()).or_insert_with(|| below.clone());
            line += &format!(" linked {} first {first:?}", facts.nlink());
        }
        if facts.is_file() {
            line += &format!(
                " size {} content {}",
                facts.size(),
                content(&path, facts.size())
            );
        }
        let mut xattrs: Vec<_> = xattr::list(&path)
            .unwrap()
            .map(|name| {
                let value = xattr::get(&path, &name).unwrap().unwrap();
                format!(
                    " {:?}={}",
                    name.as_bytes().escape_ascii().to_string(),
                    value.escape_ascii()
                )
            })
            .collect();
        xattrs.sort();
        line += &xattrs.concat();
        all.insert(below, line);
        if facts.is_dir() {
            describe_into(top, &path, all, links);
        }
    }
}

/// A hash of the content and of where its holes are, hashing only data.
fn content(path: &Path, size: u64) -> String {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path).unwrap();
    let mut text = String::new();
    let mut at = 0;
    while at < size {
        let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) else {
            break;
        };
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data)).unwrap();
        let mut bytes = vec![0; (end.min(size) - data) as usize];
        file.read_exact_at(&mut bytes, data).unwrap();
        text += &format!("[{data}..{end} {}]", holdfast_format::Hash::of(&bytes));
        at = end;
    }
    text
}

/// Requires that two directories are alike.
#[track_caller]
pub(super) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (describe(left), describe(right));
    for (path, line) in &left {
        assert_eq!(Some(line), right.get(path), "{path:?}");
    }
    for path in right.keys() {
        assert!(left.contains_key(path), "only on the right: {path:?}");
    }
}
