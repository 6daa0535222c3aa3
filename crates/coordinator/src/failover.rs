//! Failover: makes another member the primary, and says first what would be left behind.
//!
//! State: none; what was done stands in the logs. Run again after a crash at any point: what was copied stays, a seal
//! without a claim is followed.

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{Position, SiteName, Slot as LogSlot, VaultId};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::branch::Fork;
use holdfast_vault::log::claim::{Sealing, seal};
use holdfast_vault::log::reader::{LogReader, read_header};
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::replicate::{Diverged, Replicator, Standing, Step, standing};
use holdfast_vault::{Budget, Guard, SharedState, State, open_state};

use crate::error::{Error, Result};
use crate::newest::sealed_fork;
use crate::node::{Node, Slot};
use crate::taking::Take;
use crate::vault::Vault;

/// How long a site is given to answer a first question.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of packs that a failover has in memory at once.
const DRAIN_BYTES_MAX: usize = 128 << 20;

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
                });
            }
            let is_damaged = !why_not.is_empty();
            (why_not, is_damaged)
        }
        None => ("does not answer".into(), false),
    };
    let answers = why_not.is_empty();
    let (left_behind, loses_nothing) = match (answers, owned, there) {
        (true, _, _) => ("nothing".into(), true),
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
                None => (last_told(node, id, &from, &longest).await, false),
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
            ..plan
        },
    })
}

