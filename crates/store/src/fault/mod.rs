//! Sites that fail on purpose, for tests and simulation.
//!
//! A [`Faults`] handle wraps sites and stays with the test, which then makes single calls fail, switches the site off
//! and on, lets calls fail by chance under a seed, or takes the site's atomic create away. Every call has a
//! position, counted over all sites that a handle has wrapped, so that a sweep can run an operation once, read
//! [`Faults::calls`], and then make each position fail in turn.
//!
//! Chance is drawn per call from the seed, the operation, the name, and how often that pair was called: the same
//! seed gives the same faults however tasks interleave. State: the script, the switches, the record of calls.

mod wrapped;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use self::wrapped::{Faulty, FaultyReader};
use crate::error::Kind;
use crate::site::{Opened, SiteReader};

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`SiteReader::get`].
    Get,
    /// [`SiteReader::get_range`].
    GetRange,
    /// [`SiteReader::head`].
    Head,
    /// [`SiteReader::list`].
    List,
    /// [`SiteReader::list_folders`].
    ListFolders,
    /// [`crate::Site::put_new`].
    PutNew,
    /// [`crate::Site::put_pack`].
    PutPack,
    /// [`crate::Sweeper::delete`].
    Delete,
    /// [`crate::Sweeper::replace_damaged`].
    ReplaceDamaged,
}

impl Operation {
    fn is_put(self) -> bool {
        matches!(self, Operation::PutNew | Operation::PutPack)
    }

    fn is_read(self) -> bool {
        matches!(self, Operation::Get | Operation::GetRange)
    }

    fn is_write(self) -> bool {
        self.is_put() || matches!(self, Operation::Delete | Operation::ReplaceDamaged)
    }
}

/// One way to fail. One that does not fit its call changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Any call: it is not done and fails, determinately, with an error of this kind.
    Fail(Kind),
    /// Any call: it is not done; writes fail indeterminately, reads as if the connection broke.
    Lost,
    /// Writes: it is done and fails, indeterminately. Reads fail as under [`Fault::Lost`].
    DoneButFailed,
    /// Puts: it is done and answered as if it had been sent twice: `Exists`.
    SentTwice,
    /// Any call: it is done after a pause, by tokio's clock.
    Delay(Duration),
    /// Reads: one bit of the answer is wrong.
    FlipBit,
    /// Whole reads: the answer ends early. Ranges: an error of kind `Corrupt`, as the trait promises.
    Truncate,
    /// Looks and reads: the object is said to be absent, whether it is or not.
    Hide,
    /// Lists: the newest of what was created through this handle are missing, this many at most.
    Stale(usize),
}

/// What a site makes of creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nature {
    /// As the wrapped site does.
    #[default]
    Sound,
    /// Like servers that know no conditions: every create succeeds and replaces what is there.
    Overwriting,
    /// Like servers that look first and write later: all racers may win, the last one's bytes stay.
    Racy,
}

/// How often calls fail by chance, each in thousandths of the calls that it fits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Odds {
    /// [`Fault::Fail`] with [`Kind::Retry`].
    pub fail: u32,
    /// [`Fault::Lost`].
    pub lost: u32,
    /// [`Fault::DoneButFailed`].
    pub done_but_failed: u32,
    /// [`Fault::SentTwice`].
    pub sent_twice: u32,
    /// [`Fault::Delay`], of up to [`Odds::delay_max`].
    pub delay: u32,
    /// The longest pause.
    pub delay_max: Duration,
    /// [`Fault::FlipBit`].
    pub flip_bit: u32,
    /// [`Fault::Truncate`].
    pub truncate: u32,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its place among all calls, from 0.
    pub position: u64,
    /// What was called.
    pub operation: Operation,
    /// The object's name, or a listing's prefix.
    pub name: String,
    /// How it was made to fail, if it was.
    pub fault: Option<Fault>,
}

/// The hand on the faults. Clones are the same hand.
#[derive(Clone)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: Vec<Call>,
    script: BTreeMap<u64, Fault>,
    next: Vec<(Operation, Fault)>,
    chance: Option<(u64, Odds)>,
    /// How often each operation was called on each name, for chance.
    repeats: HashMap<(Operation, String), u64>,
    unreachable: bool,
    nature: Nature,
    now_hint_millis: Option<i64>,
    /// Names created through this handle, oldest first.
    created: Vec<String>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
        write!(
            f,
            "Faults({} calls, unreachable: {})",
            plan.calls.len(),
            plan.unreachable
        )
    }
}

impl Faults {
    /// No faults until some are asked for.
    pub fn none() -> Self {
        Self(Arc::default())
    }

