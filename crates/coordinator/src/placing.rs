//! Placing: which vaults this node takes, leaves alone and hands over, as the placement store tells it who lives.
//!
//! State: who lives and since when it was seen, and per vault a lock under which its ownership changes. What to do about a vault is
//! decided by [`crate::spread`]; here it is done, each vault by itself, so that one whose primary does not answer keeps no other
//! waiting. The store's changes drive it; a tick makes up for those that were missed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use holdfast_format::{VaultHeader, VaultId};
use holdfast_placement::{Acquire, Event, VaultEntry, Watch};
use holdfast_vault::log::reader::list_vaults;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, from_placement};
use crate::node::{Node, Slot};
use crate::spread::{Owned, Step, View, step};
use crate::taking::Take;
use crate::vault::{Vault, herald};

/// After what pause a vault that is not open is tried again: at first, and at most.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How often sites are looked at for vaults that somebody else put there.
const LOOK: Duration = Duration::from_secs(60);

/// How many vaults are being taken at once. Each reads its log and mends what it finds.
const TAKING_MAX: usize = 8;

/// A site that is well answers within this.
const WELL_WITHIN: Duration = Duration::from_secs(2);

/// After a vault was handed over, how long it is not again, should it come back: at first, and at most.
const REST: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(3600);

/// What to do about a vault whose ownership somebody is changing already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Busy {
    /// Wait until that is done.
    Wait,
    /// Leave it: there is another tick.
    Leave,
}

/// What placing remembers.
#[derive(Debug)]
pub(crate) struct Placing {
    /// The coordinators that live: when each says it started, and since when it was seen here.
    live: Mutex<BTreeMap<String, (i64, Instant)>>,
    /// One change of ownership of a vault at a time.
    changing: Mutex<BTreeMap<VaultId, Arc<tokio::sync::Mutex<()>>>>,
    /// Vaults that this node's own clockwork is taking just now: who is asked for something else by a person ends that.
    tries: Mutex<BTreeMap<VaultId, CancellationToken>>,
    taking: Semaphore,
    /// The store does not list this coordinator: it was emptied, or brought back from a backup, while the lease went on.
    pub(crate) unlisted: AtomicBool,
}

impl Default for Placing {
    fn default() -> Self {
        Self {
            live: Mutex::default(),
            changing: Mutex::default(),
            tries: Mutex::default(),
            taking: Semaphore::new(TAKING_MAX),
            unlisted: AtomicBool::new(false),
        }
    }
}

impl Node {
    /// Looks for vaults at the sites, and places what it finds, until the node stops.
    pub(crate) async fn keep_looking(self: &Arc<Self>, first: tokio::sync::oneshot::Sender<()>) {
        let mut first = Some(first);
        loop {
            self.look().await;
            match first.take() {
                Some(first) => {
                    join_all(self.place(Busy::Wait).await).await;
                    let _ = first.send(());
                }
                None => drop(self.place(Busy::Leave).await),
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Follows the placement store, and places vaults whenever something may have changed, until the node stops.
    pub(crate) async fn keep_placing(self: &Arc<Self>) {
        let mut watch: Option<Watch> = None;
        loop {
            if watch.is_none() {
                // ORDER: watched first and read then: a change between the two would reach nobody.
                watch = self.placement.watch().await.ok();
                self.refresh().await;
            }
            drop(self.place(Busy::Leave).await);
            let tick = tokio::time::sleep(RETRY);
            tokio::pin!(tick);
            loop {
                let event = async {
                    match &mut watch {
                        Some(watch) => watch.next().await,
                        None => std::future::pending().await,
                    }
                };
                let goes_on = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return,
                    event = event => match event {
                        Some(event) => !self.hear(event).await,
                        None => {
                            watch = None;
                            true
                        }
                    },
                    () = &mut tick => false,
                };
                if !goes_on {
                    break;
                }
            }
        }
    }

    /// Takes a change in; whether vaults may have to be placed anew.
    async fn hear(&self, event: Event) -> bool {
        match event {
            Event::Owner { vault, owner } => {
                let mut slots = self.slots();
                let Some(slot) = slots.get_mut(&vault) else {
                    return false;
                };
                let is_free = owner.is_none();
                if let (Some(owned), Some(owner)) = (&slot.vault, &owner)
                    && owner.coordinator != self.options.name
                    && owner.epoch > owned.claimant.epoch
                {
                    tracing::error!(vault = %slot.header.name, owner = owner.coordinator, "another coordinator took the vault meanwhile");
                    owned.stop.cancel();
                }
                slot.set_owner(owner);
                is_free
            }
            Event::Coordinators => {
                self.refresh_live().await;
                true
            }
            Event::Vaults => {
                self.refresh_vaults().await;
                true
            }
            Event::Sites => {
                self.refresh_sites().await;
                false
            }
            Event::Progress { .. } => false,
            Event::Resync => {
                self.refresh().await;
                true
            }
        }
    }

    /// Reads again all that placing goes by.
    async fn refresh(&self) {
        self.refresh_live().await;
        self.refresh_sites().await;
        self.refresh_vaults().await;
        for slot in self.list() {
            let id = slot.header.vault;
            if slot.vault.is_none()
                && let Ok(owner) = self.placement.owner(id).await
                && let Some(slot) = self.slots().get_mut(&id)
            {
                slot.set_owner(owner);
            }
        }
    }

    async fn refresh_live(&self) {
        let listed = match self.placement.coordinators().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::debug!(%error, "who else lives is not known now");
                return;
            }
        };
        let is_listed = listed.iter().any(|one| one.name == self.options.name);
        self.placing.unlisted.store(!is_listed, Ordering::Relaxed);
        let now = Instant::now();
        let mut live = lock(&self.placing.live);
        let mut seen = BTreeMap::new();
        for info in listed {
            let since = match live.get(&info.name) {
                Some((started, since)) if *started == info.started_millis => *since,
                _ => now,
            };
            seen.insert(info.name, (info.started_millis, since));
        }
        *live = seen;
    }

