//! What a watch tells.

use holdfast_format::{SiteName, VaultId};

use crate::owner::Owner;

/// One change in the placement store. Events that carry no state say what to read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A vault has another owner, the same one at a higher epoch, or none.
    Owner {
        /// The vault.
        vault: VaultId,
        /// Its owner from now on.
        owner: Option<Owner>,
    },
    /// A coordinator came, changed or went.
    Coordinators,
    /// The registry of vaults changed.
    Vaults,
    /// The list of run-time sites changed.
    Sites,
    /// An owner told how far a member has come.
    Progress {
        /// The vault.
        vault: VaultId,
        /// The member.
        site: SiteName,
    },
    /// Changes were missed: read everything again. Nothing before it counts any more.
    Resync,
}
