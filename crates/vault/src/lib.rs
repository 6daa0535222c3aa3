//! The log, the chunk index, reading, writing, fencing, sweeping.

pub mod branch;
pub mod budget;
pub mod checkpoint;
pub mod collect;
pub mod damage;
pub mod error;
pub mod fetch;
pub mod fold;
pub mod guard;
pub mod index;
pub mod invariant;
pub mod log;
pub mod open;
pub mod promises;
pub mod propose;
pub mod replicate;

pub use budget::Budget;
pub use checkpoint::SegmentCache;
pub use error::{Error, Result};
pub use fold::{Catalog, State};
pub use guard::Guard;
pub use log::reader::LogReader;
pub use log::writer::{Credentials, SharedState, Takeover, Writer};
pub use open::{open_readable, open_state, open_state_from};
pub use promises::Promises;
pub use propose::{Commit, Draft, Outcome, Proposal, Refusal};
