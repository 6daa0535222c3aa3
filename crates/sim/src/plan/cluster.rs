//! Plans of several coordinators over one placement store, whose clients find the owner by themselves. Chance of their own: what other
//! plans draw does not change with them.

use std::time::Duration;

use super::{Act, Focus, Plan, Step};
use crate::agent::AGENTS;
use crate::chance::Chance;
use crate::weather::Odds;

/// What a plan of several coordinators is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gist {
    /// What may become of placement: lost, dead, brought back from an old copy, made again from the sites.
    Placement,
    /// Sites that go, and a vault that is moved without a person.
    Moving,
    /// Coordinators that come and go.
    Spread,
}

impl Gist {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Placement, Self::Moving, Self::Spread];

    /// In hundredths: work, lives, placement, sites, moves.
    fn shares(self) -> [u64; 5] {
        match self {
            Self::Placement => [40, 20, 24, 6, 10],
            Self::Moving => [48, 6, 4, 34, 8],
            Self::Spread => [50, 34, 9, 4, 3],
        }
    }
}

/// Of how many seconds changes may be left behind when a vault is moved without a person.
const ACCEPTED: [u64; 3] = [0, 5, 60];

/// A policy that lets the vault be moved without a person.
pub(super) fn accepting(chance: &Chance) -> Act {
    Act::LetMove(*chance.pick(&ACCEPTED, &["accepted"]).unwrap_or(&0))
}

impl Plan {
    /// The plan of several coordinators of a seed: of two, one is broad and one is dense.
    pub fn of_a_cluster(seed: u64) -> Self {
        let dense = |focus| Self::focused(seed, focus);
        match seed % 10 {
            1 => dense(Focus::Deposed),
            3 => dense(Focus::OlderPlacement),
            5 => dense(Focus::EmptyPlacement),
            7 => dense(Focus::Moved),
            9 => dense(Focus::Flapping),
            _ => Self::cluster_about(seed, Gist::ALL[(seed / 10) as usize % Gist::ALL.len()]),
        }
    }

    /// A broad one about one thing.
    pub fn cluster_about(seed: u64, gist: Gist) -> Self {
        let chance = Chance::new(seed ^ 0x2545_f491_4f6c_dd1d);
        let n = |bound, what: &str| chance.below(bound, &[what]);
        let level = [1, 2, 4][n(3, "odds") as usize];
        let mut plan = Self {
            seed,
            sites: 2 + n(2, "sites") as usize,
            // Of two that look at a site both have to miss it.
            coordinators: 2 + n(2, "coordinators") as usize,
            odds: Odds {
                fail: 4 * level,
                lost: 4 * level,
                done_but_failed: 6 * level,
                sent_twice: 4 * level,
                slow: 4 * level,
                crash: level,
                cut: 4 * level,
                late: 30 * level,
                ..Odds::default()
            },
            liar: false,
            overwrites: false,
            follows: true,
            steps: Vec::new(),
        };
        if gist == Gist::Moving {
            plan.then(&chance, accepting(&chance));
        }
        for agent in 0..AGENTS.len() {
            plan.then(&chance, Act::BackUp(agent, false));
        }
        for _ in 0..15 + n(25, "steps") {
            let act = plan.draw_cluster(&chance, gist);
            plan.then(&chance, act);
        }
        plan
    }

    /// The changes of how long may be left behind at most when the vault is moved without a person, if it may be.
    pub fn accepted(&self) -> Option<Duration> {
        let acts = self.steps.iter().map(|step| step.act);
        let accepted = acts.filter_map(|act| match act {
            Act::LetMove(seconds) => Some(Duration::from_secs(seconds)),
            _ => None,
        });
        accepted.max()
    }

    fn then(&mut self, chance: &Chance, act: Act) {
        let millis = match chance.below(10, &["pace"]) {
            0..=1 => chance.below(20, &["at once"]),
            2..=5 => chance.below(3000, &["soon"]),
            6..=8 => chance.below(30_000, &["later"]),
            _ => chance.below(200_000, &["much later"]),
        };
        let after = Duration::from_millis(millis);
        self.steps.push(Step { after, act });
    }

    fn draw_cluster(&self, chance: &Chance, gist: Gist) -> Act {
        let n = |bound: usize, what: &str| chance.below(bound as u64, &[what]) as usize;
        let (c, s) = (n(self.coordinators, "c"), n(self.sites, "s"));
        let (on, accept) = (n(5, "on") < 3, n(3, "accept") > 0);
        let backup = Act::BackUp(n(AGENTS.len(), "agent"), n(4, "wait") == 0);
        if n(100, "storm") < 7 {
            return Act::Storm(n(10, "calm") < 7);
        }
        let work = [
            backup,
            backup,
            backup,
            backup,
            Act::Restore,
            Act::Forget,
            Act::Hold,
            Act::Collect,
        ];
        let lives = [
            Act::Crash(c),
            Act::Boot(c),
            Act::Boot(c),
            Act::Stop(c),
            Act::Pause(c),
            Act::Resume(c),
            Act::LoseLease(c),
            Act::CutPlacement(c, on),
        ];
        let placement = [
            Act::CopyPlacement,
            Act::RestorePlacement,
            Act::RestorePlacement,
            Act::EmptyPlacement,
            Act::LosePlacement,
            Act::Rebuild,
            Act::Rebuild,
            Act::PlacementDead(true),
            Act::PlacementDead(false),
            Act::Compact,
        ];
        let sites = [
            Act::Down(s, on),
            Act::Down(0, true),
            Act::Down(s, false),
            Act::CutSite(c, s, on),
            Act::CutSite(c, 0, on),
            Act::Full(s, on),
        ];
        let by_people = [
            Act::FailOver(s, accept),
            Act::FailOverAll(s, accept),
            Act::FailBack,
            Act::FailBack,
        ];
        let moves: &[Act] = match gist {
            Gist::Moving => &[Act::FailBack, Act::Verify],
            _ => &by_people,
        };
        let lists: [&[Act]; 5] = [&work, &lives, &placement, &sites, moves];
        let mut drawn = n(100, "kind") as u64;
        for (share, list) in gist.shares().into_iter().zip(lists) {
            if drawn < share {
                return list[n(list.len(), "which")];
            }
            drawn -= share;
        }
        backup
    }
}
