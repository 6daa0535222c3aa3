//! Replication: makes one member's log a longer prefix of the primary's, keys and packs before the record that names them.
//!
//! State: how far the member has come. The order of one record's copy is in `replicate/copying.rs`. One replicator exists
//! per member and owner; it alone puts records there. It never overwrites, never skips a record, and copies only bytes that
//! it verified.

pub mod copying;

use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use holdfast_format::checkpoint::Manifest;
use holdfast_format::pack::verify_pack;
use holdfast_format::{
    Epoch, Fact, Hash, KeyRef, ObjectName, PackId, Position, Record, Sealed, SiteName, Slot,
};
use holdfast_store::{Put, Site, SiteReader};

use crate::budget::Budget;
use crate::error::{Error, Result};
use crate::fold::State;
use crate::fold::catalog::PackInfo;
use crate::guard::Guard;
use crate::log::reader::{LogReader, read_header};
use crate::log::writer::{SharedState, put_same};
use copying::{Effect, Event, Named, Shared, Wanted, judge, wanted};

/// Packs copied at once.
const COPIES_MAX: usize = 2;

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
    target: Arc<dyn Site>,
    state: SharedState,
    budget: Budget,
    head: Option<Position>,
    next: Position,
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
        let first = Position {
            epoch: Epoch(1),
            slot: Slot(0),
        };
        let mut this = Self {
            source,
            target,
            state,
            budget,
            head,
            next: first,
            bad: Mutex::default(),
            wrong: Mutex::default(),
        };
        if let Some(head) = head {
            let vault = this.vault();
            let at_head = LogReader::new(this.source.clone(), vault)
                .read(head)
                .await?;
            if let Some(record) = &at_head
                && this.look(record).await? == Event::OtherSeal
            {
                return Ok(Err(Diverged::Sealed(head)));
            }
            this.next = match at_head.as_ref().and_then(Record::seal) {
                Some(seal) => Position {
                    epoch: seal.next_epoch,
                    slot: Slot(0),
                },
                None => Position {
                    epoch: head.epoch,
                    slot: head.slot.next(),
                },
            };
        }
        Ok(Ok(this))
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

    /// Packs that could not be copied since their copy at the primary is damaged or missing: another member may have good
    /// ones.
    pub fn take_bad(&self) -> Vec<PackInfo> {
        std::mem::take(&mut *self.bad.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Objects at the member that are damaged, and the good ones that belong in their place, verified. A replicator itself
    /// never overwrites.
    pub fn take_wrong(&self) -> Vec<(ObjectName, Sealed)> {
        std::mem::take(&mut *self.wrong.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What lies at the member under a name is damaged: the log gives the hash of what belongs there.
    fn note_wrong(&self, name: &ObjectName, good: Sealed) -> Error {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.push((name.clone(), good));
        Error::Corrupt(format!(
            "{name} at site {} is damaged; it is replaced",
            self.target.name()
        ))
    }

    fn note_bad(&self, pack: PackInfo) {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.push(pack);
    }

    /// The member.
    pub fn site(&self) -> &SiteName {
        self.target.name()
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
            None => LogReader::new(self.source.clone(), vault).read(at).await?,
        };
        let Some(record) = record else {
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
        let name = ObjectName::record(vault, at);
        let mut header_due = self.head.is_none();
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
        self.head = Some(at);
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

    async fn look(&self, record: &Record) -> Result<Event> {
        let seals = match record.seal() {
            Some(seal) => {
                let next = Position {
                    epoch: seal.next_epoch,
                    slot: Slot(0),
                };
                let mut primary = LogReader::new(self.source.clone(), self.vault());
                Some((seal.next_epoch, primary.read(next).await?.is_some()))
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

    async fn put_header(&self) -> Result<()> {
        let header = ObjectName::header(self.vault());
        match self.source.get(&header).await? {
            Some(object) => put_same(self.target.as_ref(), &header, &Sealed::copied(object)).await,
            None => Err(Error::Corrupt(format!(
                "the vault header is missing at site {}",
                self.source.name()
            ))),
        }
    }

    async fn copy_named(&self, record: &Record) -> Result<()> {
        let vault = self.vault();
        for fact in &record.body.facts.0 {
            match fact {
                Fact::SessionOpened(open) => self.copy_key(&open.key).await?,
                Fact::RecipientsSet(set) => {
                    let name = ObjectName::vault_key(vault, set.generation);
                    self.copy_hashed(&name, set.vault_key).await?;
                }
                Fact::PacksAdded(added) => {
                    let packs: Vec<PackInfo> = {
                        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
                        let numbers: Vec<_> = added.packs.iter().map(|pack| pack.number).collect();
                        let id = |number| PackId {
                            epoch: record.body.epoch,
                            nonce: record.body.nonce,
                            number,
                        };
                        let named: std::collections::HashSet<PackId> =
                            numbers.into_iter().map(id).collect();
                        let packs = state.catalog.packs.values();
                        packs
                            .filter(|p| named.contains(&p.id))
                            .filter(|p| wanted(named_as(p.condemned)) != Wanted::Not)
                            .cloned()
                            .collect()
                    };
                    let mut copies = futures::stream::iter(packs)
                        .map(|pack| self.copy_pack(pack))
                        .buffer_unordered(COPIES_MAX);
                    while let Some(copied) = copies.next().await {
                        copied?;
                    }
                }
                Fact::CheckpointMade(made) => {
                    self.copy_checkpoint(made.covers, made.manifest).await?
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn copy_key(&self, key: &KeyRef) -> Result<()> {
        let named = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let known = state.catalog.keys.get(&key.key);
            known.map_or(Named::Swept, |info| named_as(info.condemned))
        };
        let name = ObjectName::session_key(self.vault(), key.key, key.generation);
        match wanted(named) {
            Wanted::Must => {}
            Wanted::WhileThere if self.source.head(&name).await?.is_some() => {}
            Wanted::WhileThere | Wanted::Not => return Ok(()),
        }
        match self.copy_hashed(&name, key.hash).await {
            // A key outlives what was sealed under it while a member may hold a branch, and this member may be the one: a key
            // that is lost and unused must not keep it from ever following.
            Err(Error::Corrupt(why)) if !self.is_key_used(key) => {
                tracing::warn!(site = %self.target.name(), why, "a key that nothing uses is not copied");
                Ok(())
            }
            copied => copied,
        }
    }

    /// Whether an open session or a pack that was not given up uses a key.
    fn is_key_used(&self, key: &KeyRef) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let catalog = &state.catalog;
        let mut sessions = catalog.sessions.values();
        let mut packs = catalog.packs.values();
        sessions.any(|session| session.key.key == key.key)
            || packs.any(|pack| pack.condemned.is_none() && pack.keys.contains(&key.key))
    }

    /// Copies a small object whose hash the log gives.
    async fn copy_hashed(&self, name: &ObjectName, hash: Hash) -> Result<()> {
        let there = self.target.get(name).await?;
        if there.as_ref().is_some_and(|there| Hash::of(there) == hash) {
            return Ok(());
        }
        let Some(object) = self.source.get(name).await? else {
            return Err(Error::Corrupt(format!(
                "{name} is missing at site {}",
                self.source.name()
            )));
        };
        if Hash::of(&object) != hash {
            return Err(Error::Corrupt(format!(
                "{name} at site {} does not have the hash that the log gives",
                self.source.name()
            )));
        }
        if there.is_some() {
            return Err(self.note_wrong(name, Sealed::copied(object)));
        }
        put_same(self.target.as_ref(), name, &Sealed::copied(object)).await
    }

    async fn copy_pack(&self, pack: PackInfo) -> Result<()> {
        let name = ObjectName::pack(self.vault(), pack.id);
        let there = self.target.head(&name).await?;
        if there.as_ref().is_some_and(|info| info.size == pack.len) {
            return Ok(());
        }
        let _share = self
            .budget
            .take(usize::try_from(pack.len).unwrap_or(usize::MAX))
            .await;
        let Some(object) = self.source.get(&name).await? else {
            // Swept meanwhile? Then the state says so by now, and it is not missed.
            if !self.is_live(&pack) {
                return Ok(());
            }
            let why = format!("pack {} is missing at site {}", pack.id, self.source.name());
            self.note_bad(pack);
            return Err(Error::Corrupt(why));
        };
        if Guard::CopyVerified.stands()
            && let Err(error) = verify_pack(pack.id, pack.footer_hash, &object)
        {
            // Given up since, it is no more missed than one that was swept: what is damaged for good must not keep the member
            // from ever following.
            if !self.is_live(&pack) {
                return Ok(());
            }
            let (id, site) = (pack.id, self.source.name());
            let why = format!("pack {id} at site {site}: {error}");
            self.note_bad(pack);
            return Err(Error::Corrupt(why));
        }
        if there.is_some() {
            return Err(self.note_wrong(&name, Sealed::copied(object)));
        }
        self.target.put_pack(&name, Sealed::copied(object)).await?;
        Ok(())
    }

    fn is_live(&self, pack: &PackInfo) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut packs = state.catalog.packs.values();
        packs.any(|known| known.id == pack.id && known.condemned.is_none())
    }

    async fn copy_checkpoint(&self, covers: Position, hash: Hash) -> Result<()> {
        let vault = self.vault();
        let name = ObjectName::checkpoint(vault, covers);
        // An older checkpoint may be gone at the primary; the member does without it.
        let Some(object) = self.source.get(&name).await? else {
            return Ok(());
        };
        let manifest = Manifest::open(vault, covers, hash, &object)?;
        for segment in &manifest.segments {
            let name = ObjectName::segment(vault, segment.hash);
            match self.copy_hashed(&name, segment.hash).await {
                Ok(()) => {}
                Err(Error::Corrupt(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        put_same(self.target.as_ref(), &name, &Sealed::copied(object)).await
    }
}

fn named_as(condemned: Option<Position>) -> Named {
    match condemned {
        Some(_) => Named::Condemned,
        None => Named::Live,
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
            return Ok(judge(Shared::Closed { fork, salvaged }));
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
