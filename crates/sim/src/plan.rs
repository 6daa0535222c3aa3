//! What a history will do: a list of steps drawn from a seed, which can be run, printed, and shortened.

use std::fmt;
use std::time::Duration;

use crate::agent::AGENTS;
use crate::chance::Chance;
use crate::weather::Odds;
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
    /// The vault moves to a site; with the flag, whatever is left behind.
    FailOver(usize, bool),
    /// What was left behind is brought back.
    FailBack,
    /// A machine's clock jumps, by so many minutes.
    Jump(usize, i64),
    /// The operator says that the clocks are right.
    Confirm,
    /// Calls go wrong by chance from now on, or no longer.
    Storm(bool),
}

/// A step: a pause, then something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The pause.
    pub after: Duration,
    /// What then.
    pub act: Act,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// How many sites.
    pub sites: usize,
    /// How many coordinators run at first.
    pub coordinators: usize,
    /// What goes wrong by chance in a storm.
    pub odds: Odds,
    /// The last site answers for packs that it has not written.
    pub liar: bool,
    /// The first site knows no conditional create.
    pub overwrites: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// What a history is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Everything.
    All,
    /// Backups, forgetting, collecting, while coordinators change.
    Collecting,
    /// Failing over and back.
    Moving,
    /// Damage and repair.
    Rotting,
}

impl Theme {
    /// All themes, with how often each is drawn.
    const DRAWN: [Self; 8] = [
        Self::All,
        Self::All,
        Self::Collecting,
        Self::Collecting,
        Self::Collecting,
        Self::Moving,
        Self::Moving,
        Self::Rotting,
    ];
}

impl Plan {
    /// The plan of a seed: of four, three are broad and one is dense.
    pub fn of(seed: u64) -> Self {
        match seed % 4 {
            3 => Self::focused(seed, Focus::ALL[(seed / 4) as usize % Focus::ALL.len()]),
            _ => Self::broad(seed),
        }
    }

    /// A plan of everything.
    pub fn broad(seed: u64) -> Self {
        let chance = Chance::new(seed ^ 0x9e37_79b9_7f4a_7c15);
        let n = |bound, what: &str| chance.below(bound, &[what]);
        let theme = Theme::DRAWN[n(8, "theme") as usize];
        let sites = 2 + n(2, "sites") as usize;
        let level = [1, 2, 4][n(3, "odds") as usize];
        let odds = Odds {
            fail: 8 * level,
            lost: 8 * level,
            done_but_failed: 8 * level,
            sent_twice: 8 * level,
            slow: 6 * level,
            flip: 2 * level,
            stale: 2 * level,
            crash: level,
            cut: 6 * level,
        };
        let mut plan = Self {
            seed,
            sites,
            coordinators: 1 + n(2, "coordinators") as usize,
            odds,
            liar: sites == 3 && n(6, "liar") == 0,
            overwrites: false,
            steps: Vec::new(),
        };
        // A clock that jumps makes the order of snapshots a matter of opinion: no policy then.
        let jumps = n(3, "jumps") == 0;
        for agent in 0..AGENTS.len() {
            plan.push(&chance, Act::BackUp(agent, false));
        }
        let count = 15 + n(35, "steps");
        for _ in 0..count {
            let act = plan.draw(&chance, theme, jumps);
            plan.push(&chance, act);
        }
        plan
    }

    fn push(&mut self, chance: &Chance, act: Act) {
        let millis = match chance.below(10, &["pace"]) {
            0..=1 => chance.below(20, &["at once"]),
            2..=6 => chance.below(2000, &["soon"]),
            7..=8 => chance.below(30_000, &["later"]),
            _ => chance.below(400_000, &["much later"]),
        };
        let after = Duration::from_millis(millis);
        self.steps.push(Step { after, act });
    }

