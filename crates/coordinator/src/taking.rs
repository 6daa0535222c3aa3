//! Taking vaults: how a node becomes a vault's owner, at the vault's primary or, in a failover, at another member.
//!
//! State: none of its own. A vault is taken under the lease first (liveness) and by the log's own protocol then (safety):
//! nothing is appended that the claim does not fence.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_format::{Certificate, ObjectName, Position, Sealed, SiteName, VaultHeader, VaultId};
use holdfast_placement::{Acquire, Owner};
use holdfast_store::SiteReader;
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::replicate::{Standing, standing};
use holdfast_vault::{
    Credentials, Guard, LogReader, State, Takeover, Writer, open_state, open_state_from,
};

use crate::epochs::Before;
use crate::error::{Elsewhere, Error, Result, from_placement};
use crate::failover;
use crate::newest::Newest;
use crate::node::Node;
use crate::repair;
use crate::vault::{Vault, herald};

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
        // A store that was emptied, or that never knew: the log has it, for every takeover writes it there.
        let Some(certificate) = self.certificate_in_logs(header, own).await else {
            return Err(self.uncertified(header));
        };
        let bytes = certificate.encode();
        let put = self.placement.put_certificate(header.vault, &bytes).await;
        put.map_err(from_placement)?;
        Ok(Credentials {
            coordinator: self.options.name.clone(),
            key: self.options.key.clone(),
            certificate,
        })
    }

    /// Takes a vault over.
    pub(crate) async fn take(self: &Arc<Self>, id: VaultId, how: &Take) -> Result<Arc<Vault>> {
        let (at, mut claimant, before) = match how {
            Take::AtPrimary => (None, None, Before::Read),
            Take::At(site, claimant) => (Some(site), *claimant, Before::Unread),
        };
        // Reserved before anything is read: a log is long, and whoever handed the vault over would take it for left alone.
        self.reserve(id).await?;
        let kept = self.standby.fold(id);
        let kept_up_to = kept.as_ref().and_then(|state| state.chain.head);
        let Newest {
            site: newest_at,
            mut state,
            unread,
        } = self.newest_from(id, at, kept).await?;
        let header = state.header.clone();
        let credentials = self.credentials(&header).await?;
        if !holdfast_vault::propose::may_own(&state) {
            return Err(Error::TooNew(format!(
                "vault {} needs a newer holdfast",
                header.name
            )));
        }
        let mut primary = match (at, &state.catalog.primary) {
            (Some(site), _) => site.clone(),
            (None, Some(primary)) => primary.clone(),
            (None, None) => self.found_at(id)?,
        };
        let mut is_unfinished = false;
        if at.is_none() {
            is_unfinished = self.was_failing_over(&primary, &newest_at, &state).await?;
            if is_unfinished {
                primary = newest_at.clone();
            }
            self.check_primary(id, &primary, &unread).await?;
        }
        // What is known of it stands elsewhere too: it can go on there.
        let elsewhere = |error: Error| match error {
            Error::Unavailable(why) if at.is_none() && newest_at != primary => {
                Error::Unavailable(format!(
                    "its primary, site {primary}, cannot be used: {why}. If it does not come back: `holdfast failover --vault {} --to \
                     {newest_at}`",
                    state.header.name
                ))
            }
            error => error,
        };
        let put_back_from = match at.is_none() && !is_unfinished {
            true => {
                let healed = self.heal_primary(&primary, &newest_at, &state).await;
                healed.map_err(elsewhere)?
            }
            false => None,
        };
        let opened = self.sites.open(&primary).await.map_err(elsewhere)?;
        let site: Arc<dyn SiteReader> = opened.site.clone();
        if at.is_none() {
            // Whatever another member shows, the epoch is fenced at the primary: its own log decides.
            state = open_state_from(&site, id, &self.cache_of(id), Some(&state)).await?;
            // What an unfinished failover leaves behind was accepted.
            if !is_unfinished {
                self.check_all_is_there(id, &primary, &state, &unread)
                    .await?;
            }
        }
        let is_new = state.chain.head.is_none();
        // An empty log is at the local clock's time.
        let log_before_millis = match state.chain.head {
            Some(_) => state.chain.time_millis,
            None => self.context.now_millis(),
        };
        let stop = self.stop.child_token();
        loop {
            let own = match claimant.take() {
                Some(announced) => announced,
                None => self.new_claimant(id, &state, before).await?,
            };
            // ORDER: the log is looked at after the number was issued. A failback closes a branch first, and is issued a number
            // after that: a claimant with a higher one that had looked before would go on in the branch, behind the fork.
            if !is_new {
                state = open_state_from(&site, id, &self.cache_of(id), Some(&state)).await?;
            }
            match self
                .placement
                .acquire(id, &self.lease(), own.epoch)
                .await
                .map_err(from_placement)?
            {
                Acquire::Granted => {}
                Acquire::HeldBy(owner) => return Err(self.owned_by(id, owner)),
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
                    // ORDER: before anybody asks. Snapshots may have been committed just before the former ownership ended.
                    if let Err(error) = vault.say_sharing(None).await {
                        tracing::warn!(%error, "which snapshots share what is damaged at a site was not told");
                    }
                    self.standby.forget(id);
                    self.remember(&vault).await;
                    // A site that a failover comes back to may hold what was left behind there.
                    if at.is_some()
                        && let Err(error) = vault.look_for_own_branch().await
                    {
                        tracing::warn!(%error, "whether the primary holds a branch of its own is not known yet");
                    }
                    // What was put back was never read there.
                    if put_back_from.is_some() {
                        vault.unread_behind(&primary, put_back_from).await;
                    }
                    herald::start(&vault, self.placement.clone());
                    tracing::info!(
                        vault = %vault.header.name, epoch = %own.epoch, %primary,
                        kept_up_to = kept_up_to.map(tracing::field::display),
                        "the vault was taken"
                    );
                    return Ok(vault);
                }
                Takeover::Superseded(_, now) => state = *now,
            }
        }
    }

    /// Another coordinator owns a vault: clients are told which.
    pub(crate) fn owned_by(&self, id: VaultId, owner: Owner) -> Error {
        let mut slots = self.slots();
        let name = match slots.get_mut(&id) {
            Some(slot) => {
                slot.owner = Some(owner.clone());
                slot.header.name.to_string()
            }
            None => id.to_string(),
        };
        if owner.coordinator == self.options.name {
            return Error::Unavailable(format!(
                "the lease of this coordinator's former run holds vault {name}; it is opened once that lease has run out"
            ));
        }
        Error::Elsewhere(Box::new(Elsewhere {
            vault: name,
            owner: owner.coordinator,
            addresses: owner.addresses,
        }))
    }

    /// The primary that the placement store knows of, if it knows the vault.
    pub(crate) async fn last_primary(&self, id: VaultId) -> Result<Option<SiteName>> {
        let known = self.placement.vaults().await.map_err(from_placement)?;
        let entry = known.into_iter().find(|entry| entry.vault == id);
        Ok(entry.and_then(|entry| entry.sites.into_iter().next()))
    }

    /// The placement store may know of a later primary than the sites that answer now: then a failover has deposed what
    /// they show, and whoever went on there would only make a branch longer.
    ///
    /// ORDER: it counts that the later primary was read before, not that it answers now: else what stands there was not
    /// compared with what the others show.
    async fn check_primary(
        &self,
        id: VaultId,
        shown: &SiteName,
        unread: &BTreeMap<SiteName, String>,
    ) -> Result<()> {
        let Some(last) = self.last_primary(id).await? else {
            return Ok(());
        };
        let is_known = self.sites.list().iter().any(|(name, _, _)| *name == last);
        let why = match unread.get(&last) {
            Some(why) => why,
            None if !is_known => "no such site is known here",
            None => return Ok(()),
        };
        if last == *shown || !Guard::LastPrimaryAsked.stands() {
            return Ok(());
        }
        Err(Error::Unavailable(format!(
            "its primary, site {last}, cannot be read ({why}), and site {shown} was left behind. Bring {last} back, or go on at \
             {shown} with `holdfast failover --vault {id} --to {shown} --accept-loss`"
        )))
    }

    /// Records that stood at a site, as the placement store was told, and are at no site that was read: disks went back to older
    /// copies of themselves.
    pub(crate) async fn lost_records(
        &self,
        id: VaultId,
        state: &State,
    ) -> Result<Option<(SiteName, Position)>> {
        let told = self.placement.progress(id).await.map_err(from_placement)?;
        let told = told.into_iter();
        let last = told.filter_map(|(site, progress)| Some((progress.replicated?, site)));
        let lost = last
            .max()
            .filter(|(last, _)| state.chain.head.is_none_or(|head| head < *last));
        Ok(lost.map(|(last, site)| (site, last)))
    }

    /// ORDER: before anything is appended. What was acknowledged and is nowhere any more is not passed over in silence.
    async fn check_all_is_there(
        &self,
        id: VaultId,
        primary: &SiteName,
        state: &State,
        unread: &BTreeMap<SiteName, String>,
    ) -> Result<()> {
        let Some((site, last)) = self.lost_records(id, state).await? else {
            return Ok(());
        };
        if !Guard::LossTold.stands() {
            return Ok(());
        }
        let unread: Vec<String> = unread
            .iter()
            .map(|(site, why)| format!(" (site {site} was not read: {why})"))
            .collect();
        let head = state
            .chain
            .head
            .map_or_else(|| "nothing".into(), |head| head.to_string());
        Err(Error::Unavailable(format!(
            "records up to {last} stood at site {site}, and what can be read now{} ends at {head}: a disk was rolled back, or is an \
             older copy. Bring back what holds them, or go on without with `holdfast failover --vault {} --to {primary} --accept-loss`",
            unread.concat(),
            state.header.name
        )))
    }

    /// Whether a failover sealed another member and did not come to claim it, while the old primary holds records that the
    /// seal left behind: then it is finished. Whoever went on at the old primary would make a history that the sealed member
    /// could never follow.
    async fn was_failing_over(
        &self,
        primary: &SiteName,
        newest_at: &SiteName,
        state: &State,
    ) -> Result<bool> {
        if primary == newest_at || state.chain.sealed.is_none() {
            return Ok(false);
        }
        let old: Arc<dyn SiteReader> = self.sites.open(primary).await?.site;
        let sealed: Arc<dyn SiteReader> = self.sites.open(newest_at).await?.site;
        if !matches!(standing(&sealed, &old, state).await?, Standing::Diverged(_)) {
            return Ok(false);
        }
        // A member that only lags behind may end with a seal too: the one that the primary itself has there, and went on
        // from. It was looked at while the primary did not answer.
        let Some(seal) = state.chain.head else {
            return Ok(false);
        };
        let at_primary = LogReader::new(old, state.header.vault).read_raw(seal).await;
        Ok(!matches!(at_primary, Ok(Some(record)) if record.hash == state.chain.hash))
    }

    /// Another member shows a longer or sounder history than the primary: records reach members through the primary only, so
    /// that it has lost some. They are put back, verified, before anyone appends behind the gap.
    ///
    /// A primary that holds nothing at all is left alone: it may be a disk that is not mounted. Gives its last record if more were
    /// put back behind it.
    pub(crate) async fn heal_primary(
        &self,
        name: &SiteName,
        from: &SiteName,
        state: &State,
    ) -> Result<Option<Position>> {
        if name == from || !Guard::PrimaryHealed.stands() {
            return Ok(None);
        }
        let id = state.header.vault;
        let primary = self.sites.open(name).await?;
        let (reader, source) = (
            primary.site.clone() as Arc<dyn SiteReader>,
            self.sites.open(from).await?.site,
        );
        let good: Arc<dyn SiteReader> = source.clone();
        if LogReader::new(reader.clone(), id)
            .epochs()
            .await?
            .is_empty()
        {
            return Ok(None);
        }
        let header = ObjectName::header(id);
        let there = reader.get(&header).await?;
        let sound = |object: &bytes::Bytes| {
            VaultHeader::open(id, object).is_ok_and(|header| header == state.header)
        };
        if !there.as_ref().is_some_and(sound)
            && let Some(object) = good.get(&header).await?.filter(sound)
        {
            tracing::error!(site = %name, %from, "a damaged vault header was repaired");
            let object = Sealed::copied(object);
            primary.sweeper.replace_damaged(&header, object).await?;
        }
        let mut own = open_state(&reader, id, &self.cache_of(id)).await;
        if let Err(Error::Corrupt(why)) = &own {
            tracing::error!(site = %name, %from, why, "the primary's log is damaged; it is repaired");
            let mut log = LogReader::new(good.clone(), id);
            match repair::records(id, &primary, &mut log, state, None).await {
                // A fold begins at a checkpoint: below it the other log may be damaged too, in other places.
                Err(Error::Corrupt(_)) => self.mend_logs(&state.header).await?,
                repaired => repaired?,
            };
            own = open_state(&reader, id, &self.cache_of(id)).await;
        }
        let own = own?;
        if own.chain.hash == state.chain.hash {
            return Ok(None);
        }
        if let Standing::Prefix(Some(_)) = standing(&good, &reader, state).await? {
            tracing::error!(site = %name, %from, "the primary has lost its last records; they are put back");
            failover::drain(self, state.clone(), source, primary.site).await?;
            return Ok(own.chain.head);
        }
        Ok(None)
    }

    fn found_at(&self, id: VaultId) -> Result<SiteName> {
        self.slots()
            .get(&id)
            .map(|slot| slot.found_at.clone())
            .ok_or_else(|| Error::Missing(format!("vault {id}")))
    }
}
