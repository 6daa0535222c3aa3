//! A node: one coordinator with its sites, its placement, its lease and its vaults.
//!
//! State: which vaults it knows, and what it does with each. It takes every vault that it finds at its sites and that no
//! live coordinator owns. A vault whose primary does not answer is tried again and blocks no other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use holdfast_context::Context;
use holdfast_format::{Certificate, SecretKey, SiteName, VaultHeader, VaultId};
use holdfast_placement::{Acquire, CoordinatorInfo, LeaseId, Placement, VaultEntry};
use holdfast_store::OpenSites;
use holdfast_vault::SegmentCache;
use holdfast_vault::log::reader::list_vaults;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, from_placement};
use crate::sites::Sites;
use crate::taking::Take;
use crate::vault::{Vault, herald};

/// What a node starts from.
#[derive(Debug, Clone)]
pub struct Options {
    /// The coordinator's name.
    pub name: String,
    /// Its data folder: caches, its signing key, embedded placement.
    pub data: PathBuf,
    /// Addresses that it tells others.
    pub addresses: Vec<String>,
    /// Sites: name and URL.
    pub sites: Vec<(SiteName, String)>,
    /// Opens them.
    pub opener: Arc<dyn OpenSites>,
    /// How long a lease lasts without renewal. Liveness only.
    pub lease: Duration,
    /// Signs records.
    pub key: SecretKey,
    /// The release.
    pub version: String,
    /// What status says of placement: `embedded` or the endpoints.
    pub placement: String,
}

/// A vault as the node sees it.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its header.
    pub header: VaultHeader,
    /// The site where it was found.
    pub found_at: SiteName,
    /// Set while it is owned here.
    pub vault: Option<Arc<Vault>>,
    /// Why it is not; empty when it is.
    pub trouble: String,
    /// The owner elsewhere, if there is one.
    pub owner: String,
    /// When taking it failed last, and the pause from then on.
    pub tried: Option<(tokio::time::Instant, Duration)>,
}

/// One coordinator.
#[derive(Debug)]
pub struct Node {
    /// Clock, chance, tasks.
    pub context: Context,
    /// What it was started with.
    pub options: Options,
    /// Its sites.
    pub sites: Arc<Sites>,
    /// Who lives and owns.
    pub placement: Arc<dyn Placement>,
    /// When it started, by its clock.
    pub started_millis: i64,
    /// Cancelled when it stops.
    pub stop: CancellationToken,
    lease: RwLock<LeaseId>,
    vaults: RwLock<BTreeMap<VaultId, Slot>>,
    /// One change of ownership at a time.
    changing: tokio::sync::Mutex<()>,
}

/// After what pause a vault that is not open is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How often sites are looked at for vaults that somebody else put there.
const LOOK: Duration = Duration::from_secs(60);

/// How long a start waits for the first look.
const FIRST_LOOK: Duration = Duration::from_secs(5);

