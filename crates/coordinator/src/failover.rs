//! Failover: makes another member the primary, and says first what would be left behind.
//!
//! State: none; what was done stands in the logs. Run again after a crash at any point: what was copied stays, a seal
//! without a claim is followed.

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{SiteName, VaultId};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::log::claim::{Sealing, seal};
use holdfast_vault::log::reader::read_header;
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::replicate::{Diverged, Replicator, Step};
use holdfast_vault::{Budget, SharedState, State, open_state};

use crate::error::{Error, Result};
use crate::node::{Node, Slot};
use crate::taking::Take;
use crate::vault::Vault;

/// How long a site is given to answer a first question.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a failover would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The present primary.
    pub from: SiteName,
    /// Whether it answers: then it is sealed and drained, and nothing is left behind.
    pub primary_answers: bool,
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
        return Err(Error::Invalid(format!(
            "site {to} is the primary of vault {} already",
            slot.header.name
        )));
    }
    let answers = answering(node, id, &from).await.is_some();
    let (left_behind, loses_nothing) = match (answers, owned, there) {
        (true, _, _) => ("nothing".into(), true),
        (false, _, None) => {
            return Err(Error::Unavailable(format!(
                "site {from} does not answer and site {to} holds nothing of vault {} yet: there is nothing to fail over to",
                slot.header.name
            )));
        }
        (false, None, Some(_)) => (
            "unknown: this coordinator has not seen its last records".into(),
            false,
        ),
        (false, Some(vault), Some(there)) => {
            let longest = longest(node, id, there, &from).await;
            last_known(vault, &longest)
        }
    };
    Ok(Plan {
        from,
        primary_answers: answers,
        left_behind,
        loses_nothing,
    })
}

/// A site, if it answers and holds the vault.
async fn answering(node: &Node, id: VaultId, name: &SiteName) -> Option<Arc<dyn Site>> {
    let opened = node.sites.open(name).await.ok()?;
    let header = tokio::time::timeout(ANSWER_WITHIN, read_header(opened.site.as_ref(), id)).await;
    matches!(header, Ok(Ok(Some(_)))).then_some(opened.site)
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

/// Carries a failover out.
pub async fn carry_out(
    node: &Arc<Node>,
    slot: &Slot,
    to: &SiteName,
    plan: &Plan,
) -> Result<Arc<Vault>> {
    let id = slot.header.vault;
    // Held to the end: the node's clockwork would take the vault back at its old primary meanwhile.
    let _changing = node.changing().await;
    node.give_up(id, format!("it is being moved to site {to}"))
        .await;
    let target = node.sites.open(to).await?.site;
    let claimant = match plan.primary_answers {
        true => Some(seal_and_drain(node, slot, &plan.from, &target).await?),
        false => {
            gather(node, id, &plan.from, &target).await?;
            None
        }
    };
    node.take(id, &Take::At(to.clone(), claimant)).await
}

/// Closes the epoch at the old primary and copies everything up to the seal.
async fn seal_and_drain(
    node: &Arc<Node>,
    slot: &Slot,
    from: &SiteName,
    target: &Arc<dyn Site>,
) -> Result<Claimant> {
    let id = slot.header.vault;
    let credentials = node.credentials(&slot.header).await?;
    let source = node.sites.open(from).await?.site;
    let reader: Arc<dyn SiteReader> = source.clone();
    loop {
        let state = open_state(&reader, id, &node.cache_of(id)).await?;
        let claimant = node.new_claimant(id, &state).await?;
        let sealing = seal(
            &node.context,
            source.clone(),
            &credentials,
            claimant,
            state,
            &node.stop,
        );
        match sealing.await? {
            Sealing::Sealed(state) => {
                drain(*state, source, target.clone(), node.sites.budget.clone()).await?;
                return Ok(claimant);
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
        if state.chain.head > there.chain.head {
            drain(state, source, target.clone(), node.sites.budget.clone()).await?;
        }
    }
    Ok(())
}

/// Copies everything that `source`, whose fold is `state`, has beyond the target.
pub(crate) async fn drain(
    state: State,
    source: Arc<dyn Site>,
    target: Arc<dyn Site>,
    budget: Budget,
) -> Result<()> {
    let shared: SharedState = Arc::new(std::sync::RwLock::new(state));
    let started = Replicator::start(source, target.clone(), shared, Arc::default(), budget).await?;
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
