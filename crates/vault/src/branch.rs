//! A branch: records past a fork, at a site that a failover left behind. Finding it, closing it, reading it.
//!
//! State: none. It writes one record at the site that was left behind, the branch's seal, and nothing at the primary.
//! It never overwrites and never deletes: the branch stays where it lies.

pub mod closing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::codec::LEVEL;
use holdfast_format::fact::{HoldPlaced, RecipientsSet, Seal, SessionOpened, SnapshotCommitted};
use holdfast_format::record::Facts;
use holdfast_format::{
    Epoch, Fact, Hash, KeyId, ObjectName, Position, Record, RecordBody, Slot, SnapshotId,
};
use holdfast_store::{Put, Site, SiteReader};

use crate::checkpoint::{SegmentCache, Settling, load};
use crate::error::{Error, Result};
use crate::fold::State;
use crate::fold::catalog::Session;
use crate::log::reader::LogReader;
use crate::log::takeover::Claimant;
use crate::log::writer::Credentials;
use crate::open::is_history;
use closing::{Effect, Event};

/// Where two logs part: the primary has its seal there, the site that was left behind another record.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The first place that is not history at the site that was left behind.
    pub at: Position,
    /// The seal that stands there at the primary.
    pub survivor: Record,
}

/// How two logs part.
#[derive(Debug, Clone)]
pub enum Parting {
    /// One is a prefix of the other.
    Nowhere,
    /// At a seal of the one that is asked about.
    Sealed(Box<Fork>),
    /// At a place where it holds another record than a seal.
    Unsealed(Position),
}

/// Finds the fork between the primary's log and another site's, but for forks that were salvaged; `None` if the other is
/// a prefix.
pub async fn find_fork(
    primary: &Arc<dyn SiteReader>,
    left: &Arc<dyn SiteReader>,
    state: &State,
) -> Result<Option<Fork>> {
    match parting(primary, left, state).await? {
        Parting::Nowhere => Ok(None),
        Parting::Sealed(fork) => Ok(Some(*fork)),
        Parting::Unsealed(at) => Err(Error::Corrupt(format!(
            "the logs at sites {} and {} part at {at}, where the primary holds no seal: this is no failover's branch. \
             Keep both sites as they are and compare them with `holdfast rescue ls`",
            primary.name(),
            left.name()
        ))),
    }
}

/// How the log at `primary` parts from that at `left`, but for forks that were salvaged.
pub async fn parting(
    primary: &Arc<dyn SiteReader>,
    left: &Arc<dyn SiteReader>,
    state: &State,
) -> Result<Parting> {
    let vault = state.header.vault;
    let mut here = LogReader::new(primary.clone(), vault);
    let mut there = LogReader::new(left.clone(), vault);
    for epoch in there.epochs().await? {
        let place = |slot: u64| Position {
            epoch,
            slot: Slot(slot),
        };
        let differs = match there.branch(epoch).await? {
            Some(branch) => {
                let at = place(branch.ends_at.0);
                let salvaged = &state.catalog.salvaged;
                if salvaged
                    .iter()
                    .any(|s| s.site == *left.name() && s.from == at)
                {
                    continue;
                }
                at.slot.0
            }
            None => {
                let own = match here.branch(epoch).await? {
                    Some(branch) => Some(branch.ends_at),
                    None => here.slots(epoch, Slot(0)).await?.last().map(|at| at.slot),
                };
                let other = there.slots(epoch, Slot(0)).await?.last().map(|at| at.slot);
                // An epoch that the primary lacks hangs on a fork in an older one.
                let (Some(own), Some(other)) = (own, other) else {
                    continue;
                };
                let bound = own.0.min(other.0);
                if same(&mut here, &there, place(bound)).await? {
                    continue;
                }
                // By the chain, whatever comes before an equal record is equal.
                let (mut equal_below, mut differs) = (0, bound);
                while equal_below < differs {
                    let middle = equal_below + (differs - equal_below) / 2;
                    match same(&mut here, &there, place(middle)).await? {
                        true => equal_below = middle + 1,
                        false => differs = middle,
                    }
                }
                differs
            }
        };
        let at = place(differs);
        return Ok(match here.read(at).await? {
            Some(survivor) if survivor.seal().is_some() => {
                Parting::Sealed(Box::new(Fork { at, survivor }))
            }
            _ => Parting::Unsealed(at),
        });
    }
    Ok(Parting::Nowhere)
}

async fn same(here: &mut LogReader, there: &LogReader, at: Position) -> Result<bool> {
    let (own, other) = (here.read(at).await?, there.read_raw(at).await?);
    Ok(matches!((own, other), (Some(own), Some(other)) if own.object == other.object))
}

