//! Who owns a vault.

use holdfast_format::{Epoch, VaultId};
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};

/// The live coordinator that holds a vault.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Owner {
    /// Its name.
    #[n(0)]
    pub coordinator: String,
    /// Where it answers, best first, as `host:port`; as it registered them.
    #[n(1)]
    pub addresses: Vec<String>,
    /// The epoch under which it took the vault, or to which it has raised it since.
    #[n(2)]
    pub epoch: Epoch,
}

impl Owner {
    /// Refuses to lower the epoch of one's own ownership: only a mistake would.
    pub(crate) fn check_raise(&self, vault: VaultId, epoch: Epoch) -> Result<()> {
        if epoch >= self.epoch {
            return Ok(());
        }
        Err(Error::invalid(
            format!("epoch {epoch} of vault {vault}"),
            format!("this lease holds the vault at epoch {} already", self.epoch),
        ))
    }
}

/// How an attempt to own a vault ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquire {
    /// The lease owns the vault now, with the epoch asked for.
    Granted,
    /// Another lease does: nothing changed.
    HeldBy(Owner),
}
