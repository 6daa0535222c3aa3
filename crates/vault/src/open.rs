//! Opening a vault's state from one site: the newest checkpoint that counts, then the records behind it.

use std::sync::Arc;

use holdfast_format::{VaultHeader, VaultId};
use holdfast_store::SiteReader;

use crate::checkpoint::{Loaded, SegmentCache, load};
use crate::error::{Error, Result};
use crate::fold::State;
use crate::fold::catalog::CHECKPOINTS_KEPT;
use crate::guard::Guard;
use crate::log::reader::LogReader;

/// The state at the end of the log as it stands at a site.
pub async fn open_state(
    site: &Arc<dyn SiteReader>,
    vault: VaultId,
    cache: &SegmentCache,
) -> Result<State> {
    open_state_from(site, vault, cache, None).await
}

/// The same, from a fold that was made before, at this site or another, if it is one of the history here.
pub async fn open_state_from(
    site: &Arc<dyn SiteReader>,
    vault: VaultId,
    cache: &SegmentCache,
    before: Option<&State>,
) -> Result<State> {
    let mut reader = LogReader::new(site.clone(), vault);
    let Some(header) = reader.header().await? else {
        return Err(Error::Missing(format!(
            "vault {vault} at site {}",
            site.name()
        )));
    };
    if let Some(before) = before.filter(|before| before.header == header) {
        match from_fold(before, cache, &mut reader).await {
            Ok(Some(state)) => return Ok(state),
            Ok(None) => {}
            Err(error @ (Error::Unavailable(_) | Error::TooNew(_))) => return Err(error),
            // Said by the way that is taken without it.
            Err(error) => {
                tracing::debug!(site = %site.name(), %error, "the fold that was kept cannot be gone on from");
            }
        }
    }
    // Each that counts, before the log is folded from its first record.
    for skip in 0..CHECKPOINTS_KEPT {
        match from_checkpoint(&header, site, cache, skip, &mut reader).await {
            Ok(Some(state)) => return Ok(state),
            Ok(None) => break,
            Err(error @ (Error::Unavailable(_) | Error::TooNew(_))) => return Err(error),
            Err(error) => {
                tracing::warn!(site = %site.name(), %error, "a checkpoint cannot be used; trying without it");
            }
        }
    }
    let mut state = State::start(header);
    reader.follow(&mut state, cache).await?;
    Ok(state)
}

/// Goes on from a fold whose last record stands at the site, in the history: it holds the hashes of all before it.
async fn from_fold(
    before: &State,
    cache: &SegmentCache,
    reader: &mut LogReader,
) -> Result<Option<State>> {
    let Some(head) = before.chain.head else {
        return Ok(None);
    };
    // A site that was rolled back, or lags behind, ends before it; one that was left behind has another there.
    let there = reader.read(head).await?;
    if there.is_none_or(|record| record.hash != before.chain.hash)
        || !is_history(reader, before).await?
    {
        return Ok(None);
    }
    let mut state = before.clone();
    reader.follow(&mut state, cache).await?;
    Ok(Some(state))
}

async fn from_checkpoint(
    header: &VaultHeader,
    site: &Arc<dyn SiteReader>,
    cache: &SegmentCache,
    skip: usize,
    reader: &mut LogReader,
) -> Result<Option<State>> {
    let Some(loaded) = load(header, site.as_ref(), cache, skip).await? else {
        return Ok(None);
    };
    // ORDER: before anything is folded behind it. A fold that was saved in a branch is named by the branch, and whoever went on
    // from there would go on in the branch, although its site has followed the history since.
    if !is_history(reader, &loaded.state).await? {
        return Err(Error::Corrupt("it was saved in a branch".into()));
    }
    let Loaded { mut state, made } = loaded;
    reader.follow(&mut state, cache).await?;
    if made.counts(&state) {
        return Ok(Some(state));
    }
    Err(Error::Corrupt(
        "the log does not name the checkpoint".into(),
    ))
}

/// Whether a fold is one of the history.
pub(crate) async fn is_history(reader: &LogReader, state: &State) -> Result<bool> {
    let Some(head) = state.chain.head else {
        return Ok(true);
    };
    match reader.is_history(head, &state.chain.hash).await {
        _ if !Guard::BranchFoldsLeft.stands() => Ok(true),
        // What is damaged far below is mended from another member first; a vault that has none has no branches either, and
        // is opened as it is.
        Err(Error::Corrupt(_)) if state.catalog.members.len() <= 1 => Ok(true),
        is_history => is_history,
    }
}

/// The same, where only a part of the log may read: what is wrong behind the state that it gives, if anything is. For a
/// rescue alone: whoever appended behind such a state would fork the history.
pub async fn open_readable(
    site: &Arc<dyn SiteReader>,
    vault: VaultId,
    cache: &SegmentCache,
) -> Result<(State, Option<Error>)> {
    match open_state(site, vault, cache).await {
        Ok(state) => return Ok((state, None)),
        Err(Error::Corrupt(why)) => {
            tracing::warn!(site = %site.name(), why, "the log is damaged; what reads of it is taken");
        }
        Err(error) => return Err(error),
    }
    let mut reader = LogReader::new(site.clone(), vault);
    let Some(header) = reader.header().await? else {
        return Err(Error::Missing(format!(
            "vault {vault} at site {}",
            site.name()
        )));
    };
    let mut state = State::start(header);
    let wrong = reader.follow_readable(&mut state, cache).await?;
    Ok((state, wrong))
}
