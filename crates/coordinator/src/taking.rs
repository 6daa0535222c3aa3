//! Taking vaults: how a node becomes a vault's owner, at the vault's primary or, in a failover, at another member.
//!
//! State: none of its own. A vault is taken under the lease first (liveness) and by the log's own protocol then (safety):
//! nothing is appended that the claim does not fence.

use std::sync::Arc;

use holdfast_format::{Certificate, ClaimNonce, Epoch, SiteName, VaultHeader, VaultId};
use holdfast_placement::Acquire;
use holdfast_store::SiteReader;
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::{Credentials, LogReader, State, Takeover, Writer, open_state};

use crate::error::{Error, Result, from_placement};
use crate::failover::ANSWER_WITHIN;
use crate::node::Node;
use crate::vault::{Vault, herald};

/// Numbers that are skipped, at least, where a number may have been used unseen.
const SKIPPED_MIN: u64 = 1 << 20;

/// Where and as whom a vault is taken.
#[derive(Debug)]
pub(crate) enum Take {
    /// At the primary that its log names.
    AtPrimary,
    /// At another member, which becomes the primary. With a claimant: the one that the seal there names.
    At(SiteName, Option<Claimant>),
}

impl Node {
    pub(crate) async fn credentials(&self, header: &VaultHeader) -> Result<Credentials> {
        let known = self
            .placement
            .certificates(header.vault)
            .await
            .map_err(from_placement)?;
        let own = self.options.key.public();
        for bytes in known {
            let Ok(certificate) = Certificate::decode(&bytes) else {
                continue;
            };
            if certificate.writer == own && certificate.check(header.vault, &header.root).is_ok() {
                return Ok(Credentials {
                    coordinator: self.options.name.clone(),
                    key: self.options.key.clone(),
                    certificate,
                });
            }
        }
        Err(Error::Denied(format!(
            "this coordinator has no certificate for vault {}; `holdfast vault attach` with the vault's identity or \
             recovery kit gives it one",
            header.name
        )))
    }

    /// Opens the state of a vault at the site where its newest history stands.
    pub(crate) async fn newest(
        &self,
        id: VaultId,
        only: Option<&SiteName>,
    ) -> Result<(SiteName, State)> {
        let cache = self.cache_of(id);
        let mut newest: Option<(SiteName, State)> = None;
        let mut trouble = Vec::new();
        for (name, _, _) in self.sites.list() {
            if only.is_some_and(|only| *only != name) {
                continue;
            }
            let opened = match self.sites.open(&name).await {
                Ok(opened) => opened,
                Err(error) => {
                    trouble.push(error.to_string());
                    continue;
                }
            };
            let site: Arc<dyn SiteReader> = opened.site;
            match open_state(&site, id, &cache).await {
                Ok(state) => {
                    if newest
                        .as_ref()
                        .is_none_or(|(_, best)| best.chain.head < state.chain.head)
                    {
                        newest = Some((name, state));
                    }
                }
                Err(Error::Missing(_)) => {}
                Err(error) => trouble.push(format!("site {name}: {error}")),
            }
        }
        newest.ok_or_else(|| {
            Error::Unavailable(format!(
                "its log cannot be read anywhere: {}",
                trouble.join("; ")
            ))
        })
    }

    /// A claimant above every epoch that was ever issued.
    ///
    /// ORDER: numbers are names of log folders, and no name is ever used twice. A placement store that does not know the
    /// vault has lost its counter, or never had it: a number that a cut-off member has used already would be issued again,
    /// and that member could never follow. So every member is read, and where one cannot be, numbers are skipped.
    pub(crate) async fn new_claimant(&self, id: VaultId, state: &State) -> Result<Claimant> {
        let nonce = ClaimNonce(self.context.random());
        if state.chain.head.is_none() {
            let epoch = Epoch(1);
            return Ok(Claimant { epoch, nonce });
        }
        let mut floor = state.chain.next().epoch;
        let known = self.placement.vaults().await.map_err(from_placement)?;
        if known.iter().all(|entry| entry.vault != id) {
            let mut unread = Vec::new();
            for site in state.catalog.members.keys() {
                match self.last_epoch(id, site).await {
                    Ok(last) => floor = floor.max(last),
                    Err(error) => unread.push(format!("{site} ({error})")),
                }
            }
            if !unread.is_empty() {
                // By chance too: the coordinator on the other side of a cut may have to skip from the same number.
                let chance = u32::from_le_bytes(self.context.random());
                let skipped = SKIPPED_MIN + u64::from(chance);
                tracing::warn!(
                    vault = %state.header.name,
                    skipped,
                    "the placement store does not know this vault, and not every site can be read: {}. Epoch numbers are \
                     skipped, so that none is used twice",
                    unread.join(", ")
                );
                floor = Epoch(floor.0.saturating_add(skipped));
            }
        }
        let epoch = self.placement.issue_epoch(id, floor).await;
        Ok(Claimant {
            epoch: epoch.map_err(from_placement)?,
            nonce,
        })
    }

