//! The ground that system tests stand on: the built binary as processes of its own, real servers, real file trees.
//!
//! | module | what |
//! |---|---|
//! | [`surroundings`] | what `cargo xtask test` tells the tests; what is missing fails them |
//! | [`ground`] | a folder for one test: a user's home, sites, data |
//! | [`coordinator`] | a coordinator process: started, killed, stopped, started again |
//! | [`etcd`], [`moto`] | an etcd, an S3 server of a test's own |
//! | [`cluster`] | several of them over one placement store |
//! | [`client`] | one command line, its exit code, what it says |
//! | [`certificates`] | authorities and certificates for mutual TLS |
//! | [`tree`] | file trees with every awkward kind of file |
//! | [`compare`] | two file trees, attribute by attribute |
//! | [`noise`] | seeded chance |
//! | [`gate`] | a TCP door before a server, to be shut and opened, silenced, slowed |
//! | [`faulty`] | a proxy before an S3 server that fails requests |
//! | [`forgetful`] | a file system that loses what was not synced when its power is cut |
//! | [`mounted`] | a small file system of its own, to be filled or made read-only |
//!
//! Nothing here knows Holdfast's crates: what the tests see is what a user sees.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

pub mod certificates;
pub mod client;
pub mod cluster;
pub mod compare;
pub mod coordinator;
pub mod etcd;
pub mod faulty;
pub mod forgetful;
pub mod gate;
pub mod ground;
pub mod moto;
pub mod mounted;
pub mod noise;
mod server;
pub mod surroundings;
pub mod tree;

pub use certificates::{Authority, Certificate};
pub use client::{Client, Ran, Running};
pub use cluster::Cluster;
pub use compare::{assert_same, assert_same_below};
pub use coordinator::{Coordinator, Starting};
pub use etcd::Etcd;
pub use faulty::Faulty;
pub use forgetful::{Forgetful, ForgetfulMount, Lost};
pub use gate::Gate;
pub use ground::Ground;
pub use moto::Moto;
pub use mounted::Mounted;
pub use noise::Noise;
