//! What a coordinator tells the others about itself.

use holdfast_format::{Epoch, SiteName};
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};
use crate::owner::Owner;

/// Longest name of a coordinator, in characters.
const NAME_CHARS_MAX: usize = 128;

/// One live coordinator, as it registered itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CoordinatorInfo {
    /// Unique within the cluster: 1 to 128 of `a-z A-Z 0-9 . _ -`. A process that registers a name takes it over
    /// from the one that had it.
    #[n(0)]
    pub name: String,
    /// Where it answers, best first, as `host:port`.
    #[n(1)]
    pub addresses: Vec<String>,
    /// Its ed25519 signing key, public half.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// The highest format level that it reads and writes.
    #[n(3)]
    pub level: u8,
    /// When its process started, in milliseconds since 1970-01-01 UTC.
    #[n(4)]
    pub started_millis: i64,
    /// Sites that do not answer it, of those that it looks at.
    #[n(5)]
    #[cbor(default)]
    pub gone: Vec<SiteGone>,
}

/// A site that does not answer a coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SiteGone {
    /// The site.
    #[n(0)]
    pub site: SiteName,
    /// Since when, in milliseconds since 1970-01-01 UTC by the coordinator's clock.
    #[n(1)]
    pub since_millis: i64,
}

impl CoordinatorInfo {
    /// This coordinator as the owner of a vault.
    pub(crate) fn owner_at(&self, epoch: Epoch) -> Owner {
        Owner {
            coordinator: self.name.clone(),
            addresses: self.addresses.clone(),
            epoch,
        }
    }

    /// What another name than the registered one is answered with.
    pub(crate) fn is_not(&self, registered: &str) -> Error {
        Error::invalid(
            format!("coordinator name {:?}", self.name),
            format!("the lease was registered by {registered:?}"),
        )
    }

    /// Refuses a name that could not stand in a key.
    pub(crate) fn check(&self) -> Result<()> {
        let fine = !self.name.is_empty()
            && self.name.len() <= NAME_CHARS_MAX
            && self
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if fine {
            return Ok(());
        }
        Err(Error::invalid(
            format!("coordinator name {:?}", self.name),
            "use 1 to 128 of the characters a-z A-Z 0-9 . _ -",
        ))
    }
}
