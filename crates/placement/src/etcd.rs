//! Placement for several coordinators: etcd 3.4 or newer, with TLS and user/password if it wants them.
//!
//! State: one client with its connections to every endpoint, the leases registered through this handle (what they
//! said about themselves, so that an ownership can repeat it), and one stream of changes that feeds all watches.
//! Everything else lies in etcd, under the layout of [`crate::keys`].
//!
//! Each call has a deadline, within which it is tried again where that cannot do harm; see [`link`]. What is decided
//! by compare-and-set is written as a round that reads, decides and compares: after an answer that never came, the
//! next round reads what became of it. Nothing is assumed.
//!
//! Liveness is etcd's: a lease granted, renewed and ended by it, with the keys `coordinators/…` and `owners/…`
//! attached. A coordinator that cannot reach etcd goes on with the vaults it owns for as long as their sites accept
//! its epoch.
//!
//! Must never: use a revision as an epoch, or be asked for anything per chunk or pack.

mod failure;
mod history;
mod link;
mod options;
mod ownership;
mod pump;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, LeaseGrantOptions, PutOptions, Txn, TxnOp};
use holdfast_context::Context;
use holdfast_format::{Epoch, SiteName, VaultId};
use minicbor::bytes::ByteVec;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::coordinator::CoordinatorInfo;
use crate::error::{Error, Result};
use crate::keys::{Keys, end_of};
use crate::lease::LeaseId;
use crate::owner::{Acquire, Owner};
use crate::placement::Placement;
use crate::progress::Progress;
use crate::site_entry::SiteEntry;
use crate::value;
use crate::vault_entry::VaultEntry;
use crate::watch::{Hub, Watch};
use failure::Failure;
use history::History;
use link::{Effect, Link};
pub use options::EtcdOptions;
use pump::Pump;

/// A placement store in etcd.
pub struct EtcdPlacement {
    context: Context,
    keys: Keys,
    link: Arc<Link>,
    leases: Mutex<BTreeMap<LeaseId, Registered>>,
    hub: Arc<Hub>,
    /// The task that feeds the hub; started by the first watch.
    pump: OnceCell<JoinHandle<()>>,
}

/// A lease registered through this handle.
#[derive(Clone)]
struct Registered {
    coordinator: CoordinatorInfo,
    ttl: Duration,
}

impl EtcdPlacement {
    /// Connects, and writes the layout's version if the prefix is new.
    ///
    /// Fails within the deadline when no endpoint answers, with [`crate::ErrorKind::Denied`] when etcd refuses the
    /// user, and with [`crate::ErrorKind::TooNew`] when a newer release wrote the store.
    pub async fn open(context: Context, options: EtcdOptions) -> Result<Self> {
        let keys = Keys::new(&options.prefix);
        let link = Arc::new(Link::open(&context, options).await?);
        History::read(&link, &keys, &context).await?;
        Ok(Self {
            context,
            keys,
            link,
            leases: Mutex::default(),
            hub: Arc::new(Hub::default()),
            pump: OnceCell::new(),
        })
    }

    async fn put(&self, task: &'static str, key: String, value: Vec<u8>) -> Result<()> {
        let link = &self.link;
        link.run(task, link.deadline(), Effect::Write, || async {
            link.kv()
                .await?
                .put(key.as_str(), value.clone(), None)
                .await?;
            Ok(Some(()))
        })
        .await
    }

    async fn remove(&self, task: &'static str, txn: Txn) -> Result<()> {
        let link = &self.link;
        link.run(task, link.deadline(), Effect::Write, || async {
            link.kv().await?.txn(txn.clone()).await?;
            Ok(Some(()))
        })
        .await
    }

    /// All entries below a prefix, decoded, in key order.
    async fn list<T>(&self, prefix: &str) -> Result<Vec<(String, T)>>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        let mut entries = Vec::new();
        let (mut from, end) = (prefix.as_bytes().to_vec(), end_of(prefix));
        loop {
            let page = self.link.page(from, end.as_bytes()).await?;
            for entry in page.kvs() {
                let key = String::from_utf8_lossy(entry.key()).into_owned();
                let value = value::decode(self.link.name(), &key, entry.value())?;
                entries.push((key, value));
            }
            match page.kvs().last() {
                Some(last) if page.more() => from = [last.key(), &[0]].concat(),
                _ => return Ok(entries),
            }
        }
    }

    async fn values<T>(&self, prefix: &str) -> Result<Vec<T>>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        Ok(self
            .list(prefix)
            .await?
            .into_iter()
            .map(|(_, value)| value)
            .collect())
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Registered>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was registered under a lease that is not known to be gone.
    fn registered(&self, lease: LeaseId) -> Result<Registered> {
        self.leases()
            .get(&lease)
            .cloned()
            .ok_or(Error::LeaseLost { lease })
    }
}

