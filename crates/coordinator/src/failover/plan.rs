//! What a failover would do: whether the old primary can be drained, and what would be left behind.
//!
//! State: none; nothing is written.

use std::sync::Arc;

use holdfast_format::{Position, SiteName, Slot as LogSlot, VaultId};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::branch::Fork;
use holdfast_vault::log::reader::{LogReader, read_header};
use holdfast_vault::replicate::{Standing, standing};
use holdfast_vault::{Guard, State, open_state};

use super::ANSWER_WITHIN;
use crate::error::{Error, Result};
use crate::newest::sealed_fork;
use crate::node::{Node, Slot};
use crate::vault::Vault;

/// So many of the snapshots that would be left behind are named.
const SNAPSHOTS_NAMED: usize = 5;

/// What a failover would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The present primary.
    pub from: SiteName,
    /// Whether it answers, and its log reads or can be mended: then it is sealed and drained, and nothing is left behind.
    pub primary_answers: bool,
    /// Why it cannot be drained, if it cannot: the end of a sentence about it.
    pub why_not: String,
    /// Its log is damaged, and it could be drained if that were mended.
    pub is_damaged: bool,
    /// What would be left behind, for people.
    pub left_behind: String,
    /// Whether it is known that nothing would be.
    pub loses_nothing: bool,
    /// The changes of how many milliseconds would be, as last known; `None`: unknown. An owner that is gone may have gone on since
    /// it told last.
    pub lag_millis: Option<i64>,
}

/// Looks at what a failover to `to` would do.
pub async fn plan(node: &Arc<Node>, slot: &Slot, to: &SiteName) -> Result<Plan> {
    let id = slot.header.vault;
    let target = node.sites.open(to).await?.site;
    let reader: Arc<dyn SiteReader> = target.clone();
    let there = match open_state(&reader, id, &node.cache_of(id)).await {
        Ok(state) => Some(state),
        Err(Error::Missing(_)) => None,
        Err(error) => return Err(error),
    };
    let owned = slot.vault.as_ref();
    // Who belongs is best known to the owner; without one, to the member itself.
    let (is_member, from) = match (owned, &there) {
        (Some(vault), _) => (
            vault.state().catalog.members.contains_key(to),
            Some(vault.primary.site.name().clone()),
        ),
        (None, Some(there)) => (
            there.catalog.members.contains_key(to),
            // A site that was left behind still calls itself the primary.
            node.last_primary(id)
                .await?
                .or(there.catalog.primary.clone()),
        ),
        (None, None) => (false, None),
    };
    let (true, Some(from)) = (is_member, from) else {
        return Err(Error::Invalid(format!(
            "site {to} does not belong to vault {}; `holdfast site list` shows its sites",
            slot.header.name
        )));
    };
    if from == *to {
        return plan_to_open(node, slot, from, there).await;
    }
    // What lies at one place cannot go from one site to the other.
    node.sites
        .open_beside(to, std::slice::from_ref(&from))
        .await?;
    let (why_not, is_damaged) = match answering(node, id, &from).await {
        Some(primary) => {
            let why_not = unreadable(node, slot, primary.clone()).await?;
            if why_not.is_empty()
                && let Some(there) = &there
                && let Some(fork) = parted(node, id, &(primary as _), &reader, there).await?
            {
                return Ok(Plan {
                    from,
                    primary_answers: false,
                    why_not: format!(
                        "went on behind a failover to site {to} that did not come to its end"
                    ),
                    is_damaged: false,
                    left_behind: format!("its records from {} on", fork.at),
                    loses_nothing: false,
                    lag_millis: None,
                });
            }
            let is_damaged = !why_not.is_empty();
            (why_not, is_damaged)
        }
        None => ("does not answer".into(), false),
    };
    let answers = why_not.is_empty();
    let Lag {
        left_behind,
        loses_nothing,
        lag_millis,
    } = match (answers, owned, there) {
        (true, _, _) => Lag {
            left_behind: "nothing".into(),
            loses_nothing: true,
            lag_millis: Some(0),
        },
        (false, _, None) => {
            return Err(Error::Unavailable(format!(
                "site {from} {why_not} and site {to} holds nothing of vault {} yet: there is nothing to fail over to",
                slot.header.name
            )));
        }
        (false, owned, Some(there)) => {
            let longest = longest(node, id, there, &from).await;
            // A history that ends before the site joined would be one without it, and without all that came since: nobody
            // could bring anything back into it.
            if !longest.catalog.members.contains_key(to) {
                return Err(Error::Unavailable(format!(
                    "site {from} {why_not}, and what site {to} holds of vault {} ends before it belonged to the vault: there is \
                     nothing to fail over to",
                    slot.header.name
                )));
            }
            match owned {
                Some(vault) => last_known(vault, &longest),
                None => last_told(node, id, &from, &longest).await,
            }
        }
    };
    let plan = Plan {
        from,
        primary_answers: answers,
        why_not,
        is_damaged,
        left_behind,
        loses_nothing,
        lag_millis,
    };
    match answers {
        true => told_of_loss(node, slot, to, plan).await,
        false => Ok(plan),
    }
}

