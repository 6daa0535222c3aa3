//! What placement knew, made again from the sites alone: after all of etcd was lost, or brought back from an old backup.
//!
//! State: none. It adds and never takes away: a store that knows more than the sites show is left as it is. While no coordinator
//! runs nothing is lost either: each finds the vaults of its own sites when it starts, and the certificate of its key in
//! their logs. What this does beyond that: it learns of sites that only the logs name, and it reads every member before a number
//! is issued, so that none is used twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{
    Certificate, Epoch, ObjectName, Position, PublicKey, SiteName, Slot as LogSlot, VaultHeader,
    VaultId,
};
use holdfast_placement::{Progress, SiteEntry, VaultEntry};
use holdfast_vault::LogReader;

use crate::error::{Error, Result, from_placement};
use crate::failover::ANSWER_WITHIN;
use crate::newest::Newest;
use crate::node::{Node, Slot};

/// So many of a log's last claims are read for a certificate. One of them is this cluster's, or it has to be certified anew.
const CLAIMS_MAX: usize = 16;

/// What was made again of one vault.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// Its id.
    pub vault: VaultId,
    /// Its name.
    pub name: String,
    /// Its members, the primary first.
    pub sites: Vec<SiteName>,
    /// No epoch up to this one is issued again.
    pub epoch: Epoch,
    /// Members that could not be read, each with the reason: numbers were skipped for them.
    pub unread: Vec<String>,
    /// What is left to do, for people; empty if nothing is.
    pub trouble: String,
}

impl Node {
    /// Makes again what placement knew of every vault that the sites show.
    pub async fn rebuild_placement(self: &Arc<Self>) -> Result<Vec<Rebuilt>> {
        let mut seen: BTreeSet<VaultId> = BTreeSet::new();
        let mut rebuilt = Vec::new();
        // A log may name sites that hold vaults nobody has heard of here.
        loop {
            self.find_and_take().await;
            let slots = self.list().into_iter();
            let fresh: Vec<Slot> = slots
                .filter(|slot| !seen.contains(&slot.header.vault))
                .collect();
            if fresh.is_empty() {
                return Ok(rebuilt);
            }
            for slot in fresh {
                seen.insert(slot.header.vault);
                let mut line = Rebuilt {
                    vault: slot.header.vault,
                    name: slot.header.name.to_string(),
                    sites: Vec::new(),
                    epoch: Epoch(0),
                    unread: Vec::new(),
                    trouble: String::new(),
                };
                if let Err(error) = self.rebuild(&slot.header, &mut line).await {
                    line.trouble = error.to_string();
                }
                rebuilt.push(line);
            }
        }
    }

    async fn rebuild(self: &Arc<Self>, header: &VaultHeader, line: &mut Rebuilt) -> Result<()> {
        let id = header.vault;
        let mut newest = self.newest_as_is(id, None).await?;
        if self.learn_sites(&newest).await? {
            newest = self.newest_as_is(id, None).await?;
        }
        let Newest { site, state, .. } = newest;
        let primary = state.catalog.primary.clone();
        let members = state.catalog.members.keys().cloned();
        line.sites = primary.clone().into_iter().collect();
        line.sites
            .extend(members.filter(|name| Some(name) != primary.as_ref()));
        // ORDER: the counter before the entry. A store that knows the vault is believed about its numbers.
        let members: Vec<SiteName> = state.catalog.members.keys().cloned().collect();
        let counter = self.placement.epoch_counter(id).await;
        let from = state
            .chain
            .next()
            .epoch
            .max(counter.map_err(from_placement)?);
        let (floor, unread) = self.floor(id, from, &members, ANSWER_WITHIN).await;
        let issued = self.placement.issue_epoch(id, floor).await;
        line.epoch = issued.map_err(from_placement)?;
        line.unread = unread;
        let entry = VaultEntry {
            vault: id,
            name: header.name.clone(),
            sites: line.sites.clone(),
            header: self
                .header_object(header)
                .await
                .map(|object| object.to_vec().into()),
        };
        let put = self.placement.put_vault(&entry).await;
        put.map_err(from_placement)?;
        self.tell_progress(id, &site, state.chain.head).await?;
        self.credentials(header).await.map(drop)
    }

