//! Repair: puts good bytes, verified against the log, in the place of damaged or missing ones at a member.
//!
//! State: which repairs are under way, so that a restore that meets the same bad copy a thousand times mends it once. It
//! never touches a good copy, and never a record that reads and is another's: that is a branch, not damage.

mod logs;
mod named;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::pack::verify_pack;
use holdfast_format::{
    Generation, Hash, ObjectName, PackOrdinal, Position, Sealed, SiteName, VaultHeader,
};
use holdfast_store::Opened;
use holdfast_vault::Proposal;
use holdfast_vault::fetch::BadCopy;
use holdfast_vault::fold::catalog::{CHECKPOINTS_KEPT, PackInfo};

use crate::error::{Error, Result};
use crate::vault::Vault;
use crate::vault::collector::Checkpoint;

pub use logs::log;
pub(crate) use logs::{between, own_branch, records};

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

/// The current object of the vault's own key, and its generation: without it nobody can read anything in the vault.
pub async fn vault_key(vault: &Arc<Vault>) -> Result<(Generation, bytes::Bytes)> {
    let current = {
        let state = vault.state();
        let set = state.catalog.recipients.as_ref();
        set.map(|set| (set.generation, set.vault_key))
    };
    let (generation, hash) =
        current.ok_or_else(|| Error::Missing("the vault's list of recipients".into()))?;
    let name = ObjectName::vault_key(vault.header.vault, generation);
    let object = good_copy(vault, &name, has_hash(hash)).await?;
    Ok((generation, object))
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

/// Replaces a saved fold that no site has whole: new ones are made until it counts no more. What the log says is not lost with it.
pub(crate) async fn replace_fold(vault: &Arc<Vault>, covers: Position) -> Result<()> {
    let counts = || {
        let state = vault.state();
        state.catalog.checkpoints.iter().any(|c| c.covers == covers)
    };
    for _ in 0..CHECKPOINTS_KEPT {
        if let Some(collector) = vault.collector() {
            let made = collector.ask(Checkpoint::Thorough).await;
            made.map_err(|_| Error::Unavailable("the vault was given up meanwhile".into()))?;
        }
        if !counts() {
            return Ok(());
        }
    }
    Err(Error::Unavailable(format!(
        "the saved fold that covers {covers} is bad at every site, and no new one could be made; the log says why"
    )))
}

/// Puts the vault's header back at a site: as it stood when the vault was opened, wherever it is damaged by now.
pub(crate) async fn header(vault: &Arc<Vault>, bad: &Opened) -> Result<()> {
    let name = ObjectName::header(vault.header.vault);
    match vault.header_object.get() {
        Some(good) => {
            let good = Sealed::copied(good.clone());
            Ok(bad.sweeper.replace_damaged(&name, good).await?)
        }
        None => object(vault, bad.site.name(), &name, |b| is_header(vault, b)).await,
    }
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
