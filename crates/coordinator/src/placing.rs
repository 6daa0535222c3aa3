//! Placing: which vaults this node takes, leaves alone and hands over, as the placement store tells it who lives.
//!
//! State: who lives and since when it was seen, and per vault a lock under which its ownership changes. What to do about a vault is
//! decided by [`crate::spread`]; here it is done, each vault by itself, so that one whose primary does not answer keeps no other
//! waiting. The store's changes drive it; a tick makes up for those that were missed.

mod changing;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use holdfast_format::{VaultHeader, VaultId};
use holdfast_placement::{CoordinatorInfo, Event, VaultEntry, Watch};
use holdfast_vault::log::reader::list_vaults;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::node::{Node, Slot};
use crate::spread::{Owned, Step, View, step};

/// After what pause a vault that is not open is tried again, at first; and how often it is looked what is to be done, at least.
const RETRY: Duration = Duration::from_secs(2);

/// How often sites are looked at for vaults that somebody else put there.
const LOOK: Duration = Duration::from_secs(60);

/// How many vaults are being taken at once. Each reads its log and mends what it finds.
const TAKING_MAX: usize = 8;

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
    /// What they tell of themselves.
    listed: Mutex<Vec<CoordinatorInfo>>,
    /// One change of ownership of a vault at a time.
    changing: Mutex<BTreeMap<VaultId, Arc<tokio::sync::Mutex<()>>>>,
    /// Vaults that this node's own clockwork is taking just now: who is asked for something else by a person ends that.
    tries: Mutex<BTreeMap<VaultId, CancellationToken>>,
    taking: Semaphore,
    /// The store does not list this coordinator: it was emptied, or brought back from a backup, while the lease went on.
    pub(crate) unlisted: AtomicBool,
    /// Of some vault that is open here it is not known yet whether the lease, which is a new one, holds it.
    pub(crate) unheld: AtomicBool,
    /// That is being found out.
    pub(crate) holding: AtomicBool,
}

impl Default for Placing {
    fn default() -> Self {
        Self {
            live: Mutex::default(),
            listed: Mutex::default(),
            changing: Mutex::default(),
            tries: Mutex::default(),
            taking: Semaphore::new(TAKING_MAX),
            unlisted: AtomicBool::new(false),
            unheld: AtomicBool::new(false),
            holding: AtomicBool::new(false),
        }
    }
}

