//! A process's way to placement: through its gate and the weather, to one store that all processes share.
//!
//! State: none of its own; the store's.

mod hearing;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_format::{Epoch, SiteName, VaultId};
use holdfast_placement::{
    Acquire, CoordinatorInfo, EmbeddedPlacement, Error, LeaseId, Owner, Placement, Progress,
    Result, SiteEntry, VaultEntry, Watch,
};

use hearing::Hearing;
pub use shared::Shared;

use crate::gate::Gate;
use crate::weather::{Call, Fault, Weather};

/// What stands for the place in the weather.
pub const PLACE: &str = "placement";

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
        if weather.is_cut(process, PLACE) || self.shared.is_dead() {
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
        // What it answers may not be so any more when it arrives.
        if let Some(Fault::Late(pause)) = fault {
            tokio::time::sleep(pause).await;
        }
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
            let replicated = progress.replicated;
            store.set_progress(vault, site, progress).await?;
            self.shared.was_told(site, replicated);
            Ok(())
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
        // ORDER: counted before the watch is made, so that a store that takes the place of this one meanwhile is noticed.
        let turned = self.shared.turned();
        let watch = self.call(Call::Ask, "watch", effect).await?;
        let hearing = Hearing::of(self, watch, turned);
        Ok(Watch::over(hearing.events()))
    }
}
