//! The watch over deletions: at the moment of each, whether the logs at all sites allow it (I2, I5).
//!
//! State: for each site the fold of its log so far, followed further whenever something is deleted, and every breach that
//! was found. It sees the disks as they are; it changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use holdfast_format::{ObjectName, SiteName, VaultId};
use holdfast_store::SiteReader;
use holdfast_vault::{LogReader, State, invariant};

use crate::disk::Disk;
use crate::trace::{Trace, plain};

/// See the module.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    vault: Option<VaultId>,
    disks: Vec<Arc<Disk>>,
    folds: BTreeMap<SiteName, State>,
    breaches: Vec<String>,
    trace: Option<Trace>,
}

impl Watch {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a vault from now on.
    pub fn over(&self, vault: VaultId, disks: Vec<Arc<Disk>>, trace: Trace) {
        let mut inner = self.inner();
        (inner.vault, inner.disks, inner.trace) = (Some(vault), disks, Some(trace));
    }

    /// What was found.
    pub fn breaches(&self) -> Vec<String> {
        self.inner().breaches.clone()
    }

    /// Something else was found.
    pub fn breach(&self, what: String) {
        let mut inner = self.inner();
        if let Some(trace) = &inner.trace {
            trace.say("checker", format_args!("BREACH {what}"));
        }
        inner.breaches.push(what);
    }

    /// A process deletes an object.
    pub fn deleting(&self, process: &str, disk: &Disk, name: &ObjectName) {
        let broken = {
            let mut inner = self.inner();
            let Some(vault) = inner.vault else { return };
            if disk.read(name.as_str()).is_none() {
                return;
            }
            inner.follow(vault);
            let logs: Vec<(&SiteName, &State)> = inner.folds.iter().collect();
            let allowed = match name.as_pack(vault) {
                Some(pack) => invariant::i5_pack_may_go(&logs, pack),
                None if plain(name.as_str()).starts_with("keys/") => {
                    invariant::i5_key_may_go(&logs, name)
                }
                None => invariant::i5_saved_fold_may_go(&logs, name),
            };
            allowed.err()
        };
        if let Some(why) = broken {
            let site = disk.site_name();
            self.breach(format!(
                "{why}: {process} deletes {} at {site}",
                plain(name.as_str())
            ));
        }
    }

    /// The folds of all sites' logs, as they stand now.
    pub fn folds(&self) -> BTreeMap<SiteName, State> {
        let mut inner = self.inner();
        if let Some(vault) = inner.vault {
            inner.follow(vault);
        }
        inner.folds.clone()
    }
}

impl Inner {
    /// Follows every site's log to its end, as far as it reads.
    fn follow(&mut self, vault: VaultId) {
        for disk in &self.disks {
            let site: Arc<dyn SiteReader> = disk.clone();
            let before = self.folds.remove(disk.site_name());
            let followed = follow(&site, vault, before).now_or_never().flatten();
            if let Some(state) = followed {
                self.folds.insert(disk.site_name().clone(), state);
            }
        }
    }
}

/// The fold of a site's log: from where it was, or from the start where the log is another by now.
async fn follow(
    site: &Arc<dyn SiteReader>,
    vault: VaultId,
    before: Option<State>,
) -> Option<State> {
    let mut reader = LogReader::new(site.clone(), vault);
    if let Some(mut state) = before
        && let Some(head) = state.chain.head
        && let Ok(Some(record)) = reader.read(head).await
        && record.hash == state.chain.hash
    {
        reader.follow_readable(&mut state).await.ok()?;
        return Some(state);
    }
    let header = reader.header().await.ok()??;
    let mut state = State::start(header);
    reader.follow_readable(&mut state).await.ok()?;
    Some(state)
}
