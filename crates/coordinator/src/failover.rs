//! Failover: makes another member the primary, and says first what would be left behind.
//!
//! State: none; what was done stands in the logs. Run again after a crash at any point: what was copied stays, a seal
//! without a claim is followed.

mod copy;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use holdfast_format::{Position, SiteName, VaultId, VaultName};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::log::claim::{Sealing, seal};
use holdfast_vault::log::takeover::Claimant;
use holdfast_vault::replicate::{Diverged, Replicator, Standing, Step, standing};
use holdfast_vault::{Budget, Guard, SharedState, State, open_state};

pub use copy::lacks;
use plan::answering;
pub use plan::{Plan, plan};

use crate::epochs::Before;
use crate::error::{Error, Result};
use crate::node::{Node, Slot};
use crate::taking::Take;
use crate::vault::{Vault, read};

/// How long a site is given to answer a first question.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of packs that a failover has in memory at once.
const DRAIN_BYTES_MAX: usize = 128 << 20;

/// What may be left behind at the old primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// Nothing.
    Nothing,
    /// The changes of so many milliseconds, as far as is known.
    UpTo(i64),
    /// Whatever is there.
    Anything,
}

impl Accepted {
    /// Whether a plan leaves no more behind than that.
    pub fn covers(self, plan: &Plan) -> bool {
        match self {
            Self::Nothing => plan.loses_nothing,
            Self::UpTo(millis) => plan.lag_millis.is_some_and(|lag| lag <= millis),
            Self::Anything => true,
        }
    }
}

/// Carries a failover out, if things still are as `seen` says and no more is left behind than was accepted.
pub async fn carry_out(
    node: &Arc<Node>,
    slot: &Slot,
    to: &SiteName,
    seen: &Plan,
    accepted: Accepted,
) -> Result<Arc<Vault>> {
    let id = slot.header.vault;
    // Held to the end: the node's clockwork would take the vault back at its old primary meanwhile.
    let _changing = node.changing_now(id).await;
    // ORDER: looked at once more under the lock. Two who ask at the same time would else act on one plan: the second would
    // seal, as the old primary, a site that follows the first one's by now.
    let slot = &node.reach_slot_now(&id.to_string()).await?;
    // ORDER: noted before it is looked what would be left behind, and compared below once the owner appends no more. A primary that
    // answers again meanwhile takes records, and what they acknowledge was in no plan.
    let before = Appended::of(slot);
    let plan = &plan(node, slot, to).await?;
    let is_covered = |plan: &Plan| match Guard::NoMoreLeftBehind.stands() {
        true => accepted.covers(plan),
        false => plan.loses_nothing || !seen.loses_nothing,
    };
    if plan.from != seen.from || !is_covered(plan) {
        return Err(Error::Invalid(format!(
            "the vault has changed since the failover was asked for (its primary is {} now, left behind would be: {}); ask again",
            plan.from, plan.left_behind
        )));
    }
    if !is_covered(&grown(plan, before, Appended::of(slot))) {
        return Err(more_left_behind(plan));
    }
    // ORDER: before anything is sealed. Of two coordinators that both find the vault free only one goes on.
    if slot.vault.is_none() {
        node.reserve(id).await?;
    }
    node.give_up(id, format!("it is being moved to site {to}"))
        .await;
    let is_too_much =
        Guard::NoMoreLeftBehind.stands() && !is_covered(&grown(plan, before, Appended::of(slot)));
    let moved = match is_too_much {
        false => move_to(node, slot, to, plan).await,
        true => Err(more_left_behind(plan)),
    };
    if moved.is_err() && (plan.primary_answers || is_too_much) {
        // It stays where it was, and whoever asks next finds it open.
        if let Err(error) = node.take(id, &Take::AtPrimary).await {
            tracing::warn!(vault = %slot.header.name, %error, "the failover failed, and the vault is not open again yet");
        }
    }
    moved
}

fn more_left_behind(plan: &Plan) -> Error {
    Error::Invalid(format!(
        "site {} has answered again, and more would be left behind there than was accepted; ask again",
        plan.from
    ))
}

/// How far the owner has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appended {
    head: Option<Position>,
    time_millis: i64,
}

impl Appended {
    /// None where nobody has the vault open here.
    fn of(slot: &Slot) -> Option<Self> {
        let vault = slot.vault.as_ref()?;
        let state = vault.state();
        Some(Self {
            head: state.chain.head,
            time_millis: state.chain.time_millis,
        })
    }
}

