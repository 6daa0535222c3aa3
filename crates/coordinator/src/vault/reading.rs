//! `Reading`: chunks of a pack that are being read, as a task of its own: it goes on while whoever asked does something else, and
//! ends when that one does.

use std::sync::Arc;

use holdfast_store::SiteReader;
use holdfast_vault::fetch::{Fetched, PackRead};
use tokio_util::task::AbortOnDropHandle;

use super::Vault;
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Reading(AbortOnDropHandle<(PackRead, Fetched)>);

impl Reading {
    /// Begins to read from the first of the sites that can give it.
    pub fn start(vault: &Arc<Vault>, sites: &[Arc<dyn SiteReader>], read: PackRead) -> Self {
        let (reader, sites) = (vault.clone(), sites.to_vec());
        let task = vault.context.spawn(async move {
            let fetched = reader.frames.fetch(&sites, &read).await;
            (read, fetched)
        });
        Self(AbortOnDropHandle::new(task))
    }

    /// What was asked for, and what came of it.
    pub async fn end(self) -> Result<(PackRead, Fetched)> {
        let ended = self.0.await;
        ended.map_err(|error| Error::Bug(format!("a read of a pack ended: {error}")))
    }
}
