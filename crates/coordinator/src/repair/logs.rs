//! Repair of logs: records that do not read, or are missing below later ones, from wherever they are whole.
//!
//! State: that of one repair. It never touches a record that reads: one that differs is a branch, not damage. A site that
//! shows a branch is not written to at all from there on.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_format::{
    Epoch, Hash, ObjectName, Position, Record, SiteName, Slot, VaultHeader, VaultId,
};
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::{Guard, LogReader, State};

use super::named;
use crate::error::{Error, Result};
use crate::vault::Vault;

/// Repairs one site's log from another member's verified one, or, where none is whole, from what the members hold between
/// them. Gives how many records were repaired.
pub async fn log(vault: &Arc<Vault>, bad: &Opened, stood: Option<Position>) -> Result<u64> {
    let id = vault.header.vault;
    let mut repaired = 0;
    for good in vault.read_sites(None).await? {
        if good.name() == bad.site.name() {
            continue;
        }
        let mut here = LogReader::new(good.clone(), id);
        let mut state = State::start(vault.header.clone());
        if here.follow(&mut state, &vault.cache).await.is_err() {
            continue;
        }
        repaired += records(id, bad, &mut here, &state, stood).await?;
        // A log that is whole may be short: of a site that was just filled anew.
        let mut now = State::start(vault.header.clone());
        let followed = LogReader::new(bad.site.clone(), id)
            .follow(&mut now, &vault.cache)
            .await;
        if followed.is_ok() && now.chain.head >= stood {
            return Ok(repaired);
        }
    }
    let members: Vec<SiteName> = vault.state().catalog.members.keys().cloned().collect();
    let opened = members.iter().filter_map(|name| vault.sites.opened(name));
    repaired += between(&vault.header, &opened.collect::<Vec<_>>()).await?;
    match repaired {
        0 => Err(Error::Corrupt(
            "no other site has a whole log to repair from, nor have all of them together".into(),
        )),
        repaired => Ok(repaired),
    }
}

/// Where the primary's own log holds a branch that was not brought back, see [`Vault::look_for_own_branch`]; a log that does
/// not read is mended first.
pub(crate) async fn own_branch(vault: &Arc<Vault>) -> Result<Option<Position>> {
    match vault.look_for_own_branch().await {
        Err(Error::Corrupt(why)) => {
            tracing::error!(site = %vault.primary.site.name(), why, "the primary's log is damaged; it is mended first");
            log(vault, &vault.primary, None).await?;
            vault.look_for_own_branch().await
        }
        found => found,
    }
}

/// One of several sites whose logs mend each other.
struct Part<'a> {
    opened: &'a Opened,
    log: LogReader,
    /// The last slot that holds anything.
    end: Option<Position>,
    /// It holds a record that reads and is not of the history: nothing is written there any more.
    branched: bool,
    /// Bad records, with what belongs there. Written once a later record shows that the site is on the history.
    pending: Vec<Record>,
}

/// What a part has in a slot.
enum Found {
    Follows(Box<Record>),
    Other,
    Bad,
    End,
}

impl<'a> Part<'a> {
    async fn of(opened: &'a Opened, id: VaultId) -> Result<Self> {
        let reader: Arc<dyn SiteReader> = opened.site.clone();
        let log = LogReader::new(reader, id);
        let mut end = None;
        for epoch in log.epochs().await? {
            end = log.slots(epoch, Slot(0)).await?.last().copied().max(end);
        }
        Ok(Self {
            opened,
            log,
            end,
            branched: false,
            pending: Vec::new(),
        })
    }

    async fn look(&self, header: &VaultHeader, state: &State) -> Result<Found> {
        let at = state.chain.next();
        Ok(match self.log.read_raw(at).await {
            Ok(Some(record)) if state.chain.clone().take(header, &record).is_ok() => {
                Found::Follows(Box::new(record))
            }
            Ok(Some(_)) => Found::Other,
            Ok(None) if self.end.is_some_and(|end| end > at) => Found::Bad,
            Ok(None) => Found::End,
            Err(Error::Corrupt(_)) => Found::Bad,
            Err(error) => return Err(error),
        })
    }

