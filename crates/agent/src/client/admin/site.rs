//! Sites that join and leave, and vaults that are taken over from one.

use bytes::Bytes;
use holdfast_format::VaultId;
use holdfast_proto::v1;

use super::{Admin, named};
use crate::client::VaultInfo;
use crate::client::status::refused;
use crate::error::Result;

/// A vault to take over.
#[derive(Debug, Clone)]
pub struct Attaching {
    /// The name that the site gets at this coordinator.
    pub site: String,
    /// Where it is.
    pub url: String,
    /// Which vault.
    pub vault: VaultId,
    /// The certificate of the coordinator's key.
    pub certificate: Bytes,
}

impl Admin {
    /// Takes over a vault that lies at a site.
    pub async fn attach_vault(&self, attaching: Attaching, who: &str) -> Result<VaultInfo> {
        let what = format!("vault {} at {}", attaching.vault, attaching.url);
        let request = v1::AttachVaultRequest {
            site: attaching.site,
            url: attaching.url,
            vault: attaching.vault.0.to_vec().into(),
            certificate: attaching.certificate,
            who: who.into(),
        };
        let answer = self.connection.vaults().attach_vault(request).await;
        let answer = answer.map_err(|status| refused(&what, &status))?;
        VaultInfo::read(answer.into_inner())
    }

    /// Makes a site a member of a vault.
    pub async fn add_site(
        &self,
        vault: &str,
        site: &str,
        url: &str,
        who: &str,
    ) -> Result<VaultInfo> {
        let request = v1::AddSiteRequest {
            vault: vault.into(),
            site: site.into(),
            url: url.into(),
            who: who.into(),
        };
        let answer = self.connection.vaults().add_site(request).await;
        let answer = answer.map_err(|status| refused(&format!("site {site:?}"), &status))?;
        VaultInfo::read(answer.into_inner())
    }

    /// Takes a member out of a vault, for good.
    pub async fn remove_site(
        &self,
        vault: &str,
        site: &str,
        why: &str,
        who: &str,
    ) -> Result<VaultInfo> {
        let request = v1::RemoveSiteRequest {
            vault: vault.into(),
            site: site.into(),
            why: why.into(),
            who: who.into(),
        };
        let answer = self.connection.vaults().remove_site(request).await;
        let what = format!("site {site:?} of {}", named(vault));
        let answer = answer.map_err(|status| refused(&what, &status))?;
        VaultInfo::read(answer.into_inner())
    }
}
