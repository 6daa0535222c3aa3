//! A branch in the primary's own log: a failover left the site behind, and another one made it the primary again before its
//! failback had ended. Until that is done nothing is collected.
//!
//! State: whether there is one, once it was looked for.

use std::sync::{Arc, PoisonError};

use holdfast_format::Position;
use holdfast_store::SiteReader;
use holdfast_vault::LogReader;

use super::Vault;
use crate::error::Result;

/// Whether the primary's own log holds a branch that was closed and never brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnBranch {
    NotLookedAt,
    /// And there will be none while this ownership lasts: branches are closed at other members only.
    None,
    From(Position),
}

impl Vault {
    /// Where the primary's own log holds a branch that was not brought back, if it does: a failover left the site behind, and
    /// another made it the primary again before its failback had ended.
    pub(crate) async fn look_for_own_branch(&self) -> Result<Option<Position>> {
        let own = || {
            self.own_branch
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if *own() == OwnBranch::None {
            return Ok(None);
        }
        // Without another member nothing is ever left behind.
        if self.state().catalog.members.len() <= 1 {
            return Ok(None);
        }
        let reader: Arc<dyn SiteReader> = self.primary.site.clone();
        let log = LogReader::new(reader, self.header.vault);
        let closed = log.closed_branches().await?;
        let at = {
            let (state, site) = (self.state(), self.primary.site.name());
            let is_back = |at: &Position| {
                let mut back = state.catalog.salvaged.iter();
                back.any(|s| s.site == *site && s.from == *at)
            };
            closed.into_iter().find(|at| !is_back(at))
        };
        *own() = at.map_or(OwnBranch::None, OwnBranch::From);
        Ok(at)
    }

    /// What is to be done about the primary's own branch, if one is known of; empty if not.
    pub fn own_branch_trouble(&self) -> String {
        let own = *self
            .own_branch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match own {
            OwnBranch::From(at) => format!(
                "its log holds a branch of its own from {at} on, which was left behind by a failover and not brought back: nothing \
                 is collected until `holdfast failback --vault {} --site {}` has done that",
                self.header.name,
                self.primary.site.name()
            ),
            OwnBranch::None | OwnBranch::NotLookedAt => String::new(),
        }
    }
}
