//! Stories of one vault against a node in this process.

#![expect(clippy::unwrap_used, reason = "a test ends where its ground is gone")]

mod adversary;
mod doubt;
mod failback;
#[cfg(feature = "mutation")]
mod guards;
mod life;
mod logs;
mod upkeep;
mod world;