/// What a branch says, beyond what the fold of it holds.
#[derive(Debug)]
pub struct Branch {
    /// The fold of everything that lies at the site, the branch included.
    pub state: State,
    /// The policy before the branch.
    pub policy_before: String,
    /// The recipients before the branch.
    pub recipients_before: Option<RecipientsSet>,
    /// Snapshots that it committed, in order, each with its session as it was then.
    pub commits: Vec<(SnapshotCommitted, Session)>,
    /// Sessions that it opened, by their data key.
    pub opened: HashMap<KeyId, SessionOpened>,
    /// Holds that it placed and that a person meant; some may be released again by its end.
    pub holds: Vec<HoldPlaced>,
    /// Snapshots that it took out of the trash.
    pub recovered: BTreeSet<SnapshotId>,
    /// Snapshots that it put into the trash.
    pub trashed: BTreeSet<SnapshotId>,
    /// Sites that it added or removed, in words.
    pub members: Vec<String>,
    /// Whether it removed a member: then packs may have been swept here that are still needed elsewhere.
    pub removed_a_member: bool,
    /// How many records it has, its claims and seals among them.
    pub records: u64,
    /// Hash of its last record.
    pub last: Hash,
}

/// Folds what lies at a site that was left behind, and gathers what its branch says.
pub async fn read_branch(
    left: &Arc<dyn SiteReader>,
    state: &State,
    fork: &Fork,
    cache: &SegmentCache,
) -> Result<Branch> {
    let mut skip = 0;
    loop {
        let loaded = match load(&state.header, left.as_ref(), cache, skip).await {
            Ok(Some(loaded)) => loaded,
            Ok(None) => break,
            // A saved fold that does not read is no loss: an older one, or the log itself.
            Err(Error::Corrupt(_) | Error::Invalid(_)) => {
                skip += 1;
                continue;
            }
            Err(error) => return Err(error),
        };
        skip += 1;
        if loaded.state.chain.head.is_none_or(|head| head >= fork.at) {
            continue;
        }
        let reader = LogReader::new(left.clone(), state.header.vault);
        if !is_history(&reader, &loaded.state).await? {
            continue;
        }
        let branch = gather(left, loaded.state, fork, cache).await?;
        if loaded.made.counts(&branch.state) {
            return Ok(branch);
        }
    }
    gather(left, State::start(state.header.clone()), fork, cache).await
}

async fn gather(
    left: &Arc<dyn SiteReader>,
    from: State,
    fork: &Fork,
    cache: &SegmentCache,
) -> Result<Branch> {
    let mut settling = Settling::default();
    let mut reader = LogReader::of_branch(left.clone(), from.header.vault, fork.at.epoch);
    let mut branch = Branch {
        policy_before: from.catalog.policy.clone(),
        recipients_before: from.catalog.recipients.clone(),
        state: from,
        commits: Vec::new(),
        opened: HashMap::new(),
        holds: Vec::new(),
        recovered: BTreeSet::new(),
        trashed: BTreeSet::new(),
        members: Vec::new(),
        removed_a_member: false,
        records: 0,
        last: Hash([0; 32]),
    };
    loop {
        let at = branch.state.chain.next();
        let record = match reader.read(at).await? {
            Some(record) if record.seal().is_none_or(|seal| seal.ends_at == at.slot) => record,
            _ => return Ok(branch),
        };
        if at >= fork.at {
            branch.note(&record);
        }
        branch.state.take(&record)?;
        settling.settle(&mut branch.state.index, cache).await;
        if at < fork.at {
            branch
                .policy_before
                .clone_from(&branch.state.catalog.policy);
            branch
                .recipients_before
                .clone_from(&branch.state.catalog.recipients);
        }
    }
}

impl Branch {
    /// Gathers what a record of the branch says, before it is folded.
    fn note(&mut self, record: &Record) {
        self.records += 1;
        self.last = record.hash;
        for fact in &record.body.facts.0 {
            match fact {
                Fact::SessionOpened(open) => {
                    self.opened.insert(open.key.key, open.clone());
                }
                Fact::SnapshotCommitted(commit) => {
                    // One record may open a session and commit it: then the catalog does not know it yet.
                    let sessions = &self.state.catalog.sessions;
                    let known = sessions.get(&commit.snapshot).cloned();
                    let fresh = || {
                        let open = self
                            .opened
                            .values()
                            .find(|o| o.session == commit.snapshot)?;
                        Some(Session {
                            source: open.source.clone(),
                            scope: open.scope.clone(),
                            key: open.key,
                            agent: open.agent.clone(),
                            tags: open.tags.clone(),
                            opened_millis: record.body.time_millis,
                            opened_at: record.position(),
                            named: Vec::new(),
                            again: Vec::new(),
                            bytes_sent: 0,
                        })
                    };
                    if let Some(session) = known.or_else(fresh) {
                        self.commits.push((commit.clone(), session));
                    }
                }
                Fact::HoldPlaced(hold) if !hold.by_restore => self.holds.push(hold.clone()),
                Fact::SnapshotsRecovered(back) => self.recovered.extend(&back.snapshots),
                Fact::SnapshotsTrashed(trash) => self.trashed.extend(&trash.snapshots),
                Fact::MemberJoined(join) => self.members.push(format!("added site {}", join.site)),
                Fact::MemberLeft(left) => {
                    self.removed_a_member = true;
                    self.members.push(format!("removed site {}", left.site));
                }
                _ => {}
            }
        }
    }
}

