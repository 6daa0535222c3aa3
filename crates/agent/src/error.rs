//! What can go wrong at the agent, by what the caller should do about it.

/// An error of the agent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Something on this machine: a path, a permission, a full disk. The person mends it and runs again.
    #[error("{what}: {why}")]
    Local {
        /// The thing, usually a path.
        what: String,
        /// What happened and what to do.
        why: String,
    },
    /// The coordinator or a site cannot be reached or answered that it cannot serve now. Try again later.
    #[error("{what} is not available: {why}")]
    Unavailable {
        /// What was asked.
        what: String,
        /// Its answer.
        why: String,
    },
    /// A site has no room for more. Waiting does not help: the person makes room.
    #[error("{what} has no room: {why}")]
    Full {
        /// What was asked.
        what: String,
        /// Which site, and what to do.
        why: String,
    },
    /// Wrong identity, bundle, certificate or name. The person gives another.
    #[error("{what} was refused: {why}")]
    Denied {
        /// What was asked for.
        what: String,
        /// Why, and what to give instead.
        why: String,
    },
    /// Something that was named does not exist.
    #[error("{what} does not exist: {why}")]
    Missing {
        /// What.
        what: String,
        /// Where it was looked for, and what there is.
        why: String,
    },
    /// Bytes failed their checks at every copy.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What.
        what: String,
        /// Which check.
        why: String,
    },
    /// The request makes no sense as given.
    #[error("{what} is refused: {why}")]
    Invalid {
        /// What was given.
        what: String,
        /// The rule, and what to give instead.
        why: String,
    },
    /// A person or a signal stopped it.
    #[error("interrupted")]
    Interrupted,
    /// A check inside holdfast failed. Report it.
    #[error("internal check failed: {0}")]
    Bug(String),
}

/// Shorthand used through this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<holdfast_format::Error> for Error {
    fn from(error: holdfast_format::Error) -> Self {
        use holdfast_format::Error as Format;
        match error {
            Format::Denied { object, why } => Self::Denied { what: object, why },
            Format::Invalid { what, why } => Self::Invalid { what, why },
            Format::Corrupt { object, why } => Self::Damaged { what: object, why },
            Format::Misplaced { object, belongs_to } => Self::Damaged {
                what: object,
                why: format!("it belongs to {belongs_to}"),
            },
            Format::TooNew { object, why } => Self::Invalid {
                what: object,
                why: format!("it needs a newer holdfast: {why}"),
            },
        }
    }
}
