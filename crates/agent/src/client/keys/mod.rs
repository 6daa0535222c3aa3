//! The work with keys, which only a client does: making a vault's, opening its secrets, certifying a coordinator,
//! handing out bundles, changing who may read.
//!
//! It must never let a secret leave this machine unsealed, and it believes no list of recipients, and no key object,
//! that the vault's root key did not sign.

mod create;
mod recipients;
mod secrets;

pub use create::{NewVault, VaultPlan, attach, create, make_vault};
pub use recipients::{Change, change_recipients};
pub use secrets::{bundle, open_secrets, require_root, trusted_root};