    fn draw(&self, chance: &Chance, theme: Theme, jumps: bool) -> Act {
        let n = |bound: usize, what: &str| chance.below(bound as u64, &[what]) as usize;
        let (c, s) = (n(2, "c"), n(self.sites, "s"));
        // A site that lies is never the one whose word alone counts.
        let target = n(self.sites - usize::from(self.liar), "target");
        let on = n(5, "on") < 3;
        let agent = n(AGENTS.len(), "agent");
        let often = |list: &[Act]| list[n(list.len(), "which")];
        let backup = Act::BackUp(agent, n(4, "wait") == 0);
        if n(100, "storm") < 9 {
            return Act::Storm(n(10, "calm") < 7);
        }
        let work = [
            backup,
            backup,
            backup,
            Act::Restore,
            Act::Forget,
            Act::Collect,
        ];
        let lives = [
            Act::Crash(c),
            Act::Boot(c),
            Act::Boot(c),
            Act::Pause(c),
            Act::Resume(c),
            Act::LoseLease(c),
            Act::Stop(c),
            Act::CutPlacement(c, on),
        ];
        let words = [
            Act::Hold,
            Act::Release,
            Act::Recover,
            Act::Forget,
            if jumps {
                Act::Confirm
            } else {
                Act::Policy(2 + n(2, "last"))
            },
            Act::KillAgent(agent),
        ];
        let sites = [
            Act::Down(s, on),
            Act::CutSite(c, s, on),
            Act::Full(s, on),
            Act::Down(s, false),
        ];
        let collecting = [
            backup,
            backup,
            Act::Forget,
            Act::Collect,
            Act::Collect,
            Act::LoseLease(c),
        ];
        let moves = [
            Act::FailOver(target, n(3, "accept") > 0),
            Act::FailOver(target, true),
            Act::FailBack,
            Act::FailBack,
            Act::Down(s, on),
        ];
        let rot = [Act::Rot(s), Act::Rot(s), Act::Verify, Act::Replace(s)];
        let rare = [
            Act::LosePlacement,
            if jumps {
                Act::Jump(c, [-2000, -10, 10, 2000, 10_000][n(5, "by")])
            } else {
                Act::Restore
            },
            Act::Verify,
        ];
        // In hundredths: work, words, lives, sites, moves, rot, rare.
        let shares = match theme {
            Theme::All => [40, 15, 15, 10, 8, 7, 5],
            Theme::Collecting => [50, 20, 20, 6, 0, 2, 2],
            Theme::Moving => [40, 8, 12, 12, 25, 0, 3],
            Theme::Rotting => [40, 8, 8, 6, 8, 28, 2],
        };
        let mut drawn = n(100, "kind");
        let work: &[Act] = match theme {
            Theme::Collecting => &collecting,
            _ => &work,
        };
        let lists: [&[Act]; 7] = [work, &words, &lives, &sites, &moves, &rot, &rare];
        for (share, list) in shares.into_iter().zip(lists) {
            if drawn < share {
                return often(list);
            }
            drawn -= share;
        }
        backup
    }
}

/// What a short, dense plan is about: for the search for what a missing guard loses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Backups that reuse what is being forgotten and collected.
    Reuse,
    /// The same, while owners depose each other.
    Owners,
    /// Holds while what they cover is collected.
    Holds,
    /// Failing over with something left behind, and back, with collections in between.
    Branches,
    /// Damage, and collections that copy.
    Damage,
    /// A member that is away while things are collected.
    Away,
}

impl Focus {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Reuse,
        Self::Owners,
        Self::Holds,
        Self::Branches,
        Self::Damage,
        Self::Away,
    ];
}

