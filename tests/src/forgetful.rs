//! A file system that forgets: it keeps two states of everything, what is visible and what a machine that loses its
//! power would find again. A file's bytes are kept by `fsync` of the file, a name by `fsync` of its folder, and
//! nothing else keeps anything. That is the least that POSIX promises.
//!
//! The power can be cut for real ([`Forgetful::power_off`]): from that moment every call fails, and what is found after
//! [`Forgetful::power_on`] is what was kept, and perhaps a random part of the rest, as a disk would have it that
//! reorders and tears what nobody synced.
//!
//! State: everything, in memory, behind one lock. The kernel is told to remember nothing, so that no mount has to go for
//! a cut: whoever is killed before the power comes back leaves nothing behind in the kernel either.

mod node;
mod serve;
mod state;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};

use crate::noise::Noise;
pub use state::Lost;
use state::State;

/// The hand on a forgetful file system; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Forgetful(Arc<Mutex<State>>);

/// Where it is mounted; unmounted when this is dropped.
#[derive(Debug)]
pub struct ForgetfulMount {
    path: PathBuf,
    _session: BackgroundSession,
}

impl Forgetful {
    /// Mounts an empty one.
    pub fn mount(at: &Path) -> (Self, ForgetfulMount) {
        let forgetful = Self::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forgetful".into())];
        config.n_threads = Some(8);
        let session = fuser::spawn_mount(forgetful.clone(), at, &config)
            .expect("this test mounts a FUSE file system: run it as root");
        let mount = ForgetfulMount {
            path: at.into(),
            _session: session,
        };
        (forgetful, mount)
    }

    /// What would be found at `path` after the power failed now.
    pub fn survives(&self, path: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().survives(path)
    }

    /// Names that were given to files whose bytes were not kept yet.
    pub fn torn(&self) -> Vec<String> {
        self.0.lock().unwrap().torn.clone()
    }

    /// How many syncs were asked for.
    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// Makes the sync with this number fail.
    pub fn fail(&self, sync: u64) {
        self.0.lock().unwrap().fails.push(sync);
    }

    /// Makes all syncs fail, or none any more.
    pub fn fail_all(&self, fail: bool) {
        let mut state = self.0.lock().unwrap();
        state.fails_from = fail.then_some(state.syncs);
    }

    /// Makes syncs slow, as those of a disk are: the power fails within them, then.
    pub fn slow(&self, slow: Duration) {
        self.0.lock().unwrap().slow = slow;
    }

    /// Cuts the power: every call fails from now on, and what was not synced is gone, or, with chance, all but a random
    /// part of it: later writes without earlier ones, names without bytes, halves of writes. If it is off already, says
    /// what that took.
    pub fn power_off(&self, spared: Option<&mut Noise>) -> Lost {
        self.0.lock().unwrap().power_off(spared)
    }

    /// Cuts the power in the middle of a sync, after so many others: when the least is kept and the most is on its way.
    pub fn power_off_within(&self, syncs: u64, spared: Option<Noise>) {
        let mut state = self.0.lock().unwrap();
        state.fails_within = Some((state.syncs + syncs, spared));
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.0.lock().unwrap().is_off
    }

    /// Brings the power back. Whoever had files open before must be gone by now, as is anyone whose machine goes off.
    pub fn power_on(&self) {
        self.0.lock().unwrap().is_off = false;
    }
}

impl Drop for ForgetfulMount {
    fn drop(&mut self) {
        // Lazily: after a failed test somebody may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[cfg(test)]
mod tests;
