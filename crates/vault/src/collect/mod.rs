//! Collection: mark what is needed, condemn the rest by record, sweep it at every member.
//!
//! The laws are in `docs/DELETION.md`. Marking, finishing a plan and the sweep's order are pure; `collect/sweep.rs` alone
//! deletes.

pub mod condemn;
pub mod mark;
pub mod sweep;
pub mod sweeping;
