//! Hard links: names of one file, of which the first that is met holds the content.
//!
//! State: for each file with several names, where its first one stands, or who waits for it. Memory is about the length
//! of a path for each such file of the snapshot.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::AtFlags;
use rustix::io::{Errno, Result};

use super::level::{self, Level};
use super::local::{open_directory, rename, stat_at, unlink};
use super::place::make_room;
use super::run::Run;
use crate::restore::flaw::Flaw;
use crate::restore::item::Item;

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: Mutex<HashMap<u64, Group>>,
}

#[derive(Debug)]
enum Group {
    /// The first name is being restored; these wait for it.
    Waiting(Vec<Waiting>),
    Settled(Settled),
}

/// A name that waits for the first one of its file.
pub(super) type Waiting = (Arc<Level>, Box<Item>);

/// What became of the first name.
#[derive(Debug, Clone)]
pub(super) enum Settled {
    /// It stands there.
    Placed {
        /// The names on the way from the target, its own last.
        parts: Vec<Vec<u8>>,
        /// Device and inode.
        identity: (u64, u64),
    },
    /// Its content is lost.
    Lost(Flaw),
    /// The target refused it.
    Failed,
}

/// What to do with a name.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is the first: restore it, then settle.
    First(Waiting),
    /// The first is under way; this one will be handed out when it is settled.
    Waits,
    /// The first is settled.
    Settled(Waiting, Settled),
}

impl Links {
    /// Takes a name of the file with that number.
    pub(super) fn claim(&self, number: u64, waiting: Waiting) -> Claim {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.get_mut(&number) {
            None => {
                groups.insert(number, Group::Waiting(Vec::new()));
                Claim::First(waiting)
            }
            Some(Group::Waiting(others)) => {
                others.push(waiting);
                Claim::Waits
            }
            Some(Group::Settled(settled)) => Claim::Settled(waiting, settled.clone()),
        }
    }

    /// Notes what became of the first name, and hands out those that wait for it.
    fn settle(&self, number: u64, settled: Settled) -> Vec<Waiting> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        match groups.insert(number, Group::Settled(settled)) {
            Some(Group::Waiting(others)) => others,
            _ => Vec::new(),
        }
    }
}

/// Notes what became of a file's first name, and serves the names that wait for it.
pub(super) fn settle(run: &Run, number: u64, settled: Settled) {
    for (level, item) in run.links.settle(number, settled.clone()) {
        if !run.stopped() {
            link(run, &level, &item, &settled);
        }
        level::release(level, run);
    }
}

/// Gives a further name to a file that stands.
pub(super) fn link(run: &Run, level: &Level, item: &Item, settled: &Settled) {
    let path = || level.path(&item.entry.name);
    match settled {
        Settled::Placed { parts, identity } => {
            let made = make_room(run, level, item).and_then(|room| {
                if room {
                    make(run, level, &item.entry.name, parts, *identity)?;
                }
                Ok(room)
            });
            match made {
                // The report says already what is in the way.
                Ok(false) => {}
                Ok(true) => run.report.count(|result| {
                    if item.is_file() {
                        result.files += 1;
                    } else {
                        result.others += 1;
                    }
                }),
                Err(errno) => run.failed(path(), "it could not be linked to its other name", errno),
            }
        }
        Settled::Lost(flaw) => run.lost(path(), flaw),
        Settled::Failed => run.problem(
            path(),
            "it is another name of a file that could not be restored",
        ),
    }
}

fn make(
    run: &Run,
    level: &Level,
    name: &[u8],
    parts: &[Vec<u8>],
    identity: (u64, u64),
) -> Result<()> {
    let dir = &*level.dir(run)?;
    if let Some(stat) = stat_at(dir, name)?
        && stat.identity == identity
    {
        return Ok(());
    }
    let Some((first, way)) = parts.split_last() else {
        return Err(Errno::NOENT);
    };
    let mut from = run.top.try_clone().map_err(|_| Errno::MFILE)?;
    for part in way {
        from = open_directory(&from, part)?;
    }
    let temporary = run.temporary(name);
    unlink(dir, &temporary)?;
    rustix::fs::linkat(
        &from,
        first.as_slice(),
        dir,
        temporary.as_slice(),
        AtFlags::empty(),
    )?;
    // Someone may have put another file where the first name stood.
    let same = stat_at(dir, &temporary)?.is_some_and(|stat| stat.identity == identity);
    let done = if same {
        rename(dir, &temporary, name, run.may_exist)
    } else {
        Err(Errno::NOENT)
    };
    if done.is_err() {
        unlink(dir, &temporary)?;
    }
    done
}
