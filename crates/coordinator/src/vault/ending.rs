//! Sessions that are ended by a record because their agents no longer do it: left open by a former owner, or open for too long.
//!
//! State: none. Ending one is safe at any moment: an agent that comes back is told, and its next backup offers everything again.

use std::sync::Arc;

use holdfast_format::SessionId;
use holdfast_format::fact::SessionEnded;
use holdfast_vault::Proposal;
use holdfast_vault::collect::mark::RETURN_WITHIN;

use super::Vault;
use crate::error::Result;

/// No session stays open longer.
const SESSION_MILLIS_MAX: i64 = 7 * 24 * 60 * 60 * 1000;

/// Ends what was left behind long enough, and what was open for too long.
pub(super) async fn end_overdue(vault: &Arc<Vault>) -> Result<()> {
    let now = vault.context.now_millis();
    let overdue: Vec<SessionId> = {
        let state = vault.state();
        let sessions = state.catalog.sessions.iter();
        sessions
            .filter(|(_, session)| now - session.opened_millis > SESSION_MILLIS_MAX)
            .map(|(id, _)| *id)
            .collect()
    };
    end(vault, overdue, "it was open for too long", "coordinator").await?;
    if vault.clock.elapsed() >= RETURN_WITHIN {
        let why = "its agent did not come back after the owner changed";
        end(vault, left_behind(vault), why, "coordinator").await?;
    }
    Ok(())
}

/// Ends every session whose agent is not connected, now: `who` says that nobody is to be waited for. Returns how many.
pub async fn end_without_agent(vault: &Arc<Vault>, who: &str) -> Result<usize> {
    let sessions = without_agent(vault);
    let count = sessions.len();
    end(vault, sessions, "it was ended by hand, to collect", who).await?;
    Ok(count)
}

/// Sessions that are open and whose agents are not connected: they may come back, or be dead.
pub fn without_agent(vault: &Vault) -> Vec<SessionId> {
    let open: Vec<SessionId> = vault.state().catalog.sessions.keys().copied().collect();
    open.into_iter().filter(|id| !vault.has_agent(id)).collect()
}

fn left_behind(vault: &Vault) -> Vec<SessionId> {
    let (state, promises) = (vault.state(), vault.promises());
    let epoch = vault.claimant.epoch;
    let sessions = state.catalog.sessions.iter();
    sessions
        .filter(|(id, session)| session.opened_at.epoch < epoch && !promises.is_attached(id))
        .map(|(id, _)| *id)
        .collect()
}

async fn end(vault: &Arc<Vault>, sessions: Vec<SessionId>, why: &str, who: &str) -> Result<()> {
    for session in sessions {
        let fact = SessionEnded {
            session,
            why: why.into(),
            who: who.into(),
        };
        vault.append(Proposal::End(fact)).await?;
        vault.forget_session(&session);
    }
    Ok(())
}
