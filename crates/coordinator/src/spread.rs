//! Which coordinator a vault should be at, and what one of them does about it now: rendezvous hashing over those that live.
//!
//! State: none, and no clock: what is known comes in, one step goes out. It decides about liveness only. Two coordinators that see
//! different things may both try: the lease lets one in, and the log's own protocol keeps the other out for good.
//!
//! Every coordinator ranks all that live for each vault by a hash of both names, and gets the same order without asking anyone.
//! The first takes the vault; when it is gone, those behind it move up, and no other vault moves.

use std::time::Duration;

use holdfast_format::{Hash, VaultId};

/// A vault that its first coordinator does not take is left to the next after so long, and so on down the order.
pub const GRACE: Duration = Duration::from_secs(3);

/// A coordinator has lived for so long before a vault is handed over to it: its sites are open by then, and one that starts again
/// and again is left alone.
pub const STEADY: Duration = Duration::from_secs(10);

/// What one coordinator knows of one vault.
#[derive(Debug, Clone, Copy)]
pub struct View<'v> {
    /// The vault.
    pub vault: VaultId,
    /// The coordinator that asks.
    pub own: &'v str,
    /// Those that live, with how long each has been seen. The one that asks counts whether or not it is among them.
    pub live: &'v [(String, Duration)],
    /// Who owns the vault.
    pub owner: Owned,
    /// How long a hand-over is not tried again, since the last one came back.
    pub rests: bool,
}

/// Who owns a vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// The one that asks.
    Here {
        /// Whether nobody works with it just now.
        idle: bool,
    },
    /// Another one that lives.
    Elsewhere,
    /// Nobody, for so long.
    Nobody(Duration),
}

/// What to do about a vault now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Take it.
    Take,
    /// Give it up, for this coordinator to take it.
    HandOver(String),
}

/// See the module header.
pub fn step(view: View<'_>) -> Step {
    match view.owner {
        Owned::Elsewhere => Step::Stay,
        Owned::Nobody(since) => {
            let ahead = ranked(view).iter().position(|name| *name == view.own);
            let wait = GRACE * u32::try_from(ahead.unwrap_or(0)).unwrap_or(u32::MAX);
            match since >= wait {
                true => Step::Take,
                false => Step::Stay,
            }
        }
        Owned::Here { idle } => {
            let first = ranked(view).first().map(|name| (*name).to_owned());
            let first = first.filter(|name| name != view.own && is_steady(view, name));
            match first {
                Some(first) if idle && !view.rests => Step::HandOver(first),
                _ => Step::Stay,
            }
        }
    }
}

/// Whether `own` is the one that should take a vault next: the first of those that live and do not own it.
pub fn stands_by(vault: VaultId, owner: &str, own: &str, live: &[(String, Duration)]) -> bool {
    let mut names: Vec<&str> = live.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| *name != owner);
    rank(vault, &mut names);
    names.first() == Some(&own)
}

fn is_steady(view: View<'_>, name: &str) -> bool {
    let mut live = view.live.iter();
    live.any(|(one, seen)| one == name && *seen >= STEADY)
}

/// Those that live, the one that should have the vault first.
fn ranked(view: View<'_>) -> Vec<&str> {
    let mut names: Vec<&str> = view.live.iter().map(|(name, _)| name.as_str()).collect();
    if !names.contains(&view.own) {
        names.push(view.own);
    }
    rank(view.vault, &mut names);
    names
}

fn rank(vault: VaultId, names: &mut [&str]) {
    names.sort_by_cached_key(|name| std::cmp::Reverse((weight(vault, name).0, *name)));
}

