//! A node: one coordinator with its sites, its placement, its lease and its vaults.
//!
//! State: which vaults it knows, and what it does with each. Which of them it takes and gives up is `placing`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use holdfast_context::{Context, Latest};
use holdfast_format::{Certificate, SecretKey, SiteName, VaultHeader, VaultId};
use holdfast_placement::{CoordinatorInfo, LeaseId, Owner, Placement, VaultEntry};
use holdfast_store::OpenSites;
use holdfast_vault::SegmentCache;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Elsewhere, Error, Result, from_placement};
use crate::placing::Placing;
use crate::sites::Sites;
use crate::standby::Standby;
use crate::taking::Take;
use crate::vault::Vault;
use crate::watchman::Watchman;

/// What a node starts from.
#[derive(Debug, Clone)]
pub struct Options {
    /// The coordinator's name.
    pub name: String,
    /// Its data folder: caches, its signing key, embedded placement.
    pub data: PathBuf,
    /// Addresses that it tells others, and clients who ask for what it owns elsewhere.
    pub addresses: Vec<String>,
    /// Sites: name and URL.
    pub sites: Vec<(SiteName, String)>,
    /// Opens them.
    pub opener: Arc<dyn OpenSites>,
    /// How long a lease lasts without renewal. Liveness only.
    pub lease: Duration,
    /// Signs records. All coordinators of a cluster have the same: each may have to take any vault.
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
    /// Its owner, as the placement store told last.
    pub owner: Option<Owner>,
    /// Since when it has none, as far as is known here.
    pub unowned: Instant,
    /// When taking it failed last, and the pause from then on.
    pub tried: Option<(Instant, Duration)>,
    /// When it was handed over last, and for how long it stays here if it comes back.
    pub handed: Option<(Instant, Duration)>,
}

impl Slot {
    /// A vault that was found and not taken yet.
    pub(crate) fn found(header: VaultHeader, found_at: SiteName, trouble: String) -> Self {
        Self {
            header,
            found_at,
            vault: None,
            trouble,
            owner: None,
            unowned: Instant::now(),
            tried: None,
            handed: None,
        }
    }

    /// Takes in who owns it now. A vault that another has set free may be taken at once; after one's own attempt, which failed and
    /// set it free, the pause stands.
    pub(crate) fn set_owner(&mut self, owner: Option<Owner>, own: &str) {
        if owner.is_none() {
            self.unowned = Instant::now();
            if self.owner_name() != own {
                self.tried = None;
            }
        }
        self.owner = owner;
    }

    /// Whether it is left alone for now, after an attempt that failed.
    pub(crate) fn is_paused(&self) -> bool {
        self.tried
            .is_some_and(|(since, pause)| since.elapsed() < pause)
    }

    /// Whether it is open nowhere, as far as is known here, and soon will be: nobody has failed to open it.
    fn changes_hands(&self, own: &str) -> bool {
        let open = self.vault.as_ref();
        let is_open = open.is_some_and(|vault| !vault.stop.is_cancelled());
        let owner = self.owner.as_ref();
        let is_elsewhere = owner.is_some_and(|owner| owner.coordinator != own);
        !is_open && !is_elsewhere && self.tried.is_none()
    }

    /// The coordinator that owns it; empty if none is known to.
    pub fn owner_name(&self) -> String {
        let owner = self.owner.as_ref();
        owner
            .map(|owner| owner.coordinator.clone())
            .unwrap_or_default()
    }
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
    /// Vaults were taken, given up, or not to be opened, here or elsewhere.
    pub(crate) changed: Latest<()>,
    pub(crate) placing: Placing,
    pub(crate) standby: Standby,
    pub(crate) watchman: Watchman,
}

