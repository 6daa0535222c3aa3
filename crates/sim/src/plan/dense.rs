//! Short, dense plans about one thing: a cycle of acts, again and again, in a storm. For what a broad plan comes to too rarely,
//! and for the search for what a missing guard loses.

use std::time::Duration;

use super::cluster::accepting;
use super::{Act, Plan, Step};
use crate::chance::Chance;
use crate::weather::Odds;

/// What a dense plan is about.
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
    /// Sites that go back to older copies of themselves.
    Older,
    /// Placement goes back to an older copy of itself, while sites that used later epochs are away.
    OlderPlacement,
    /// Placement loses everything then.
    EmptyPlacement,
    /// A site that was left behind comes back while its successor is away.
    Deposed,
    /// The primary goes, and the vault is moved without a person.
    Moved,
    /// The primary goes out of most coordinators' sight for as long as that takes, and comes back.
    Flapping,
}

impl Focus {
    /// Those of several coordinators.
    pub const CLUSTER: [Self; 5] = [
        Self::OlderPlacement,
        Self::EmptyPlacement,
        Self::Deposed,
        Self::Moved,
        Self::Flapping,
    ];

    /// All others.
    pub const ALL: [Self; 7] = [
        Self::Reuse,
        Self::Owners,
        Self::Holds,
        Self::Branches,
        Self::Damage,
        Self::Away,
        Self::Older,
    ];
}

impl Plan {
    /// A clock that jumps ahead while something is in the trash, and a collection.
    pub fn of_a_jump(seed: u64) -> Self {
        let step = |seconds, act| Step {
            after: Duration::from_secs(seconds),
            act,
        };
        let year_minutes = 365 * 24 * 60;
        Self {
            coordinators: 1,
            sites: 2,
            liar: false,
            odds: Odds::default(),
            steps: vec![
                step(1, Act::BackUp(0, false)),
                step(60, Act::Trash),
                step(5, Act::Jump(0, year_minutes)),
                step(5, Act::Collect),
                // Until then the clock stays wrong.
                step(60, Act::Restore),
            ],
            ..Self::broad(seed)
        }
    }

    /// A dense plan of a seed.
    pub fn focused(seed: u64, focus: Focus) -> Self {
        let chance = Chance::new(seed ^ 0x5851_f42d_4c95_7f2d);
        let level = 2;
        let mut plan = Self {
            coordinators: match focus {
                Focus::Owners | Focus::OlderPlacement | Focus::EmptyPlacement | Focus::Deposed => 2,
                Focus::Moved | Focus::Flapping => 3,
                _ => 1,
            },
            follows: Focus::CLUSTER.contains(&focus),
            sites: match focus {
                Focus::Moved => 2 + chance.below(2, &["sites"]) as usize,
                _ => 2,
            },
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
            Focus::Older => &[
                Act::BackUp(0, false),
                Act::Copy(1),
                Act::BackUp(1, true),
                Act::RollBack(1),
                Act::BackUp(2, false),
                Act::Copy(0),
                Act::ForgetLast,
                Act::BackUp(0, true),
                Act::RollBack(0),
                Act::Collect,
                Act::BackUp(1, false),
                Act::Crash(0),
                Act::Boot(0),
                Act::RollBack(1),
            ],
            Focus::OlderPlacement => &[
                Act::BackUp(0, true),
                Act::CopyPlacement,
                Act::Down(1, true),
                Act::LoseLease(0),
                Act::BackUp(1, false),
                Act::LoseLease(1),
                Act::BackUp(2, false),
                Act::Down(0, true),
                Act::Down(1, false),
                Act::Crash(0),
                Act::Crash(1),
                Act::RestorePlacement,
                Act::Boot(0),
                Act::Boot(1),
                Act::FailOver(1, true),
                Act::BackUp(0, false),
                Act::Down(0, false),
                Act::FailBack,
                Act::Rebuild,
                Act::FailOver(0, false),
            ],
            Focus::EmptyPlacement => &[
                Act::BackUp(0, true),
                Act::Down(1, true),
                Act::LoseLease(0),
                Act::BackUp(1, false),
                Act::LoseLease(1),
                Act::BackUp(2, false),
                Act::Down(0, true),
                Act::Down(1, false),
                Act::EmptyPlacement,
                Act::FailOver(1, true),
                Act::BackUp(0, false),
                Act::Down(0, false),
                Act::FailBack,
                Act::FailOver(0, false),
            ],
            Focus::Moved => &[
                Act::LetMove(60),
                Act::BackUp(0, true),
                Act::BackUp(1, false),
                Act::Down(1, true),
                Act::BackUp(2, false),
                Act::Idle(10),
                Act::Down(0, true),
                Act::Down(1, false),
                Act::CrashOwner,
                Act::Idle(45),
                Act::BackUp(0, false),
                Act::Restore,
                Act::Down(0, false),
                Act::Boot(0),
                Act::Boot(1),
                Act::Boot(2),
                Act::FailBack,
                Act::CutSite(1, 1, true),
                Act::CutSite(2, 1, true),
                Act::BackUp(1, false),
                Act::CutPlacement(0, true),
                Act::Idle(45),
                Act::BackUp(2, false),
                Act::CutPlacement(0, false),
                Act::CutSite(1, 1, false),
                Act::CutSite(2, 1, false),
                Act::FailBack,
            ],
            Focus::Flapping => &[
                Act::LetMove(60),
                Act::BackUp(0, true),
                Act::BackUp(1, false),
                Act::CutSite(0, 1, true),
                Act::BackUp(2, false),
                Act::CutSite(1, 0, true),
                Act::CutSite(2, 0, true),
                Act::CutSite(0, 1, false),
                Act::CutPlacement(0, true),
                Act::BackUp(0, false),
                Act::Restore,
                Act::CutPlacement(0, false),
                Act::CutSite(1, 0, false),
                Act::CutSite(2, 0, false),
                Act::FailBack,
            ],
            Focus::Deposed => &[
                Act::BackUp(0, true),
                Act::Down(0, true),
                Act::FailOver(1, true),
                Act::BackUp(1, false),
                Act::Down(1, true),
                Act::Down(0, false),
                Act::CrashOwner,
                Act::Boot(0),
                Act::Boot(1),
                Act::BackUp(2, false),
                Act::Idle(20),
                Act::Down(1, false),
                Act::FailBack,
                Act::FailOver(0, false),
            ],
        };
        plan.push(&chance, Act::Storm(true));
        // An owner that lives knows all that would be left behind.
        let lives = focus == Focus::Moved && chance.below(2, &["lives"]) == 0;
        for _ in 0..8 {
            for &act in cycle {
                if lives && matches!(act, Act::CrashOwner | Act::CutPlacement(..)) {
                    continue;
                }
                // Mostly in order, sometimes not at all.
                if chance.below(5, &["skip"]) > 0 {
                    let millis = match chance.below(4, &["pace"]) {
                        0..=1 => chance.below(30, &["at once"]),
                        2 => chance.below(3000, &["soon"]),
                        _ => chance.below(60_000, &["later"]),
                    };
                    let after = Duration::from_millis(millis);
                    let act = match act {
                        Act::LetMove(_) if focus == Focus::Moved => accepting(&chance),
                        act => act,
                    };
                    plan.steps.push(Step { after, act });
                }
            }
        }
        plan
    }
}