    /// The highest epoch that has a folder at a site.
    async fn last_epoch(&self, id: VaultId, site: &SiteName) -> Result<Epoch> {
        let reading = async {
            let opened = self.sites.open(site).await?;
            let epochs = LogReader::new(opened.site, id).epochs().await?;
            Ok(epochs.last().copied().unwrap_or(Epoch(0)))
        };
        match tokio::time::timeout(ANSWER_WITHIN, reading).await {
            Ok(last) => last,
            Err(_) => Err(Error::Unavailable("it does not answer".into())),
        }
    }

    /// Takes a vault over.
    pub(crate) async fn take(self: &Arc<Self>, id: VaultId, how: &Take) -> Result<Arc<Vault>> {
        let (at, mut claimant) = match how {
            Take::AtPrimary => (None, None),
            Take::At(site, claimant) => (Some(site), *claimant),
        };
        let (_, mut state) = self.newest(id, at).await?;
        let header = state.header.clone();
        let credentials = self.credentials(&header).await?;
        if !holdfast_vault::propose::may_own(&state) {
            return Err(Error::TooNew(format!(
                "vault {} needs a newer holdfast",
                header.name
            )));
        }
        let primary = match (at, &state.catalog.primary) {
            (Some(site), _) => site.clone(),
            (None, Some(primary)) => primary.clone(),
            (None, None) => self.found_at(id)?,
        };
        let opened = self.sites.open(&primary).await?;
        let site: Arc<dyn SiteReader> = opened.site.clone();
        if at.is_none() {
            // Whatever another member shows, the epoch is fenced at the primary: its own log decides.
            state = open_state(&site, id, &self.cache_of(id)).await?;
        }
        // An empty log is at the local clock's time.
        let log_before_millis = match state.chain.head {
            Some(_) => state.chain.time_millis,
            None => self.context.now_millis(),
        };
        let stop = self.stop.child_token();
        loop {
            let own = match claimant.take() {
                Some(announced) => announced,
                None => self.new_claimant(id, &state).await?,
            };
            match self
                .placement
                .acquire(id, self.lease(), own.epoch)
                .await
                .map_err(from_placement)?
            {
                Acquire::Granted => {}
                Acquire::HeldBy(owner) => {
                    if let Some(slot) = self.slots().get_mut(&id) {
                        slot.owner = owner.coordinator.clone();
                    }
                    return Err(Error::Unavailable(format!(
                        "coordinator {} owns it",
                        owner.coordinator
                    )));
                }
            }
            let taken = Writer::take_over(
                &self.context,
                opened.site.clone(),
                credentials.clone(),
                own,
                state,
                stop.clone(),
            )
            .await?;
            match taken {
                Takeover::Owner(writer) => {
                    let progress = self.placement.progress(id).await;
                    let progress = progress.map_err(from_placement)?.into_iter();
                    let vault = Vault::start(
                        self.context.clone(),
                        opened,
                        self.sites.clone(),
                        *writer,
                        self.cache_of(id),
                        log_before_millis,
                        progress
                            .filter_map(|(site, progress)| Some((site, progress.replicated?)))
                            .collect(),
                        stop,
                    );
                    self.remember(&vault).await;
                    herald::start(&vault, self.placement.clone());
                    return Ok(vault);
                }
                Takeover::Superseded(..) => {
                    state = open_state(&site, id, &self.cache_of(id)).await?;
                }
            }
        }
    }

    fn found_at(&self, id: VaultId) -> Result<SiteName> {
        self.slots()
            .get(&id)
            .map(|slot| slot.found_at.clone())
            .ok_or_else(|| Error::Missing(format!("vault {id}")))
    }
}