/// The primary answers; it may lack records that it had.
async fn told_of_loss(node: &Arc<Node>, slot: &Slot, to: &SiteName, plan: Plan) -> Result<Plan> {
    let id = slot.header.vault;
    // What cannot be read or compared is for the failover itself to say.
    let lost = match &slot.vault {
        Some(vault) => {
            // ORDER: what the owner knows, and then what the sites show: it goes on appending.
            let known = vault.state().chain.head;
            let mut head = None;
            for name in [&plan.from, to] {
                let site: Arc<dyn SiteReader> = node.sites.open(name).await?.site;
                let state = open_state(&site, id, &node.cache_of(id)).await;
                head = state.ok().and_then(|state| state.chain.head).max(head);
            }
            let is_lost = head.is_some() && head < known;
            known.filter(|_| is_lost).map(|at| (plan.from.clone(), at))
        }
        None => match node.newest_as_is(id, None).await {
            Ok(newest) => node.lost_records(id, &newest.state).await?,
            Err(_) => None,
        },
    };
    Ok(match lost.filter(|_| Guard::LossTold.stands()) {
        None => plan,
        Some((site, last)) => Plan {
            why_not: format!("has lost records that stood at site {site}"),
            left_behind: format!("records up to {last}"),
            loses_nothing: false,
            lag_millis: None,
            ..plan
        },
    })
}

