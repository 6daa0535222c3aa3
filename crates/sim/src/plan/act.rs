//! What can happen in a history, one thing at a time, and how it reads in a plan.

use std::fmt;

use crate::agent::AGENTS;
use crate::world::{COORDINATORS, SITES};

/// One thing that somebody does, or that happens to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// An agent changes its tree and backs it up; with the flag it waits until that is protected.
    BackUp(usize, bool),
    /// An agent is killed in the middle of its backup.
    KillAgent(usize),
    /// Somebody restores a snapshot.
    Restore,
    /// Somebody forgets a snapshot, at once.
    Forget,
    /// Somebody forgets the newest one.
    ForgetLast,
    /// Somebody puts the newest one into the trash, for as long as the default says: longer than any history.
    Trash,
    /// Somebody takes one out of the trash.
    Recover,
    /// Somebody places a hold.
    Hold,
    /// Somebody releases one.
    Release,
    /// A policy is set that keeps the last few.
    Policy(usize),
    /// Somebody collects.
    Collect,
    /// Somebody verifies and repairs.
    Verify,
    /// A coordinator dies.
    Crash(usize),
    /// Whichever coordinator owns the vault dies.
    CrashOwner,
    /// A coordinator stops in order.
    Stop(usize),
    /// A coordinator starts, if it does not run.
    Boot(usize),
    /// A coordinator stands still.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// The fencer: a coordinator's lease is gone, though it does not know.
    LoseLease(usize),
    /// Placement has lost everything.
    LosePlacement,
    /// The same, and nobody attaches the vault again: whoever needs to know looks into the logs.
    EmptyPlacement,
    /// Somebody makes a copy of placement.
    CopyPlacement,
    /// Placement is brought back from that copy.
    RestorePlacement,
    /// Placement answers nobody, or does again.
    PlacementDead(bool),
    /// Placement forgets its history: who lags behind has to read everything again.
    Compact,
    /// Somebody has placement made again from the sites.
    Rebuild,
    /// A policy lets the vault be moved without a person, if changes of so many seconds are left behind at most.
    LetMove(u64),
    /// Every vault moves to a site; with the flag, whatever is left behind.
    FailOverAll(usize, bool),
    /// A coordinator cannot reach placement, or can again.
    CutPlacement(usize, bool),
    /// A coordinator cannot reach a site, or can again.
    CutSite(usize, usize, bool),
    /// A site answers nobody, or does again.
    Down(usize, bool),
    /// A site has no room for packs, or has again.
    Full(usize, bool),
    /// The rotter damages a copy of which another site has a good one.
    Rot(usize),
    /// The disk of a site that only follows is replaced by an empty one.
    Replace(usize),
    /// Somebody copies the disk of a site.
    Copy(usize),
    /// The disk of a site goes back to what was copied.
    RollBack(usize),
    /// The vault moves to a site; with the flag, whatever is left behind.
    FailOver(usize, bool),
    /// What was left behind is brought back.
    FailBack,
    /// A machine's clock jumps, by so many minutes.
    Jump(usize, i64),
    /// The operator says that the clocks are right.
    Confirm,
    /// Nothing for so many seconds.
    Idle(u64),
    /// Calls go wrong by chance from now on, or no longer.
    Storm(bool),
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = |n: usize| COORDINATORS.get(n).copied().unwrap_or("?");
        let s = |n: usize| SITES.get(n).copied().unwrap_or("?");
        let a = |n: usize| AGENTS.get(n).map_or("?", |agent| agent.0);
        match *self {
            Self::BackUp(n, false) => write!(f, "agent {} backs up", a(n)),
            Self::BackUp(n, true) => write!(f, "agent {} backs up and waits", a(n)),
            Self::KillAgent(n) => write!(f, "agent {} is killed", a(n)),
            Self::Policy(last) => write!(f, "a policy keeps the last {last}"),
            Self::Crash(n) => write!(f, "{} dies", c(n)),
            Self::CrashOwner => f.write_str("the owner dies"),
            Self::Stop(n) => write!(f, "{} stops", c(n)),
            Self::Boot(n) => write!(f, "{} starts", c(n)),
            Self::Pause(n) => write!(f, "{} stands still", c(n)),
            Self::Resume(n) => write!(f, "{} goes on", c(n)),
            Self::LoseLease(n) => write!(f, "{} is deposed: its lease is gone", c(n)),
            Self::LosePlacement => f.write_str("placement loses everything"),
            Self::EmptyPlacement => f.write_str("placement loses everything, and nobody attaches"),
            Self::CopyPlacement => f.write_str("somebody copies placement"),
            Self::RestorePlacement => f.write_str("placement goes back to its copy"),
            Self::PlacementDead(true) => f.write_str("placement is dead"),
            Self::PlacementDead(false) => f.write_str("placement is back"),
            Self::Compact => f.write_str("placement forgets its history"),
            Self::Rebuild => f.write_str("placement is made again from the sites"),
            Self::LetMove(seconds) => write!(f, "the vault may be moved, losing up to {seconds} s"),
            Self::FailOverAll(n, true) => write!(f, "all fail over to {}, accepting loss", s(n)),
            Self::FailOverAll(n, false) => write!(f, "all fail over to {}", s(n)),
            Self::CutPlacement(n, true) => write!(f, "{} loses sight of placement", c(n)),
            Self::CutPlacement(n, false) => write!(f, "{} sees placement", c(n)),
            Self::CutSite(n, m, true) => write!(f, "{} loses sight of {}", c(n), s(m)),
            Self::CutSite(n, m, false) => write!(f, "{} sees {}", c(n), s(m)),
            Self::Down(n, true) => write!(f, "{} is down", s(n)),
            Self::Down(n, false) => write!(f, "{} is up", s(n)),
            Self::Full(n, true) => write!(f, "{} is full", s(n)),
            Self::Full(n, false) => write!(f, "{} has room", s(n)),
            Self::Rot(n) => write!(f, "an object rots at {}", s(n)),
            Self::Replace(n) => write!(f, "the disk of {} is replaced", s(n)),
            Self::Copy(n) => write!(f, "the disk of {} is copied", s(n)),
            Self::RollBack(n) => write!(f, "the disk of {} goes back to its copy", s(n)),
            Self::FailOver(n, true) => write!(f, "fail over to {}, accepting loss", s(n)),
            Self::FailOver(n, false) => write!(f, "fail over to {}", s(n)),
            Self::FailBack => f.write_str("fail back"),
            Self::Jump(n, minutes) => write!(f, "the clock of {} jumps by {minutes} min", c(n)),
            Self::Idle(seconds) => write!(f, "nothing for {seconds} s"),
            Self::Storm(true) => f.write_str("calls go wrong by chance"),
            Self::Storm(false) => f.write_str("calls no longer go wrong"),
            other => write!(f, "somebody: {other:?}"),
        }
    }
}