/// Whether a branch's seal stands at the end of the fork's epoch already.
pub async fn is_closed(left: &Arc<dyn SiteReader>, state: &State, fork: &Fork) -> Result<bool> {
    let reader = LogReader::new(left.clone(), state.header.vault);
    let Some(&last) = reader.slots(fork.at.epoch, Slot(0)).await?.last() else {
        return Ok(false);
    };
    let record = reader.read_raw(last).await?;
    let seal = record.as_ref().and_then(Record::seal);
    Ok(seal.is_some_and(|seal| seal.ends_at != last.slot))
}

/// Closes a branch for ever: writes its seal behind the last record of the fork's epoch at the site that was left behind.
/// From then on every reader of that site goes from the fork straight to the survivor's seal, and whoever still appends
/// there meets this one.
///
/// ORDER: this comes before the branch is read for the salvage. A branch that could still grow would be cut off with
/// records in it that nobody has seen. Later epochs of the branch are closed after it, by an ordinary seal at their end.
pub async fn close_branch(
    context: &Context,
    left: &Arc<dyn Site>,
    credentials: &Credentials,
    claimant: Claimant,
    state: &State,
    fork: &Fork,
) -> Result<()> {
    let vault = state.header.vault;
    let reader: Arc<dyn SiteReader> = left.clone();
    let reader = LogReader::new(reader, vault);
    let mut last = None;
    let (mut now, mut effect) = closing::start();
    loop {
        let event = match effect {
            Effect::Look => {
                let (event, record) = look(&reader, fork).await?;
                last = record;
                event
            }
            Effect::PutSeal(slot) => {
                let Some(last) = &last else {
                    return Err(Error::Bug("a branch is sealed behind nothing".into()));
                };
                let seal = branch_seal(context, credentials, claimant, fork, last, slot)?;
                let name = ObjectName::record(vault, seal.position());
                match left.put_new(&name, seal.sealed()).await {
                    Ok(Put::Created | Put::Exists) => Event::Answered,
                    Err(error) => return Err(error.into()),
                }
            }
            Effect::End => break,
        };
        (now, effect) = closing::step(now, event);
    }
    match now {
        closing::State::Closed => Ok(()),
        closing::State::OtherFork => Err(Error::Corrupt(format!(
            "the branch at site {} was closed for another fork than {}",
            left.name(),
            fork.at
        ))),
        closing::State::Gone => Err(Error::Corrupt(format!(
            "the branch at site {} from {} on is not there any more",
            left.name(),
            fork.at
        ))),
        other => Err(Error::Bug(format!("closing a branch ended as {other:?}"))),
    }
}

/// The last slot of the fork's epoch, and its record.
async fn look(reader: &LogReader, fork: &Fork) -> Result<(Event, Option<Record>)> {
    let slots = reader.slots(fork.at.epoch, Slot(0)).await?;
    let Some(&last) = slots.last() else {
        return Ok((Event::Nothing, None));
    };
    let Some(there) = reader.read_raw(last).await? else {
        return Ok((Event::Vanished, None));
    };
    let event = match there.seal().filter(|seal| seal.ends_at != last.slot) {
        Some(seal) => Event::Seal {
            same_fork: seal.ends_at == fork.at.slot
                && seal.survivor.as_deref() == Some(&fork.survivor.object[..]),
        },
        None => Event::Last(last.slot),
    };
    Ok((event, Some(there)))
}

/// The branch's seal, behind its last record.
fn branch_seal(
    context: &Context,
    credentials: &Credentials,
    claimant: Claimant,
    fork: &Fork,
    last: &Record,
    slot: Slot,
) -> Result<Record> {
    let seal = Seal {
        next_epoch: epoch_after(fork),
        next_nonce: fork
            .survivor
            .seal()
            .map_or(claimant.nonce, |seal| seal.next_nonce),
        ends_at: fork.at.slot,
        certificate: credentials.certificate.clone(),
        by: credentials.coordinator.clone(),
        survivor: Some(fork.survivor.object.to_vec()),
    };
    let body = RecordBody {
        level: LEVEL,
        vault: last.body.vault,
        epoch: fork.at.epoch,
        slot,
        previous: last.hash,
        nonce: claimant.nonce,
        time_millis: context.now_millis().max(last.body.time_millis),
        writer: credentials.key.public(),
        facts: Facts(vec![seal.into()]),
        tail: None,
    };
    Ok(Record::make(body, &credentials.key)?)
}

fn epoch_after(fork: &Fork) -> Epoch {
    fork.survivor
        .seal()
        .map_or(fork.at.epoch, |seal| seal.next_epoch)
}
