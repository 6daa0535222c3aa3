//! Which history of a vault counts: every site's log is opened, and of two that part one was sealed.
//!
//! State: none. Nothing is written but to mend: a log that is damaged is mended from the others first.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_format::{ObjectName, Position, SiteName, VaultHeader, VaultId};
use holdfast_store::SiteReader;
use holdfast_vault::branch::{Fork, Parting, parting};
use holdfast_vault::replicate::{Standing, standing};
use holdfast_vault::{State, open_state_from};

use crate::error::{Error, Result};
use crate::failover::ANSWER_WITHIN;
use crate::node::Node;
use crate::repair;

impl Node {
    /// Opens the state of a vault at the site whose history counts: the longest, and of two that part the one with the
    /// seal at the fork, which deposed the other.
    pub(crate) async fn newest(&self, id: VaultId, only: Option<&SiteName>) -> Result<Newest> {
        self.newest_from(id, only, None).await
    }

    /// The same, with a fold that was kept: what it shares with a site's history is not read again.
    pub(crate) async fn newest_from(
        &self,
        id: VaultId,
        only: Option<&SiteName>,
        kept: Option<Arc<State>>,
    ) -> Result<Newest> {
        let seen = self.look_around(id, only, kept).await;
        let damaged = match &seen {
            Ok(seen) => seen.damaged,
            Err(error) => matches!(error, Error::Corrupt(_)),
        };
        // What does not read may be what counts: of two logs that are damaged in different places none can be opened, and
        // an old copy that can be must not be taken for all there is.
        let slot = self.list().into_iter().find(|slot| slot.header.vault == id);
        if damaged
            && only.is_none()
            && let Some(slot) = slot
            && self.mend_logs(&slot.header).await? > 0
        {
            return self.newest_as_is(id, only).await;
        }
        seen?.newest()
    }

    /// As [`Self::newest`], and nothing is written anywhere.
    pub(crate) async fn newest_as_is(
        &self,
        id: VaultId,
        only: Option<&SiteName>,
    ) -> Result<Newest> {
        self.look_around(id, only, None).await?.newest()
    }

    /// Mends a vault's logs at all sites that can be opened from each other; gives how many records were repaired.
    pub(crate) async fn mend_logs(&self, header: &VaultHeader) -> Result<u64> {
        let mut opened = Vec::new();
        for (name, _, _) in self.sites.list() {
            opened.extend(self.sites.open(&name).await.ok());
        }
        repair::between(header, &opened).await
    }

    async fn look_around(
        &self,
        id: VaultId,
        only: Option<&SiteName>,
        kept: Option<Arc<State>>,
    ) -> Result<Around> {
        let cache = self.cache_of(id);
        let mut newest: Option<(Arc<dyn SiteReader>, State)> = None;
        let (mut unread, mut lacking, mut damaged) = (BTreeMap::new(), Vec::new(), false);
        for (name, _, _) in self.sites.list() {
            if only.is_some_and(|only| *only != name) {
                continue;
            }
            let site = match self.answering(&name, id).await {
                Ok(site) => site,
                Err(error) => {
                    unread.insert(name, error.to_string());
                    continue;
                }
            };
            // One site's fold serves for the next: most of the history is at both.
            let before = newest.as_ref().map(|(_, state)| state).or(kept.as_deref());
            match open_state_from(&site, id, &cache, before).await {
                Ok(state) => {
                    newest = Some(match newest {
                        Some(best) => later(best, (site, state)).await?,
                        None => (site, state),
                    });
                }
                Err(Error::Missing(_)) => {
                    lacking.push(name.to_string());
                }
                Err(error) => {
                    damaged |= matches!(error, Error::Corrupt(_));
                    if matches!(error, Error::Unavailable(_)) {
                        self.sites.doubt(&name);
                    }
                    unread.insert(name, error.to_string());
                }
            }
        }
        Ok(Around {
            newest: newest.map(|(site, state)| (site.name().clone(), state)),
            damaged,
            lacking,
            unread,
        })
    }

    /// A site that answers a first question in time: one that hangs keeps nobody from what the others show. How long it takes to
    /// read the log is not limited, for a log may be long.
    pub(crate) async fn answering(
        &self,
        name: &SiteName,
        id: VaultId,
    ) -> Result<Arc<dyn SiteReader>> {
        let asked = async {
            let site: Arc<dyn SiteReader> = self.sites.open(name).await?.site;
            site.head(&ObjectName::header(id)).await?;
            Ok(site)
        };
        match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                self.sites.doubt(name);
                Err(Error::Unavailable("it does not answer".into()))
            }
        }
    }
}