/// A site, if it answers and holds the vault.
async fn answering(node: &Node, id: VaultId, name: &SiteName) -> Option<Arc<dyn Site>> {
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
            "site {from} is the primary of vault {} already",
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

/// What the owner acknowledged and the target lacks.
fn last_known(vault: &Vault, there: &State) -> (String, bool) {
    let state = vault.state();
    if state.chain.hash == there.chain.hash {
        return ("nothing, as last known".into(), true);
    }
    let seconds = (state.chain.time_millis - there.chain.time_millis).max(0) / 1000;
    let records = match (state.chain.head, there.chain.head) {
        (Some(here), Some(there)) if here.epoch == there.epoch => {
            format!("{} records", here.slot.0.saturating_sub(there.slot.0))
        }
        _ => "records of more than one epoch".into(),
    };
    (
        format!("{records}, {seconds} s of changes, as last known"),
        false,
    )
}

/// No owner is there to ask: what its last one told of the primary. It may have gone on for a few seconds after that.
async fn last_told(node: &Node, id: VaultId, from: &SiteName, there: &State) -> String {
    let told = node.placement.progress(id).await.unwrap_or_default();
    let mut told = told.into_iter().filter(|(site, _)| site == from);
    let told = told.next().map(|(_, told)| told);
    let Some((last, at_millis)) = told.and_then(|told| Some((told.replicated?, told.at_millis)))
    else {
        return format!("unknown: nobody has seen the last records of site {from}");
    };
    let ago = (node.context.now_millis() - at_millis).max(0) / 1000;
    let lacks = match there.chain.head {
        Some(head) if head >= last => "which is all there".into(),
        Some(head) => format!("of which those after {head} are not there"),
        None => "of which nothing is there".into(),
    };
    format!(
        "unknown: its owner is gone, which told {ago} s ago of records up to {last}, {lacks}, and may have gone on since"
    )
}

/// Carries a failover out, if things still are as `seen` says, or better.
pub async fn carry_out(
    node: &Arc<Node>,
    slot: &Slot,
    to: &SiteName,
    seen: &Plan,
) -> Result<Arc<Vault>> {
    let id = slot.header.vault;
    // Held to the end: the node's clockwork would take the vault back at its old primary meanwhile.
    let _changing = node.changing_now(id).await;
    // ORDER: looked at once more under the lock. Two who ask at the same time would else act on one plan: the second would
    // seal, as the old primary, a site that follows the first one's by now.
    let slot = &node.reach_slot(&id.to_string()).await?;
    let plan = &plan(node, slot, to).await?;
    if plan.from != seen.from || (seen.loses_nothing && !plan.loses_nothing) {
        return Err(Error::Invalid(format!(
            "the vault has changed since the failover was asked for (its primary is {} now, left behind would be: {}); ask again",
            plan.from, plan.left_behind
        )));
    }
    // ORDER: before anything is sealed. Of two coordinators that both find the vault free only one goes on.
    if slot.vault.is_none() {
        node.reserve(id).await?;
    }
    node.give_up(id, format!("it is being moved to site {to}"))
        .await;
    let moved = move_to(node, slot, to, plan).await;
    if moved.is_err() && plan.primary_answers {
        // It stays where it was, and whoever asks next finds it open.
        if let Err(error) = node.take(id, &Take::AtPrimary).await {
            tracing::warn!(vault = %slot.header.name, %error, "the failover failed, and the vault is not open again yet");
        }
    }
    moved
}

async fn move_to(node: &Arc<Node>, slot: &Slot, to: &SiteName, plan: &Plan) -> Result<Arc<Vault>> {
    let id = slot.header.vault;
    let target = node.sites.open(to).await?.site;
    let claimant = match plan.primary_answers {
        true => {
            mend(node, slot, &plan.from).await?;
            seal_and_drain(node, slot, &plan.from, &target).await?
        }
        false => {
            if Guard::OthersGathered.stands() {
                gather(node, id, &plan.from, &target).await?;
            }
            None
        }
    };
    node.take(id, &Take::At(to.clone(), claimant)).await
}

/// Mends the old primary's log from another member, if it is damaged: it could be neither sealed nor drained.
async fn mend(node: &Arc<Node>, slot: &Slot, from: &SiteName) -> Result<()> {
    let id = slot.header.vault;
    let reader: Arc<dyn SiteReader> = node.sites.open(from).await?.site;
    if let Err(Error::Corrupt(_)) = open_state(&reader, id, &node.cache_of(id)).await {
        let good = node.newest(id, None).await?;
        node.heal_primary(from, &good.site, &good.state).await?;
    }
    Ok(())
}

/// Closes the epoch at the old primary and copies everything up to the seal.
async fn seal_and_drain(
    node: &Arc<Node>,
    slot: &Slot,
    from: &SiteName,
    target: &Arc<dyn Site>,
) -> Result<Option<Claimant>> {
    let id = slot.header.vault;
    let credentials = node.credentials(&slot.header).await?;
    let source = node.sites.open(from).await?.site;
    let reader: Arc<dyn SiteReader> = source.clone();
    loop {
        let state = open_state(&reader, id, &node.cache_of(id)).await?;
        if state.catalog.primary.as_ref() != Some(from) {
            return Err(Error::Invalid(format!(
                "site {from} is not the primary by its own log; nothing was done"
            )));
        }
        // Before anything is sealed: a target that has diverged could not take what the seal closes.
        let there: Arc<dyn SiteReader> = target.clone();
        if let Standing::Diverged(diverged) = standing(&reader, &there, &state).await? {
            return Err(apart(target.name(), &diverged));
        }
        if !Guard::SealBeforeDrain.stands() {
            drain(node, state.clone(), source.clone(), target.clone()).await?;
            let claimant = node.new_claimant(id, &state).await?;
            let (context, stop) = (&node.context, &node.stop);
            seal(context, target.clone(), &credentials, claimant, state, stop).await?;
            return Ok(Some(claimant));
        }
        let unsealed = state.clone();
        let claimant = node.new_claimant(id, &state).await?;
        let sealing = seal(
            &node.context,
            source.clone(),
            &credentials,
            claimant,
            state,
            &node.stop,
        );
        let sealed = match sealing.await {
            // It reads and takes no record, from nobody: what it holds is all there is.
            Err(Error::Denied(why) | Error::Full(why)) => {
                tracing::warn!(site = %from, why, "the old primary takes no seal; it is drained as it is");
                drain(node, unsealed, source, target.clone()).await?;
                return Ok(None);
            }
            sealed => sealed?,
        };
        match sealed {
            Sealing::Sealed(state) => {
                drain(node, *state, source, target.clone()).await?;
                return Ok(Some(claimant));
            }
            Sealing::Superseded(_) => {}
        }
    }
}

/// The old primary does not answer: takes what any other reachable member holds beyond the target.
async fn gather(
    node: &Arc<Node>,
    id: VaultId,
    from: &SiteName,
    target: &Arc<dyn Site>,
) -> Result<()> {
    let reader: Arc<dyn SiteReader> = target.clone();
    let there = open_state(&reader, id, &node.cache_of(id)).await?;
    for name in there.catalog.members.keys() {
        if name == from || name == target.name() {
            continue;
        }
        let Some(source) = answering(node, id, name).await else {
            continue;
        };
        let reader: Arc<dyn SiteReader> = source.clone();
        let state = open_state(&reader, id, &node.cache_of(id)).await?;
        // What an earlier member of this loop gave may be beyond this one by now.
        let now = open_state(
            &(target.clone() as Arc<dyn SiteReader>),
            id,
            &node.cache_of(id),
        )
        .await?;
        if state.chain.head <= now.chain.head {
            continue;
        }
        // What parted from the target is a branch by now: a failback brings it back.
        let there: Arc<dyn SiteReader> = target.clone();
        if let Standing::Prefix(_) = standing(&reader, &there, &state).await? {
            drain(node, state, source, target.clone()).await?;
        }
    }
    Ok(())
}

/// Copies everything that `source`, whose fold is `state`, has beyond the target.
pub(crate) async fn drain(
    node: &Node,
    state: State,
    source: Arc<dyn Site>,
    target: Arc<dyn Site>,
) -> Result<()> {
    let header = state.header.clone();
    let shared: SharedState = Arc::new(std::sync::RwLock::new(state));
    let copied = copy_beyond(shared.clone(), source.clone(), target.clone()).await;
    // A fold begins at a checkpoint: a record that is damaged below it shows only now.
    if let Err(Error::Corrupt(why)) = &copied {
        tracing::error!(from = %source.name(), to = %target.name(), why, "a log is damaged; it is mended from the others");
        if node.mend_logs(&header).await? > 0 {
            return copy_beyond(shared, source, target).await;
        }
    }
    copied
}

async fn copy_beyond(
    shared: SharedState,
    source: Arc<dyn Site>,
    target: Arc<dyn Site>,
) -> Result<()> {
    // Not the vault's own: what its agents have stuck in memory must not keep a failover waiting.
    let budget = Budget::of(DRAIN_BYTES_MAX);
    let started = Replicator::start(source, target.clone(), shared, budget).await?;
    let mut replicator = started.map_err(|diverged| apart(target.name(), &diverged))?;
    loop {
        match replicator.step(None).await? {
            Ok(Step::Copied(_)) => {}
            Ok(Step::Level) => return Ok(()),
            Err(diverged) => return Err(apart(target.name(), &diverged)),
        }
    }
}

fn apart(site: &SiteName, diverged: &Diverged) -> Error {
    match diverged {
        Diverged::Branch(at) => Error::Invalid(format!(
            "site {site} holds records of its own from {at} on; bring it back with `holdfast failback` first"
        )),
        Diverged::Sealed(at) => Error::Fenced(format!(
            "another owner sealed the log at site {site} at {at}"
        )),
    }
}
