//! Repair: puts a good copy, read and verified at another member, in a bad one's place.

use std::sync::Arc;

use holdfast_format::pack::verify_pack;
use holdfast_format::{ObjectName, Sealed, SiteName};
use holdfast_vault::fold::catalog::PackInfo;

use crate::error::{Error, Result};
use crate::vault::Vault;

/// Repairs a pack at one site.
///
/// ORDER: the good bytes are in hand and verified before the bad copy goes. A crash between its going and the good
/// copy's coming leaves a missing copy, which the next verification finds and repairs; the good one is untouched.
pub async fn pack(vault: &Arc<Vault>, bad: &SiteName, pack: &PackInfo) -> Result<()> {
    let name = ObjectName::pack(vault.header.vault, pack.id);
    let target = vault.sites.open(bad).await?;
    for site in vault.read_sites(None).await? {
        if site.name() == bad {
            continue;
        }
        let Ok(Some(bytes)) = site.get(&name).await else {
            continue;
        };
        if verify_pack(pack.id, pack.footer_hash, &bytes).is_err() {
            continue;
        }
        target.sweeper.delete(&name).await?;
        target.site.put_pack(&name, Sealed::copied(bytes)).await?;
        tracing::info!(site = %bad, pack = %pack.id, from = %site.name(), "a bad copy was repaired");
        return Ok(());
    }
    Err(Error::Corrupt(format!(
        "no other site has a good copy of pack {}",
        pack.id
    )))
}
