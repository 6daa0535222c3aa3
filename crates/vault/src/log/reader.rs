//! Reading a log at one site, in order, without trusting it.
//!
//! State: for each epoch that was entered, whether a branch seal cuts it short there. A reader never writes.
//! [`LogReader::of_branch`] reads what lies there instead, from some epoch on and up to a branch seal: for the salvage
//! alone.
//!
//! A site that was left behind by a failover holds records that are not history. Its epoch ends, once failback has been
//! there, with a seal whose `ends_at` is the fork and which embeds the seal that stands at the survivor: from `ends_at`
//! on that embedded seal is read in place of what lies there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use holdfast_format::{Epoch, Hash, ObjectName, Position, Record, Slot, VaultHeader, VaultId};
use holdfast_store::SiteReader;

use crate::checkpoint::{SegmentCache, Settling};
use crate::error::{Error, Result};
use crate::fold::State;

/// How many records are fetched ahead.
const READ_AHEAD: usize = 16;

/// Reads one vault's log at one site.
#[derive(Debug)]
pub struct LogReader {
    site: Arc<dyn SiteReader>,
    vault: VaultId,
    branches: HashMap<Epoch, Option<Branch>>,
    /// From which epoch on branches are read as they lie there.
    lies_from: Option<Epoch>,
    /// Epochs that a seal which stands there was found to lead to.
    led_to: HashSet<Epoch>,
}

/// Where an epoch's history ends although records follow there.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The first slot that is not history.
    pub ends_at: Slot,
    /// The slot of the branch's seal.
    pub sealed_at: Slot,
    /// The seal that stands at the survivor, in place `ends_at`.
    pub survivor: Bytes,
}

impl LogReader {
    /// A reader of `vault` at `site`.
    pub fn new(site: Arc<dyn SiteReader>, vault: VaultId) -> Self {
        Self {
            site,
            vault,
            branches: HashMap::new(),
            lies_from: None,
            led_to: HashSet::new(),
        }
    }

    /// A reader of what lies at a site that was left behind, history or not, from epoch `from` on.
    pub fn of_branch(site: Arc<dyn SiteReader>, vault: VaultId, from: Epoch) -> Self {
        Self {
            lies_from: Some(from),
            ..Self::new(site, vault)
        }
    }

    /// The site that is read.
    pub fn site(&self) -> &Arc<dyn SiteReader> {
        &self.site
    }

    /// The vault's header there; `None` if the site answers that it has none.
    pub async fn header(&self) -> Result<Option<VaultHeader>> {
        read_header(self.site.as_ref(), self.vault).await
    }

    /// The record of the history at a position; `None` if the site answers that the slot is empty.
    pub async fn read(&mut self, at: Position) -> Result<Option<Record>> {
        if let Some(branch) = self.branch(at.epoch).await?
            && at.slot >= branch.ends_at
        {
            return Ok(Some(Record::open(self.vault, at, branch.survivor)?));
        }
        self.read_raw(at).await
    }

    /// The record that lies in a slot, be it history or a branch.
    pub async fn read_raw(&self, at: Position) -> Result<Option<Record>> {
        match self.site.get(&ObjectName::record(self.vault, at)).await? {
            Some(object) => Ok(Some(Record::open(self.vault, at, object)?)),
            None => Ok(None),
        }
    }

    /// The places of an epoch's slots that hold something there, from `from` on.
    pub async fn slots(&self, epoch: Epoch, from: Slot) -> Result<Vec<Position>> {
        let after = from.0.checked_sub(1).map(|slot| Position {
            epoch,
            slot: Slot(slot),
        });
        let after = after.map(|at| ObjectName::record(self.vault, at));
        let listed = self
            .site
            .list(&ObjectName::epoch_prefix(self.vault, epoch), after.as_ref())
            .await?;
        Ok(listed
            .iter()
            .filter_map(|info| info.name.as_record(self.vault))
            .collect())
    }

