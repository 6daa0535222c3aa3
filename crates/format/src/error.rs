//! What can be wrong with bytes that claim to be ours.

/// Why bytes could not be read as what they claim to be. `object` is a name that an operator can look up at a site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end early, carry wrong marks, or fail a check: damage. The caller reads another copy.
    #[error("{object} is damaged: {why}")]
    Corrupt {
        /// What was read, as a person would name it.
        object: String,
        /// Which check failed.
        why: String,
    },
    /// The bytes are well formed and belong somewhere else: another vault, slot or pack. The caller reads another copy.
    #[error("{object} is in the wrong place: it belongs to {belongs_to}")]
    Misplaced {
        /// What was expected there.
        object: String,
        /// What it says it is.
        belongs_to: String,
    },
    /// Written by a newer release: this one must not act on it.
    #[error("{object} needs a newer holdfast: {why}")]
    TooNew {
        /// What was read.
        object: String,
        /// Which level, kind or field is unknown.
        why: String,
    },
    /// The key, identity or passphrase does not open it.
    #[error("{object} does not open: {why}")]
    Denied {
        /// What should have been opened.
        object: String,
        /// What was tried.
        why: String,
    },
    /// A value given by a person or a caller is not usable.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// The thing that was given.
        what: String,
        /// The rule that it breaks, and what to give instead.
        why: String,
    },
}

/// Shorthand used through this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A [`Error::Corrupt`].
    pub fn corrupt(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt {
            object: object.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Invalid`].
    pub fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    /// A [`Error::TooNew`].
    pub fn too_new(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::TooNew {
            object: object.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Denied`].
    pub fn denied(object: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Denied {
            object: object.into(),
            why: why.into(),
        }
    }
}
