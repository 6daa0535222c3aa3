//! Rescue: no coordinator any more. One site's folder and the identity bring everything back, from either site.

use std::sync::Arc;

use holdfast_agent::client::SnapshotInfo;
use holdfast_agent::direct::DirectVault;
use holdfast_format::SiteName;
use holdfast_store::SiteOptions;
use holdfast_vault::log::reader::list_vaults;

use super::{compared_words, restored_words};
use crate::args::{SnapshotName, choose};
use crate::demo::client::{IDENTITY, Restored, read_identity, write};
use crate::demo::commands;
use crate::demo::originals::Original;
use crate::demo::sites::{OFFSITE, ONSITE, url};
use crate::demo::story::{Story, read};
use crate::demo::teller::Teller;
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
        let name = format!("rescued-{site}");
        let target = self.scratch.at(&name);
        std::fs::create_dir(&target).map_err(|error| Failure::file(&target, error))?;
        let (vault, snapshots) = self.call.unless_interrupted(self.open(site)).await?;
        let mut all = Vec::new();
        for original in originals {
            let source = original.source();
            let latest = choose(&snapshots, &SnapshotName::Latest, Some(source))?;
            let keys = vault.scope_keys(&latest.scope);
            let (chunks, below) = (vault.source(&latest.scope), target.join(source));
            let written = write(self.call, chunks, latest.root, latest.bytes, &keys, &below);
            let restored = written.await?;
            self.require_complete(&restored, teller)?;
            all.push(restored);
        }
        teller.say(restored_words(&all))?;
        let compared = self.compare(&target, originals, teller).await?;
        let fetched = all.iter().map(|one| one.bytes_fetched).sum();
        teller.end(read(fetched), compared_words(&compared))?;
        self.make_room(&name)
    }

    /// Reads the vault's log at a site, with nobody's help.
    async fn open(&self, site: &str) -> Outcome<(Arc<DirectVault>, Vec<SnapshotInfo>)> {
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
        let live = state.catalog.live_snapshots();
        let all = live.map(|(id, snapshot)| SnapshotInfo::direct(state, *id, snapshot));
        let all = all.collect();
        Ok((vault, all))
    }

    /// A restore that is not complete is a failure, but for what the kernel forbids an ordinary user.
    pub(super) fn require_complete(&mut self, restored: &Restored, teller: &Teller) -> Outcome<()> {
        let result = &restored.result;
        for note in &result.notes {
            if self.left_out.contains(&note.what) {
                continue;
            }
            self.left_out.push(note.what.clone());
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