impl Plan {
    /// A dense plan of a seed.
    pub fn focused(seed: u64, focus: Focus) -> Self {
        let chance = Chance::new(seed ^ 0x5851_f42d_4c95_7f2d);
        let level = 2;
        let mut plan = Self {
            coordinators: if focus == Focus::Owners { 2 } else { 1 },
            sites: 2,
            liar: false,
            steps: Vec::new(),
            odds: Odds {
                slow: 30 * level,
                done_but_failed: 10 * level,
                crash: u32::from(focus == Focus::Owners) * level,
                ..Odds::default()
            },
            ..Self::broad(seed)
        };
        let cycle: &[Act] = match focus {
            Focus::Reuse => &[
                Act::BackUp(0, false),
                Act::ForgetLast,
                Act::Collect,
                Act::BackUp(1, false),
                Act::Collect,
            ],
            Focus::Owners => &[
                Act::BackUp(0, false),
                Act::ForgetLast,
                Act::LoseLease(0),
                Act::LoseLease(1),
                Act::Collect,
                Act::Boot(0),
                Act::Boot(1),
                Act::BackUp(1, false),
            ],
            Focus::Holds => &[
                Act::BackUp(0, false),
                Act::ForgetLast,
                Act::Collect,
                Act::Hold,
                Act::Collect,
            ],
            Focus::Branches => &[
                Act::BackUp(0, false),
                Act::Down(1, true),
                Act::BackUp(1, false),
                Act::Hold,
                Act::Down(1, false),
                Act::Down(0, true),
                Act::FailOver(1, true),
                Act::BackUp(0, false),
                Act::ForgetLast,
                Act::Collect,
                Act::Down(0, false),
                Act::Collect,
                Act::FailBack,
                Act::Collect,
                Act::FailOver(0, true),
            ],
            Focus::Damage => &[
                Act::BackUp(0, false),
                Act::Rot(0),
                Act::BackUp(1, true),
                Act::Rot(1),
                Act::ForgetLast,
                Act::Collect,
                Act::Down(1, true),
                Act::BackUp(2, false),
                Act::Down(1, false),
                Act::Crash(0),
                Act::Boot(0),
            ],
            Focus::Away => &[
                Act::BackUp(0, false),
                Act::Down(1, true),
                Act::BackUp(1, false),
                Act::ForgetLast,
                Act::Collect,
                Act::BackUp(0, true),
                Act::Down(1, false),
                Act::FailOver(1, true),
                Act::FailBack,
            ],
        };
        plan.push(&chance, Act::Storm(true));
        for _ in 0..8 {
            for &act in cycle {
                // Mostly in order, sometimes not at all.
                if chance.below(5, &["skip"]) > 0 {
                    let millis = match chance.below(4, &["pace"]) {
                        0..=1 => chance.below(30, &["at once"]),
                        2 => chance.below(3000, &["soon"]),
                        _ => chance.below(60_000, &["later"]),
                    };
                    let after = Duration::from_millis(millis);
                    plan.steps.push(Step { after, act });
                }
            }
        }
        plan
    }
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
            Self::Stop(n) => write!(f, "{} stops", c(n)),
            Self::Boot(n) => write!(f, "{} starts", c(n)),
            Self::Pause(n) => write!(f, "{} stands still", c(n)),
            Self::Resume(n) => write!(f, "{} goes on", c(n)),
            Self::LoseLease(n) => write!(f, "{} is deposed: its lease is gone", c(n)),
            Self::LosePlacement => f.write_str("placement loses everything"),
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
            Self::FailOver(n, true) => write!(f, "fail over to {}, accepting loss", s(n)),
            Self::FailOver(n, false) => write!(f, "fail over to {}", s(n)),
            Self::FailBack => f.write_str("fail back"),
            Self::Jump(n, minutes) => write!(f, "the clock of {} jumps by {minutes} min", c(n)),
            Self::Storm(true) => f.write_str("calls go wrong by chance"),
            Self::Storm(false) => f.write_str("calls no longer go wrong"),
            other => write!(f, "somebody: {other:?}"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} sites, {} coordinators{}{}; in a storm, in thousandths of calls: {:?}",
            self.seed,
            self.sites,
            self.coordinators,
            if self.liar {
                ", the last site lies"
            } else {
                ""
            },
            if self.overwrites {
                ", the first site overwrites"
            } else {
                ""
            },
            self.odds
        )?;
        for (number, step) in self.steps.iter().enumerate() {
            let after = step.after.as_secs_f64();
            writeln!(f, "  {number:>3}. after {after:>8.3} s: {}", step.act)?;
        }
        Ok(())
    }
}
