//! Actors and gRPC services around vaults.
//!
//! A [`Node`] is one coordinator: its sites, its placement, its vaults. Each vault that it owns has a `LogWriter`, a
//! `Replica` per other member, a `Collector` and a `Keeper` of retention; sessions pack what agents send.

mod epochs;
pub mod error;
pub mod failover;
mod headers;
pub mod lease;
pub mod metrics;
mod newest;
pub mod node;
mod placing;
pub mod rebuild;
pub mod repair;
pub mod salvage;
pub mod serve;
pub mod services;
pub mod sites;
pub mod spread;
mod standby;
mod taking;
pub mod vault;
mod watchman;

pub use error::{Error, Result};
pub use node::{Node, Options};
