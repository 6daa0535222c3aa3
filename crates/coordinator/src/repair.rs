//! Repair: puts good bytes, verified against the log, in the place of damaged or missing ones at a member.
//!
//! State: which repairs are under way, so that a restore that meets the same bad copy a thousand times mends it once. It
//! never touches a good copy, and never a record that reads and is another's: that is a branch, not damage.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::pack::verify_pack;
use holdfast_format::{
    Hash, ObjectName, PackOrdinal, Position, Record, Sealed, SiteName, Slot, VaultHeader, VaultId,
};
use holdfast_store::{Opened, SiteReader};
use holdfast_vault::fetch::BadCopy;
use holdfast_vault::fold::catalog::PackInfo;
use holdfast_vault::{Guard, LogReader, Proposal, State};

use crate::error::{Error, Result};
use crate::vault::Vault;

/// Repairs that run beside restores at once, at most.
const AT_ONCE: usize = 2;

/// Repairs under way.
#[derive(Debug, Default)]
pub struct Repairs {
    under_way: Mutex<HashSet<(SiteName, PackOrdinal)>>,
}

impl Repairs {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(SiteName, PackOrdinal)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mends a bad copy that a restore met, beside it. What cannot be mended now is met again.
pub fn mend_beside(vault: &Arc<Vault>, bad: &BadCopy) {
    let key = (bad.site.clone(), bad.pack);
    {
        let mut under_way = vault.repairs.lock();
        if under_way.len() >= AT_ONCE || !under_way.insert(key.clone()) {
            return;
        }
    }
    tracing::error!(vault = %vault.header.name, site = %bad.site, why = bad.why, "a bad copy was found");
    let vault = vault.clone();
    let context = vault.context.clone();
    context.spawn(async move {
        let info = vault.state().catalog.packs.get(&key.1).cloned();
        if let Some(info) = info.filter(|info| info.condemned.is_none())
            && let Err(error) = pack(&vault, &key.0, &info).await
        {
            tracing::error!(site = %key.0, pack = %info.id, %error, "the copy was not repaired");
        }
        vault.repairs.lock().remove(&key);
    });
}

/// Repairs a pack at one site.
///
/// ORDER: the good bytes are in hand and verified, and take the bad ones' place in one step: a crash leaves one of the two.
pub async fn pack(vault: &Arc<Vault>, bad: &SiteName, pack: &PackInfo) -> Result<()> {
    let name = ObjectName::pack(vault.header.vault, pack.id);
    let good = |bytes: &bytes::Bytes| verify_pack(pack.id, pack.footer_hash, bytes).is_ok();
    object(vault, bad, &name, good).await
}

/// Repairs an object that can be told to be good: from the first other member that has a good copy.
pub async fn object(
    vault: &Arc<Vault>,
    bad: &SiteName,
    name: &ObjectName,
    is_good: impl Fn(&bytes::Bytes) -> bool + Send + Sync,
) -> Result<()> {
    let target = vault.sites.open(bad).await?;
    for site in vault.read_sites(None).await? {
        if site.name() == bad {
            continue;
        }
        let Ok(Some(bytes)) = site.get(name).await else {
            continue;
        };
        if !is_good(&bytes) {
            continue;
        }
        target
            .sweeper
            .replace_damaged(name, Sealed::copied(bytes))
            .await?;
        tracing::info!(site = %bad, %name, from = %site.name(), "a bad copy was repaired");
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "no other site has a good copy of {name}"
    )))
}

/// An object that can be told to be good, from the first member that has a good copy. Bad copies met on the way are mended
/// beside. `Corrupt` if every member answered and none has one; `Unavailable` if some did not answer.
pub async fn good_copy<G>(vault: &Arc<Vault>, name: &ObjectName, is_good: G) -> Result<bytes::Bytes>
where
    G: Fn(&bytes::Bytes) -> bool + Send + Sync + 'static,
{
    let sites = vault.read_sites(None).await?;
    let members = vault.state().catalog.members.len();
    let (mut bad, mut unanswered) = (Vec::new(), members.saturating_sub(sites.len()));
    for site in sites {
        match site.get(name).await {
            Ok(Some(object)) if is_good(&object) => {
                mend_objects_beside(vault, name, bad, is_good);
                return Ok(object);
            }
            Ok(_) => bad.push(site.name().clone()),
            Err(error) if error.kind() == holdfast_store::Kind::Corrupt => {
                bad.push(site.name().clone());
            }
            Err(error) => {
                tracing::warn!(%error, %name, "it cannot be read now");
                unanswered += 1;
            }
        }
    }
    Err(match unanswered {
        0 => Error::Corrupt(format!("{name} is missing or damaged at every site")),
        _ => Error::Unavailable(format!(
            "{name} cannot be read now: {unanswered} of {members} sites do not answer, and it is missing or damaged at the others"
        )),
    })
}

fn mend_objects_beside<G>(vault: &Arc<Vault>, name: &ObjectName, bad: Vec<SiteName>, is_good: G)
where
    G: Fn(&bytes::Bytes) -> bool + Send + Sync + 'static,
{
    if bad.is_empty() {
        return;
    }
    let (vault, name) = (vault.clone(), name.clone());
    let context = vault.context.clone();
    context.spawn(async move {
        for site in bad {
            tracing::error!(vault = %vault.header.name, %site, %name, "a bad copy was found");
            if let Err(error) = object(&vault, &site, &name, &is_good).await {
                tracing::error!(%site, %name, %error, "the copy was not repaired");
            }
        }
    });
}