fn weight(vault: VaultId, coordinator: &str) -> Hash {
    // The id has a fixed length: no two pairs give the same bytes.
    Hash::of(&[&vault.0, coordinator.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(names: &[&str]) -> Vec<(String, Duration)> {
        let live = names.iter().map(|name| ((*name).to_owned(), STEADY));
        live.collect()
    }

    fn view<'v>(
        number: u8,
        own: &'v str,
        live: &'v [(String, Duration)],
        owner: Owned,
    ) -> View<'v> {
        View {
            vault: VaultId([number; 16]),
            own,
            live,
            owner,
            rests: false,
        }
    }

    fn first_of(number: u8, names: &[&str]) -> String {
        let live = live(names);
        let here = view(number, names[0], &live, Owned::Here { idle: true });
        ranked(here)[0].to_owned()
    }

    #[test]
    fn all_agree_and_one_takes_at_once() {
        let live = live(&["c1", "c2", "c3"]);
        for number in 0..=255 {
            let takers = ["c1", "c2", "c3"].map(|own| {
                step(view(number, own, &live, Owned::Nobody(Duration::ZERO))) == Step::Take
            });
            assert_eq!(takers.iter().filter(|takes| **takes).count(), 1);
            // The last of them waits for both others.
            let late = Owned::Nobody(2 * GRACE);
            assert!(
                ["c1", "c2", "c3"]
                    .iter()
                    .all(|own| step(view(number, own, &live, late)) == Step::Take)
            );
        }
    }

    #[test]
    fn vaults_are_spread_and_few_move() {
        let mut counts = [0; 4];
        let mut moved = 0;
        for number in 0..=255 {
            let before = first_of(number, &["c1", "c2", "c3"]);
            let after = first_of(number, &["c1", "c2", "c3", "c4"]);
            let at = |name: &str| ["c1", "c2", "c3", "c4"].iter().position(|one| *one == name);
            counts[at(&after).unwrap_or(0)] += 1;
            if before != after {
                assert_eq!(after, "c4", "only to the one that came");
                moved += 1;
            }
        }
        assert!(
            counts.iter().all(|count| (40..90).contains(count)),
            "{counts:?}"
        );
        assert!((40..90).contains(&moved), "{moved}");
    }

    #[test]
    fn it_is_handed_over_when_idle_to_one_that_is_steady() {
        let number = (0..=255)
            .find(|number| first_of(*number, &["c1", "c2"]) == "c2")
            .unwrap_or(0);
        let steady = live(&["c1", "c2"]);
        let idle = Owned::Here { idle: true };
        let to = Step::HandOver("c2".into());
        assert_eq!(step(view(number, "c1", &steady, idle)), to);
        let busy = Owned::Here { idle: false };
        assert_eq!(step(view(number, "c1", &steady, busy)), Step::Stay);
        let rests = View {
            rests: true,
            ..view(number, "c1", &steady, idle)
        };
        assert_eq!(step(rests), Step::Stay);
        let mut fresh = steady.clone();
        fresh[1].1 = STEADY / 2;
        assert_eq!(step(view(number, "c1", &fresh, idle)), Step::Stay);
        assert_eq!(step(view(number, "c2", &steady, idle)), Step::Stay);
    }

    #[test]
    fn the_one_that_stands_by_takes_once_the_owner_is_gone() {
        let all = live(&["c1", "c2", "c3"]);
        for number in 0..=255 {
            let vault = VaultId([number; 16]);
            for owner in ["c1", "c2", "c3"] {
                let mut others = all.clone();
                others.retain(|(name, _)| name != owner);
                let by: Vec<&str> = (others.iter().map(|(name, _)| name.as_str()))
                    .filter(|own| stands_by(vault, owner, own, &all))
                    .collect();
                let [by] = by[..] else {
                    panic!("{by:?} stand by for {owner}");
                };
                let left = view(number, by, &others, Owned::Nobody(Duration::ZERO));
                assert_eq!(step(left), Step::Take);
                assert!(!stands_by(vault, owner, owner, &all));
            }
        }
    }

    #[test]
    fn one_that_sees_nobody_goes_on_alone() {
        let nobody = Owned::Nobody(Duration::ZERO);
        assert_eq!(step(view(7, "c1", &[], nobody)), Step::Take);
        assert_eq!(
            step(view(7, "c1", &[], Owned::Here { idle: true })),
            Step::Stay
        );
    }
}
