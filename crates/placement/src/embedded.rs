//! Placement for a single node: one file in the coordinator's data folder, leases in memory.
//!
//! State: `placement.redb` (epoch counters, vault registry, run-time sites, progress, certificates; every change
//! durable before it is acknowledged) and, in memory, the leases of this process with what they own. redb locks the
//! file, so one process has it at a time and a second opener is told so; therefore every lease of a former process
//! is gone by the time another can ask. Leases run on `tokio::time`, which is monotonic and which a test can pause.
//!
//! **Losing the file is safe.** Registry, sites and progress are rebuilt from the sites. The epoch counters are lost
//! with it, and that is safe too: whoever asks for an epoch passes, as the floor, the highest one that it saw in the
//! log or at any member, and the sites refuse a number that a claim or a seal has used. So damage is answered with
//! advice to delete the file, never with a repair that guesses.
//!
//! Must never: hold anything per chunk or pack, or be shared by two processes.

mod backup;
mod file;
mod leases;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_context::Context;
use holdfast_format::{Epoch, SiteName, VaultId};
use minicbor::bytes::ByteVec;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::coordinator::CoordinatorInfo;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::keys::Keys;
use crate::lease::LeaseId;
use crate::owner::{Acquire, Owner};
use crate::placement::Placement;
use crate::progress::Progress;
use crate::site_entry::SiteEntry;
use crate::value;
use crate::vault_entry::VaultEntry;
use crate::watch::{Hub, Watch};
pub use backup::Backup;
use file::File;
use leases::Leases;

/// Name of the file within the data folder.
const FILE_NAME: &str = "placement.redb";

/// The placement store of a coordinator that runs alone.
pub struct EmbeddedPlacement {
    context: Context,
    keys: Keys,
    file: Arc<File>,
    living: Arc<Living>,
    /// Ends leases when their time has come, so that watches tell of it unasked.
    reaper: JoinHandle<()>,
}

/// What is in memory. Apart from the file, so that the reaper, which outlives its abortion by a moment, does not
/// keep that open.
#[derive(Debug, Default)]
struct Living {
    leases: Mutex<Leases>,
    hub: Hub,
    /// The set of leases changed: the reaper looks again when the next one ends.
    changed: Notify,
}

impl EmbeddedPlacement {
    /// Opens or creates the file in `data_dir`, which must exist.
    ///
    /// Fails with [`Error::InUse`] while another coordinator has it, and with [`Error::Damaged`] when it must be
    /// deleted.
    pub async fn open(context: Context, data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(FILE_NAME);
        let within = context.clone();
        let file = context
            .run_blocking(move || File::open(path, &within))
            .await?;
        Ok(Self::on(context, file))
    }

    /// A store that is gone when it is dropped: for tests and simulations. Needs a runtime around it.
    pub fn in_memory(context: Context) -> Result<Self> {
        let file = File::in_memory(&context)?;
        Ok(Self::on(context, file))
    }

    fn on(context: Context, file: File) -> Self {
        let living = Arc::new(Living::default());
        let reaper = context.spawn(reap(living.clone()));
        Self {
            context,
            keys: Keys::new(""),
            file: Arc::new(file),
            living,
            reaper,
        }
    }

    /// Runs work on the file, then tells watches, even if the caller has stopped waiting by then.
    async fn change<T, W>(&self, event: Option<Event>, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&File) -> Result<T> + Send + 'static,
    {
        let (file, living) = (self.file.clone(), self.living.clone());
        self.context
            .run_blocking(move || {
                let outcome = work(&file);
                // What may have been changed is told as well: it costs a read.
                let changed = outcome
                    .as_ref()
                    .err()
                    .is_none_or(|error| !error.is_determinate());
                if let Some(event) = event.filter(|_| changed) {
                    living.hub.push(event);
                }
                outcome
            })
            .await
    }

    /// All entries below a prefix, decoded.
    async fn list<T>(&self, prefix: String) -> Result<Vec<(String, T)>>
    where
        T: for<'b> minicbor::Decode<'b, ()> + Send + 'static,
    {
        self.change(None, move |file| {
            let entries = file.list(&prefix)?;
            entries
                .into_iter()
                .map(|(key, bytes)| {
                    let value = value::decode(file.name(), &key, &bytes)?;
                    Ok((key, value))
                })
                .collect()
        })
        .await
    }

    async fn values<T>(&self, prefix: String) -> Result<Vec<T>>
    where
        T: for<'b> minicbor::Decode<'b, ()> + Send + 'static,
    {
        Ok(self
            .list(prefix)
            .await?
            .into_iter()
            .map(|(_, value)| value)
            .collect())
    }
}

impl Living {
    /// The leases as of now: those whose time has come are ended, and watches told, before anything is asked of them.
    fn leases(&self) -> MutexGuard<'_, Leases> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(leases.expire(Instant::now()));
        leases
    }

    /// Called with the leases locked, so that watches see changes in the order in which they were made.
    fn tell(&self, events: Vec<Event>) {
        for event in events {
            self.hub.push(event);
        }
    }
}

/// Ends leases on time. Aborted when the store is dropped.
async fn reap(living: Arc<Living>) {
    loop {
        let next = living.leases().next_end();
        match next {
            Some(end) => {
                tokio::select! {
                    biased;
                    () = sleep_until(end) => {}
                    () = living.changed.notified() => {}
                }
            }
            None => living.changed.notified().await,
        }
    }
}

impl Drop for EmbeddedPlacement {
    fn drop(&mut self) {
        self.reaper.abort();
    }
}

