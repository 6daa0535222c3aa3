//! The system tests: the built binary as processes of its own, against real servers. Run by `cargo xtask test`, which
//! builds the binary and starts the servers; what is missing fails the test that needs it.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod azure;
mod certificates;
mod chaos;
mod cluster;
mod collection;
mod cuts;
mod damage;
mod decoders;
mod deploy;
mod disaster;
mod frozen;
mod input;
mod killed;
mod limits;
mod metrics;
mod outages;
mod policy;
mod power;
mod protected;
mod reflection;
mod replaced;
mod rescue;
mod sessions;
mod settings;
mod story;
mod streams;
mod struck;
mod together;
mod twice;