/// The plan with what was appended since: left behind too, where the primary is not drained.
fn grown(plan: &Plan, before: Option<Appended>, now: Option<Appended>) -> Plan {
    let mut plan = plan.clone();
    if let (false, Some(before), Some(now)) = (plan.primary_answers, before, now)
        && before.head != now.head
    {
        let more = now.time_millis.saturating_sub(before.time_millis).max(0);
        plan.loses_nothing = false;
        // Something is, be it of one moment.
        plan.lag_millis = plan.lag_millis.map(|lag| lag.saturating_add(more).max(1));
    }
    plan
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
            return Err(apart(&slot.header.name, target.name(), &diverged));
        }
        if !Guard::SealBeforeDrain.stands() {
            drain(node, state.clone(), source.clone(), target.clone()).await?;
            let claimant = node.new_claimant(id, &state, Before::Read).await?;
            let (context, stop) = (&node.context, &node.stop);
            seal(context, target.clone(), &credentials, claimant, state, stop).await?;
            return Ok(Some(claimant));
        }
        let unsealed = state.clone();
        let claimant = node.new_claimant(id, &state, Before::Read).await?;
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
    let vault = read(&shared).header.name.clone();
    let apart = |diverged: &Diverged| apart(&vault, target.name(), diverged);
    let started = Replicator::start(source, target.clone(), shared, budget).await?;
    let mut replicator = started.map_err(|diverged| apart(&diverged))?;
    loop {
        match replicator.step(None).await? {
            Ok(Step::Copied(_)) => {}
            Ok(Step::Level) => return Ok(()),
            Err(diverged) => return Err(apart(&diverged)),
        }
    }
}

fn apart(vault: &VaultName, site: &SiteName, diverged: &Diverged) -> Error {
    match diverged {
        Diverged::Branch(at) => Error::Invalid(format!(
            "site {site} holds records of its own from {at} on; bring it back with `holdfast failback --vault {vault} --site {site}` first"
        )),
        Diverged::Sealed(at) => Error::Fenced(format!(
            "another owner sealed the log at site {site} at {at}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_format::{Epoch, Slot};

    use super::*;

    fn plan(lag_millis: Option<i64>) -> Plan {
        Plan {
            from: SiteName::new("onsite").unwrap(),
            primary_answers: false,
            why_not: "does not answer".into(),
            is_damaged: false,
            left_behind: String::new(),
            loses_nothing: lag_millis == Some(0),
            lag_millis,
        }
    }

    fn at(slot: u64, time_millis: i64) -> Option<Appended> {
        let (epoch, slot) = (Epoch(1), Slot(slot));
        Some(Appended {
            head: Some(Position { epoch, slot }),
            time_millis,
        })
    }

    #[test]
    fn what_is_accepted_covers_what_came_meanwhile() {
        let (nothing, two) = (plan(Some(0)), plan(Some(2_000)));
        assert!(Accepted::Nothing.covers(&nothing) && !Accepted::Nothing.covers(&two));
        assert!(Accepted::UpTo(60_000).covers(&two) && !Accepted::UpTo(1_999).covers(&two));
        assert!(
            !Accepted::UpTo(i64::MAX).covers(&plan(None)) && Accepted::Anything.covers(&plan(None))
        );
        // One more record while it was looked: little more is left behind, and that was accepted.
        let more = grown(&two, at(7, 10_000), at(8, 13_000));
        assert_eq!(more.lag_millis, Some(5_000));
        assert!(Accepted::UpTo(60_000).covers(&more) && !Accepted::UpTo(4_999).covers(&more));
        // As far as was told it is all there, and more may have come since.
        let told = plan(Some(1));
        assert!(Accepted::UpTo(1).covers(&told) && !Accepted::UpTo(0).covers(&told));
        // Of the same moment it is something all the same.
        let more = grown(&nothing, at(7, 10_000), at(8, 10_000));
        assert!(!Accepted::Nothing.covers(&more) && !Accepted::UpTo(0).covers(&more));
        // Nothing came, or nobody here can know.
        assert!(Accepted::Nothing.covers(&grown(&nothing, at(7, 10_000), at(7, 10_000))));
        assert!(Accepted::Nothing.covers(&grown(&nothing, None, None)));
    }
}
