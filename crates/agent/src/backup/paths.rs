//! The paths that were given to back up, as a tree of names.
//!
//! Made absolute by the current folder and by text alone: symlinks are not resolved, `..` drops the name before it.
//! Paths that lie inside others are merged into them (and are taken even where a pattern or another file system
//! would keep the walk out).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// A given path may have this many names. (What lies below it may be as deep as it likes.)
const COMPONENTS_MAX: usize = 1000;

/// A name on the way to a given path, or such a path itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Given {
    /// Whether this path was given: everything below it is backed up.
    pub(crate) whole: bool,
    /// Names below it that lead to given paths.
    pub(crate) below: BTreeMap<Vec<u8>, Given>,
}

impl Given {
    /// Merges paths. `folder` is what relative ones are relative to.
    pub(crate) fn new(folder: &Path, paths: &[PathBuf]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::Invalid {
                what: "an empty list of paths".into(),
                why: "name at least one file or folder to back up".into(),
            });
        }
        let mut root = Self::default();
        for path in paths {
            let mut at = &mut root;
            for name in names(folder, path)? {
                at = at.below.entry(name).or_default();
            }
            at.whole = true;
        }
        Ok(root)
    }

    /// The given paths, absolute, in order; those inside others too.
    pub(crate) fn paths(&self) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        self.collect(b"", &mut found);
        found
    }

    fn collect(&self, path: &[u8], found: &mut Vec<Vec<u8>>) {
        if self.whole {
            found.push(if path.is_empty() {
                b"/".to_vec()
            } else {
                path.to_vec()
            });
        }
        for (name, below) in &self.below {
            below.collect(&[path, b"/", name].concat(), found);
        }
    }
}

/// The names from the root to `path`.
fn names(folder: &Path, path: &Path) -> Result<Vec<Vec<u8>>> {
    let invalid = |why: &str| Error::Invalid {
        what: format!("the path {path:?}"),
        why: why.into(),
    };
    if path.as_os_str().is_empty() {
        return Err(invalid("it is empty; use . for the current folder"));
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(invalid("it holds a zero byte"));
    }
    if folder.join(path).components().count() > COMPONENTS_MAX {
        return Err(invalid(
            "it has more than 1000 names; give a folder further up",
        ));
    }
    let mut names: Vec<Vec<u8>> = Vec::new();
    for component in folder.join(path).components() {
        match component {
            Component::Normal(name) => names.push(name.as_bytes().to_vec()),
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str], expected: &[&str]) {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let given = Given::new(Path::new("/home/me"), &paths).unwrap();
        let found: Vec<String> = given
            .paths()
            .into_iter()
            .map(|path| String::from_utf8(path).unwrap())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_become_absolute_and_sorted() {
        check(
            &["x", "/srv/db", "../you/./a//b/"],
            &["/home/me/x", "/home/you/a/b", "/srv/db"],
        );
        check(&["."], &["/home/me"]);
        check(&["/", "/a"], &["/", "/a"]);
        check(&["/../.."], &["/"]);
        check(&["/a", "/a/", "/a/b", "/a.b"], &["/a", "/a/b", "/a.b"]);
    }

    #[test]
    fn nothing_is_refused() {
        assert!(Given::new(Path::new("/"), &[]).is_err());
        assert!(Given::new(Path::new("/"), &["".into()]).is_err());
    }
}
