//! Rescue: no coordinator any more. One site's folder and the identity bring everything back, from either site.

use std::sync::Arc;

use holdfast_agent::client::SnapshotInfo;
use holdfast_agent::direct::DirectVault;
use holdfast_format::SiteName;
use holdfast_store::SiteOptions;
use holdfast_vault::log::reader::list_vaults;

use crate::demo::client::{IDENTITY, Restored, read_identity, write};
use crate::demo::commands;
use crate::demo::sites::{OFFSITE, ONSITE, url};
use crate::demo::story::{Original, Story, read};
use crate::demo::teller::Teller;
use super::{compared_words, restored_words};
use crate::args::{SnapshotName, choose};
use crate::failure::{Failure, Outcome};
use crate::output;

/// Problems that are shown.
const SHOWN_MAX: usize = 20;

impl Story<'_> {
    /// The first of the two steps has begun with the end of the coordinator.
    pub(in crate::demo) async fn rescue(
        &mut self,
        originals: &[Original],
        teller: &mut Teller,
    ) -> Outcome<()> {
        self.rescue_from(ONSITE, originals, teller).await?;
        teller.begin(
            "rescue off-site",
            "the same from the off-site's folder alone",
            Some(commands::RESCUE_OFFSITE),
        )?;
        self.rescue_from(OFFSITE, originals, teller).await
    }

    async fn rescue_from(
        &mut self,
        site: &str,
        originals: &[Original],
        teller: &mut Teller,
    ) -> Outcome<()> {
        let target = format!("rescued-{site}");
        let opened = self.call.unless_interrupted(self.open(site)).await?;
        let (vault, snapshot) = opened;
        let keys = vault.scope_keys(&snapshot.scope);
        let chunks = vault.source(&snapshot.scope);
        let (root, bytes, path) = (snapshot.root, snapshot.bytes, self.scratch.at(&target));
        let restored = write(self.call, chunks, root, bytes, &keys, &path).await?;
        self.require_complete(&restored, teller)?;
        teller.say(restored_words(&restored))?;
        let compared = self.compare(&path, originals, teller).await?;
        teller.end(read(restored.bytes_fetched), compared_words(&compared))?;
        self.make_room(&target).await
    }

    /// Reads the vault's log at a site, with nobody's help.
    async fn open(
        &self,
        site: &str,
    ) -> Outcome<(Arc<DirectVault>, SnapshotInfo)> {
        let context = &self.call.context;
        let name: SiteName = site.parse()?;
        let url = url(self.scratch.path(), site);
        let options = SiteOptions::default();
        let reader = holdfast_store::open_for_reading(context, name, &url, &options)
            .await
            .map_err(Failure::new)?;
        let found = list_vaults(reader.as_ref()).await.map_err(Failure::new)?;
        let Some((id, _)) = found.first() else {
            return Err(Failure::new("no vault lies at the site"));
        };
        let identity = read_identity(&self.scratch.at(IDENTITY))?;
        let vault = DirectVault::open(context.clone(), reader, *id, identity).await?;
        let state = vault.state();
        let all: Vec<SnapshotInfo> = state
            .catalog
            .live_snapshots()
            .map(|(id, snapshot)| SnapshotInfo::direct(state, *id, snapshot))
            .collect();
        let latest = choose(&all, &SnapshotName::Latest, None)?.clone();
        Ok((vault, latest))
    }

    /// A restore that is not complete is a failure, but for what the kernel forbids an ordinary user.
    pub(super) fn require_complete(
        &mut self,
        restored: &Restored,
        teller: &Teller,
    ) -> Outcome<()> {
        let result = &restored.result;
        for note in &result.notes {
            let known = self.left_out.contains(&note.what);
            if !known {
                self.left_out.push(note.what.clone());
            }
            teller.say(format_args!(
                "{}: {} entries, the first is {}",
                note.what,
                output::count(note.count),
                note.path
            ))?;
        }
        if result.complete() {
            return Ok(());
        }
        for loss in result.losses.iter().take(SHOWN_MAX) {
            teller.say(format_args!("LOST: {}: {}", loss.path, loss.what))?;
        }
        for problem in result.problems.iter().take(SHOWN_MAX) {
            teller.say(format_args!("PROBLEM: {}: {}", problem.path, problem.what))?;
        }
        Err(Failure::new(format_args!(
            "the restore is not complete: {} paths are lost, {} could not be restored as they were",
            output::count(result.losses_count),
            output::count(result.problems_count)
        )))
    }
}