    /// The coordinators that live, with how long each has been seen.
    fn live(&self) -> Vec<(String, Duration)> {
        let live = lock(&self.placing.live);
        let live = live.iter();
        live.map(|(name, (_, since))| (name.clone(), since.elapsed()))
            .collect()
    }

    async fn refresh_sites(&self) {
        let Ok(sites) = self.placement.sites().await else {
            return;
        };
        for entry in sites {
            if let Err(error) = self.sites.add(entry.name.clone(), &entry.url) {
                tracing::debug!(%error, "a site known to others is left aside");
            }
        }
    }

    /// Vaults that others created are known by their entries, before any site is listed.
    async fn refresh_vaults(&self) {
        let Ok(known) = self.placement.vaults().await else {
            return;
        };
        for entry in known {
            self.know(&entry);
        }
    }

    fn know(&self, entry: &VaultEntry) {
        let object = entry.header.clone().map(Vec::from).unwrap_or_default();
        let Ok(header) = VaultHeader::open(entry.vault, &object) else {
            return;
        };
        let Some(first) = entry.sites.first() else {
            return;
        };
        let found = || Slot::found(header, first.clone(), "it is being opened".into());
        self.slots().entry(entry.vault).or_insert_with(found);
    }

    /// Looks for vaults at every site, and takes those that nobody owns.
    pub async fn find_and_take(self: &Arc<Self>) {
        self.look().await;
        for slot in self.slots().values_mut() {
            slot.tried = None;
        }
        join_all(self.place(Busy::Wait).await).await;
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
        join_all(looks).await;
        self.look_for_known().await;
    }

    async fn look_at(&self, name: &holdfast_format::SiteName) -> Result<()> {
        let opened = self.sites.open(name).await?;
        for (id, header) in list_vaults(opened.site.as_ref()).await? {
            match header {
                Ok(header) => {
                    let found = || Slot::found(header, name.clone(), "it was just found".into());
                    self.slots().entry(id).or_insert_with(found);
                }
                Err(error) => {
                    tracing::error!(vault = %id, site = %name, %error, "a vault's header does not read")
                }
            }
        }
        Ok(())
    }