    /// The epochs that have any slot there, in order.
    pub async fn epochs(&self) -> Result<Vec<Epoch>> {
        let folders = self
            .site
            .list_folders(&format!("{}log/", ObjectName::vault_prefix(self.vault)))
            .await?;
        Ok(folders
            .iter()
            .filter_map(|name| name.parse().ok().map(Epoch))
            .collect())
    }

    /// Whether an epoch ends in a branch there. Asked once for each epoch: a branch seal is written only at a site that was left
    /// behind. Whoever may be reading there since before, as the replicator of a deposed owner, looks again: [`Self::look_again`].
    pub async fn branch(&mut self, epoch: Epoch) -> Result<Option<Branch>> {
        if self.lies_from.is_some_and(|from| epoch >= from) {
            return Ok(None);
        }
        if let Some(known) = self.branches.get(&epoch) {
            return Ok(known.clone());
        }
        let branch = match self.last_of(epoch).await? {
            Some(record) => self.branch_of(&record).await?,
            // An epoch that nobody has entered yet is asked for again.
            None => return Ok(None),
        };
        self.branches.insert(epoch, branch.clone());
        Ok(branch)
    }

    /// Looks anew whether an epoch ends in a branch there, by what lies from a position of it on: for whoever reads on and on. What lies
    /// before is not listed.
    pub async fn look_again(&mut self, from: Position) -> Result<()> {
        let last = match self.slots(from.epoch, from.slot).await?.last() {
            Some(&last) => self.read_raw(last).await?,
            None => None,
        };
        let branch = match last {
            Some(record) => self.branch_of(&record).await?,
            // Nobody has entered it yet.
            None if from.slot == Slot(0) => return Ok(()),
            None => None,
        };
        self.branches.insert(from.epoch, branch);
        Ok(())
    }

    /// The last record that lies in an epoch.
    async fn last_of(&self, epoch: Epoch) -> Result<Option<Record>> {
        match self.slots(epoch, Slot(0)).await?.last() {
            Some(&last) => self.read_raw(last).await,
            None => Ok(None),
        }
    }

    /// The last records of epochs, several asked for at once: two requests each.
    async fn last_of_each(&self, epochs: Vec<Epoch>) -> Result<Vec<Record>> {
        let mut last = futures::stream::iter(epochs)
            .map(|epoch| self.last_of(epoch))
            .buffered(READ_AHEAD);
        let mut records = Vec::new();
        while let Some(record) = last.next().await {
            records.extend(record?);
        }
        Ok(records)
    }

    /// Where the branches begin that were closed there. Two requests for each epoch, several at once.
    pub async fn closed_branches(&self) -> Result<Vec<Position>> {
        let mut closed = Vec::new();
        for record in self.last_of_each(self.epochs().await?).await? {
            let branch = self.branch_of(&record).await?;
            closed.extend(branch.map(|branch| Position {
                epoch: record.position().epoch,
                slot: branch.ends_at,
            }));
        }
        Ok(closed)
    }

    /// Whether a record lies on the way that a reader takes from the first record on: none of the branches that were closed
    /// there holds it. Two requests for each epoch up to its own, several at once.
    pub async fn is_history(&self, at: Position, hash: &Hash) -> Result<bool> {
        let mut epochs = self.epochs().await?;
        epochs.retain(|epoch| *epoch <= at.epoch);
        let first = epochs.first().copied();
        let (mut leads_to, mut branches) = (HashMap::new(), HashMap::new());
        for record in self.last_of_each(epochs).await? {
            let epoch = record.position().epoch;
            let seal = match self.branch_of(&record).await? {
                Some(branch) => {
                    let place = Position {
                        epoch,
                        slot: branch.ends_at,
                    };
                    let survivor = Record::open(self.vault, place, branch.survivor)?;
                    let next = survivor.seal().map(|seal| seal.next_epoch);
                    branches.insert(epoch, (place, survivor.hash));
                    next
                }
                None => record.seal().map(|seal| seal.next_epoch),
            };
            leads_to.extend(seal.map(|next| (epoch, next)));
        }
        if branches.is_empty() {
            return Ok(true);
        }
        let mut way = first;
        while let Some(epoch) = way.filter(|epoch| *epoch < at.epoch) {
            way = leads_to.get(&epoch).copied();
        }
        Ok(way == Some(at.epoch)
            && branches
                .get(&at.epoch)
                .is_none_or(|(place, survivor)| at < *place || (at == *place && hash == survivor)))
    }

