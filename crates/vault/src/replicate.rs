//! Replication: makes one member's log a longer prefix of the primary's, keys and packs before the record that names them.
//!
//! State: how far the member has come. The order of one record's copy is in `replicate/copying.rs`. One replicator exists
//! per member and owner; it alone puts records there. It never overwrites, never skips a record, and copies only bytes that
//! it verified.

pub mod copying;
mod objects;
pub mod underway;

use std::sync::{Arc, Mutex, PoisonError};

use holdfast_format::{Epoch, ObjectName, Position, Record, Sealed, SiteName, Slot};
use holdfast_store::{Put, Site, SiteReader};

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::fold::State;
use crate::fold::catalog::PackInfo;
use crate::guard::Guard;
use crate::log::reader::{LogReader, read_header};
use crate::log::writer::SharedState;
use copying::{Effect, Event, Shared, judge};
use underway::UnderWay;

/// Packs copied at once.
const COPIES_MAX: usize = 2;

/// Records that are copied before it is looked again whether the primary was closed as a branch.
const LOOK_AFTER_RECORDS: usize = 32;

/// Where every log begins.
const FIRST: Position = Position {
    epoch: Epoch(1),
    slot: Slot(0),
};

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One more record stands there.
    Copied(Position),
    /// The member has everything that the primary has.
    Level,
}

/// Why a member cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diverged {
    /// It holds records that are not the primary's: it was left behind by a failover. Failback brings it back.
    Branch(Position),
    /// It holds a seal that the primary lacks: another owner took over there.
    Sealed(Position),
}

impl Diverged {
    /// Whether it ends an ownership of this epoch: somebody sealed the owner's own epoch there.
    pub fn fences(&self, epoch: Epoch) -> bool {
        Guard::SealAtMemberStops.stands() && matches!(self, Self::Sealed(at) if at.epoch == epoch)
    }
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Its log is a prefix of the primary's, up to and including this record (none: nothing yet).
    Prefix(Option<Position>),
    /// It is not.
    Diverged(Diverged),
}

/// Replicates one vault to one member.
#[derive(Debug)]
pub struct Replicator {
    source: Arc<dyn Site>,
    /// Kept: a new one would list a whole epoch again for each record.
    source_log: LogReader,
    /// So many records more are read there before it is looked again whether the primary was closed as a branch; none: with the next.
    look_in_records: usize,
    target: Arc<dyn Site>,
    state: SharedState,
    budget: Budget,
    /// What others write there.
    under_way: UnderWay,
    head: Option<Position>,
    /// When the record at the head was made.
    head_millis: Option<i64>,
    next: Position,
    /// Records stand there, and are looked at again from the first on.
    begins_anew: bool,
    /// Packs whose copy at the primary is damaged or missing.
    bad: Mutex<Vec<PackInfo>>,
    /// Objects that lie at the member and are not what the log names there, with what they have to be.
    wrong: Mutex<Vec<(ObjectName, Sealed)>>,
}

impl Replicator {
    /// Finds where the member stands. The record at its head has the same bytes at the primary, so by the chain all
    /// before it have.
    pub async fn start(
        source: Arc<dyn Site>,
        target: Arc<dyn Site>,
        state: SharedState,
        budget: Budget,
    ) -> Result<std::result::Result<Self, Diverged>> {
        let standing = {
            let (source, target): (Arc<dyn SiteReader>, Arc<dyn SiteReader>) =
                (source.clone(), target.clone());
            let now = state.read().unwrap_or_else(PoisonError::into_inner).clone();
            standing(&source, &target, &now).await?
        };
        let head = match standing {
            Standing::Prefix(head) => head,
            Standing::Diverged(why) => return Ok(Err(why)),
        };
        let vault = {
            let state = state.read().unwrap_or_else(PoisonError::into_inner);
            state.header.vault
        };
        let mut this = Self {
            source_log: LogReader::new(source.clone(), vault),
            look_in_records: 0,
            source,
            target,
            state,
            budget,
            under_way: UnderWay::default(),
            head,
            head_millis: None,
            next: FIRST,
            begins_anew: false,
            bad: Mutex::default(),
            wrong: Mutex::default(),
        };
        if let Some(head) = head {
            let at_head = this.source_log.read(head).await?;
            if let Some(record) = &at_head
                && this.look(record).await? == Event::OtherSeal
            {
                return Ok(Err(Diverged::Sealed(head)));
            }
            this.head_millis = at_head.as_ref().map(|record| record.body.time_millis);
            this.stand_behind(head, at_head.as_ref()).await?;
        }
        Ok(Ok(this))
    }

