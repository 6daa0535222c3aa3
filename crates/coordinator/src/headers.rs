//! Vaults that the placement store knows and that no site shows: their headers are put back, or it is told what is wrong.
//!
//! State: none. The store keeps a copy of each header. That is a hint like all that it keeps: it is believed only where the log
//! at a site begins under it.

use bytes::Bytes;
use holdfast_format::{Epoch, ObjectName, Position, Sealed, SiteName, VaultHeader};
use holdfast_placement::VaultEntry;
use holdfast_vault::{LogReader, State};

use crate::error::{Result, from_placement};
use crate::node::{Node, Slot};
use crate::repair;
use crate::vault::Vault;

impl Node {
    /// Looks for what should be there and was not found.
    pub(crate) async fn look_for_known(&self) {
        let known = match self.placement.vaults().await {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(%error, "which vaults there should be is not known now");
                return;
            }
        };
        for entry in known {
            let is_cared_for = self.slots().get(&entry.vault).is_some_and(|slot| {
                slot.vault.is_some()
                    || ![self.options.name.as_str(), ""].contains(&&*slot.owner_name())
            });
            if !is_cared_for {
                self.look_for(entry).await;
            }
        }
    }

    /// The object of a vault's header, as it stands at the primary, or as the store has it from before.
    pub(crate) async fn header_of(&self, vault: &Vault) -> Result<Option<Bytes>> {
        let name = ObjectName::header(vault.header.vault);
        let there = vault.primary.site.get(&name).await.ok().flatten();
        let is_good = |object: &Bytes| repair::is_header(vault, object);
        let object = match there.filter(is_good) {
            Some(object) => Some(object),
            None => {
                let known = self.placement.vaults().await.map_err(from_placement)?;
                let mut known = known.into_iter();
                let known = known.find(|entry| entry.vault == vault.header.vault);
                let object = known.and_then(|entry| entry.header);
                object
                    .map(|object| Bytes::from(Vec::from(object)))
                    .filter(is_good)
            }
        };
        if let Some(object) = &object {
            let _ = vault.header_object.set(object.clone());
        }
        Ok(object)
    }

    async fn look_for(&self, entry: VaultEntry) {
        let object = entry.header.map(Vec::from).unwrap_or_default();
        let (Ok(header), Some(first)) =
            (VaultHeader::open(entry.vault, &object), entry.sites.first())
        else {
            return;
        };
        let mut reasons = Vec::new();
        for site in &entry.sites {
            match self.put_back_header(site, &header, &object).await {
                Ok(true) => {}
                Ok(false) => reasons.push(format!("site {site} holds nothing of it")),
                Err(error) => reasons.push(format!("site {site}: {error}")),
            }
        }
        let trouble = match reasons.len() < entry.sites.len() {
            true => "it is being opened".into(),
            false => format!("no site shows it: {}", reasons.join("; ")),
        };
        let is_back = reasons.len() < entry.sites.len();
        let mut slots = self.slots();
        let slot = slots
            .entry(entry.vault)
            .or_insert_with(|| Slot::found(header, first.clone(), trouble));
        if is_back {
            // What was tried without its header may be tried again at once.
            slot.tried = None;
        }
    }

    /// Puts a header back where a log begins under it; whether one does.
    async fn put_back_header(
        &self,
        site: &SiteName,
        header: &VaultHeader,
        object: &[u8],
    ) -> Result<bool> {
        let opened = self.sites.open(site).await?;
        let log = LogReader::new(opened.site.clone(), header.vault);
        let begins = Position {
            epoch: Epoch(1),
            slot: holdfast_format::Slot(0),
        };
        let Some(record) = log.read_raw(begins).await? else {
            return Ok(false);
        };
        let mut chain = State::start(header.clone()).chain;
        chain.take(header, &record)?;
        let name = ObjectName::header(header.vault);
        let there = opened.site.get(&name).await?;
        let is_good = |there: &Bytes| {
            VaultHeader::open(header.vault, there).is_ok_and(|there| there == *header)
        };
        if !there.as_ref().is_some_and(is_good) {
            let good = Sealed::copied(Bytes::copy_from_slice(object));
            opened.sweeper.replace_damaged(&name, good).await?;
            tracing::error!(vault = %header.name, %site, "the vault's header was missing or damaged; it was put back");
        }
        Ok(true)
    }
}