    /// Puts what is pending in its place; gives how much it was.
    async fn write(&mut self, id: VaultId, others: &[Arc<dyn SiteReader>]) -> Result<u64> {
        let mut written = 0;
        for record in self.pending.drain(..) {
            named::put_back(id, &record, self.opened, others).await?;
            let (site, at) = (self.opened.site.name(), record.position());
            tracing::error!(%site, %at, "a bad record was repaired from another site's log");
            let (name, good) = (ObjectName::record(id, at), record.sealed());
            self.opened.sweeper.replace_damaged(&name, good).await?;
            written += 1;
        }
        Ok(written)
    }
}

/// Repairs the logs of several sites from each other, record by record: each is taken from wherever it reads and follows.
/// Gives how many were repaired. Ends where no site has the next record, or where two hold different ones that both follow.
///
/// ORDER: a bad record is replaced only after a later one at the same site was seen to follow, or when nothing else is left
/// there. Replaced at once, the first record of a branch that has rotted would become history, and the rest of the branch,
/// which may hold what was acknowledged there, would link to nothing.
pub(crate) async fn between(header: &VaultHeader, sites: &[Opened]) -> Result<u64> {
    let id = header.vault;
    let mut state = State::start(header.clone());
    let readers = sites.iter().map(|opened| opened.site.clone());
    let readers: Vec<Arc<dyn SiteReader>> = readers.map(|site| site as _).collect();
    let mut parts = Vec::new();
    for opened in sites {
        match Part::of(opened, id).await {
            Ok(part) => parts.push(part),
            // As if it had not been opened: the others may be whole without it.
            Err(error) => {
                let site = opened.site.name();
                tracing::warn!(%site, %error, "this log cannot be looked at, and is left as it is");
            }
        }
    }
    let mut walked: BTreeMap<Epoch, Slot> = BTreeMap::new();
    let mut repaired = 0;
    'history: loop {
        let mut good: Option<Record> = None;
        let mut found = Vec::new();
        for part in &parts {
            let one = part.look(header, &state).await?;
            if let Found::Follows(record) = &one {
                if good
                    .as_ref()
                    .is_some_and(|good| good.object != record.object)
                {
                    break 'history;
                }
                good = Some(Record::clone(record));
            }
            found.push(one);
        }
        let Some(record) = good else { break };
        for (part, found) in parts.iter_mut().zip(found) {
            match found {
                Found::Follows(_) => repaired += part.write(id, &readers).await?,
                Found::Other => {
                    part.branched = true;
                    part.pending.clear();
                }
                Found::Bad if !part.branched => part.pending.push(record.clone()),
                Found::Bad | Found::End => {}
            }
        }
        walked.insert(record.position().epoch, record.position().slot);
        state.take(&record)?;
    }
    for part in &mut parts {
        let is_walked =
            |end: Position| walked.get(&end.epoch).is_some_and(|slot| *slot >= end.slot);
        if part.end.is_some_and(is_walked) {
            repaired += part.write(id, &readers).await?;
        }
    }
    Ok(repaired)
}

