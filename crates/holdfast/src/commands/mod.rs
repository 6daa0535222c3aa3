//! One command a file: its options and what it does.

pub(crate) mod backup;
pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod failback;
pub(crate) mod failover;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod gc;
pub(crate) mod hold;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod placement;
pub(crate) mod policy;
pub(crate) mod restore;
pub(crate) mod site;
pub(crate) mod snapshots;
pub(crate) mod status;
pub(crate) mod trash;
pub(crate) mod vault;
pub(crate) mod verify;