/// A site, if it answers and holds the vault.
pub(super) async fn answering(node: &Node, id: VaultId, name: &SiteName) -> Option<Arc<dyn Site>> {
    let asked = async {
        let opened = node.sites.open(name).await?;
        let header = read_header(opened.site.as_ref(), id).await?;
        Ok::<_, Error>(header.is_some().then_some(opened.site))
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    answer.ok()?.ok()?
}

/// The primary itself is named: of a vault that is open nowhere, since its sites do not agree on who goes on.
async fn plan_to_open(
    node: &Arc<Node>,
    slot: &Slot,
    from: SiteName,
    there: Option<State>,
) -> Result<Plan> {
    let (true, Some(there)) = (slot.vault.is_none(), there) else {
        return Err(Error::Invalid(format!(
            "site {from} is the primary of vault {} already; see `holdfast status` for how it is",
            slot.header.name
        )));
    };
    let newest = node.newest_as_is(slot.header.vault, None).await;
    let lost = node.lost_records(slot.header.vault, &there).await?;
    let agreed = newest.is_ok_and(|newest| {
        newest.unread.is_empty() && newest.state.chain.hash == there.chain.hash
    });
    let agreed = agreed && lost.is_none();
    Ok(Plan {
        why_not: "is the primary by its own log, and the vault is not open".into(),
        primary_answers: false,
        is_damaged: false,
        left_behind: match agreed {
            true => "nothing".into(),
            false if lost.is_some() => {
                format!("records that stood at site {from}, or at another, and are nowhere now")
            }
            false => format!("what other sites hold and site {from} does not"),
        },
        loses_nothing: agreed,
        lag_millis: agreed.then_some(0),
        from,
    })
}

/// Where the target parted from the primary by a seal of its own: a failover left the primary behind, did not come to claim the
/// target, and the primary went on.
async fn parted(
    node: &Node,
    id: VaultId,
    primary: &Arc<dyn SiteReader>,
    target: &Arc<dyn SiteReader>,
    there: &State,
) -> Result<Option<Fork>> {
    let stands = async {
        let state = open_state(primary, id, &node.cache_of(id)).await?;
        standing(primary, target, &state).await
    };
    match stands.await {
        Ok(Standing::Diverged(_)) => sealed_fork(target, primary, there).await,
        Ok(Standing::Prefix(_)) => Ok(None),
        // Damage is mended first, and looked at after that.
        Err(Error::Corrupt(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a primary that answers cannot be drained: its log is damaged, and no other member has what is damaged there. Empty
/// if it can be.
async fn unreadable(node: &Arc<Node>, slot: &Slot, primary: Arc<dyn Site>) -> Result<String> {
    let id = slot.header.vault;
    let name = primary.name().clone();
    let reader: Arc<dyn SiteReader> = primary;
    let why = match open_state(&reader, id, &node.cache_of(id)).await {
        Err(Error::Corrupt(why)) => why,
        _ => return Ok(String::new()),
    };
    // A history elsewhere that is as long as the owner's, or as what stands at the primary, has it all.
    let needed = match &slot.vault {
        Some(vault) => vault.state().chain.head,
        None => last_record(&reader, id).await?,
    };
    let elsewhere = node.newest_as_is(id, None).await;
    Ok(match elsewhere {
        Ok(newest) if newest.site != name && newest.state.chain.head >= needed => String::new(),
        _ => format!("holds a damaged log, which no other site has whole ({why})"),
    })
}

/// The place of the last record that stands at a site, damaged or not.
async fn last_record(site: &Arc<dyn SiteReader>, id: VaultId) -> Result<Option<Position>> {
    let reader = LogReader::new(site.clone(), id);
    match reader.epochs().await?.last() {
        Some(&epoch) => Ok(reader.slots(epoch, LogSlot(0)).await?.last().copied()),
        None => Ok(None),
    }
}

/// The longest history that any member but the primary holds: the failover takes it along.
async fn longest(node: &Node, id: VaultId, there: State, from: &SiteName) -> State {
    let mut longest = there;
    let members: Vec<SiteName> = longest.catalog.members.keys().cloned().collect();
    for name in members.iter().filter(|name| *name != from) {
        if let Some(site) = answering(node, id, name).await {
            let site: Arc<dyn SiteReader> = site;
            match open_state(&site, id, &node.cache_of(id)).await {
                Ok(state) if state.chain.head > longest.chain.head => longest = state,
                _ => {}
            }
        }
    }
    longest
}

/// What a failover would leave behind.
struct Lag {
    left_behind: String,
    loses_nothing: bool,
    lag_millis: Option<i64>,
}

/// The snapshots that one state has and another lacks, for people.
fn lacking(state: &State, there: &State) -> String {
    let here = state.catalog.snapshots.keys();
    let lacking: Vec<_> = here
        .filter(|id| !there.catalog.snapshots.contains_key(*id))
        .collect();
    let named: Vec<String> = (lacking.iter().take(SNAPSHOTS_NAMED))
        .map(ToString::to_string)
        .collect();
    let named = named.join(", ");
    match lacking.len() {
        0 => "no snapshot".into(),
        1 => format!("snapshot {named}"),
        all if all <= SNAPSHOTS_NAMED => format!("snapshots {named}"),
        all => format!("snapshots {named} and {} more", all - SNAPSHOTS_NAMED),
    }
}

/// What the owner acknowledged and the target lacks.
fn last_known(vault: &Vault, there: &State) -> Lag {
    let state = vault.state();
    if state.chain.hash == there.chain.hash {
        return Lag {
            left_behind: "nothing, as last known".into(),
            loses_nothing: true,
            lag_millis: Some(0),
        };
    }
    let lag_millis = (state.chain.time_millis - there.chain.time_millis).max(0);
    let seconds = lag_millis / 1000;
    let records = match (state.chain.head, there.chain.head) {
        (Some(here), Some(there)) if here.epoch == there.epoch => {
            match here.slot.0.saturating_sub(there.slot.0) {
                1 => "1 record".into(),
                records => format!("{records} records"),
            }
        }
        _ => "records of more than one epoch".into(),
    };
    let snapshots = lacking(&state, there);
    Lag {
        left_behind: format!("{records}, {seconds} s of changes, {snapshots}, as last known"),
        loses_nothing: false,
        // Something is, be it of one moment.
        lag_millis: Some(lag_millis.max(1)),
    }
}

/// No owner is there to ask: what its last one told of the primary. It may have gone on for a few seconds after that.
async fn last_told(node: &Node, id: VaultId, from: &SiteName, there: &State) -> Lag {
    let told = node.placement.progress(id).await.unwrap_or_default();
    let mut told = told.into_iter().filter(|(site, _)| site == from);
    let told = told.next().map(|(_, told)| told);
    let Some((last, at_millis)) = told.and_then(|told| Some((told.replicated?, told.at_millis)))
    else {
        return Lag {
            left_behind: format!("unknown: nobody has seen the last records of site {from}"),
            loses_nothing: false,
            lag_millis: None,
        };
    };
    let ago = (node.context.now_millis() - at_millis).max(0) / 1000;
    let lacks = match there.chain.head {
        Some(head) if head >= last => "which is all there".into(),
        Some(head) => format!("of which those after {head} are not there"),
        None => "of which nothing is there".into(),
    };
    Lag {
        left_behind: format!(
            "unknown: its owner is gone, which told {ago} s ago of records up to {last}, {lacks}, and may have gone on since"
        ),
        loses_nothing: false,
        // What came after that is not known, be it of one moment: whoever accepts nothing does not accept this.
        lag_millis: (there.chain.head >= Some(last)).then_some(1),
    }
}