impl Node {
    /// Starts: registers, opens sites, finds vaults and takes them.
    pub async fn start(
        context: Context,
        options: Options,
        placement: Arc<dyn Placement>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>> {
        let started_millis = context.now_millis();
        let lease = placement
            .register(&info(&options, started_millis), options.lease)
            .await
            .map_err(from_placement)?;
        let sites = Arc::new(Sites::new(options.opener.clone()));
        for (name, url) in &options.sites {
            sites.add(name.clone(), url)?;
        }
        for entry in placement.sites().await.map_err(from_placement)? {
            if let Err(error) = sites.add(entry.name.clone(), &entry.url) {
                tracing::warn!(%error, "a site known from before is left aside");
            }
        }
        for entry in placement.vaults().await.map_err(from_placement)? {
            let progress = placement.progress(entry.vault).await;
            for (site, progress) in progress.map_err(from_placement)? {
                if progress.replicated.is_some() {
                    sites.held_records(&site);
                }
            }
        }
        let node = Arc::new(Self {
            started_millis,
            context,
            options,
            sites,
            placement,
            stop,
            lease: RwLock::new(lease),
            vaults: RwLock::default(),
            changing: tokio::sync::Mutex::new(()),
        });
        crate::lease::LeaseKeeper::start(&node);
        let (first, looked) = tokio::sync::oneshot::channel();
        let this = node.clone();
        node.context
            .spawn(async move { this.keep_looking(first).await });
        // A site that does not answer keeps nobody waiting: what it holds is found later.
        let _ = tokio::time::timeout(FIRST_LOOK, looked).await;
        Ok(node)
    }

    /// Looks for vaults and takes them, until the node stops.
    async fn keep_looking(self: &Arc<Self>, first: tokio::sync::oneshot::Sender<()>) {
        let mut first = Some(first);
        let mut looked: Option<tokio::time::Instant> = None;
        loop {
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                self.look().await;
                looked = Some(tokio::time::Instant::now());
            }
            self.take_free().await;
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// The lease that ownership stands under.
    pub fn lease(&self) -> LeaseId {
        *self.lease.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease has ended: takes a new one, and with it what was owned here and nobody else has taken since.
    pub(crate) async fn register_again(&self) -> Result<()> {
        let lease = self
            .placement
            .register(&self.info(), self.options.lease)
            .await
            .map_err(from_placement)?;
        *self.lease.write().unwrap_or_else(PoisonError::into_inner) = lease;
        for slot in self.list() {
            let Some(vault) = slot.vault else { continue };
            let (id, epoch) = (slot.header.vault, vault.claimant.epoch);
            match self.placement.acquire(id, &lease, epoch).await {
                // Another may have taken the vault, appended to it, and lost its own lease again meanwhile. Nobody would ever
                // tell: whoever only reads asks no site whether the epoch was sealed.
                Ok(Acquire::Granted) => match vault.is_not_sealed().await {
                    Ok(true) => {}
                    Ok(false) => {
                        tracing::error!(vault = %slot.header.name, %epoch, "another coordinator had the vault meanwhile; it is taken anew");
                        vault.stop.cancel();
                    }
                    Err(error) => {
                        tracing::error!(vault = %slot.header.name, %epoch, %error, "whether another coordinator had the vault meanwhile cannot be seen; it is taken anew");
                        vault.stop.cancel();
                    }
                },
                Ok(Acquire::HeldBy(owner)) => {
                    tracing::error!(vault = %slot.header.name, owner = owner.coordinator, "another coordinator took the vault meanwhile");
                    vault.stop.cancel();
                }
                Err(error) => {
                    tracing::warn!(vault = %slot.header.name, %error, "it is not held yet")
                }
            }
        }
        Ok(())
    }

    fn info(&self) -> CoordinatorInfo {
        info(&self.options, self.started_millis)
    }

    pub(crate) fn slots(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<VaultId, Slot>> {
        self.vaults.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// All vaults that were found.
    pub fn list(&self) -> Vec<Slot> {
        self.vaults
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// A vault by its name or id.
    pub fn find(&self, name: &str) -> Result<Slot> {
        let slots = self.list();
        let mut found = slots.iter().filter(|slot| {
            slot.header.name.as_str() == name || slot.header.vault.to_string() == name
        });
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(one), Some(other)) => Err(Error::Invalid(format!(
                "two vaults bear the name {name}; give the id: {} or {}",
                one.header.vault, other.header.vault
            ))),
            (None, _) => {
                let names: Vec<&str> = slots.iter().map(|slot| slot.header.name.as_str()).collect();
                let there = if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                };
                Err(Error::Missing(format!(
                    "vault {name} (vaults here: {there})"
                )))
            }
        }
    }

    /// A vault that is owned here.
    pub fn vault(&self, name: &str) -> Result<Arc<Vault>> {
        let slot = self.find(name)?;
        match slot.vault {
            Some(vault) if !vault.stop.is_cancelled() => Ok(vault),
            // Its own name stands there while it opens the vault again, after a failover that failed.
            _ if !slot.owner.is_empty() && slot.owner != self.options.name => {
                Err(Error::Unavailable(format!(
                    "vault {} is owned by coordinator {}; ask there",
                    slot.header.name, slot.owner
                )))
            }
            _ => Err(Error::Unavailable(format!(
                "vault {} is not open: {}",
                slot.header.name, slot.trouble
            ))),
        }
    }

    /// Looks for vaults at every site, and takes those that nobody owns.
    pub async fn find_and_take(self: &Arc<Self>) {
        self.look().await;
        for slot in self.slots().values_mut() {
            slot.tried = None;
        }
        self.take_free().await;
    }

    /// Looks for vaults at every site, at all of them at once.
    async fn look(&self) {
        let looks = self
            .sites
            .list()
            .into_iter()
            .map(|(name, _, _)| async move {
                if let Err(error) = self.look_at(&name).await {
                    tracing::warn!(site = %name, %error, "the site cannot be looked at");
                }
            });
        futures::future::join_all(looks).await;
        self.look_for_known().await;
    }

    /// Takes vaults that nobody owns; one that could not be taken is tried again after a pause that grows.
    async fn take_free(self: &Arc<Self>) {
        let _changing = self.changing.lock().await;
        self.drop_fenced().await;
        for slot in self.list() {
            let waits = slot
                .tried
                .is_some_and(|(since, pause)| since.elapsed() < pause);
            if slot.vault.is_some() || waits || self.stop.is_cancelled() {
                continue;
            }
            let id = slot.header.vault;
            if let Err(error) = self.take(id, &Take::AtPrimary).await {
                tracing::warn!(vault = %slot.header.name, %error, "the vault is not open");
                if let Some(slot) = self.slots().get_mut(&id) {
                    slot.trouble = error.to_string();
                    let pause = slot.tried.map_or(RETRY, |(_, pause)| pause * 2);
                    slot.tried = Some((tokio::time::Instant::now(), pause.min(RETRY_MAX)));
                }
            }
        }
    }

    async fn drop_fenced(&self) {
        for slot in self.list() {
            if let Some(vault) = slot.vault
                && vault.stop.is_cancelled()
            {
                vault.end().await;
                herald::last_word(&vault, self.placement.as_ref()).await;
                let _ = self
                    .placement
                    .release(slot.header.vault, &self.lease())
                    .await;
                if let Some(slot) = self.slots().get_mut(&slot.header.vault) {
                    slot.vault = None;
                    slot.owner.clear();
                    slot.trouble = "its ownership ended; it is opened again".into();
                }
            }
        }
    }

    async fn look_at(&self, name: &SiteName) -> Result<()> {
        let opened = self.sites.open(name).await?;
        for (id, header) in list_vaults(opened.site.as_ref()).await? {
            match header {
                Ok(header) => {
                    self.slots().entry(id).or_insert_with(|| Slot {
                        header,
                        found_at: name.clone(),
                        vault: None,
                        trouble: "it was just found".into(),
                        owner: String::new(),
                        tried: None,
                    });
                }
                Err(error) => {
                    tracing::error!(vault = %id, site = %name, %error, "a vault's header does not read")
                }
            }
        }
        Ok(())
    }

    /// Where a vault's index segments are kept here.
    pub fn cache_of(&self, vault: VaultId) -> SegmentCache {
        SegmentCache::Folder(
            self.options
                .data
                .join("vaults")
                .join(vault.to_string())
                .join("segments"),
        )
    }

    pub(crate) async fn remember(&self, vault: &Arc<Vault>) {
        let (members, primary): (Vec<SiteName>, SiteName) = {
            let state = vault.state();
            (
                state.catalog.members.keys().cloned().collect(),
                vault.primary.site.name().clone(),
            )
        };
        let mut sites = vec![primary.clone()];
        sites.extend(members.into_iter().filter(|site| *site != primary));
        self.slots().insert(
            vault.header.vault,
            Slot {
                header: vault.header.clone(),
                found_at: primary,
                vault: Some(vault.clone()),
                trouble: String::new(),
                owner: self.options.name.clone(),
                tried: None,
            },
        );
        // ORDER: what the store has from before is not given up for want of an answer.
        let header = match self.header_of(vault).await {
            Ok(header) => header,
            Err(error) => {
                tracing::warn!(%error, "the vault's entry in placement is not up to date");
                return;
            }
        };
        let entry = VaultEntry {
            vault: vault.header.vault,
            name: vault.header.name.clone(),
            sites,
            header: header.map(|object| object.to_vec().into()),
        };
        if let Err(error) = self.placement.put_vault(&entry).await {
            tracing::warn!(%error, "the vault's entry in placement is not up to date");
        }
    }

    /// Makes a vault that was just written to its primary known, and takes it.
    pub async fn adopt(
        self: &Arc<Self>,
        header: VaultHeader,
        site: SiteName,
        certificate: &Certificate,
    ) -> Result<Arc<Vault>> {
        let _changing = self.changing.lock().await;
        self.placement
            .put_certificate(header.vault, &certificate.encode())
            .await
            .map_err(from_placement)?;
        let id = header.vault;
        self.slots().entry(id).or_insert_with(|| Slot {
            header,
            found_at: site,
            vault: None,
            trouble: "it is being opened".into(),
            owner: String::new(),
            tried: None,
        });
        if let Some(vault) = self
            .list()
            .into_iter()
            .find(|slot| slot.header.vault == id)
            .and_then(|slot| slot.vault)
        {
            return Ok(vault);
        }
        self.take(id, &Take::AtPrimary).await
    }

    /// Keeps ownerships as they are for as long as the guard lives: nothing is taken, nothing is given up by the node's
    /// own clockwork meanwhile.
    pub(crate) async fn changing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Ends this node's ownership of a vault, if it has it. The caller holds [`Self::changing`].
    pub(crate) async fn give_up(&self, id: VaultId, why: String) {
        let owned = self
            .list()
            .into_iter()
            .find(|slot| slot.header.vault == id)
            .and_then(|slot| slot.vault);
        if let Some(vault) = owned {
            vault.end().await;
            herald::last_word(&vault, self.placement.as_ref()).await;
            if let Some(slot) = self.slots().get_mut(&id) {
                slot.vault = None;
                slot.owner.clear();
                slot.trouble = why;
            }
        }
    }

    /// Stops: every vault is given up in order, the lease last.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        let _changing = self.changing.lock().await;
        for slot in self.list() {
            if let Some(vault) = slot.vault {
                vault.end().await;
                herald::last_word(&vault, self.placement.as_ref()).await;
            }
        }
        if let Err(error) = self.placement.deregister(&self.lease()).await {
            tracing::warn!(%error, "the lease was not given back; it runs out by itself");
        }
    }
}

fn info(options: &Options, started_millis: i64) -> CoordinatorInfo {
    CoordinatorInfo {
        name: options.name.clone(),
        addresses: options.addresses.clone(),
        public_key: options.key.public().0,
        level: holdfast_format::codec::LEVEL,
        started_millis,
    }
}
