//! How the program ends, as scripts see it.

use std::process::ExitCode;

/// The exit codes. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is done.
    Done,
    /// It failed; nothing was committed.
    Failed,
    /// The command line cannot be used.
    Usage,
    /// Done, but for what is named: files that could not be read, damage that was found.
    Partial,
    /// The snapshot is committed, and was not protected within the time that was given.
    Unprotected,
    /// A signal ended it.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Unprotected => 4,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
