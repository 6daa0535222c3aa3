//! Mounts snapshots read-only by FUSE (`holdfast mount`).
//!
//! One snapshot is mounted as it is; several as a folder with a directory for each, named by time and short id, and a
//! symlink `latest`. Inodes are bounded (`inodes.rs`), chunks kept and read ahead are too (`chunks.rs`). The mount stays
//! until it is cancelled or somebody unmounts it.

mod answers;
mod attributes;
mod chunks;
mod content;
mod filesystem;
mod inodes;
mod listing;
mod names;
mod snapshots;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use holdfast_context::Context;
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::answers::Shared;
use self::chunks::Chunks;
use self::content::Contents;
use self::filesystem::SnapshotFilesystem;
use self::inodes::Thing;
pub use self::snapshots::MountSnapshot;
use self::snapshots::Snapshots;
use crate::error::{Error, Result};
use crate::source::ChunkSource;

/// How long an unmount may take before it is left to the kernel.
const UNMOUNT_WAIT: Duration = Duration::from_secs(5);

/// What is mounted.
#[derive(Debug, Clone)]
pub enum MountWhat {
    /// One snapshot's top directory.
    One(MountSnapshot),
    /// A folder of snapshots.
    Folder(Vec<MountSnapshot>),
}

/// How it is mounted.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// Where: a directory that exists.
    pub mountpoint: PathBuf,
    /// Whether other users may look too. The kernel then checks the recorded permissions and ACLs; else only the user who
    /// mounts it may look, at everything.
    pub allow_other: bool,
    /// What the cache of data chunks may take, bytes.
    pub cache_bytes: u64,
}

impl MountOptions {
    /// For oneself only, with a cache of 64 MiB.
    pub fn new(mountpoint: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            allow_other: false,
            cache_bytes: 64 << 20,
        }
    }
}

/// A mount. Dropped, it is unmounted.
pub struct Mounted {
    ctx: Context,
    mountpoint: PathBuf,
    unmounter: Option<SessionUnmounter>,
    ended: oneshot::Receiver<std::io::Result<()>>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Mounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mounted")
            .field("mountpoint", &self.mountpoint)
            .finish_non_exhaustive()
    }
}