    /// Goes on behind the last record that the member has.
    ///
    /// ORDER: a disk that went back to an older copy of itself while a record was put there may have it, and not what stood before
    /// it or what it names. So the last record is looked at again with all that it names; and if it follows nothing there, everything.
    async fn stand_behind(&mut self, head: Position, record: Option<&Record>) -> Result<()> {
        self.next = match record.and_then(Record::seal) {
            Some(seal) => Position {
                epoch: seal.next_epoch,
                slot: Slot(0),
            },
            None if Guard::PreviousStands.stands() => head,
            None => Position {
                epoch: head.epoch,
                slot: head.slot.next(),
            },
        };
        if Guard::PreviousStands.stands()
            && let Some(record) = record
            && !self.follows(record).await?
        {
            tracing::warn!(
                site = %self.target.name(), record = %head,
                "what stood before this record is missing: the disk was rolled back. All that lies there is looked at again"
            );
            (self.head, self.next, self.begins_anew) = (None, FIRST, true);
            self.head_millis = None;
        }
        Ok(())
    }

    /// Whether the record before a record is there.
    async fn follows(&self, record: &Record) -> Result<bool> {
        let at = record.position();
        let before = |slot| Position { slot, ..at };
        if let Some(slot) = at.slot.0.checked_sub(1) {
            let name = ObjectName::record(self.vault(), before(Slot(slot)));
            return Ok(self.target.head(&name).await?.is_some());
        }
        let mut there = LogReader::new(self.target.clone(), self.vault());
        let epochs = there.epochs().await?.into_iter().rev();
        for epoch in epochs.filter(|epoch| *epoch < at.epoch) {
            let last = match there.branch(epoch).await? {
                Some(branch) => Some(branch.ends_at),
                None => there.slots(epoch, Slot(0)).await?.last().map(|at| at.slot),
            };
            let Some(slot) = last else { continue };
            let seal = there.read(Position { epoch, slot }).await?;
            if seal.is_some_and(|seal| seal.hash == record.body.previous) {
                return Ok(true);
            }
        }
        Ok(at == FIRST)
    }

    /// Packs that others write to members are waited for, instead of being copied a second time.
    pub fn beside(&mut self, others: UnderWay) {
        self.under_way = others;
    }

    fn vault(&self) -> holdfast_format::VaultId {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .header
            .vault
    }

    /// The last record that stands there.
    pub fn head(&self) -> Option<Position> {
        self.head
    }

    /// The log's time at the last record that stands there: what the member lacks is no older.
    pub fn head_millis(&self) -> Option<i64> {
        self.head_millis
    }

    /// The record that is copied next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Whether the member holds nothing of the vault.
    pub fn holds_nothing(&self) -> bool {
        self.head.is_none() && !self.begins_anew
    }

    /// The member.
    pub fn site(&self) -> &SiteName {
        self.target.name()
    }

    /// Whether the last record that was found there, or copied, is still there. One request: a disk that was taken away,
    /// emptied or replaced is noticed by it, damage is not.
    pub async fn still_stands(&self) -> Result<bool> {
        match self.head {
            Some(head) => {
                let name = ObjectName::record(self.vault(), head);
                Ok(self.target.head(&name).await?.is_some())
            }
            None => Ok(true),
        }
    }

    /// Copies the next record with everything that it names, if there is one. `record` is its object if the caller
    /// has it in memory.
    pub async fn step(
        &mut self,
        record: Option<Record>,
    ) -> Result<std::result::Result<Step, Diverged>> {
        let vault = self.vault();
        let at = self.next;
        let record = match record.filter(|record| record.position() == at) {
            Some(record) => Some(record),
            None => self.read_source(at).await?,
        };
        let Some(record) = record else {
            self.look_in_records = 0;
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            return match state.chain.head.is_some_and(|head| head >= at) {
                // Taken for the end of the log, a gap would leave the member behind without a word.
                true => Err(Error::Corrupt(format!(
                    "record {at} is missing at site {}",
                    self.source.name()
                ))),
                false => Ok(Ok(Step::Level)),
            };
        };
        if Guard::PreviousStands.stands() && !self.still_stands().await? {
            return Err(self.rolled_back(at));
        }
        let name = ObjectName::record(vault, at);
        let is_first = self.head.is_none();
        let mut header_due = is_first;
        let (mut now, mut effect) = copying::start();
        loop {
            // The vault's header stands at a member before anything else does.
            if header_due && !matches!(effect, Effect::Read | Effect::End) {
                self.put_header().await?;
                header_due = false;
            }
            let event = match effect {
                Effect::Read => self.look(&record).await?,
                Effect::CopyNamed => {
                    self.copy_named(&record).await?;
                    Event::NamedStands
                }
                Effect::Put => match self.target.put_new(&name, record.sealed()).await? {
                    Put::Created => Event::Created,
                    Put::Exists => Event::Exists,
                },
                Effect::Compare => match self.target.get(&name).await? {
                    Some(there) if there == record.object => Event::Same,
                    there => {
                        let other = there.and_then(|there| Record::open(vault, at, there).ok());
                        match other.is_some_and(|other| other.seal().is_some()) {
                            true => Event::OtherSeal,
                            false => Event::OtherRecord,
                        }
                    }
                },
                Effect::End => break,
            };
            (now, effect) = copying::step(now, event);
        }
        match now {
            copying::State::Copied => {}
            copying::State::Level => return Ok(Ok(Step::Level)),
            copying::State::Branch => return Ok(Err(Diverged::Branch(at))),
            copying::State::Sealed => return Ok(Err(Diverged::Sealed(at))),
            other => return Err(Error::Bug(format!("a copy ended as {other:?}"))),
        }
        // ORDER: looked at again once the record stands. A disk that went back meanwhile has the record, and not what it stands on.
        if Guard::PreviousStands.stands() {
            self.look_back(&record, is_first).await?;
        }
        self.head = Some(at);
        self.head_millis = Some(record.body.time_millis);
        self.next = match record.seal() {
            Some(seal) => Position {
                epoch: seal.next_epoch,
                slot: Slot(0),
            },
            None => Position {
                epoch: at.epoch,
                slot: at.slot.next(),
            },
        };
        Ok(Ok(Step::Copied(at)))
    }

