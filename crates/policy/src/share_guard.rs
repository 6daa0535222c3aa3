//! The share guard: a plan that expires much of a source at once waits for an operator
//! (architecture §7), because a mistake in a policy looks just like that.

use std::collections::BTreeSet;

use serde::Serialize;

/// A plan may always expire as many snapshots of a source as this, so that one with three is not
/// stuck at the second.
pub const SHARE_FLOOR: usize = 3;

/// Whether a plan may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareVerdict {
    /// It may.
    Allowed,
    /// It waits until an operator has confirmed the snapshots that it expires.
    Waiting {
        /// How many snapshots it would expire that no operator has confirmed.
        expire: usize,
        /// How many it may.
        expire_max: usize,
        /// How many the source has.
        snapshots: usize,
    },
}

/// Checks a plan for one source that has `snapshots` in its catalog, not counting the trash.
///
/// `confirmed` are the snapshots whose expiry an operator has confirmed, from the plan that he saw.
/// They count no more; so a plan made later that has grown by a few passes, and another does not.
/// The plan runs as a whole or waits as a whole: one cut to size would be gone in a few runs.
pub fn check_share(
    expire_share_max: f64,
    snapshots: usize,
    expiring: &[[u8; 16]],
    confirmed: &BTreeSet<[u8; 16]>,
) -> ShareVerdict {
    let expire = expiring
        .iter()
        .filter(|id| !confirmed.contains(*id))
        .count();
    // Truncation rounds in favour of waiting; a share that is no number becomes 0.
    let expire_max =
        SHARE_FLOOR.max((expire_share_max.clamp(0.0, 1.0) * snapshots as f64) as usize);
    if expire <= expire_max {
        ShareVerdict::Allowed
    } else {
        ShareVerdict::Waiting {
            expire,
            expire_max,
            snapshots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u8) -> Vec<[u8; 16]> {
        (0..count).map(|index| [index; 16]).collect()
    }

    #[test]
    fn lets_a_share_pass() {
        fn check(
            share: f64,
            snapshots: usize,
            expire: u8,
            confirmed: u8,
            wait: Option<(usize, usize)>,
        ) {
            let confirmed = ids(confirmed).into_iter().collect();
            let wanted = match wait {
                None => ShareVerdict::Allowed,
                Some((expire, expire_max)) => ShareVerdict::Waiting {
                    expire,
                    expire_max,
                    snapshots,
                },
            };
            assert_eq!(
                check_share(share, snapshots, &ids(expire), &confirmed),
                wanted
            );
        }
        check(0.5, 100, 50, 0, None);
        check(0.5, 100, 51, 0, Some((51, 50)));
        check(0.5, 101, 51, 0, Some((51, 50)));
        check(0.5, 3, 3, 0, None);
        check(0.5, 6, 4, 0, Some((4, 3)));
        check(0.01, 10, 3, 0, None);
        check(1.0, 100, 100, 0, None);
        check(f64::NAN, 100, 4, 0, Some((4, 3)));
        check(0.5, 0, 0, 0, None);
        // What was confirmed passes, with what has come since; what is mostly new does not.
        check(0.1, 100, 90, 90, None);
        check(0.1, 100, 100, 90, None);
        check(0.1, 100, 101, 90, Some((11, 10)));
    }
}
