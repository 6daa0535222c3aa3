//! Files that only their owner may read: identities, bundles, kits.
//!
//! Never wider than 0600, not even for a moment, and on the disk before it counts as written.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::failure::{Failure, Outcome};

const MODE: u32 = 0o600;

/// Writes a file that must not exist yet, at once or not at all.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Outcome<()> {
    match write_new(path, bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Failure::with_advice(
            format!("{} exists and is never overwritten", path.display()),
            "name another file, or move this one away if you are sure what it is",
        )),
        Err(error) => Err(Failure::file(path, error)),
    }
}

/// Writes a file in place of the one that may be there, at once or not at all. Makes its folder.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let failed = |error: io::Error| Failure::file(path, error);
    let folder = folder_of(path);
    make_folder(folder).map_err(failed)?;
    let file = write_nameless(folder, bytes).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    sync_folder(folder).map_err(failed)
}

/// Reads a file, with what to do when it is not there.
pub(crate) fn read(path: &Path, advice: &str) -> Outcome<zeroize::Zeroizing<Vec<u8>>> {
    std::fs::read(path)
        .map(zeroize::Zeroizing::new)
        .map_err(|error| Failure::with_advice(format!("{}: {error}", path.display()), advice))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Looked at first: a name that is taken must be told as such, also where nothing can be written.
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let folder = folder_of(path);
    // ORDER: bytes before name. Were the file made under its name, a power cut could leave the name on an empty file,
    // which is no secret and stands in the way of the next attempt.
    let file = write_nameless(folder, bytes)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Writes a file, durably, that has no name of its own yet.
fn write_nameless(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".holdfast-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(MODE))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Makes a name durable, as far as its folder lets itself be opened for that.
pub(crate) fn sync_name(path: &Path) -> io::Result<()> {
    match sync_folder(folder_of(path)) {
        // A folder in which one may make names and not read them.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        create(&path, b"one").unwrap();
        let refused = create(&path, b"two").unwrap_err();
        assert!(refused.what.contains("never overwritten"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_bundle_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/v.bundle");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }
}