impl Drop for EtcdPlacement {
    fn drop(&mut self) {
        if let Some(pump) = self.pump.get() {
            pump.abort();
        }
    }
}

impl fmt::Debug for EtcdPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdPlacement")
            .field("store", &self.link.name())
            .field("prefix", &self.keys.prefix())
            .finish()
    }
}

#[async_trait]
impl Placement for EtcdPlacement {
    async fn register(&self, coordinator: &CoordinatorInfo, ttl: Duration) -> Result<LeaseId> {
        coordinator.check()?;
        let seconds = whole_seconds(ttl)?;
        let lease = LeaseId::random(&self.context);
        let key = self.keys.coordinator(&coordinator.name);
        let entry = value::encode(coordinator);
        let link = &self.link;
        link.run(
            "register a coordinator",
            link.deadline(),
            Effect::Write,
            || async {
                let id = lease.number();
                let options = LeaseGrantOptions::new().with_id(id);
                match link
                    .leases()
                    .await?
                    .grant(seconds, Some(options))
                    .await
                    .map_err(Failure::from)
                {
                    // The number is random: only a round of this very call can have taken it.
                    Ok(_) | Err(Failure::LeaseExists) => {}
                    Err(other) => return Err(other),
                }
                let under_lease = PutOptions::new().with_lease(id);
                match link
                    .kv()
                    .await?
                    .put(key.as_str(), entry.clone(), Some(under_lease))
                    .await
                {
                    Ok(_) => Ok(Some(())),
                    Err(error) => match Failure::from(error) {
                        // It ended while rounds failed: grant it again.
                        Failure::LeaseGone => Ok(None),
                        other => Err(other),
                    },
                }
            },
        )
        .await?;
        self.leases().insert(
            lease,
            Registered {
                coordinator: coordinator.clone(),
                ttl,
            },
        );
        Ok(lease)
    }

    async fn announce(&self, lease: &LeaseId, coordinator: &CoordinatorInfo) -> Result<()> {
        let name = self.registered(*lease)?.coordinator.name;
        if name != coordinator.name {
            return Err(coordinator.is_not(&name));
        }
        let (key, entry) = (self.keys.coordinator(&name), value::encode(coordinator));
        let (link, id) = (&self.link, lease.number());
        link.run(
            "tell of a coordinator",
            link.deadline(),
            Effect::Write,
            || async {
                // ORDER: only in the place of its own entry. Another process may have taken the name over.
                let own = Compare::lease(key.as_str(), CompareOp::Equal, id);
                let under_lease = PutOptions::new().with_lease(id);
                let put = TxnOp::put(key.as_str(), entry.clone(), Some(under_lease));
                let change = Txn::new().when([own]).and_then([put]);
                match link.kv().await?.txn(change).await {
                    Ok(done) if done.succeeded() => Ok(Some(())),
                    Ok(_) => Err(Error::LeaseLost { lease: *lease }.into()),
                    Err(error) => match Failure::from(error) {
                        Failure::LeaseGone => Err(Error::LeaseLost { lease: *lease }.into()),
                        other => Err(other),
                    },
                }
            },
        )
        .await
    }

    async fn keep_alive(&self, lease: &LeaseId) -> Result<bool> {
        let Ok(Registered { ttl, .. }) = self.registered(*lease) else {
            return Ok(false);
        };
        let link = &self.link;
        // A renewal that comes when half the lease is over leaves time for another.
        let budget = link.deadline().min(ttl / 2);
        let alive = link
            .run("keep a lease alive", budget, Effect::Write, || async {
                let renewal = link.leases().await?.keep_alive(lease.number()).await;
                match renewal.map_err(Failure::from) {
                    Ok(_) => Ok(Some(true)),
                    Err(Failure::LeaseGone) => Ok(Some(false)),
                    Err(other) => Err(other),
                }
            })
            .await?;
        if !alive {
            self.leases().remove(lease);
        }
        Ok(alive)
    }

    async fn deregister(&self, lease: &LeaseId) -> Result<()> {
        let link = &self.link;
        link.run("end a lease", link.deadline(), Effect::Write, || async {
            match link
                .leases()
                .await?
                .revoke(lease.number())
                .await
                .map_err(Failure::from)
            {
                Ok(_) | Err(Failure::LeaseGone) => Ok(Some(())),
                Err(other) => Err(other),
            }
        })
        .await?;
        self.leases().remove(lease);
        Ok(())
    }

    async fn coordinators(&self) -> Result<Vec<CoordinatorInfo>> {
        self.values(&self.keys.coordinators()).await
    }

