//! What a tree holds, compared after a restore, so that a tool that restores nothing does not win. Times, owners and
//! attributes are the system tests' business: the peers differ in them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What is compared of a file: its mode, and what it holds.
type Tree = BTreeMap<PathBuf, (u32, String)>;

/// Compares a restored tree with its source.
///
/// # Errors
/// If they differ, with the first difference.
pub(crate) fn compare(source: &Path, restored: &Path) -> Result<(), String> {
    let (want, got) = (describe(source)?, describe(restored)?);
    if let Some((path, _)) = want
        .iter()
        .find(|(path, what)| got.get(*path) != Some(what))
    {
        return Err(format!("restored wrongly: {}", path.display()));
    }
    match got.keys().find(|path| !want.contains_key(*path)) {
        Some(path) => Err(format!(
            "restored though it was not there: {}",
            path.display()
        )),
        None => Ok(()),
    }
}

fn describe(top: &Path) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut folders = vec![top.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            let holds = match facts.file_type() {
                kind if kind.is_dir() => String::new(),
                kind if kind.is_file() => hash(&path),
                _ => format!("{:?}", fs::read_link(&path)),
            };
            let below = path.strip_prefix(top).unwrap().to_owned();
            tree.insert(below, (facts.permissions().mode(), holds));
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(tree)
}

fn hash(path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut File::open(path).unwrap(), &mut hasher).unwrap();
    hasher.finalize().to_hex().to_string()
}