impl Placing {
    /// What the coordinators that live tell of themselves, as heard last.
    pub(crate) fn listed(&self) -> Vec<CoordinatorInfo> {
        lock(&self.listed).clone()
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
                slot.set_owner(owner, &self.options.name);
                drop(slots);
                self.changed.set(());
                self.standby.grown(vault);
                is_free
            }
            Event::Coordinators => {
                self.refresh_live().await;
                true
            }
            Event::Vaults => {
                let new = self.refresh_vaults().await;
                self.refresh_owners(new).await;
                true
            }
            Event::Sites => {
                self.refresh_sites().await;
                false
            }
            Event::Progress { vault, .. } => {
                self.standby.grown(vault);
                false
            }
            Event::Resync => {
                self.refresh().await;
                self.doubt_what_is_held().await;
                true
            }
        }
    }

    /// Reads again all that placing goes by.
    async fn refresh(&self) {
        self.refresh_live().await;
        self.refresh_sites().await;
        self.refresh_vaults().await;
        let all = self.list().into_iter().map(|slot| slot.header.vault);
        self.refresh_owners(all.collect()).await;
    }

    /// Reads again who owns vaults that are not open here.
    async fn refresh_owners(&self, vaults: Vec<VaultId>) {
        for id in vaults {
            let is_here = self
                .slots()
                .get(&id)
                .is_none_or(|slot| slot.vault.is_some());
            if !is_here
                && let Ok(owner) = self.placement.owner(id).await
                && let Some(slot) = self.slots().get_mut(&id)
            {
                slot.set_owner(owner, &self.options.name);
                self.standby.grown(id);
            }
        }
    }

    /// The store may have been brought back from a backup that knows this coordinator's lease, and not what it has taken since.
    async fn doubt_what_is_held(&self) {
        for slot in self.list() {
            let (id, Some(vault)) = (slot.header.vault, &slot.vault) else {
                continue;
            };
            // One that does not answer tells everything again once it does.
            let Ok(owner) = self.placement.owner(id).await else {
                return;
            };
            let is_held = owner.is_some_and(|owner| {
                owner.coordinator == self.options.name && owner.epoch == vault.claimant.epoch
            });
            // Handed over or given up meanwhile, it is rightly not held.
            let is_here = self
                .slots()
                .get(&id)
                .and_then(|slot| slot.vault.as_ref())
                .is_some_and(|here| Arc::ptr_eq(here, vault) && !here.stop.is_cancelled());
            if !is_held && is_here {
                self.placing.unheld.store(true, Ordering::Relaxed);
                return;
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
        lock(&self.placing.listed).clone_from(&listed);
        let now = Instant::now();
        let (gone, are_same) = {
            let mut live = lock(&self.placing.live);
            let mut seen = BTreeMap::new();
            for info in listed {
                let since = match live.get(&info.name) {
                    Some((started, since)) if *started == info.started_millis => *since,
                    _ => now,
                };
                seen.insert(info.name, (info.started_millis, since));
            }
            let before = std::mem::replace(&mut *live, seen);
            let are_same = before.keys().eq(live.keys());
            let gone = before.into_keys().filter(|name| !live.contains_key(name));
            (gone.collect::<BTreeSet<_>>(), are_same)
        };
        if !are_same {
            self.others_live(&gone);
        }
    }

    /// The coordinators that live are others than before: another may have to stand by for a vault, or take it.
    fn others_live(&self, gone: &BTreeSet<String>) {
        for slot in self.slots().values_mut() {
            // ORDER: a store that lets a lease run out may tell of the coordinator before it tells of its vaults. They are without
            // an owner from now on, whenever they had none before.
            if gone.contains(&slot.owner_name()) {
                slot.unowned = Instant::now();
            }
            self.standby.grown(slot.header.vault);
        }
    }

    /// The coordinators that live, with how long each has been seen.
    pub(crate) fn live(&self) -> Vec<(String, Duration)> {
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

    /// Vaults that others created are known by their entries, before any site is listed. Gives those that are new here: what was
    /// heard of their owners until now went past them.
    async fn refresh_vaults(&self) -> Vec<VaultId> {
        let Ok(mut known) = self.placement.vaults().await else {
            return Vec::new();
        };
        known.retain(|entry| self.know(entry));
        known.into_iter().map(|entry| entry.vault).collect()
    }

    /// Whether it was not known.
    fn know(&self, entry: &VaultEntry) -> bool {
        let object = entry.header.clone().map(Vec::from).unwrap_or_default();
        let Ok(header) = VaultHeader::open(entry.vault, &object) else {
            return false;
        };
        let Some(first) = entry.sites.first() else {
            return false;
        };
        match self.slots().entry(entry.vault) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Slot::found(
                    header,
                    first.clone(),
                    "it is being opened".into(),
                ));
                true
            }
        }
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
        let dropping = self.drop_fenced(busy);
        if busy == Busy::Wait {
            join_all(dropping).await;
        }
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
            // It is fenced, and being dropped.
            (Some(vault), _) if vault.stop.is_cancelled() => Owned::Elsewhere,
            (Some(vault), _) => Owned::Here {
                idle: vault.is_idle(),
            },
            // Its own name stands there while a failover has failed, or after it was killed and started again.
            (None, Some(owner)) if owner.coordinator == self.options.name => {
                Owned::Nobody(Duration::MAX)
            }
            // An answer that came late may have put back an owner that is gone. Whoever takes a vault asks the store first.
            (None, Some(owner)) if !live.is_empty() && !is_live(live, &owner.coordinator) => {
                Owned::Nobody(slot.unowned.elapsed())
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
}

fn is_live(live: &[(String, Duration)], name: &str) -> bool {
    live.iter().any(|(one, _)| one == name)
}

/// Nothing in here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