/// How long a stop waits for requests to sites that are under way.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// A request waits so long for a vault that changes hands.
const CHANGES_HANDS_WITHIN: Duration = Duration::from_secs(5);

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
        check_cluster_key(&options, placement.as_ref()).await?;
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
            changed: Latest::new(()),
            placing: Placing::default(),
            standby: Standby::default(),
            watchman: Watchman::default(),
        });
        crate::lease::LeaseKeeper::start(&node);
        let (first, looked) = tokio::sync::oneshot::channel();
        let this = node.clone();
        node.context
            .spawn(async move { this.keep_looking(first).await });
        let this = node.clone();
        node.context.spawn(async move { this.keep_placing().await });
        let this = node.clone();
        node.context.spawn(async move { this.keep_warm().await });
        let this = node.clone();
        node.context.spawn(async move { this.keep_watch().await });
        // A site that does not answer keeps nobody waiting: what it holds is found later.
        let _ = tokio::time::timeout(FIRST_LOOK, looked).await;
        Ok(node)
    }

    /// The lease that ownership stands under.
    pub fn lease(&self) -> LeaseId {
        *self.lease.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_lease(&self, lease: LeaseId) {
        *self.lease.write().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    pub(crate) fn info(&self) -> CoordinatorInfo {
        CoordinatorInfo {
            gone: self.watchman.gone(),
            ..info(&self.options, self.started_millis)
        }
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
            _ => Err(self.not_here(&slot)),
        }
    }

    /// A vault that is owned here; else who is to be asked, or what is the matter, as the placement store knows it now.
    pub async fn reach(&self, name: &str) -> Result<Arc<Vault>> {
        match self.reach_slot(name).await?.vault {
            Some(vault) => Ok(vault),
            None => self.vault(name),
        }
    }

    /// A vault that is owned here, or that no coordinator owns. One that changes hands just now is waited for: whoever asks should
    /// not have to ask again.
    pub(crate) async fn reach_slot(&self, name: &str) -> Result<Slot> {
        let mut changed = self.changed.watch();
        let until = Instant::now() + CHANGES_HANDS_WITHIN;
        loop {
            let slot = self.reach_slot_now(name).await?;
            if !slot.changes_hands(&self.options.name) {
                return Ok(slot);
            }
            if !matches!(
                tokio::time::timeout_at(until, changed.changed()).await,
                Ok(Ok(()))
            ) {
                return Ok(slot);
            }
        }
    }

    /// The same as it is now.
    pub(crate) async fn reach_slot_now(&self, name: &str) -> Result<Slot> {
        let slot = match self.find(name) {
            Ok(slot) => slot,
            // ORDER: one that was created elsewhere a moment ago is not told missing: that would end a session that resumes.
            Err(error @ Error::Missing(_)) => return Err(self.missing(name, error).await),
            Err(error) => return Err(error),
        };
        if slot
            .vault
            .as_ref()
            .is_some_and(|vault| !vault.stop.is_cancelled())
        {
            return Ok(slot);
        }
        let id = slot.header.vault;
        if let Ok(owner) = self.placement.owner(id).await
            && let Some(slot) = self.slots().get_mut(&id)
            && slot.owner != owner
        {
            slot.set_owner(owner, &self.options.name);
        }
        let slot = self.find(name)?;
        match self.not_here(&slot) {
            error @ Error::Elsewhere(_) if slot.vault.is_none() => Err(error),
            _ => Ok(slot),
        }
    }

    /// No vault of that name was found here: whether there is one all the same.
    async fn missing(&self, name: &str, error: Error) -> Error {
        match self.placement.vaults().await {
            Ok(known) => {
                let mut known = known.iter();
                let is_known = known
                    .any(|entry| entry.name.as_str() == name || entry.vault.to_string() == name);
                match is_known {
                    true => Error::Unavailable(format!(
                        "vault {name} was not found at a site yet; ask again in a moment"
                    )),
                    false => error,
                }
            }
            Err(other) => Error::Unavailable(format!(
                "vault {name} is not known here, and whether another coordinator has it cannot be asked: {other}"
            )),
        }
    }

    fn not_here(&self, slot: &Slot) -> Error {
        let vault = slot.header.name.to_string();
        match &slot.owner {
            // Its own name stands there while it opens the vault again, after a failover that failed.
            Some(owner) if owner.coordinator != self.options.name => {
                Error::Elsewhere(Box::new(Elsewhere {
                    vault,
                    owner: owner.coordinator.clone(),
                    addresses: owner.addresses.clone(),
                }))
            }
            _ => Error::Unavailable(format!("vault {vault} is not open: {}", slot.trouble)),
        }
    }

    /// Where a vault's index segments are kept here.
    pub fn cache_of(&self, vault: VaultId) -> SegmentCache {
        let vaults = self.options.data.join("vaults");
        SegmentCache::Folder {
            path: vaults.join(vault.to_string()).join("segments"),
            context: self.context.clone(),
        }
    }

    /// A vault was taken.
    pub(crate) async fn remember(&self, vault: &Arc<Vault>) {
        let id = vault.header.vault;
        let handed = self.slots().get(&id).and_then(|slot| slot.handed);
        let primary = vault.primary.site.name().clone();
        let slot = Slot {
            vault: Some(vault.clone()),
            owner: Some(Owner {
                coordinator: self.options.name.clone(),
                addresses: self.options.addresses.clone(),
                epoch: vault.claimant.epoch,
            }),
            handed,
            ..Slot::found(vault.header.clone(), primary, String::new())
        };
        self.slots().insert(id, slot);
        self.changed.set(());
        self.register_vault(vault).await;
    }

    /// Tells the placement store of an owned vault: its name, its members, its header.
    pub(crate) async fn register_vault(&self, vault: &Vault) {
        let primary = vault.primary.site.name().clone();
        let members: Vec<SiteName> = vault.state().catalog.members.keys().cloned().collect();
        let mut sites = vec![primary.clone()];
        sites.extend(members.into_iter().filter(|site| *site != primary));
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
        let _changing = self.changing(header.vault).await;
        self.placement
            .put_certificate(header.vault, &certificate.encode())
            .await
            .map_err(from_placement)?;
        let id = header.vault;
        let found = || Slot::found(header, site, "it is being opened".into());
        self.slots().entry(id).or_insert_with(found);
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

    /// Stops: every vault is given up in order, the lease last.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        let leaving = self.list().into_iter().map(|slot| slot.header.vault);
        let left = futures::future::join_all(leaving.map(|id| self.leave(id)));
        // What hangs at a site is left as a crash would leave it: whoever takes the vault next goes on from there.
        if tokio::time::timeout(LEAVE_WITHIN, left).await.is_err() {
            tracing::warn!(
                "a site does not answer, so that not every vault was given up in order; whoever takes it next finds out what stands there"
            );
        }
        if let Err(error) = self.placement.deregister(&self.lease()).await {
            tracing::warn!(%error, "the lease was not given back; it runs out by itself");
        }
    }
}

/// Whoever may have to take the others' vaults signs with the same key: the vaults' certificates are for that one alone.
async fn check_cluster_key(options: &Options, placement: &dyn Placement) -> Result<()> {
    let own = options.key.public();
    for other in placement.coordinators().await.map_err(from_placement)? {
        if other.name != options.name && other.public_key != own.0 {
            return Err(Error::Invalid(format!(
                "coordinator {} lives in the same placement store and signs with another key, so that neither could take over \
                 the other's vaults: give all of them the same --cluster-key",
                other.name
            )));
        }
    }
    Ok(())
}

fn info(options: &Options, started_millis: i64) -> CoordinatorInfo {
    CoordinatorInfo {
        name: options.name.clone(),
        addresses: options.addresses.clone(),
        public_key: options.key.public().0,
        level: holdfast_format::codec::LEVEL,
        started_millis,
        gone: Vec::new(),
    }
}
