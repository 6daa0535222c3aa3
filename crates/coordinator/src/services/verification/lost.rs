//! What a verification found bad at every member: which snapshots need it, and which chunks nobody can give any more.
//!
//! State: that of the run. Of a site that did not answer nothing is concluded.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{KeyId, Ordinal, PackOrdinal, SnapshotId};
use holdfast_vault::damage::chunks_at_home;
use holdfast_vault::fetch::{FrameReader, PackRead};
use holdfast_vault::fold::catalog::PackInfo;
use roaring::RoaringTreemap;

use super::Check;
use crate::error::{Error, Result};
use crate::repair;
use crate::vault::checked::RECORD_WAIT;

impl Check<'_> {
    /// The snapshots that need anything of a pack.
    pub(super) async fn snapshots_of(
        &mut self,
        ordinal: PackOrdinal,
        pack: &PackInfo,
    ) -> Vec<SnapshotId> {
        if self.closures.is_none() {
            let state = self.vault.state().clone();
            let reach = move || {
                let snapshots = state.catalog.snapshots.iter();
                let closures = snapshots.map(|(id, snapshot)| {
                    let mut reached = RoaringTreemap::new();
                    state.index.close(&mut reached, [snapshot.root]);
                    (*id, reached)
                });
                closures.collect::<Vec<_>>()
            };
            self.closures = Some(self.vault.context.run_blocking(reach).await);
        }
        // What was sent again since then lies in another one.
        let live = chunks_at_home(&self.vault.state(), ordinal, pack);
        let holds: RoaringTreemap = live.into_iter().map(|chunk| chunk.0).collect();
        let closures = self.closures.iter().flatten();
        closures
            .filter(|(_, reached)| !reached.is_disjoint(&holds))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The snapshots that need anything under a data key.
    pub(super) async fn snapshots_under(&mut self, key: KeyId) -> Vec<SnapshotId> {
        let packs = self.packs_under(key);
        let mut all = BTreeSet::new();
        for (ordinal, pack) in &packs {
            all.extend(self.snapshots_of(*ordinal, pack).await);
        }
        all.into_iter().collect()
    }

    fn packs_under(&self, key: KeyId) -> Vec<(PackOrdinal, PackInfo)> {
        let state = self.vault.state();
        let packs = state.catalog.packs.iter();
        packs
            .filter(|(_, pack)| pack.condemned.is_none() && pack.keys.contains(&key))
            .map(|(ordinal, pack)| (*ordinal, pack.clone()))
            .collect()
    }

    /// Names what nobody can give any more, of what was bad at every one of the `members` that were asked.
    pub(super) async fn name_lost(&mut self, members: usize) -> Result<()> {
        if members < self.vault.state().catalog.members.len() {
            return Ok(());
        }
        let mut lost: BTreeSet<Ordinal> = BTreeSet::new();
        let bad_packs = std::mem::take(&mut self.bad).into_iter();
        for pack in bad_packs.filter_map(|(pack, n)| (n == members).then_some(pack)) {
            lost.extend(self.lost_of_pack(pack).await?);
        }
        let bad_keys = std::mem::take(&mut self.bad_keys).into_iter();
        for key in bad_keys.filter_map(|(key, n)| (n == members).then_some(key)) {
            lost.extend(self.lost_under(key));
        }
        let lost: Vec<Ordinal> = lost.into_iter().collect();
        // What is lost is among the findings already; with a primary that takes no record now it is named by the next run.
        let naming = repair::name_lost(&self.vault, lost, "verify");
        match tokio::time::timeout(RECORD_WAIT, naming).await {
            Ok(named) => named,
            Err(_) => Err(Error::Unavailable(
                "the primary takes no record now, so backups do not know yet what they have to send again: run it again once it does"
                    .into(),
            )),
        }
    }

    /// The chunks of a pack, bad at every member, that not even frame by frame can be read anywhere.
    async fn lost_of_pack(&self, ordinal: PackOrdinal) -> Result<Vec<Ordinal>> {
        let read = {
            let state = self.vault.state();
            let Some(pack) = state.catalog.packs.get(&ordinal).cloned() else {
                return Ok(Vec::new());
            };
            let mut frames: BTreeMap<u32, Vec<_>> = BTreeMap::new();
            for chunk in chunks_at_home(&state, ordinal, &pack) {
                if let (Some(entry), Some(id)) = (state.index.entry(chunk), state.index.id(chunk)) {
                    frames.entry(entry.frame).or_default().push(id);
                }
            }
            PackRead {
                ordinal,
                pack,
                frames,
            }
        };
        let sites = self.vault.read_sites(None).await?;
        // A reader without memory: a footer that it kept from before the damage would hide it.
        let reader = FrameReader::new(self.vault.header.vault);
        let fetched = reader.fetch(&sites, &read).await;
        let state = self.vault.state();
        let gone = fetched.lost.iter().map(|(id, _)| id);
        let gone = gone.filter(|id| !fetched.doubtful.contains(id));
        Ok(gone
            .filter_map(|id| state.find(&read.pack.scope, id))
            .collect())
    }

    /// What lies under a data key: nobody can read it any more. A pack may hold frames under several keys; of those under another
    /// one too much is named, which costs that it is sent again.
    fn lost_under(&self, key: KeyId) -> Vec<Ordinal> {
        let packs = self.packs_under(key);
        let state = self.vault.state();
        let packs = packs.iter();
        packs
            .flat_map(|(ordinal, pack)| chunks_at_home(&state, *ordinal, pack))
            .collect()
    }
}