/// The history of a vault that counts.
#[derive(Debug)]
pub(crate) struct Newest {
    /// Where it was read.
    pub(crate) site: SiteName,
    /// Its fold.
    pub(crate) state: State,
    /// The sites that were not read, each with the reason: what they hold may be newer.
    pub(crate) unread: BTreeMap<SiteName, String>,
}

/// What all sites show of a vault.
struct Around {
    newest: Option<(SiteName, State)>,
    /// The log of some site is damaged.
    damaged: bool,
    /// The sites that hold nothing of it.
    lacking: Vec<String>,
    /// The sites that could not be read, each with the reason.
    unread: BTreeMap<SiteName, String>,
}

impl Around {
    fn newest(self) -> Result<Newest> {
        let reasons = self.unread.iter();
        let reasons: Vec<String> = reasons
            .map(|(site, why)| format!("site {site}: {why}"))
            .collect();
        let trouble = reasons.join("; ");
        match self.newest {
            Some((site, state)) => {
                if !trouble.is_empty() {
                    tracing::warn!(vault = %state.header.name, newest_at = %site, trouble, "not every site's log was read");
                }
                Ok(Newest {
                    site,
                    state,
                    unread: self.unread,
                })
            }
            // Of those that answer none has it whole, nor have all of them together: that was tried.
            None if self.damaged => Err(Error::Corrupt(format!(
                "its log cannot be read anywhere: {trouble}. Bring back a site, or a copy of one, that has it whole; without one, \
                 `holdfast rescue` reads at each site what was committed before the damage"
            ))),
            None if trouble.is_empty() => Err(Error::Unavailable(format!(
                "no site holds anything of it ({}): mount their disks, or mend their URLs",
                self.lacking.join(", ")
            ))),
            None => Err(Error::Unavailable(format!(
                "its log cannot be read anywhere: {trouble}"
            ))),
        }
    }
}

type Seen = (Arc<dyn SiteReader>, State);

/// Whether a seal at that place is the last of a history.
fn ends_with(state: &State, seal: Position) -> bool {
    state.chain.sealed.is_some() && state.chain.head == Some(seal)
}

/// Which of two histories counts.
async fn later(one: Seen, other: Seen) -> Result<Seen> {
    if one.1.chain.hash == other.1.chain.hash {
        return Ok(one);
    }
    if let Standing::Prefix(_) = standing(&one.0, &other.0, &one.1).await? {
        return Ok(one);
    }
    if let Standing::Prefix(_) = standing(&other.0, &one.0, &other.1).await? {
        return Ok(other);
    }
    // They part. Whoever failed over sealed its own end: the other goes on with records that are a branch.
    let one_sealed = sealed_fork(&one.0, &other.0, &one.1).await?;
    let other_sealed = sealed_fork(&other.0, &one.0, &other.1).await?;
    match (one_sealed, other_sealed) {
        (Some(_), None) => Ok(one),
        (None, Some(_)) => Ok(other),
        // Both were sealed. One of which nobody claimed what follows holds nothing that was ever acknowledged.
        (Some(fork), Some(_)) if ends_with(&other.1, fork.at) && !ends_with(&one.1, fork.at) => {
            Ok(one)
        }
        (Some(fork), Some(_)) if ends_with(&one.1, fork.at) && !ends_with(&other.1, fork.at) => {
            Ok(other)
        }
        (Some(fork), Some(_)) if ends_with(&one.1, fork.at) => {
            let is_primary = one.1.catalog.primary.as_ref() == Some(one.0.name());
            Ok(if is_primary { one } else { other })
        }
        _ => Err(Error::Invalid(format!(
            "sites {} and {} hold different histories, and both were taken over: take one of them away from this coordinator, \
             or name the one that goes on with `holdfast failover --vault {} --to SITE --accept-loss`",
            one.0.name(),
            other.0.name(),
            one.1.header.name
        ))),
    }
}

/// Where `left` goes on with another record than a seal that `sealed` has there, if that is how they part.
///
/// What could not be read is no answer: a site that fails just then must not make the other's history count.
pub(crate) async fn sealed_fork(
    sealed: &Arc<dyn SiteReader>,
    left: &Arc<dyn SiteReader>,
    state: &State,
) -> Result<Option<Fork>> {
    match parting(sealed, left, state).await? {
        Parting::Sealed(fork) => Ok(Some(*fork)),
        Parting::Unsealed(_) | Parting::Nowhere => Ok(None),
    }
}
