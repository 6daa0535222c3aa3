//! What can go wrong in a vault, by what the caller should do about it.

use holdfast_store::Kind as StoreKind;

/// An error of the vault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another owner took over, or the history here ended by a seal. Stop; never restart with the same epoch.
    #[error("fenced: {0}")]
    Fenced(String),
    /// A site or placement cannot be reached or used now. Try again later.
    #[error("{0}")]
    Unavailable(String),
    /// A site is full.
    #[error("{0}")]
    Full(String),
    /// Something named does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// Bytes failed their checks at every copy that was tried.
    #[error("{0}")]
    Corrupt(String),
    /// Not allowed.
    #[error("{0}")]
    Denied(String),
    /// The request makes no sense in the vault's present state.
    #[error("{0}")]
    Invalid(String),
    /// Written by a newer release.
    #[error("{0}")]
    TooNew(String),
    /// Another coordinator owns the vault: ask there.
    #[error("{0}")]
    Elsewhere(Box<Elsewhere>),
    /// A check inside holdfast failed: that vault's writer stops.
    #[error("internal check failed: {0}")]
    Bug(String),
}

/// Who answers for a vault, where it is not whoever was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The vault's name.
    pub vault: String,
    /// The coordinator that owns it.
    pub owner: String,
    /// Where that one answers, best first, as clients write it.
    pub addresses: Vec<String>,
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            vault,
            owner,
            addresses,
        } = self;
        write!(
            f,
            "vault {vault} is owned by coordinator {owner}; ask there"
        )?;
        match addresses.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", addresses.join(", ")),
        }
    }
}

/// Shorthand used through this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl From<holdfast_format::Error> for Error {
    fn from(error: holdfast_format::Error) -> Self {
        use holdfast_format::Error as Format;
        let text = error.to_string();
        match error {
            Format::Corrupt { .. } | Format::Misplaced { .. } => Self::Corrupt(text),
            Format::TooNew { .. } => Self::TooNew(text),
            Format::Denied { .. } => Self::Denied(text),
            Format::Invalid { .. } => Self::Invalid(text),
        }
    }
}

impl From<holdfast_store::Error> for Error {
    fn from(error: holdfast_store::Error) -> Self {
        let text = error.to_string();
        match error.kind() {
            StoreKind::Retry => Self::Unavailable(text),
            StoreKind::Denied | StoreKind::Refused => Self::Denied(text),
            StoreKind::Corrupt => Self::Corrupt(text),
            StoreKind::Full => Self::Full(text),
            StoreKind::Invalid => Self::Invalid(text),
            StoreKind::Bug => Self::Bug(text),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Unavailable(format!("the coordinator's data folder: {error}"))
    }
}

impl Error {
    /// The one word by which clients tell kinds apart.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Fenced(_) => "FENCED",
            Self::Unavailable(_) => "RETRY",
            Self::Full(_) => "FULL",
            Self::Missing(_) => "MISSING",
            Self::Corrupt(_) => "CORRUPT",
            Self::Denied(_) => "DENIED",
            Self::Invalid(_) => "INVALID",
            Self::TooNew(_) => "TOO_NEW",
            Self::Elsewhere(_) => "ELSEWHERE",
            Self::Bug(_) => "BUG",
        }
    }
}
