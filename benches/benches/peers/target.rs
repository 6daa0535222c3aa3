//! What Holdfast is meant to reach, as shares of what a peer takes, for the sets A, B, C and D.

use crate::peers::RESTIC;
use crate::sample::{BYTES, Samples, WALL};
use crate::sets::LETTERS;
use crate::step::Step;
use crate::tool::Tool;

/// With whom a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The peer with the least, among those that compress alike.
    Least,
    /// Restic at its default.
    Restic,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Seconds of a step.
    Wall(Step),
    /// The repository after a step.
    Bytes(Step),
    /// What day two adds to the repository.
    Added,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) title: &'static str,
    pub(crate) what: What,
    /// For A, B, C, D.
    pub(crate) at_most: [(f64, Against); 4],
}

/// Agent and coordinator together, MB, in every step.
pub(crate) const MEMORY_MAX: f64 = 400.0;

/// All of them.
pub(crate) const TARGETS: [Target; 9] = [
    Target {
        title: "first backup, committed",
        what: What::Wall(Step::First),
        at_most: least([0.7, 0.6, 0.5, 0.6]),
    },
    Target {
        title: "first backup, at both sites",
        what: What::Wall(Step::FirstProtected),
        at_most: least([1.0, 1.0, 0.7, 1.0]),
    },
    Target {
        title: "unchanged",
        what: What::Wall(Step::Unchanged),
        at_most: [
            (0.2, Against::Restic),
            (0.2, Against::Restic),
            (0.6, Against::Least),
            (0.2, Against::Restic),
        ],
    },
    Target {
        title: "day two, committed",
        what: What::Wall(Step::DayTwo),
        at_most: least([0.4, 0.5, 0.5, 0.2]),
    },
    Target {
        title: "restore",
        what: What::Wall(Step::Restore),
        at_most: least([0.7, 0.7, 0.5, 0.7]),
    },
    Target {
        title: "verify all data",
        what: What::Wall(Step::Verify),
        at_most: least([0.5; 4]),
    },
    Target {
        title: "expire + collect",
        what: What::Wall(Step::Expire),
        at_most: [
            (0.5, Against::Restic),
            (0.5, Against::Restic),
            (0.3, Against::Restic),
            (0.5, Against::Restic),
        ],
    },
    Target {
        title: "bytes after day one",
        what: What::Bytes(Step::First),
        at_most: least([1.03, 1.01, 1.0, 1.01]),
    },
    Target {
        title: "bytes that day two adds",
        what: What::Added,
        at_most: least([0.65, 1.0, 1.0, 0.03]),
    },
];

const fn least(shares: [f64; 4]) -> [(f64, Against); 4] {
    let [a, b, c, d] = shares;
    let against = Against::Least;
    [(a, against), (b, against), (c, against), (d, against)]
}

impl Target {
    /// What is aimed at on a set.
    pub(crate) fn on(&self, letter: char) -> (f64, Against) {
        let at = LETTERS.iter().position(|one| *one == letter).unwrap_or(0);
        self.at_most[at]
    }
}

impl What {
    /// A tool's median.
    pub(crate) fn of(self, samples: &Samples, letter: char, tool: &str) -> Option<f64> {
        match self {
            Self::Wall(step) => samples.median(letter, tool, step, WALL),
            Self::Bytes(step) => samples.median(letter, tool, step, BYTES),
            Self::Added => samples.added(letter, tool),
        }
    }

    /// What peers call it: they have one site.
    fn of_peers(self) -> Self {
        match self {
            Self::Wall(Step::FirstProtected) => Self::Wall(Step::First),
            other => other,
        }
    }

    /// The peer that it is compared with, and that one's median.
    pub(crate) fn peer(
        self,
        samples: &Samples,
        letter: char,
        peers: &[Tool],
        against: Against,
    ) -> Option<(String, f64)> {
        match against {
            Against::Restic => self.figure(samples, letter, RESTIC.name.to_owned()),
            Against::Least => {
                let alike = peers.iter().filter(|peer| peer.compresses_alike(letter));
                self.least(samples, letter, alike)
            }
        }
    }

    /// The peer with the least, and its median.
    pub(crate) fn least<'p>(
        self,
        samples: &Samples,
        letter: char,
        peers: impl Iterator<Item = &'p Tool>,
    ) -> Option<(String, f64)> {
        peers
            .filter_map(|peer| self.figure(samples, letter, peer.name()))
            .min_by(|one, other| one.1.total_cmp(&other.1))
    }

    fn figure(self, samples: &Samples, letter: char, peer: String) -> Option<(String, f64)> {
        let figure = self.of_peers().of(samples, letter, &peer)?;
        Some((peer, figure))
    }
}