    async fn issue_epoch(&self, vault: VaultId, floor: Epoch) -> Result<Epoch> {
        ownership::issue_epoch(&self.link, &self.keys, vault, floor).await
    }

    async fn epoch_counter(&self, vault: VaultId) -> Result<Epoch> {
        ownership::epoch_counter(&self.link, &self.keys, vault).await
    }

    async fn acquire(&self, vault: VaultId, lease: &LeaseId, epoch: Epoch) -> Result<Acquire> {
        let wanted = self.registered(*lease)?.coordinator.owner_at(epoch);
        ownership::acquire(&self.link, &self.keys, vault, *lease, wanted).await
    }

    async fn release(&self, vault: VaultId, lease: &LeaseId) -> Result<()> {
        ownership::release(&self.link, &self.keys, vault, *lease).await
    }

    async fn owner(&self, vault: VaultId) -> Result<Option<Owner>> {
        ownership::owner(&self.link, &self.keys, vault).await
    }

    async fn put_vault(&self, entry: &VaultEntry) -> Result<()> {
        let (key, bytes) = (self.keys.vault(entry.vault), value::encode(entry));
        self.put("list a vault", key, bytes).await
    }

    async fn vaults(&self) -> Result<Vec<VaultEntry>> {
        self.values(&self.keys.vaults()).await
    }

    async fn remove_vault(&self, vault: VaultId) -> Result<()> {
        let below = |prefix: String| {
            let options = etcd_client::DeleteOptions::new().with_range(end_of(&prefix));
            TxnOp::delete(prefix, Some(options))
        };
        let all = Txn::new().and_then([
            TxnOp::delete(self.keys.vault(vault), None),
            below(self.keys.progresses(vault)),
            below(self.keys.certificates(vault)),
        ]);
        self.remove("remove a vault", all).await
    }

    async fn put_site(&self, site: &SiteEntry) -> Result<()> {
        site.check()?;
        let (key, bytes) = (self.keys.site(&site.name), value::encode(site));
        self.put("list a site", key, bytes).await
    }

    async fn sites(&self) -> Result<Vec<SiteEntry>> {
        self.values(&self.keys.sites()).await
    }

    async fn remove_site(&self, site: &SiteName) -> Result<()> {
        let one = Txn::new().and_then([TxnOp::delete(self.keys.site(site), None)]);
        self.remove("remove a site", one).await
    }

    async fn set_progress(
        &self,
        vault: VaultId,
        site: &SiteName,
        progress: Progress,
    ) -> Result<()> {
        let (key, bytes) = (self.keys.progress(vault, site), value::encode(&progress));
        self.put("write a member's progress", key, bytes).await
    }

    async fn progress(&self, vault: VaultId) -> Result<Vec<(SiteName, Progress)>> {
        let entries = self.list(&self.keys.progresses(vault)).await?;
        let site_of = |(key, progress): (String, Progress)| {
            let site = self.keys.progress_site(vault, &key);
            site.map(|site| (site, progress))
                .ok_or_else(|| Error::Corrupt {
                    store: self.link.name().into(),
                    key,
                    why: "it names no site".into(),
                })
        };
        entries.into_iter().map(site_of).collect()
    }

    async fn put_certificate(&self, vault: VaultId, certificate: &[u8]) -> Result<()> {
        let bytes = value::encode(&ByteVec::from(certificate.to_vec()));
        self.put(
            "keep a certificate",
            self.keys.certificate(vault, certificate),
            bytes,
        )
        .await
    }

    async fn certificates(&self, vault: VaultId) -> Result<Vec<Vec<u8>>> {
        let values: Vec<ByteVec> = self.values(&self.keys.certificates(vault)).await?;
        Ok(values.into_iter().map(Vec::from).collect())
    }

    async fn watch(&self) -> Result<Watch> {
        // ORDER: the watch joins the hub before the pump is known to run from a revision no later than now. The
        // other way round, a change between the two would reach nobody.
        let watch = self.hub.watch();
        self.pump
            .get_or_try_init(async || {
                let (hub, context) = (self.hub.clone(), self.context.clone());
                let (pump, flow) =
                    Pump::start(self.link.clone(), self.keys.clone(), hub, context).await?;
                Ok::<_, Error>(self.context.spawn(pump.run(flow)))
            })
            .await?;
        Ok(watch)
    }
}

/// etcd's leases are counted in seconds: rounded up, so that none is shorter than it was asked for.
fn whole_seconds(ttl: Duration) -> Result<i64> {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    match i64::try_from(seconds) {
        Ok(seconds @ 1..=86_400) => Ok(seconds),
        _ => Err(Error::invalid(
            format!("lease of {ttl:?}"),
            "use between 1 s and a day",
        )),
    }
}
