//! Why snapshots are not protected, in words for people; and how many are what, in numbers for machines.

use std::collections::BTreeMap;

use holdfast_format::{Position, SiteName};

use super::Vault;
use super::replica::Standing;

/// How many snapshots are in which state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// At the primary, and not at every member.
    pub committed: u64,
    /// At every member.
    pub protected: u64,
    /// Read back whole at every member.
    pub verified: u64,
    /// Something that they need is damaged at a member, as a verification found.
    pub damaged: u64,
    /// In the trash.
    pub trash: u64,
}

impl Vault {
    /// How many snapshots are in which state.
    pub fn snapshot_counts(&self) -> Counts {
        let standings = self.standings();
        let doubtful = self.doubtful();
        let state = self.state();
        let mut counts = Counts::default();
        for (id, snapshot) in &state.catalog.snapshots {
            let is_everywhere = standings
                .values()
                .all(|one| one.holds(snapshot.committed_at))
                && !doubtful.contains(id);
            let mut members = state.catalog.members.keys();
            let is_damaged = members.clone().any(|site| snapshot.is_damaged_at(site));
            let is_verified = members.all(|site| snapshot.verified.contains_key(site));
            let count = match (is_everywhere, is_verified) {
                _ if snapshot.trash.is_some() => &mut counts.trash,
                _ if is_damaged => &mut counts.damaged,
                (true, true) => &mut counts.verified,
                (true, false) => &mut counts.protected,
                (false, _) => &mut counts.committed,
            };
            *count += 1;
        }
        counts
    }

    /// Why not every snapshot stands whole at every member; empty when each does.
    pub fn unprotected(&self) -> String {
        let doubtful = match self.doubtful().len() {
            0 => String::new(),
            count => format!(
                "whether {count} new snapshots share what is damaged at a site does not stand in the log yet"
            ),
        };
        let mut reasons = vec![self.damaged(), self.behind(), doubtful];
        reasons.retain(|why| !why.is_empty());
        reasons.join("; ")
    }

    /// What a verification found; empty if there is nothing.
    fn damaged(&self) -> String {
        let state = self.state();
        let reasons = state.catalog.members.keys().filter_map(|site| {
            let live = state.catalog.live_snapshots();
            match live.filter(|(_, s)| s.is_damaged_at(site)).count() {
                0 => None,
                count => Some(format!(
                    "what snapshots need is damaged or missing at site {site}, as a verification found ({count} of them): `holdfast \
                     verify --vault {} --site {site} --read-data --repair` mends what another site has, and says what is whole again",
                    self.header.name
                )),
            }
        });
        reasons.collect::<Vec<_>>().join("; ")
    }

    fn behind(&self) -> String {
        let standings = self.standings();
        let newest: Option<Position> = {
            let state = self.state();
            let live = state.catalog.live_snapshots();
            live.map(|(_, snapshot)| snapshot.committed_at).max()
        };
        let Some(newest) = newest else {
            return String::new();
        };
        let now_millis = self.context.now_millis();
        why(&standings, newest, now_millis)
    }
}

fn why(standings: &BTreeMap<SiteName, Standing>, newest: Position, now_millis: i64) -> String {
    let behind = standings
        .iter()
        .filter(|(_, standing)| !standing.holds(newest));
    let reasons = behind.map(|(site, standing)| {
        let trouble = match standing.trouble.as_str() {
            "" => String::new(),
            trouble => format!(": {trouble}"),
        };
        if !standing.looked_at {
            return format!("site {site} was not looked at yet{trouble}");
        }
        if standing.head.is_some_and(|head| head >= newest) {
            return format!("site {site} has the records and not yet all that they need{trouble}");
        }
        let since = standing.oldest_lacking_millis;
        let since = since.map_or_else(String::new, |since| {
            let seconds = now_millis.saturating_sub(since).max(0) / 1000;
            format!(", the oldest for {seconds} s")
        });
        let (records, bytes) = (standing.lag_records, standing.lag_bytes);
        match records {
            0 => format!("site {site} lacks records, how many is not known{trouble}"),
            _ => format!(
                "site {site} lacks {records} records with {bytes} bytes of packs{since}{trouble}"
            ),
        }
    });
    reasons.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use holdfast_format::{Epoch, Slot};

    use super::*;

    fn at(slot: u64) -> Position {
        Position {
            epoch: Epoch(1),
            slot: Slot(slot),
        }
    }

    fn check(standing: Standing, expected: &str) {
        let site = SiteName::new("off").unwrap();
        let told = why(&BTreeMap::from([(site, standing)]), at(7), 90_000);
        assert_eq!(told, expected);
    }

    #[test]
    fn each_reason_is_told() {
        let fine = Standing {
            head: Some(at(7)),
            looked_at: true,
            reachable: true,
            whole: true,
            ..Standing::default()
        };
        check(fine.clone(), "");
        check(Standing::default(), "site off was not looked at yet");
        let unwhole = Standing {
            whole: false,
            ..fine.clone()
        };
        check(
            unwhole,
            "site off has the records and not yet all that they need",
        );
        let behind = Standing {
            head: Some(at(5)),
            lag_records: 2,
            lag_bytes: 300,
            oldest_lacking_millis: Some(30_000),
            trouble: "it does not answer".into(),
            ..fine
        };
        check(
            behind,
            "site off lacks 2 records with 300 bytes of packs, the oldest for 60 s: it does not answer",
        );
    }
}
