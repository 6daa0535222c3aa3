//! Who shares chunks with whom, and so whose bundle names which scope.

use clap::{Args, ValueEnum};
use holdfast_format::{Scope, SourceName};

use crate::failure::{Failure, Outcome};
use crate::names;

/// A dedup scope in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Dedup {
    /// Each agent by itself
    #[default]
    Agent,
    /// Each source by itself: it can be shredded alone
    Source,
    /// All agents of the vault, which trust each other
    Vault,
}

/// What a bundle is for.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForAgent {
    /// Who shares chunks with whom
    #[arg(long, value_enum, default_value_t, value_name = "SCOPE")]
    pub(crate) dedup: Dedup,
    /// The agent's name; this machine's by default
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<SourceName>,
    /// With --dedup source: the source that the bundle is for
    #[arg(long, value_name = "NAME", env = "HOLDFAST_BUNDLE_SOURCE")]
    pub(crate) source: Option<SourceName>,
}

impl ForAgent {
    /// The agent and the scope.
    pub(crate) fn resolve(&self) -> Outcome<(SourceName, Scope)> {
        let agent = match &self.agent {
            Some(agent) => agent.clone(),
            None => names::agent()?,
        };
        let scope = match (self.dedup, &self.source) {
            (Dedup::Vault, _) => Scope::vault(),
            (Dedup::Agent, _) => Scope::agent(&agent),
            (Dedup::Source, Some(source)) => Scope::source(source),
            (Dedup::Source, None) => {
                return Err(Failure::usage(
                    "a bundle with --dedup source is for one source",
                    "name it with --source",
                ));
            }
        };
        Ok((agent, scope))
    }
}