    /// The branch that a record closes, if it is a branch's seal.
    async fn branch_of(&self, record: &Record) -> Result<Option<Branch>> {
        let at = record.position();
        let Some(seal) = record.seal().filter(|seal| seal.ends_at != at.slot) else {
            return Ok(None);
        };
        let bad = |why: &str| Error::Corrupt(format!("the branch seal at {at}: {why}"));
        // What takes the branch's place is checked by the chain; that the branch may be left out, here.
        let header = self.header().await?;
        let header = header.ok_or_else(|| Error::Missing(format!("vault {}", self.vault)))?;
        seal.certificate.check(header.vault, &header.root)?;
        if seal.certificate.writer != record.body.writer {
            return Err(bad("it is signed by another than its certificate names"));
        }
        let survivor = seal.survivor.clone();
        Ok(Some(Branch {
            ends_at: seal.ends_at,
            sealed_at: at.slot,
            survivor: survivor.ok_or_else(|| bad("it names no survivor"))?.into(),
        }))
    }

    /// Folds what stands there behind the state's head for as long as it reads, one record after the other. Gives what is
    /// wrong where it ends before the log does: for a rescue, which takes what it can get.
    pub async fn follow_readable(
        &mut self,
        state: &mut State,
        cache: &SegmentCache,
    ) -> Result<Option<Error>> {
        let mut settling = Settling::default();
        loop {
            let next = state.chain.next();
            // Whether a branch ends the epoch stands in its last record, which may be the damaged one.
            let branch = match self.branch(next.epoch).await {
                Err(error @ Error::Unavailable(_)) => return Err(error),
                branch => branch.ok().flatten(),
            };
            let record = match branch.filter(|branch| next.slot >= branch.ends_at) {
                Some(branch) => Record::open(self.vault, next, branch.survivor)
                    .map(Some)
                    .map_err(Error::from),
                None => self.read_raw(next).await,
            };
            match record {
                Ok(Some(record)) => {
                    state.take(&record)?;
                    settling.settle(&mut state.index, cache).await;
                }
                Ok(None) if self.slots(next.epoch, next.slot).await?.is_empty() => {
                    return self.cut_off(next).await;
                }
                Ok(None) => {
                    return Ok(Some(Error::Corrupt(format!(
                        "record {next} is missing at site {}, and later ones stand there",
                        self.site.name()
                    ))));
                }
                Err(error @ (Error::Unavailable(_) | Error::TooNew(_))) => return Err(error),
                Err(error) => return Ok(Some(error)),
            }
        }
    }

    /// Folds everything that stands there behind the state's head; gives the number of records. Reads ahead, and moves the index
    /// into segments as it grows. Where this fails, or is given up, the state is not to be used any more.
    pub async fn follow(&mut self, state: &mut State, cache: &SegmentCache) -> Result<u64> {
        let mut taken = 0;
        let mut settling = Settling::default();
        loop {
            let next = state.chain.next();
            let branch = self.branch(next.epoch).await?;
            let slots = self.slots(next.epoch, next.slot).await?;
            let slots: Vec<Position> = (slots.into_iter())
                .filter(|at| {
                    branch
                        .as_ref()
                        .is_none_or(|branch| at.slot < branch.ends_at)
                })
                .collect();
            let before = taken;
            let this = &*self;
            let mut records = futures::stream::iter(slots)
                .map(|at| async move { (at, this.read_raw(at).await) })
                .buffered(READ_AHEAD);
            while let Some((at, record)) = records.next().await {
                if at != state.chain.next() {
                    return Err(Error::Corrupt(format!(
                        "the log at site {} lacks record {}, yet has {at}; repair it from another site with \
                         `holdfast verify --repair`",
                        this.site.name(),
                        state.chain.next()
                    )));
                }
                let Some(record) = record? else { break };
                state.take(&record)?;
                taken += 1;
                settling.settle(&mut state.index, cache).await;
            }
            drop(records);
            if let Some(branch) = branch
                && state.chain.next()
                    == (Position {
                        epoch: next.epoch,
                        slot: branch.ends_at,
                    })
            {
                let at = state.chain.next();
                state.take(&Record::open(self.vault, at, branch.survivor)?)?;
                taken += 1;
            }
            if taken == before {
                return match self.cut_off(state.chain.next()).await? {
                    None => Ok(taken),
                    Some(error) => Err(error),
                };
            }
        }
    }

