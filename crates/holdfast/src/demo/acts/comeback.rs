//! The on-site comes back, empty: it catches up by itself, and what was backed up meanwhile becomes protected.

use std::time::Duration;

use holdfast_agent::client::{SiteInfo, SnapshotState, VaultInfo};
use tokio::time::Instant;

use super::daily::snapshots;
use crate::demo::client::{BackedUp, Client, VAULT};
use crate::demo::commands;
use crate::demo::sites::{OFFSITE, ONSITE, Stored, disk};
use crate::demo::story::{Story, read};
use crate::demo::teller::Teller;
use crate::failure::{Failure, Outcome};
use crate::output;

/// A site that has come no further for this long does not follow.
const MOVES_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Story<'_> {
    pub(in crate::demo) async fn bring_back(
        &mut self,
        client: &Client,
        meanwhile: &[BackedUp],
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "bring on-site back",
            "bring the on-site back, as an empty disk: it catches up by itself",
            Some(commands::FAILBACK),
        )?;
        let before = bytes_read(client).await?;
        let disk = disk(self.scratch.path(), ONSITE);
        std::fs::create_dir(&disk).map_err(|error| Failure::file(&disk, error))?;
        let who = self.call.who();
        let back = async {
            Ok(client
                .admin
                .failback(VAULT, Some(ONSITE), false, &who)
                .await?)
        };
        let back = self.call.unless_interrupted(back).await?;
        if back.records_salvaged > 0 {
            return Err(Failure::new(
                "records were salvaged from a site that was empty",
            ));
        }
        self.call.unless_interrupted(level(client)).await?;
        for one in meanwhile {
            let wait = self.call.unless_interrupted(one.protected());
            let state = match tokio::time::timeout(MOVES_WITHIN, wait).await {
                Ok(info) => info?.state,
                Err(_) => SnapshotState::Committed,
            };
            if state < SnapshotState::Protected {
                return Err(Failure::new(
                    "the on-site is level, and what was backed up meanwhile is not protected",
                ));
            }
        }
        self.require_alike(teller).await?;
        let bytes = bytes_read(client).await?;
        teller.end(
            read(bytes.saturating_sub(before)),
            format!("{} protected now", snapshots(meanwhile)),
        )
    }

    /// Requires that both sites hold the same packs.
    pub(super) async fn require_alike(&self, teller: &Teller) -> Outcome<()> {
        let folder = self.scratch.path();
        let look = |name| Stored::look(folder, name).map_err(|error| Failure::file(folder, error));
        let (onsite, offsite) = (look(ONSITE)?, look(OFFSITE)?);
        if onsite.packs != offsite.packs {
            return Err(Failure::new(format_args!(
                "the sites do not hold the same packs: {} on-site, {} off-site",
                onsite.packs.len(),
                offsite.packs.len()
            )));
        }
        teller.say(format_args!(
            "both sites hold the same {} packs, {}",
            output::count(onsite.packs.len() as u64),
            output::bytes(onsite.pack_bytes())
        ))
    }
}

/// Bytes that the coordinator has read from the off-site so far.
async fn bytes_read(client: &Client) -> Outcome<u64> {
    let info = client.admin.vault(VAULT).await?;
    let offsite = info.sites.iter().find(|site| site.site == OFFSITE);
    Ok(offsite.map_or(0, |site| site.bytes_read))
}

/// Waits until the on-site lacks nothing.
async fn level(client: &Client) -> Outcome<()> {
    let (mut last, mut moved) = (None, Instant::now());
    loop {
        let info = client.admin.vault(VAULT).await?;
        let site = onsite(&info)?;
        if site.replicated.is_some() && site.replicated == info.head && site.trouble.is_empty() {
            return Ok(());
        }
        let now = (site.replicated, site.bytes_written);
        if last != Some(now) {
            (last, moved) = (Some(now), Instant::now());
        } else if moved.elapsed() > MOVES_WITHIN {
            let trouble = match site.trouble.is_empty() {
                true => format!("it lacks {} records", output::count(site.lag_records)),
                false => site.trouble.clone(),
            };
            return Err(Failure::new(format_args!(
                "the on-site has not come further for {}: {trouble}",
                output::duration(MOVES_WITHIN)
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn onsite(info: &VaultInfo) -> Outcome<&SiteInfo> {
    let found = info.sites.iter().find(|site| site.site == ONSITE);
    found.ok_or_else(|| Failure::new("the on-site is no member of the vault any more"))
}
