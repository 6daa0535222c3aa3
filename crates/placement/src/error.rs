//! What can go wrong between a coordinator and its placement store.
//!
//! A lost race is not here: it is a value ([`crate::Acquire::HeldBy`], `false` from a keep-alive).

use std::error::Error as StdError;
use std::path::PathBuf;

/// What the caller should do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Try again later; nothing is wrong with the request. Vaults that are owned already go on meanwhile.
    Retry,
    /// The lease is gone: stop owning what it held, register anew.
    LeaseLost,
    /// The store refuses this coordinator: credentials, permissions, or another one that runs here.
    Denied,
    /// What the store holds cannot be read. It is rebuilt from the sites.
    Corrupt,
    /// A setting or an argument is not usable.
    Invalid,
    /// A newer release wrote the store: this one must not act on it.
    TooNew,
    /// Neither the caller nor the world explains it.
    Bug,
}

/// Boxed cause of another library's.
type Cause = Box<dyn StdError + Send + Sync>;

/// Why a placement store did not do what it was asked.
///
/// Messages name the store (a file, or etcd's addresses), so that an operator knows where to look.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or one that says "not now".
    #[error("could not {task} in {store}: {why}")]
    Unavailable {
        /// Which store.
        store: String,
        /// What was asked, as a verb phrase.
        task: &'static str,
        /// What is known about the reason.
        why: String,
        /// Whether it certainly did not happen.
        determinate: bool,
        /// The client library's own error.
        #[source]
        source: Option<Cause>,
    },
    /// The lease has expired, was given up, or was never registered through this handle.
    #[error("the lease {lease} is gone")]
    LeaseLost {
        /// Which one.
        lease: crate::LeaseId,
    },
    /// Wrong credentials, or a user without the permission.
    #[error("{store} refuses to {task}: {why}")]
    Denied {
        /// Which store.
        store: String,
        /// What was asked, as a verb phrase.
        task: &'static str,
        /// What it answered.
        why: String,
        /// The client library's own error.
        #[source]
        source: Option<Cause>,
    },
    /// The embedded file is locked by another process, or by another handle of this one.
    #[error(
        "placement file {} is in use: another coordinator runs on this data folder", file.display()
    )]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// The embedded file is damaged.
    #[error(
        "placement file {} is damaged ({why}); delete it and start again: all that it holds is \
         rebuilt from the sites", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What the check found.
        why: String,
    },
    /// One entry cannot be read.
    #[error("entry {key} of {store} is damaged: {why}; it is rebuilt from the sites")]
    Corrupt {
        /// Which store.
        store: String,
        /// The entry's key.
        key: String,
        /// Which check failed.
        why: String,
    },
    /// A setting or an argument is not usable.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// What was given.
        what: String,
        /// The rule that it breaks, and what to give instead.
        why: String,
    },
    /// Written by a newer release.
    #[error("{what} needs a newer holdfast: it has version {found}, this release knows {known}")]
    TooNew {
        /// The store or the entry.
        what: String,
        /// The version that stands there.
        found: u64,
        /// The highest that this release knows.
        known: u64,
    },
    /// Neither the caller nor the world explains it.
    #[error("unexpected answer of {store} when asked to {task}: {why}")]
    Bug {
        /// Which store.
        store: String,
        /// What was asked, as a verb phrase.
        task: &'static str,
        /// What came back.
        why: String,
        /// The client library's own error.
        #[source]
        source: Option<Cause>,
    },
}

/// Shorthand used through this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Retry,
            Self::LeaseLost { .. } => ErrorKind::LeaseLost,
            Self::Denied { .. } | Self::InUse { .. } => ErrorKind::Denied,
            Self::Damaged { .. } | Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::TooNew { .. } => ErrorKind::TooNew,
            Self::Bug { .. } => ErrorKind::Bug,
        }
    }

    /// Whether what was asked certainly did not happen. After `false` it may have, or may yet: every method of
    /// [`crate::Placement`] can then be called again with the same arguments.
    pub fn is_determinate(&self) -> bool {
        match self {
            Self::Unavailable { determinate, .. } => *determinate,
            Self::Damaged { .. } | Self::Bug { .. } => false,
            _ => true,
        }
    }

    /// An [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }
}
