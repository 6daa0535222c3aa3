//! Values on the command line, and groups of options that several commands share.

mod connection;
mod dedup;
mod duration;
mod identity;
mod listen;
mod moment;
mod named_url;
mod sampling;
mod size;
mod snapshot;
mod vault;

pub(crate) use connection::Common;
pub(crate) use dedup::ForAgent;
pub(crate) use duration::TimeSpan;
pub(crate) use identity::{IdentityArgs, passphrase};
pub(crate) use listen::{Listen, Metrics};
pub(crate) use moment::Moment;
pub(crate) use named_url::NamedUrl;
pub(crate) use sampling::Sampling;
pub(crate) use size::Size;
pub(crate) use snapshot::{SnapshotName, choose, choose_many};
pub(crate) use vault::{InVault, OfSource};