    /// Does about each vault what is to be done now; gives what was started and not waited for.
    async fn place(self: &Arc<Self>, busy: Busy) -> Vec<JoinHandle<()>> {
        self.drop_fenced(busy).await;
        let live = self.live();
        let mut started = Vec::new();
        for slot in self.list() {
            if self.stop.is_cancelled() {
                break;
            }
            let (id, this) = (slot.header.vault, self.clone());
            match step(self.view(&slot, &live)) {
                Step::Stay => {}
                Step::Take => {
                    if busy == Busy::Wait || !slot.is_paused() {
                        let taking = async move { this.take_free(id, busy).await };
                        started.push(self.context.spawn(taking));
                    }
                }
                Step::HandOver(to) => {
                    let handing = async move { this.hand_over(id, to).await };
                    started.push(self.context.spawn(handing));
                }
            }
        }
        started
    }

    fn view<'v>(&'v self, slot: &Slot, live: &'v [(String, Duration)]) -> View<'v> {
        let owner = match (&slot.vault, &slot.owner) {
            (Some(vault), _) => Owned::Here {
                idle: is_idle(vault),
            },
            // Its own name stands there while a failover has failed, or after it was killed and started again.
            (None, Some(owner)) if owner.coordinator == self.options.name => {
                Owned::Nobody(Duration::MAX)
            }
            (None, Some(_)) => Owned::Elsewhere,
            (None, None) => Owned::Nobody(slot.unowned.elapsed()),
        };
        let rests = slot
            .handed
            .is_some_and(|(since, pause)| since.elapsed() < pause);
        View {
            vault: slot.header.vault,
            own: &self.options.name,
            live,
            owner,
            rests,
        }
    }

    /// Takes a vault that nobody owns; one that could not be taken is tried again after a pause that grows.
    async fn take_free(self: &Arc<Self>, id: VaultId, busy: Busy) {
        let Some(_changing) = self.changing_unless(id, busy).await else {
            return;
        };
        let Ok(_permit) = self.placing.taking.acquire().await else {
            return;
        };
        let Some(slot) = self.slots().get(&id).cloned() else {
            return;
        };
        // Whoever waits has looked at the sites since, and may have mended what an attempt under way failed for.
        let waits = busy == Busy::Leave && slot.is_paused();
        if slot.vault.is_some() || waits || self.stop.is_cancelled() {
            return;
        }
        let ended = CancellationToken::new();
        lock(&self.placing.tries).insert(id, ended.clone());
        // Dropped in its middle it leaves what a crash would: whoever comes next goes on from there.
        let taken = tokio::select! {
            biased;
            () = ended.cancelled() => {
                // It was open already, and only what is told of it was not done yet.
                if let Some(vault) = self.slots().get(&id).and_then(|slot| slot.vault.clone()) {
                    herald::start(&vault, self.placement.clone());
                }
                return;
            }
            taken = self.take(id, &Take::AtPrimary) => taken,
        };
        lock(&self.placing.tries).remove(&id);
        if let Err(error) = taken {
            if !matches!(error, Error::Elsewhere(_)) {
                tracing::warn!(vault = %slot.header.name, %error, "the vault is not open");
            }
            if let Some(slot) = self.slots().get_mut(&id) {
                slot.trouble = error.to_string();
                let pause = slot.tried.map_or(RETRY, |(_, pause)| pause * 2);
                slot.tried = Some((Instant::now(), pause.min(RETRY_MAX)));
            }
        }
    }

    /// Gives an idle vault to the coordinator that should have it.
    async fn hand_over(&self, id: VaultId, to: String) {
        let Some(_changing) = self.changing_unless(id, Busy::Leave).await else {
            return;
        };
        let Some(slot) = self.slots().get(&id).cloned() else {
            return;
        };
        let Some(vault) = slot.vault.filter(is_idle) else {
            return;
        };
        // Whoever gets it has to open it, and what this owner knows of a site that is away he could not see for himself.
        if !is_well(&vault).await {
            return;
        }
        tracing::info!(vault = %slot.header.name, to, "the vault is handed over");
        self.give_up(id, format!("it was handed over to coordinator {to}"))
            .await;
        if let Some(slot) = self.slots().get_mut(&id) {
            let last = slot.handed.filter(|(at, pause)| at.elapsed() < *pause * 2);
            let pause = last.map_or(REST, |(_, pause)| (pause * 2).min(REST_MAX));
            slot.handed = Some((Instant::now(), pause));
        }
        self.release(id).await;
    }

