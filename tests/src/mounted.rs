//! A small file system of its own, in memory: to be filled to the last byte, or made read-only. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; unmounted when this is dropped.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
}

impl Mounted {
    /// Mounts one of so many bytes at `path`, a folder that is made.
    pub fn new(path: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(path).unwrap();
        mount(path, &format!("size={bytes}"));
        Self { path: path.into() }
    }

    /// Makes it read-only.
    pub fn read_only(&self) {
        mount(&self.path, "remount,ro");
    }

    /// Makes it writable, with so many bytes.
    pub fn resize(&self, bytes: u64) {
        mount(&self.path, &format!("remount,rw,size={bytes}"));
    }
}

/// How many bytes are free on the disk that a path lies on.
pub fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bavail * stat.f_frsize
}

fn mount(path: &Path, options: &str) {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", options, "tmpfs"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success(), "mounting needs root: {options}");
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a coordinator that is being ended may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