/// Repairs records at one site that do not read or are missing below later ones, from another member's verified log, or,
/// where none is whole, from what the members hold between them. Gives how many.
pub async fn log(vault: &Arc<Vault>, bad: &Opened, stood: Option<Position>) -> Result<u64> {
    let id = vault.header.vault;
    let mut repaired = 0;
    for good in vault.read_sites(None).await? {
        if good.name() == bad.site.name() {
            continue;
        }
        let mut here = LogReader::new(good.clone(), id);
        let mut state = State::start(vault.header.clone());
        if here.follow(&mut state).await.is_err() {
            continue;
        }
        repaired += records(id, bad, &mut here, &state, stood).await?;
        // A log that is whole may be short: of a site that was just filled anew.
        let mut now = State::start(vault.header.clone());
        let followed = LogReader::new(bad.site.clone(), id).follow(&mut now).await;
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

/// Repairs the logs of several sites from each other, record by record: each is taken from wherever it reads and follows.
/// Gives how many were repaired. Ends where no site has the next record, or where two hold different ones: that is a
/// branch, not damage, and nobody's to overwrite.
pub(crate) async fn between(header: &VaultHeader, sites: &[Opened]) -> Result<u64> {
    let id = header.vault;
    let mut state = State::start(header.clone());
    let mut ends = Vec::new();
    for opened in sites {
        let reader: Arc<dyn SiteReader> = opened.site.clone();
        let log = LogReader::new(reader, id);
        let mut end = None;
        for epoch in log.epochs().await? {
            end = log.slots(epoch, Slot(0)).await?.last().copied().max(end);
        }
        ends.push((opened, log, end));
    }
    let mut repaired = 0;
    loop {
        let at = state.chain.next();
        let (mut good, mut bad): (Option<Record>, Vec<&Opened>) = (None, Vec::new());
        for (opened, log, end) in &ends {
            match log.read_raw(at).await {
                Ok(Some(record)) if state.chain.clone().take(header, &record).is_ok() => {
                    if good
                        .as_ref()
                        .is_some_and(|good| good.object != record.object)
                    {
                        return Ok(repaired);
                    }
                    good = Some(record);
                }
                // It reads, and does not follow: a branch.
                Ok(Some(_)) => {}
                Ok(None) if end.is_some_and(|end| end > at) => bad.push(opened),
                Ok(None) => {}
                Err(Error::Corrupt(_)) => bad.push(opened),
                Err(error) => return Err(error),
            }
        }
        let Some(record) = good else {
            return Ok(repaired);
        };
        let name = ObjectName::record(id, at);
        for opened in bad {
            tracing::error!(site = %opened.site.name(), %at, "a bad record was repaired from another site's log");
            let good = record.sealed();
            opened.sweeper.replace_damaged(&name, good).await?;
            repaired += 1;
        }
        state.take(&record)?;
    }
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
    let reader: Arc<dyn SiteReader> = bad.site.clone();
    let there = LogReader::new(reader, id);
    let mut repaired = 0;
    let epochs = there.epochs().await?;
    // The last epoch of the history that stands there: those before it must be there to their seals.
    let mut highest = None;
    for &epoch in epochs.iter().rev() {
        let claim = Position {
            epoch,
            slot: Slot(0),
        };
        if good.read(claim).await?.is_some() {
            highest = Some(epoch);
            break;
        }
    }
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
            let name = ObjectName::record(id, at);
            let is_seal = record.seal().is_some();
            match bad.site.get(&name).await? {
                Some(object) if object == record.object => {}
                Some(object)
                    if Guard::BranchIsNoDamage.stands()
                        && !matches!(
                            Record::open(id, at, object.clone()).map_err(Error::from),
                            Err(Error::Corrupt(_))
                        ) =>
                {
                    return Err(Error::Invalid(format!(
                        "site {} holds another record at {at}: that is no damage but a branch; see `holdfast failback`",
                        bad.site.name()
                    )));
                }
                _ => {
                    tracing::error!(site = %bad.site.name(), %at, from = %good.site().name(), "a bad record was repaired");
                    bad.sweeper.replace_damaged(&name, record.sealed()).await?;
                    repaired += 1;
                }
            }
            if is_seal {
                break;
            }
        }
    }
    Ok(repaired)
}

/// Whether an object is this vault's header.
pub fn is_header(vault: &Vault, object: &bytes::Bytes) -> bool {
    VaultHeader::open(vault.header.vault, object).is_ok_and(|header| header == vault.header)
}

/// Whether an object has a hash that the log gives.
pub fn has_hash(hash: Hash) -> impl Fn(&bytes::Bytes) -> bool + Send + Sync + 'static {
    move |object| Hash::of(object) == hash
}

/// Names chunks that no member can give any more, and with them every node that reaches one: they are answered *want*
/// from then on, so that the next backup sends what it still has.
pub async fn name_lost(
    vault: &Arc<Vault>,
    chunks: Vec<holdfast_format::Ordinal>,
    who: &str,
) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    let index = vault.state().index.clone();
    let all = vault
        .context
        .run_blocking(move || index.reaching(chunks))
        .await;
    let fact = holdfast_format::fact::ChunkBad {
        chunks: all.iter().map(holdfast_format::Ordinal).collect(),
        who: who.into(),
    };
    vault.append(Proposal::Bad(fact)).await?;
    Ok(())
}
