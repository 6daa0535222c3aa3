//! Failover: makes another member the primary, and says first what would be left behind.

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{Position, SiteName};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::log::reader::read_header;
use holdfast_vault::replicate::{Diverged, Replicator, Standing, Step, standing};
use holdfast_vault::{SharedState, State, open_state};

use crate::error::{Error, Result};
use crate::node::{Node, Slot};
use crate::vault::Vault;

/// How long the old primary is given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a failover would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The present primary.
    pub from: SiteName,
    /// Whether it answers: then it is drained, and nothing is left behind.
    pub primary_answers: bool,
    /// What would be left behind, for people.
    pub left_behind: String,
    /// Whether it is known that nothing would be.
    pub loses_nothing: bool,
}

/// Looks at what a failover to `to` would do.
pub async fn plan(node: &Arc<Node>, slot: &Slot, to: &SiteName) -> Result<Plan> {
    let id = slot.header.vault;
    let target = node.sites.open(to).await?;
    if read_header(target.site.as_ref(), id).await?.is_none() {
        return Err(Error::Missing(format!(
            "vault {} at site {to}",
            slot.header.name
        )));
    }
    let reader: Arc<dyn SiteReader> = target.site.clone();
    let there = open_state(&reader, id, &node.cache_of(id)).await?;
    if !there.catalog.members.contains_key(to) {
        return Err(Error::Invalid(format!(
            "site {to} does not belong to vault {}",
            slot.header.name
        )));
    }
    let owned = slot.vault.as_ref();
    let from = match (owned, &there.catalog.primary) {
        (Some(vault), _) => vault.primary.site.name().clone(),
        (None, Some(primary)) => primary.clone(),
        (None, None) => return Err(Error::Invalid("the vault has no primary yet".into())),
    };
    if from == *to {
        return Err(Error::Invalid(format!(
            "site {to} is the primary of vault {} already",
            slot.header.name
        )));
    }
    let answers = match node.sites.open(&from).await {
        Ok(opened) => matches!(
            tokio::time::timeout(ANSWER_WITHIN, read_header(opened.site.as_ref(), id)).await,
            Ok(Ok(Some(_)))
        ),
        Err(_) => false,
    };
    let (left_behind, loses_nothing) = match (answers, owned) {
        (true, _) => ("nothing".into(), true),
        (false, None) => (
            "unknown: this coordinator has not seen its last records".into(),
            false,
        ),
        (false, Some(vault)) => last_known(vault, &there),
    };
    Ok(Plan {
        from,
        primary_answers: answers,
        left_behind,
        loses_nothing,
    })
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

/// Carries a failover out. Crash anywhere and run it again: what was copied stays, a seal without a claim is followed.
pub async fn carry_out(
    node: &Arc<Node>,
    slot: &Slot,
    to: &SiteName,
    plan: &Plan,
) -> Result<Arc<Vault>> {
    let id = slot.header.vault;
    if let Some(vault) = &slot.vault {
        // ORDER: this owner stops appending before the last records are copied: what it acknowledges after the copy would
        // stay behind.
        vault.end().await;
    }
    if plan.primary_answers {
        let source = node.sites.open(&plan.from).await?.site;
        let target = node.sites.open(to).await?.site;
        drain(node, slot, source, target).await?;
    }
    node.move_to(id, to).await
}

/// Copies everything that the old primary still has beyond the target.
async fn drain(
    node: &Arc<Node>,
    slot: &Slot,
    source: Arc<dyn Site>,
    target: Arc<dyn Site>,
) -> Result<Option<Position>> {
    let id = slot.header.vault;
    let reader: Arc<dyn SiteReader> = source.clone();
    let state = open_state(&reader, id, &node.cache_of(id)).await?;
    let shared: SharedState = Arc::new(std::sync::RwLock::new(state));
    let mut replicator =
        match Replicator::start(source, target.clone(), shared, Arc::default()).await? {
            Ok(replicator) => replicator,
            Err(diverged) => return Err(apart(target.name(), &diverged)),
        };
    loop {
        match replicator.step(None).await? {
            Ok(Step::Copied(_)) => {}
            Ok(Step::Level) => return Ok(replicator.head()),
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

/// What a salvage brought back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Salvaged {
    /// Snapshots committed again.
    pub snapshots: u64,
    /// Records of the branch.
    pub records: u64,
}

/// Brings a site that was left behind back. A site whose log is a prefix follows by itself: there is nothing to salvage.
pub async fn salvage(vault: &Arc<Vault>, name: &SiteName) -> Result<Salvaged> {
    let target = vault.sites.open(name).await?.site;
    match standing(&vault.primary.site, &target, &vault.shared).await? {
        Standing::Prefix(_) => {
            vault.follow_members();
            Ok(Salvaged::default())
        }
        Standing::Diverged(diverged) => Err(apart(name, &diverged)),
    }
}
