//! What a history will do: a list of steps drawn from a seed, which can be run, printed, and shortened.

mod act;
mod cluster;
mod dense;

use std::fmt;
use std::time::Duration;

pub use act::Act;
pub use cluster::Gist;
pub use dense::Focus;

use crate::agent::AGENTS;
use crate::chance::Chance;
use crate::weather::Odds;

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
    /// Clients find the owner by themselves: they ask any coordinator, and go where it sends them.
    pub follows: bool,
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
            late: 0,
        };
        let mut plan = Self {
            seed,
            sites,
            coordinators: 1 + n(2, "coordinators") as usize,
            odds,
            liar: sites == 3 && n(6, "liar") == 0,
            overwrites: false,
            follows: false,
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

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} sites, {} coordinators{}{}; in a storm, in thousandths of calls: {:?}",
            self.seed,
            self.sites,
            self.coordinators,
            match (self.follows, self.liar) {
                (true, _) => ", clients follow",
                (_, true) => ", the last site lies",
                _ => "",
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
