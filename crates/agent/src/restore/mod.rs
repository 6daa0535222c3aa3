//! Writing snapshots back, listing, comparing, verifying, mounting them.

mod cache;
mod chunks_read;
mod diff;
mod directory;
mod extents;
mod find;
mod flaw;
mod item;
mod list;
mod mount;
mod nodes;
mod path;
mod progress;
mod readahead;
mod report;
mod select;
mod stdout;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod walk;
mod write;

pub use chunks_read::ChunksRead;
pub use diff::{Change, Difference, diff};
pub use find::{FindOptions, find};
pub use flaw::Flaw;
pub use item::{Extent, FileContent, Item};
pub use list::{Listed, Listing, kind_word, list, mode_text};
pub use mount::{MountOptions, MountSnapshot, MountWhat, Mounted, mount};
pub use path::{PathText, components, shown};
pub use progress::RestoreProgress;
pub use report::{RestoreLoss, RestoreNote, RestoreProblem, RestoreResult};
pub use select::{Reach, Selection};
pub use stdout::dump;
pub use tree::Tree;
pub use verify::{Damaged, VerifyDepth, VerifyResult, verify};
pub use write::{OwnerMode, RestoreOptions, restore};
