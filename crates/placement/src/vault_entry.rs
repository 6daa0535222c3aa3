//! One line of the vault registry.

use holdfast_format::{SiteName, VaultId, VaultName};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// A hint where a vault lies, so that a coordinator need not list every site. The vault's log is the truth.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct VaultEntry {
    /// The vault.
    #[n(0)]
    pub vault: VaultId,
    /// Its name. The registry does not keep names apart: whoever creates a vault looks first.
    #[n(1)]
    pub name: VaultName,
    /// Its members, the primary first.
    #[n(2)]
    pub sites: Vec<SiteName>,
    /// Its header's object, for the day when no site has it any more.
    #[n(3)]
    pub header: Option<ByteVec>,
}
