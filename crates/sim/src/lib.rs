//! Deterministic simulation of agents, coordinators, placement and sites: one thread, one seed, a paused clock.
//!
//! A [`plan::Plan`] says what will happen; [`history::run`] carries it out against the real coordinator and the real upload
//! code, lets everything settle, and checks every invariant. The same seed gives the same trace. Nothing here is part of
//! the product; nothing here reimplements it but the naive [`model`].

pub mod agent;
pub mod campaign;
pub mod chance;
pub mod check;
pub mod clock;
pub mod damage;
pub mod disk;
pub mod forks;
pub mod gate;
pub mod history;
pub mod link;
pub mod model;
#[cfg(feature = "mutation")]
pub mod mutation;
pub mod network;
pub mod operator;
pub mod placement;
pub mod plan;
pub mod process;
pub mod restore;
pub mod route;
pub mod settle;
pub mod shrink;
pub mod sweep;
pub mod trace;
pub mod tree;
pub mod watch;
pub mod weather;
pub mod world;
