//! The log: appending, taking over, reading.

pub mod append;
pub mod chain;
pub mod claim;
pub mod reader;
pub mod takeover;
pub mod writer;