    /// Whether what a record that was just put stands on is there still; what it names is put again where it is not.
    async fn look_back(&self, record: &Record, is_first: bool) -> Result<()> {
        if is_first {
            self.put_header().await?;
        }
        if self.copy_named(record).await? && self.copy_named(record).await? {
            return Err(Error::Corrupt(format!(
                "site {} does not keep what is written to it: what record {} names was put there twice, and is missing",
                self.target.name(),
                record.position()
            )));
        }
        match self.follows(record).await? {
            true => Ok(()),
            false => Err(self.rolled_back(record.position())),
        }
    }

    fn rolled_back(&self, next: Position) -> Error {
        Error::Corrupt(format!(
            "site {} has lost what stood before record {next}: its disk was rolled back, or is an older copy of itself. It is copied \
             again",
            self.target.name()
        ))
    }

    /// The record at a position of the primary's log. An owner that hangs may have been deposed, and its primary closed as a branch
    /// since: looked at now and then, so that few records of a branch get to a member that holds none.
    async fn read_source(&mut self, at: Position) -> Result<Option<Record>> {
        match self.look_in_records.checked_sub(1) {
            Some(left) => self.look_in_records = left,
            None => {
                self.source_log.look_again(at).await?;
                self.look_in_records = LOOK_AFTER_RECORDS;
            }
        }
        self.source_log.read(at).await
    }

    async fn look(&mut self, record: &Record) -> Result<Event> {
        let seals = match record.seal() {
            Some(seal) => {
                let next = Position {
                    epoch: seal.next_epoch,
                    slot: Slot(0),
                };
                let begun = self.source_log.read(next).await?.is_some();
                Some((seal.next_epoch, begun))
            }
            None => None,
        };
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Ok(copying::look(copying::Found {
            at: record.position(),
            seals,
            head: state.chain.head,
            head_is_seal: state.chain.sealed.is_some(),
        }))
    }
}

/// Where a member stands against the primary.
pub async fn standing(
    source: &Arc<dyn SiteReader>,
    target: &Arc<dyn SiteReader>,
    state: &State,
) -> Result<Standing> {
    let vault = state.header.vault;
    if read_header(target.as_ref(), vault).await?.is_none() {
        return Ok(Standing::Prefix(None));
    }
    let mut there = LogReader::new(target.clone(), vault);
    let mut here = LogReader::new(source.clone(), vault);
    let epochs = there.epochs().await?;
    // Epochs rise along the history: the highest that both have is the last that both have. Those that the primary lacks
    // belong to branches.
    for &epoch in epochs.iter().rev() {
        let place = |slot| Position { epoch, slot };
        if let Some(branch) = there.branch(epoch).await? {
            let fork = place(branch.ends_at);
            let mut known = state.catalog.salvaged.iter();
            let salvaged = known.any(|s| s.site == *target.name() && s.from == fork);
            let survivor = there.read(fork).await?;
            let seal = survivor.as_ref().and_then(Record::seal);
            let goes_on = seal
                .map(|seal| seal.next_epoch)
                .filter(|next| epochs.contains(next));
            return Ok(judge(Shared::Closed {
                fork,
                salvaged,
                goes_on,
            }));
        }
        if !is_same(&mut here, &there, place(Slot(0))).await? {
            continue;
        }
        let Some(&last) = there.slots(epoch, Slot(0)).await?.last() else {
            continue;
        };
        let record = there.read_raw(last).await?;
        let same = is_same(&mut here, &there, last).await?;
        return Ok(judge(match record.as_ref().and_then(Record::seal) {
            Some(seal) => Shared::Sealed {
                last,
                same,
                goes_on: Some(seal.next_epoch).filter(|next| epochs.contains(next)),
            },
            None => Shared::Open { last, same },
        }));
    }
    Ok(match epochs.first() {
        Some(&epoch) => Standing::Diverged(Diverged::Branch(Position {
            epoch,
            slot: Slot(0),
        })),
        None => Standing::Prefix(None),
    })
}

/// Whether both sites hold the same record at a position.
async fn is_same(here: &mut LogReader, there: &LogReader, at: Position) -> Result<bool> {
    let (own, other) = (here.read(at).await?, there.read_raw(at).await?);
    Ok(matches!((own, other), (Some(own), Some(other)) if own.object == other.object))
}
