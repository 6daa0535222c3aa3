//! Collection: mark what is needed, condemn the rest by record, sweep it at every member.
//!
//! The laws are in `docs/DELETION.md`. Marking and finishing a plan are pure; `collect/sweep.rs` alone deletes.

pub mod condemn;
pub mod mark;
pub mod sweep;