impl fmt::Debug for EmbeddedPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EmbeddedPlacement")
            .field(&self.file.name())
            .finish()
    }
}

#[async_trait]
impl Placement for EmbeddedPlacement {
    async fn register(&self, coordinator: &CoordinatorInfo, ttl: Duration) -> Result<LeaseId> {
        coordinator.check()?;
        let lease = LeaseId::random(&self.context);
        let mut leases = self.living.leases();
        let events = leases.register(lease, coordinator.clone(), ttl, Instant::now())?;
        self.living.tell(events);
        self.living.changed.notify_one();
        Ok(lease)
    }

    async fn announce(&self, lease: &LeaseId, coordinator: &CoordinatorInfo) -> Result<()> {
        let mut leases = self.living.leases();
        let events = leases.announce(*lease, coordinator.clone())?;
        self.living.tell(events);
        Ok(())
    }

    async fn keep_alive(&self, lease: &LeaseId) -> Result<bool> {
        let alive = self.living.leases().keep_alive(*lease, Instant::now());
        self.living.changed.notify_one();
        Ok(alive)
    }

    async fn deregister(&self, lease: &LeaseId) -> Result<()> {
        let mut leases = self.living.leases();
        let events = leases.end(*lease);
        self.living.tell(events);
        Ok(())
    }

    async fn coordinators(&self) -> Result<Vec<CoordinatorInfo>> {
        Ok(self.living.leases().coordinators())
    }

    async fn issue_epoch(&self, vault: VaultId, floor: Epoch) -> Result<Epoch> {
        let key = self.keys.epoch(vault);
        self.change(None, move |file| file.raise(&key, floor.0))
            .await
            .map(Epoch)
    }

    async fn epoch_counter(&self, vault: VaultId) -> Result<Epoch> {
        // Ids have one length: no other vault's key begins with this one's.
        let counters: Vec<u64> = self.values(self.keys.epoch(vault)).await?;
        Ok(Epoch(counters.first().copied().unwrap_or(0)))
    }

    async fn acquire(&self, vault: VaultId, lease: &LeaseId, epoch: Epoch) -> Result<Acquire> {
        let mut leases = self.living.leases();
        let (outcome, events) = leases.acquire(vault, *lease, epoch)?;
        self.living.tell(events);
        Ok(outcome)
    }

    async fn release(&self, vault: VaultId, lease: &LeaseId) -> Result<()> {
        let mut leases = self.living.leases();
        let events = leases.release(vault, *lease);
        self.living.tell(events);
        Ok(())
    }

    async fn owner(&self, vault: VaultId) -> Result<Option<Owner>> {
        Ok(self.living.leases().owner(vault))
    }

    async fn put_vault(&self, entry: &VaultEntry) -> Result<()> {
        let (key, bytes) = (self.keys.vault(entry.vault), value::encode(entry));
        self.change(Some(Event::Vaults), move |file| file.put(&key, &bytes))
            .await
    }

    async fn vaults(&self) -> Result<Vec<VaultEntry>> {
        self.values(self.keys.vaults()).await
    }

    async fn remove_vault(&self, vault: VaultId) -> Result<()> {
        let key = self.keys.vault(vault);
        let families = [self.keys.progresses(vault), self.keys.certificates(vault)];
        self.change(Some(Event::Vaults), move |file| {
            file.remove(&key, &families)
        })
        .await
    }

    async fn put_site(&self, site: &SiteEntry) -> Result<()> {
        site.check()?;
        let (key, bytes) = (self.keys.site(&site.name), value::encode(site));
        self.change(Some(Event::Sites), move |file| file.put(&key, &bytes))
            .await
    }

    async fn sites(&self) -> Result<Vec<SiteEntry>> {
        self.values(self.keys.sites()).await
    }

    async fn remove_site(&self, site: &SiteName) -> Result<()> {
        let key = self.keys.site(site);
        self.change(Some(Event::Sites), move |file| file.remove(&key, &[]))
            .await
    }

    async fn set_progress(
        &self,
        vault: VaultId,
        site: &SiteName,
        progress: Progress,
    ) -> Result<()> {
        let (key, bytes) = (self.keys.progress(vault, site), value::encode(&progress));
        let event = Event::Progress {
            vault,
            site: site.clone(),
        };
        self.change(Some(event), move |file| file.put(&key, &bytes))
            .await
    }

    async fn progress(&self, vault: VaultId) -> Result<Vec<(SiteName, Progress)>> {
        let entries = self.list(self.keys.progresses(vault)).await?;
        entries
            .into_iter()
            .map(
                |(key, progress)| match self.keys.progress_site(vault, &key) {
                    Some(site) => Ok((site, progress)),
                    None => Err(Error::Corrupt {
                        store: self.file.name().into(),
                        key,
                        why: "it names no site".into(),
                    }),
                },
            )
            .collect()
    }

    async fn put_certificate(&self, vault: VaultId, certificate: &[u8]) -> Result<()> {
        let key = self.keys.certificate(vault, certificate);
        let bytes = value::encode(&ByteVec::from(certificate.to_vec()));
        self.change(None, move |file| file.put(&key, &bytes)).await
    }

    async fn certificates(&self, vault: VaultId) -> Result<Vec<Vec<u8>>> {
        let values: Vec<ByteVec> = self.values(self.keys.certificates(vault)).await?;
        Ok(values.into_iter().map(Vec::from).collect())
    }

    async fn watch(&self) -> Result<Watch> {
        Ok(self.living.hub.watch())
    }
}
