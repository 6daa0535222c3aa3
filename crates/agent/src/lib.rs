//! Sources, upload, restore, mount: what runs next to the data.

pub mod backup;
pub mod client;
pub mod direct;
pub mod error;
pub mod restore;
pub mod sink;
pub mod source;

pub use error::{Error, Result};
pub use sink::ChunkSink;
pub use source::{ChunkSource, Fetched, Loss};
