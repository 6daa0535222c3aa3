//! The folder that the demo works in: removed at the end whatever happens, unless it is to be kept.
//!
//! State: the path. Nothing outside of it is ever made or changed.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};
use crate::output;

/// A few hundred megabytes have no place in memory, which is what `/tmp` often is.
const USUAL: &str = "/var/tmp";

/// See the module header.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder: the one that is to be kept, which must be new or empty, or one of a fresh name.
    pub(super) fn create(keep: Option<&Path>) -> Outcome<Self> {
        let Some(keep) = keep else {
            let usual = || match Path::new(USUAL).is_dir() {
                true => USUAL.into(),
                false => std::env::temp_dir(),
            };
            let place = std::env::var_os("TMPDIR").map_or_else(usual, PathBuf::from);
            let folder = tempfile::Builder::new()
                .prefix("holdfast-demo-")
                .tempdir_in(&place)
                .map_err(|error| {
                    Failure::with_advice(
                        format!("{}: {error}", place.display()),
                        "set TMPDIR to a folder that can be written, or give --keep DIR",
                    )
                })?;
            // Removed by `remove`, which tells when it cannot.
            let path = absolute(&folder.keep())?;
            return Ok(Self { path, keep: false });
        };
        let failed = |error: io::Error| Failure::file(keep, error);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(keep)
            .map_err(failed)?;
        if fs::read_dir(keep).map_err(failed)?.next().is_some() {
            return Err(Failure::usage(
                format!("{} is not empty", keep.display()),
                "name a new or empty folder with --keep",
            ));
        }
        Ok(Self {
            path: absolute(keep)?,
            keep: true,
        })
    }

    /// Where it is, without symlinks.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Something in it.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether it stays.
    pub(super) fn is_kept(&self) -> bool {
        self.keep
    }

    /// Requires room on its disk.
    pub(super) fn require_room(&self, bytes: u64) -> Outcome<()> {
        let found = rustix::fs::statvfs(&self.path);
        let stat = found.map_err(|errno| Failure::file(&self.path, io::Error::from(errno)))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        Err(Failure::with_advice(
            format!(
                "the demo needs about {} at {}, where {} are free",
                output::bytes(bytes),
                self.path.display(),
                output::bytes(free)
            ),
            "set TMPDIR to a folder on a larger disk, or give --keep DIR there",
        ))
    }

    /// Removes it, unless it is to be kept.
    pub(super) fn remove(self) -> Outcome<()> {
        if self.keep {
            return Ok(());
        }
        remove_tree(&self.path).map_err(|error| {
            Failure::with_advice(
                format!("{} could not be removed: {error}", self.path.display()),
                "remove it by hand",
            )
        })
    }
}

/// Removes a tree, even one with folders that even their owner may not write to.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

/// Gives this user all rights on the folders of a tree.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // What is too deep to be named is never one of them.
            let _ = open_up(&entry.path());
        }
    }
    Ok(())
}

fn absolute(path: &Path) -> Outcome<PathBuf> {
    path.canonicalize()
        .map_err(|error| Failure::file(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_without_rights_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        for below in ["a/b", "a"] {
            fs::set_permissions(top.join(below), fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn a_folder_to_keep_must_be_empty() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "x").unwrap();
        let refused = Scratch::create(Some(folder.path())).unwrap_err();
        assert_eq!(refused.exit.number(), 2);
        let kept = Scratch::create(Some(&folder.path().join("new"))).unwrap();
        let path = kept.path().to_owned();
        kept.remove().unwrap();
        assert!(path.is_dir());
    }
}
