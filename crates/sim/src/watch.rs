//! The watch over deletions: at the moment of each, whether the logs at all sites allow it (I2, I5).
//!
//! State: for each site the fold of its log so far, followed further whenever something is deleted, and every breach that
//! was found. It sees the disks as they are; it changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use holdfast_format::{ObjectName, Position, Record, SiteName, Slot, VaultHeader, VaultId};
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
    folds: BTreeMap<SiteName, Followed>,
    /// Where the logs ended at sites that went back to older copies of themselves. What is missing there since stands elsewhere
    /// and comes back; until then such a log forbids nothing.
    ended: BTreeMap<SiteName, Position>,
    breaches: Vec<String>,
    trace: Option<Trace>,
}

/// The fold of a site's log so far.
#[derive(Debug, Clone)]
struct Followed {
    state: State,
    /// How many branches were closed there. When another is, what was folded may not be history any more.
    closed: usize,
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
            // A disk that was replaced meanwhile holds nothing that anybody could go on with, and its owner may not know yet.
            let folds = inner
                .folds
                .iter()
                .filter(|(_, f)| f.state.chain.head.is_some());
            let reached = |(site, f): &(&SiteName, &Followed)| {
                let ended = inner.ended.get(*site);
                ended.is_none_or(|ended| f.state.chain.head.is_some_and(|head| head >= *ended))
            };
            let folds = folds.filter(reached);
            let logs: Vec<(&SiteName, &State)> = folds.map(|(site, f)| (site, &f.state)).collect();
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

    /// A disk is about to go back to an older copy of itself.
    pub fn rolled_back(&self, disk: &Disk) {
        let mut inner = self.inner();
        if let Some(vault) = inner.vault {
            inner.follow(vault);
        }
        let site = disk.site_name();
        let head = inner.folds.get(site).and_then(|f| f.state.chain.head);
        if let Some(head) = head {
            let ended = inner.ended.entry(site.clone()).or_insert(head);
            *ended = (*ended).max(head);
        }
    }

    /// The folds of all sites' logs, as they stand now.
    pub fn folds(&self) -> BTreeMap<SiteName, State> {
        let mut inner = self.inner();
        if let Some(vault) = inner.vault {
            inner.follow(vault);
        }
        let folds = inner.folds.iter();
        folds
            .map(|(site, f)| (site.clone(), f.state.clone()))
            .collect()
    }
}

impl Inner {
    /// Follows every site's log to its end.
    fn follow(&mut self, vault: VaultId) {
        let sites = self
            .disks
            .iter()
            .map(|disk| disk.clone() as Arc<dyn SiteReader>);
        let sites: Vec<_> = sites.collect();
        for site in &sites {
            let before = self.folds.remove(site.name());
            let followed = follow(site, &sites, vault, before).now_or_never().flatten();
            if let Some(followed) = followed {
                self.folds.insert(site.name().clone(), followed);
            }
        }
    }
}

/// The fold of a site's log: from where it was, or from the start where the log is another by now. A record that has rotted
/// there, below others that have not, is read elsewhere: it stands there, and is repaired from elsewhere, too.
async fn follow(
    site: &Arc<dyn SiteReader>,
    sites: &[Arc<dyn SiteReader>],
    vault: VaultId,
    before: Option<Followed>,
) -> Option<Followed> {
    let mut reader = LogReader::new(site.clone(), vault);
    let closed = closed_branches(&mut reader).await;
    let mut state = match before {
        Some(before) if before.closed == closed && is_there(&mut reader, &before.state).await => {
            before.state
        }
        _ => State::start(any_header(sites, vault).await?),
    };
    let last = last_slots(&reader).await;
    loop {
        let at = state.chain.next();
        let record = match reader.read(at).await {
            Ok(Some(record)) => Some(record),
            Ok(None) if last.iter().all(|last| *last <= at) => None,
            _ => elsewhere(sites, vault, &state, at).await,
        };
        match record {
            Some(record) => state.take(&record).ok()?,
            None => return Some(Followed { state, closed }),
        }
    }
}

async fn closed_branches(reader: &mut LogReader) -> usize {
    let mut closed = 0;
    for epoch in reader.epochs().await.unwrap_or_default() {
        closed += usize::from(matches!(reader.branch(epoch).await, Ok(Some(_))));
    }
    closed
}

async fn is_there(reader: &mut LogReader, state: &State) -> bool {
    let Some(head) = state.chain.head else {
        return false;
    };
    let there = reader.read(head).await;
    matches!(there, Ok(Some(record)) if record.hash == state.chain.hash)
}

async fn any_header(sites: &[Arc<dyn SiteReader>], vault: VaultId) -> Option<VaultHeader> {
    for site in sites {
        let reader = LogReader::new(site.clone(), vault);
        if let Ok(Some(header)) = reader.header().await {
            return Some(header);
        }
    }
    None
}

/// The last slot of each epoch at a site.
async fn last_slots(reader: &LogReader) -> Vec<Position> {
    let mut last = Vec::new();
    for epoch in reader.epochs().await.unwrap_or_default() {
        let slots = reader.slots(epoch, Slot(0)).await.unwrap_or_default();
        last.extend(slots.last().copied());
    }
    last
}

async fn elsewhere(
    sites: &[Arc<dyn SiteReader>],
    vault: VaultId,
    state: &State,
    at: Position,
) -> Option<Record> {
    for site in sites {
        let mut reader = LogReader::new(site.clone(), vault);
        // Whether a branch ends the epoch stands in its last record, which may be damaged: then the chain alone decides.
        let record = match reader.read(at).await {
            Err(_) => reader.read_raw(at).await,
            record => record,
        };
        if let Ok(Some(record)) = record
            && state.chain.clone().take(&state.header, &record).is_ok()
        {
            return Some(record);
        }
    }
    None
}