/// Mounts, and returns once it can be looked at.
pub async fn mount(
    ctx: &Context,
    source: Arc<dyn ChunkSource>,
    what: MountWhat,
    options: &MountOptions,
) -> Result<Mounted> {
    let mountpoint = options.mountpoint.clone();
    if !mountpoint.is_dir() {
        return Err(Error::Local {
            what: mountpoint.display().to_string(),
            why: "it is no directory; make one to mount on".into(),
        });
    }
    let (snapshots, top) = match what {
        MountWhat::One(one) => (vec![one], Thing::Snapshot(0)),
        MountWhat::Folder(all) => (all, Thing::Folder),
    };
    let snapshots = Snapshots::new(source.clone(), snapshots);
    if matches!(top, Thing::Snapshot(_)) {
        // Damage of the only snapshot shows now, not at the first look.
        snapshots.top(0).await?;
    }
    let contents = Contents {
        nodes: snapshots.nodes.clone(),
        chunks: Chunks::new(ctx, source, options.cache_bytes),
    };
    let shared = Shared::new(ctx, snapshots, contents, top, options.allow_other);
    let shared = Arc::new(shared);
    let filesystem = SnapshotFilesystem {
        shared: shared.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    let config = config(options);
    let at = mountpoint.clone();
    let session = ctx
        .run_blocking(move || Session::new(filesystem, &at, &config))
        .await
        .map_err(|error| explain(&mountpoint, &error))?;
    let (mut session, (tell_end, ended)) = (session, oneshot::channel());
    // It can be set once only, and is set here only.
    let _ = shared.notifier.set(session.notifier());
    let unmounter = session.unmount_callable();
    std::thread::Builder::new()
        .name("holdfast-mount".into())
        .spawn(move || {
            // If nobody waits any more, nobody wants to know.
            let _ = tell_end.send(session.run());
        })
        .map_err(|error| explain(&mountpoint, &error))?;
    Ok(Mounted {
        ctx: ctx.clone(),
        mountpoint,
        unmounter: Some(unmounter),
        ended,
        shared,
    })
}

impl Mounted {
    /// Waits until somebody unmounts it, or unmounts it when `cancel` comes.
    pub async fn wait(mut self, cancel: CancellationToken) -> Result<()> {
        let ended = tokio::select! {
            ended = &mut self.ended => Some(ended),
            () = cancel.cancelled() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                self.unmount().await;
                match tokio::time::timeout(UNMOUNT_WAIT, &mut self.ended).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        // Somebody still looks at it; it goes when they leave or this program ends.
                        tracing::warn!(
                            mountpoint = %self.mountpoint.display(),
                            "the mount is detached, but somebody still uses it"
                        );
                        return Ok(());
                    }
                }
            }
        };
        match ended {
            Ok(Ok(())) => Ok(()),
            // The kernel took the connection away, as the last one left a mount that was detached or cut off: that is its end too.
            Ok(Err(error)) if error.raw_os_error() == Some(Errno::CONNABORTED.raw_os_error()) => {
                Ok(())
            }
            Ok(Err(error)) => Err(explain(&self.mountpoint, &error)),
            Err(_) => Err(Error::Bug("the mount's thread ended without a word".into())),
        }
    }

    /// How many inodes the kernel knows of, for a status line.
    pub fn inode_count(&self) -> usize {
        self.shared.inode_count()
    }

    async fn unmount(&mut self) {
        let Some(mut unmounter) = self.unmounter.take() else {
            return;
        };
        let mountpoint = self.mountpoint.clone();
        self.ctx
            .run_blocking(move || {
                if unmounter.unmount().is_err() {
                    detach(&mountpoint);
                }
            })
            .await;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut unmounter) = self.unmounter.take()
            && unmounter.unmount().is_err()
        {
            detach(&self.mountpoint);
        }
    }
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::FSName("holdfast".into()),
        MountOption::Subtype("holdfast".into()),
    ];
    if options.allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config
}

/// Takes a mount that is in use out of sight; the kernel ends it when the last one leaves it.
fn detach(mountpoint: &Path) {
    let attempts: [(&str, &[&str]); 3] = [
        ("umount", &["-l"]),
        ("fusermount3", &["-u", "-z"]),
        ("fusermount", &["-u", "-z"]),
    ];
    for (program, arguments) in attempts {
        let done = Command::new(program)
            .args(arguments)
            .arg("--")
            .arg(mountpoint)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if done.is_ok_and(|status| status.success()) {
            return;
        }
    }
    tracing::warn!(mountpoint = %mountpoint.display(), "the mount is in use and could not be detached");
}

/// What to do when it cannot be mounted.
fn explain(mountpoint: &Path, error: &std::io::Error) -> Error {
    use std::io::ErrorKind;
    let text = error.to_string();
    let advice = if !Path::new("/dev/fuse").exists() {
        "there is no /dev/fuse: load the kernel's module with `modprobe fuse`, or give the container --device /dev/fuse \
         and --cap-add SYS_ADMIN"
    } else if text.contains("user_allow_other") {
        "other users may look only if /etc/fuse.conf has the line user_allow_other: add it, or leave out --allow-other"
    } else if error.kind() == ErrorKind::NotFound {
        "users other than root need fusermount3: install the package fuse3, or run as root"
    } else if error.kind() == ErrorKind::PermissionDenied {
        "/dev/fuse or the directory may not be used: run as root, or ask for access to /dev/fuse"
    } else {
        "see the reason"
    };
    Error::Local {
        what: format!("mounting on {}", mountpoint.display()),
        why: format!("{text}; {advice}"),
    }
}

#[cfg(test)]
pub(super) const INODES_MAX_FOR_TEST: usize = inodes::INODES_MAX;
