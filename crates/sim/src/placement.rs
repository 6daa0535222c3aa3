//! A process's way to placement: through its gate and the weather, to one store that all processes share.
//!
//! State: none of its own; the store's. Placement can be lost as a whole: then an empty one takes its place.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use holdfast_context::Context;
use holdfast_format::{Epoch, SiteName, VaultId};
use holdfast_placement::{
    Acquire, CoordinatorInfo, EmbeddedPlacement, Error, Event, LeaseId, Owner, Placement, Progress,
    Result, SiteEntry, VaultEntry, Watch,
};

use crate::gate::Gate;
use crate::weather::{Call, Fault, Weather};

/// What stands for the place in the weather.
pub const PLACE: &str = "placement";

/// The store that all share.
#[derive(Debug)]
pub struct Shared {
    context: Context,
    store: RwLock<Arc<EmbeddedPlacement>>,
}

impl Shared {
    /// An empty store.
    pub fn new(context: Context) -> Result<Arc<Self>> {
        let store = EmbeddedPlacement::in_memory(context.clone())?;
        Ok(Arc::new(Self {
            context,
            store: RwLock::new(Arc::new(store)),
        }))
    }

    /// Everything in it is lost.
    pub fn lose(&self) -> Result<()> {
        let empty = Arc::new(EmbeddedPlacement::in_memory(self.context.clone())?);
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = empty;
        Ok(())
    }

    /// The store itself, without weather.
    pub fn store(&self) -> Arc<EmbeddedPlacement> {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        store.clone()
    }
}

/// See the module.
#[derive(Debug)]
pub struct PlacementLink {
    /// The process.
    pub process: String,
    /// Its gate.
    pub gate: Gate,
    /// What goes wrong.
    pub weather: Weather,
    /// The store.
    pub shared: Arc<Shared>,
}

impl PlacementLink {
    async fn call<T, F>(
        &self,
        call: Call,
        task: &'static str,
        effect: impl FnOnce(Arc<EmbeddedPlacement>) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let Self {
            process,
            gate,
            weather,
            ..
        } = self;
        gate.pass().await;
        let error = |why: &str, determinate| Error::Unavailable {
            store: "the simulated placement".into(),
            task,
            why: why.into(),
            determinate,
            source: None,
        };
        let fault = weather.strike(process, PLACE, call, task);
        if fault == Some(Fault::Crash) {
            gate.kill();
        }
        let words = ["placement", process, task];
        tokio::time::sleep(Duration::from_micros(
            200 + weather.chance.below(2000, &words),
        ))
        .await;
        if weather.is_cut(process, PLACE) {
            tokio::time::sleep(Duration::from_secs(2)).await;
            gate.pass().await;
            return Err(error("no answer", call == Call::Ask));
        }
        if let Some(Fault::Slow(pause)) = fault {
            tokio::time::sleep(pause / 4).await;
        }
        match fault {
            Some(Fault::Fail) => return Err(error("it was refused", true)),
            Some(Fault::Lost) => return Err(error("the request was lost", call == Call::Ask)),
            _ => {}
        }
        let done = effect(self.shared.store()).await;
        let word = match &done {
            Ok(_) => "ok",
            Err(_) => "failed",
        };
        weather
            .trace
            .say(process, format_args!("{PLACE} {task}: {word}"));
        weather.trace.count("calls to placement");
        gate.pass().await;
        match fault {
            Some(Fault::DoneButFailed) => {
                done?;
                Err(error("the answer was lost", false))
            }
            _ => done,
        }
    }
}