/// Puts records of a verified log in the place of those that do not read, or are missing, at a site: in all epochs that
/// have a folder there, up to the site's own last record, or up to the last that is known to have stood there. `state` is
/// the good log's fold.
pub(crate) async fn records(
    id: VaultId,
    bad: &Opened,
    good: &mut LogReader,
    state: &State,
    stood: Option<Position>,
) -> Result<u64> {
    // ORDER: looked at to the end before anything is written. Of a site that turns out to hold a branch only what lies before
    // its last common record is mended: the branch's own first record may be among the damaged ones, and what took its
    // place would cut the branch off.
    let (lacking, branch) = lacking(id, bad, good, state, stood).await?;
    for &at in &lacking {
        let Some(record) = good.read(at).await? else {
            continue;
        };
        named::put_back(id, &record, bad, &[good.site().clone()]).await?;
        tracing::error!(site = %bad.site.name(), %at, from = %good.site().name(), "a bad record was repaired");
        let name = ObjectName::record(id, at);
        bad.sweeper.replace_damaged(&name, record.sealed()).await?;
    }
    match branch {
        Some(at) => Err(Error::Invalid(format!(
            "site {} holds another record at {at}: that is no damage but a branch; see `holdfast failback`",
            bad.site.name()
        ))),
        None => Ok(lacking.len() as u64),
    }
}

/// The last epoch of the history that stands at a site: those before it must be there to their seals.
async fn last_epoch(epochs: &[Epoch], good: &mut LogReader) -> Result<Option<Epoch>> {
    for &epoch in epochs.iter().rev() {
        let claim = Position {
            epoch,
            slot: Slot(0),
        };
        if good.read(claim).await?.is_some() {
            return Ok(Some(epoch));
        }
    }
    Ok(None)
}

/// Where a site's log is damaged, or lacks what it must have; and the first record of a branch there, if there is one.
async fn lacking(
    id: VaultId,
    bad: &Opened,
    good: &mut LogReader,
    state: &State,
    stood: Option<Position>,
) -> Result<(Vec<Position>, Option<Position>)> {
    let reader: Arc<dyn SiteReader> = bad.site.clone();
    let there = LogReader::new(reader, id);
    let epochs = there.epochs().await?;
    let highest = last_epoch(&epochs, good).await?;
    let mut lacking = Vec::new();
    let mut common = None;
    for &epoch in &epochs {
        let Some(last) = there.slots(epoch, Slot(0)).await?.last().copied() else {
            continue;
        };
        let stood = stood.filter(|stood| stood.epoch == epoch);
        let end = stood.map_or(last.slot, |stood| stood.slot.max(last.slot));
        for slot in 0.. {
            if slot > end.0 && highest.is_none_or(|highest| epoch >= highest) {
                break;
            }
            let at = Position {
                epoch,
                slot: Slot(slot),
            };
            if state.chain.head.is_none_or(|head| at > head) {
                break;
            }
            let Some(record) = good.read(at).await? else {
                break;
            };
            match compare(id, bad, &record).await? {
                Compared::Same => common = Some(at),
                Compared::Lacking => lacking.push(at),
                // By the chain: whatever links to the same record as this history has the same below.
                Compared::Other(previous) if previous == Some(record.body.previous) => {
                    return Ok((lacking, Some(at)));
                }
                Compared::Other(_) => {
                    lacking.retain(|lacking| common.is_some_and(|common| *lacking < common));
                    return Ok((lacking, Some(at)));
                }
            }
            if record.seal().is_some() {
                break;
            }
        }
    }
    Ok((lacking, None))
}

/// What a site has in the place of a record.
enum Compared {
    Same,
    Lacking,
    /// Another record, which links to this one. `None`: what it links to does not read.
    Other(Option<Hash>),
}

async fn compare(id: VaultId, bad: &Opened, record: &Record) -> Result<Compared> {
    let at = record.position();
    let Some(object) = bad.site.get(&ObjectName::record(id, at)).await? else {
        return Ok(Compared::Lacking);
    };
    if object == record.object {
        return Ok(Compared::Same);
    }
    Ok(match Record::open(id, at, object).map_err(Error::from) {
        Ok(there) if Guard::BranchIsNoDamage.stands() => Compared::Other(Some(there.body.previous)),
        Err(Error::Corrupt(_)) => Compared::Lacking,
        _ if !Guard::BranchIsNoDamage.stands() => Compared::Lacking,
        _ => Compared::Other(None),
    })
}