    /// Makes sites known that a log names; whether there were any.
    async fn learn_sites(&self, newest: &Newest) -> Result<bool> {
        let mut learnt = false;
        for (name, member) in &newest.state.catalog.members {
            if self.sites.url(name).is_some() || member.url.is_empty() {
                continue;
            }
            self.sites.add(name.clone(), &member.url)?;
            let entry = SiteEntry {
                name: name.clone(),
                url: member.url.clone(),
            };
            let put = self.placement.put_site(&entry).await;
            put.map_err(from_placement)?;
            learnt = true;
        }
        Ok(learnt)
    }

    /// The header's object, from the first site that has it whole.
    async fn header_object(&self, header: &VaultHeader) -> Option<Bytes> {
        let name = ObjectName::header(header.vault);
        for (site, _, _) in self.sites.list() {
            let Ok(opened) = self.sites.open(&site).await else {
                continue;
            };
            let object = opened.site.get(&name).await.ok().flatten();
            let is_good = |object: &Bytes| {
                VaultHeader::open(header.vault, object).is_ok_and(|there| there == *header)
            };
            if let Some(object) = object.filter(is_good) {
                return Some(object);
            }
        }
        None
    }

    /// Only of the site whose history counts: what any other one holds may be a branch. Its owner tells the rest.
    async fn tell_progress(
        &self,
        id: VaultId,
        site: &SiteName,
        head: Option<Position>,
    ) -> Result<()> {
        let told = self.placement.progress(id).await.map_err(from_placement)?;
        let mut told = told.into_iter().filter(|(name, _)| name == site);
        let told = told.next().map(|(_, told)| told);
        if told.and_then(|told| told.replicated) >= head {
            return Ok(());
        }
        let progress = Progress {
            replicated: head,
            verified: told.and_then(|told| told.verified),
            at_millis: self.context.now_millis(),
            records: 0,
            bytes: 0,
        };
        let set = self.placement.set_progress(id, site, progress).await;
        set.map_err(from_placement)
    }

    /// The root key's word for this cluster's key, as a claim in a vault's log has it.
    pub(crate) async fn certificate_in_logs(
        &self,
        header: &VaultHeader,
        writer: PublicKey,
    ) -> Option<Certificate> {
        for (name, _, _) in self.sites.list() {
            let reading = self.certificate_at(header, writer, &name);
            match tokio::time::timeout(ANSWER_WITHIN, reading).await {
                Ok(Ok(Some(certificate))) => return Some(certificate),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(vault = %header.name, site = %name, %error, "no certificate is found there");
                }
                Err(_) => {}
            }
        }
        None
    }

    async fn certificate_at(
        &self,
        header: &VaultHeader,
        writer: PublicKey,
        site: &SiteName,
    ) -> Result<Option<Certificate>> {
        let opened = self.sites.open(site).await?;
        let log = LogReader::new(opened.site, header.vault);
        for epoch in log.epochs().await?.into_iter().rev().take(CLAIMS_MAX) {
            let first = Position {
                epoch,
                slot: LogSlot(0),
            };
            // One that is damaged has neighbours.
            let Ok(Some(record)) = log.read_raw(first).await else {
                continue;
            };
            let certificate = record.claim().map(|claim| claim.certificate.clone());
            if let Some(certificate) = certificate
                && certificate.writer == writer
                && certificate.check(header.vault, &header.root).is_ok()
            {
                return Ok(Some(certificate));
            }
        }
        Ok(None)
    }

    /// Where a vault's log shows what this store does not: no certificate at all is for a person to give.
    pub(crate) fn uncertified(&self, header: &VaultHeader) -> Error {
        Error::Denied(format!(
            "this coordinator has no certificate for vault {}; `holdfast vault attach` with the vault's identity or \
             recovery kit gives it one",
            header.name
        ))
    }
}