    /// Faults by chance, the same for the same seed.
    pub fn seeded(seed: u64, odds: Odds) -> Self {
        let faults = Self::none();
        faults.plan().chance = Some((seed, odds));
        faults
    }

    /// Wraps a site that was opened for writing.
    pub fn wrap(&self, opened: Opened) -> Opened {
        let site = Arc::new(Faulty::new(self.clone(), opened));
        Opened {
            site: site.clone(),
            sweeper: site,
        }
    }

    /// Wraps a site that was opened for reading.
    pub fn wrap_reader(&self, reader: Arc<dyn SiteReader>) -> Arc<dyn SiteReader> {
        Arc::new(FaultyReader::new(self.clone(), reader))
    }

    /// Makes the call at `position` fail.
    pub fn at(&self, position: u64, fault: Fault) {
        self.plan().script.insert(position, fault);
    }

    /// Makes the next call of `operation` fail; several such calls fail in the order they were asked for.
    pub fn next(&self, operation: Operation, fault: Fault) {
        self.plan().next.push((operation, fault));
    }

    /// Ends the faults by chance, or begins them anew.
    pub fn set_chance(&self, chance: Option<(u64, Odds)>) {
        self.plan().chance = chance;
    }

    /// Switches the site off, so that every call fails, or on again.
    pub fn set_reachable(&self, reachable: bool) {
        self.plan().unreachable = !reachable;
    }

    /// Changes what becomes of creates.
    pub fn set_nature(&self, nature: Nature) {
        self.plan().nature = nature;
    }

    /// Sets the site's clock; `None` leaves it to the wrapped site.
    pub fn set_now_hint(&self, millis: Option<i64>) {
        self.plan().now_hint_millis = millis;
    }

    /// How many calls were made: the position of the next one.
    pub fn calls(&self) -> u64 {
        self.plan().calls.len() as u64
    }

    /// All calls that were made, with their faults.
    pub fn trace(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // A test that panicked elsewhere still reads the record.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call; gives its position and how it is to fail.
    fn call(&self, operation: Operation, name: &str) -> (u64, Option<Fault>) {
        let mut plan = self.plan();
        let position = plan.calls.len() as u64;
        let fault = plan.fault(position, operation, name);
        plan.calls.push(Call {
            position,
            operation,
            name: name.into(),
            fault,
        });
        (position, fault)
    }
}

impl Plan {
    fn fault(&mut self, position: u64, operation: Operation, name: &str) -> Option<Fault> {
        let repeat = self.repeats.entry((operation, name.into())).or_default();
        *repeat += 1;
        let repeat = *repeat;
        if self.unreachable {
            return Some(Fault::Fail(Kind::Retry));
        }
        if let Some(fault) = self.script.remove(&position) {
            return Some(fault);
        }
        if let Some(index) = self
            .next
            .iter()
            .position(|(wanted, _)| *wanted == operation)
        {
            return Some(self.next.remove(index).1);
        }
        let (seed, odds) = self.chance?;
        odds.draw(seed, operation, name, repeat)
    }
}

impl Odds {
    fn draw(&self, seed: u64, operation: Operation, name: &str, repeat: u64) -> Option<Fault> {
        let mut random = StdRng::seed_from_u64(mix(seed, operation, name, repeat));
        let delay = Duration::from_millis(
            random.next_u64() % (self.delay_max.as_millis() as u64).saturating_add(1),
        );
        let (put, write, read) = (
            operation.is_put(),
            operation.is_write(),
            operation.is_read(),
        );
        let faults = [
            (self.fail, true, Fault::Fail(Kind::Retry)),
            (self.lost, true, Fault::Lost),
            (self.done_but_failed, write, Fault::DoneButFailed),
            (self.sent_twice, put, Fault::SentTwice),
            (self.flip_bit, read, Fault::FlipBit),
            (self.truncate, read, Fault::Truncate),
            (self.delay, true, Fault::Delay(delay)),
        ];
        let mut drawn = random.next_u64() % 1000;
        for (odds, fits, fault) in faults {
            if !fits {
                continue;
            }
            if drawn < u64::from(odds) {
                return Some(fault);
            }
            drawn -= u64::from(odds);
        }
        None
    }
}

/// FNV-1a over all that a draw depends on.
fn mix(seed: u64, operation: Operation, name: &str, repeat: u64) -> u64 {
    let operation = [operation as u8];
    [
        &seed.to_le_bytes()[..],
        &operation,
        name.as_bytes(),
        &repeat.to_le_bytes(),
    ]
    .into_iter()
    .flatten()
    .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