#[async_trait]
impl Placement for PlacementLink {
    async fn register(&self, coordinator: &CoordinatorInfo, ttl: Duration) -> Result<LeaseId> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.register(coordinator, ttl).await };
        self.call(Call::Tell, "register", effect).await
    }

    async fn announce(&self, lease: &LeaseId, coordinator: &CoordinatorInfo) -> Result<()> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.announce(lease, coordinator).await };
        self.call(Call::Tell, "announce", effect).await
    }

    async fn keep_alive(&self, lease: &LeaseId) -> Result<bool> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.keep_alive(lease).await };
        self.call(Call::Tell, "keep alive", effect).await
    }

    async fn deregister(&self, lease: &LeaseId) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.deregister(lease).await };
        self.call(Call::Tell, "deregister", effect).await
    }

    async fn coordinators(&self) -> Result<Vec<CoordinatorInfo>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.coordinators().await };
        self.call(Call::Ask, "coordinators", effect).await
    }

    async fn issue_epoch(&self, vault: VaultId, floor: Epoch) -> Result<Epoch> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.issue_epoch(vault, floor).await };
        self.call(Call::Tell, "issue epoch", effect).await
    }

    async fn epoch_counter(&self, vault: VaultId) -> Result<Epoch> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.epoch_counter(vault).await };
        self.call(Call::Ask, "epoch counter", effect).await
    }

    async fn acquire(&self, vault: VaultId, lease: &LeaseId, epoch: Epoch) -> Result<Acquire> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.acquire(vault, lease, epoch).await };
        self.call(Call::Tell, "acquire", effect).await
    }

    async fn release(&self, vault: VaultId, lease: &LeaseId) -> Result<()> {
        let effect =
            |store: Arc<EmbeddedPlacement>| async move { store.release(vault, lease).await };
        self.call(Call::Tell, "release", effect).await
    }

    async fn owner(&self, vault: VaultId) -> Result<Option<Owner>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.owner(vault).await };
        self.call(Call::Ask, "owner", effect).await
    }

    async fn put_vault(&self, entry: &VaultEntry) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.put_vault(entry).await };
        self.call(Call::Tell, "put vault", effect).await
    }

    async fn vaults(&self) -> Result<Vec<VaultEntry>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.vaults().await };
        self.call(Call::Ask, "vaults", effect).await
    }

    async fn remove_vault(&self, vault: VaultId) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.remove_vault(vault).await };
        self.call(Call::Tell, "remove vault", effect).await
    }

    async fn put_site(&self, site: &SiteEntry) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.put_site(site).await };
        self.call(Call::Tell, "put site", effect).await
    }

    async fn sites(&self) -> Result<Vec<SiteEntry>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.sites().await };
        self.call(Call::Ask, "sites", effect).await
    }

    async fn remove_site(&self, site: &SiteName) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.remove_site(site).await };
        self.call(Call::Tell, "remove site", effect).await
    }

    async fn set_progress(
        &self,
        vault: VaultId,
        site: &SiteName,
        progress: Progress,
    ) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move {
            store.set_progress(vault, site, progress).await
        };
        self.call(Call::Tell, "set progress", effect).await
    }

    async fn progress(&self, vault: VaultId) -> Result<Vec<(SiteName, Progress)>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.progress(vault).await };
        self.call(Call::Ask, "progress", effect).await
    }

    async fn put_certificate(&self, vault: VaultId, certificate: &[u8]) -> Result<()> {
        let effect = |store: Arc<EmbeddedPlacement>| async move {
            store.put_certificate(vault, certificate).await
        };
        self.call(Call::Tell, "put certificate", effect).await
    }

    async fn certificates(&self, vault: VaultId) -> Result<Vec<Vec<u8>>> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.certificates(vault).await };
        self.call(Call::Ask, "certificates", effect).await
    }

    async fn watch(&self) -> Result<Watch> {
        let effect = |store: Arc<EmbeddedPlacement>| async move { store.watch().await };
        let watch = self.call(Call::Ask, "watch", effect).await?;
        let way = (
            self.process.clone(),
            self.gate.clone(),
            self.weather.clone(),
        );
        Ok(Watch::over(stream::unfold((watch, way), heard)))
    }
}

/// How often somebody who is cut off looks whether he still is.
const CUT: Duration = Duration::from_secs(1);

type Way = (String, Gate, Weather);

/// The next event, as it reaches a process: not while that one is paused, nor while it is cut off.
async fn heard((mut watch, way): (Watch, Way)) -> Option<(Event, (Watch, Way))> {
    let event = watch.next().await?;
    let (process, gate, weather) = &way;
    while weather.is_cut(process, PLACE) {
        tokio::time::sleep(CUT).await;
    }
    gate.pass().await;
    Some((event, (watch, way)))
}