    async fn drop_fenced(&self, busy: Busy) {
        for slot in self.list() {
            let id = slot.header.vault;
            if slot.vault.is_none_or(|vault| !vault.stop.is_cancelled()) {
                continue;
            }
            let Some(_changing) = self.changing_unless(id, busy).await else {
                continue;
            };
            self.give_up(id, "its ownership ended; it is opened again".into())
                .await;
            self.release(id).await;
        }
    }

    /// Lets others have a vault at once that was given up.
    async fn release(&self, id: VaultId) {
        if let Err(error) = self.placement.release(id, &self.lease()).await {
            tracing::debug!(vault = %id, %error, "that a vault was given up is not known to others yet");
        }
    }

    fn changing_of(&self, id: VaultId) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.placing.changing).entry(id).or_default().clone()
    }

    /// Keeps the ownership of a vault as it is for as long as the guard lives: it is neither taken nor given up by the node's own
    /// clockwork meanwhile.
    pub(crate) async fn changing(&self, id: VaultId) -> OwnedMutexGuard<()> {
        self.changing_of(id).lock_owned().await
    }

    /// The same at once: the node's own attempt to take the vault, which may hang at the very site that a person gives up, ends.
    pub(crate) async fn changing_now(&self, id: VaultId) -> OwnedMutexGuard<()> {
        if let Some(attempt) = lock(&self.placing.tries).remove(&id) {
            attempt.cancel();
        }
        self.changing(id).await
    }

    /// The same, unless somebody else is changing it and is not to be waited for: he leaves it in order.
    async fn changing_unless(&self, id: VaultId, busy: Busy) -> Option<OwnedMutexGuard<()>> {
        match busy {
            Busy::Wait => Some(self.changing(id).await),
            Busy::Leave => self.changing_of(id).try_lock_owned().ok(),
        }
    }

    /// Ends this node's ownership of a vault, if it has it. The lease keeps it: see [`Self::release`]. The caller holds
    /// [`Self::changing`].
    pub(crate) async fn give_up(&self, id: VaultId, why: String) {
        let owned = self.slots().get(&id).and_then(|slot| slot.vault.clone());
        if let Some(vault) = owned {
            vault.end().await;
            herald::last_word(&vault, self.placement.as_ref()).await;
            if let Some(slot) = self.slots().get_mut(&id) {
                slot.vault = None;
                slot.set_owner(None);
                slot.trouble = why;
            }
        }
    }

    /// Gives a vault up when the node stops.
    pub(crate) async fn leave(&self, id: VaultId) {
        let _changing = self.changing(id).await;
        self.give_up(id, "this coordinator is stopping".into())
            .await;
        self.release(id).await;
    }

    /// Makes sure that nobody else takes a vault that nobody owns: one that is about to be created, which whoever lists its site
    /// might find first, or one that is to be moved.
    pub(crate) async fn reserve(&self, id: VaultId) -> Result<()> {
        let owner = self.placement.owner(id).await;
        match owner.map_err(from_placement)? {
            Some(owner) if owner.coordinator == self.options.name => return Ok(()),
            Some(owner) => return Err(self.owned_by(id, owner)),
            None => {}
        }
        let first = holdfast_format::Epoch(1);
        let taken = self.placement.acquire(id, &self.lease(), first).await;
        match taken.map_err(from_placement)? {
            Acquire::Granted => Ok(()),
            Acquire::HeldBy(owner) => Err(self.owned_by(id, owner)),
        }
    }
}

/// Whether nobody works with a vault: no session is open, no restore or mount runs.
fn is_idle(vault: &Arc<Vault>) -> bool {
    let state = vault.state();
    let now = state.now_millis();
    let mut holds = state.catalog.holds.values();
    state.catalog.sessions.is_empty()
        && !holds.any(|hold| hold.by_restore && hold.until_millis.is_none_or(|until| until > now))
}

/// Whether all sites of a vault answer, the primary just now.
async fn is_well(vault: &Arc<Vault>) -> bool {
    let standings = vault.standings();
    let mut standings = standings.values();
    if !standings.all(|standing| standing.looked_at && standing.reachable) {
        return false;
    }
    let header = holdfast_format::ObjectName::header(vault.header.vault);
    let asked = vault.primary.site.head(&header);
    let answer = tokio::time::timeout(WELL_WITHIN, asked).await;
    matches!(answer, Ok(Ok(Some(_))))
}

/// Nothing in here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
