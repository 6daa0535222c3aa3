//! The coordinator as a client sees it: connecting, uploading, reading back, and everything else one asks of it.
//!
//! [`Connection`] is made once and shared. [`SessionSink`] is where a backup's chunks go, [`RemoteSource`] is where a
//! restore's come from, [`Admin`] has the rest. The work with keys that only a client may do is in [`keys`].
//!
//! It must never send a secret to the coordinator, nor believe it about who may read.

mod admin;
mod connect;
pub mod keys;
mod outage;
mod protection;
mod remote;
mod route;
mod scopes;
mod session;
mod snapshot;
mod status;
mod vault;
#[cfg(test)]
mod wire;

pub use admin::*;
pub use connect::{Connection, Endpoint, TlsFiles, channel};
pub use remote::{FrameProof, RemoteOptions, RemoteSource};
pub use scopes::ScopedSources;
pub use session::{
    Dial, Finished, Inbound, Link, LinkState, SessionFigures, SessionOptions, SessionProgress,
    SessionSink, Totals,
};
pub use snapshot::{SnapshotInfo, SnapshotState};
pub use vault::{SiteInfo, SiteRequests, VaultInfo};

/// The most ids in one offer.
const OFFER_IDS_MAX: usize = 8192;
