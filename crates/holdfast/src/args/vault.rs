//! Which vault, which source.

use clap::Args;

/// The vault that a command is about.
#[derive(Debug, Clone, Args)]
pub(crate) struct InVault {
    /// The vault's name, or its id
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: String,
}

/// The source that a command is about, if it is about one.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfSource {
    /// Only snapshots of this source
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

impl OfSource {
    /// The name, if one was given.
    pub(crate) fn name(&self) -> Option<&str> {
        self.source.as_deref()
    }
}