    /// Where nothing stands in the slot `next`: whether the log goes on behind it all the same, in a later epoch. A seal that
    /// is missing would else end the log without a word, and whoever took it for the end would seal the epoch once more, and
    /// part from all that came after.
    ///
    /// An epoch that a seal which stands there leads to is none of these: it belongs to a branch that was left behind.
    async fn cut_off(&mut self, next: Position) -> Result<Option<Error>> {
        let mut later = self.epochs().await?;
        later.retain(|epoch| *epoch > next.epoch && !self.led_to.contains(epoch));
        if later.is_empty() {
            return Ok(None);
        }
        // ORDER: looked for after the epochs were listed. A claim is put behind its seal only, so that the seal of whoever
        // claims just now is found.
        let seals = self.seals().await?;
        for epoch in later {
            let Some(&first) = self.slots(epoch, Slot(0)).await?.first() else {
                continue;
            };
            match self.read_raw(first).await {
                Ok(Some(record)) if !seals.contains(&record.body.previous) => {
                    return Ok(Some(Error::Corrupt(format!(
                        "the log at site {} lacks record {next}, yet has {first}; repair it from another site with \
                         `holdfast verify --repair`",
                        self.site.name()
                    ))));
                }
                Err(error @ Error::Unavailable(_)) => return Err(error),
                // What does not read there proves nothing: it may be a branch's.
                _ => {}
            }
            self.led_to.insert(epoch);
        }
        Ok(None)
    }

    /// The hashes of all seals that stand there: the last records of epochs, and the survivors' that a branch's seal holds.
    async fn seals(&self) -> Result<HashSet<Hash>> {
        let mut seals = HashSet::new();
        for epoch in self.epochs().await? {
            for at in self.slots(epoch, Slot(0)).await?.into_iter().rev() {
                let record = match self.read_raw(at).await {
                    Ok(Some(record)) => record,
                    Err(error @ Error::Unavailable(_)) => return Err(error),
                    _ => continue,
                };
                let Some(seal) = record.seal() else { break };
                if let Some(survivor) = &seal.survivor {
                    let place = Position {
                        epoch,
                        slot: seal.ends_at,
                    };
                    let survivor = Record::open(self.vault, place, survivor.clone().into());
                    seals.extend(survivor.map(|survivor| survivor.hash));
                }
                seals.insert(record.hash);
            }
        }
        Ok(seals)
    }
}

/// Reads a vault's header at a site.
pub async fn read_header(site: &dyn SiteReader, vault: VaultId) -> Result<Option<VaultHeader>> {
    match site.get(&ObjectName::header(vault)).await? {
        Some(object) => Ok(Some(VaultHeader::open(vault, &object)?)),
        None => Ok(None),
    }
}

/// The vaults that lie at a site. A folder without a header is none; a header that does not read is reported.
pub async fn list_vaults(site: &dyn SiteReader) -> Result<Vec<(VaultId, Result<VaultHeader>)>> {
    let mut found = Vec::new();
    for folder in site.list_folders("").await? {
        let Ok(vault) = folder.parse::<VaultId>() else {
            continue;
        };
        match read_header(site, vault).await {
            Ok(Some(header)) => found.push((vault, Ok(header))),
            Ok(None) => {}
            Err(error @ Error::Unavailable(_)) => return Err(error),
            Err(error) => found.push((vault, Err(error))),
        }
    }
    Ok(found)
}
