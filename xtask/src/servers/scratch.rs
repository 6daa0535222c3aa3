//! The folder that the servers of one run write to: in memory where there is room, removed at the end.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::Context;

/// Free bytes that the servers may come to need.
const ROOM_BYTES_MIN: u64 = 2 << 30;
const PREFIX: &str = "holdfast-xtask-";

#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn create() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if has_room(memory) {
            memory.to_owned()
        } else {
            env::temp_dir()
        };
        sweep(&parent);
        // Kept short: sockets with limited names lie in it.
        let path = parent.join(format!("{PREFIX}{}", process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cannot remove {}: {error}", self.path.display());
        }
    }
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= ROOM_BYTES_MIN)
}

/// Removes what runs left that were killed outright.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sweep;

    #[test]
    fn sweeps_only_what_belongs_to_processes_that_are_gone() {
        let parent = tempfile::tempdir().unwrap();
        let own = format!("holdfast-xtask-{}", std::process::id());
        for name in [
            "holdfast-xtask-4294967294",
            &own,
            "holdfast-xtask-mine",
            "other",
        ] {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        sweep(parent.path());
        assert!(!parent.path().join("holdfast-xtask-4294967294").exists());
        for name in [&own, "holdfast-xtask-mine", "other"] {
            assert!(parent.path().join(name).exists(), "{name}");
        }
    }
}
