//! Whether the copy at a failover's target is whole, by what the site lists: packs with their lengths, and data keys.
//!
//! State: none. It reads no pack: that takes as long as a restore, and is what `holdfast verify --read-data` is for. One request
//! lists a thousand objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_format::{KeyId, ObjectName, SiteName, VaultId};
use holdfast_store::{Site, SiteReader};
use holdfast_vault::{State, open_state};

use super::Plan;
use crate::error::{Error, Result};
use crate::node::Node;

/// So many of the objects that a copy lacks are named.
const NAMED_MAX: usize = 3;

/// What the copy at `to` lacks that its own log names, for people; empty if nothing. What the old primary, if it is to be drained,
/// lacks as well is no worse for the move.
pub async fn lacks(node: &Arc<Node>, id: VaultId, to: &SiteName, plan: &Plan) -> Result<String> {
    let target = node.sites.open(to).await?.site;
    let reader: Arc<dyn SiteReader> = target.clone();
    let state = match open_state(&reader, id, &node.cache_of(id)).await {
        Ok(state) => state,
        // It holds nothing, and all of it comes along.
        Err(Error::Missing(_)) => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut lacking = lacking(target.as_ref(), &state).await?;
    if plan.primary_answers && !lacking.is_empty() {
        let from = node.sites.open(&plan.from).await?.site;
        let mut there = Vec::new();
        for (name, len) in lacking {
            let info = from.head(&name).await?;
            if info.is_some_and(|info| len.is_none_or(|len| info.size == len)) {
                there.push((name, len));
            }
        }
        lacking = there;
    }
    let named: Vec<&str> = (lacking.iter().take(NAMED_MAX))
        .map(|(name, _)| name.as_str())
        .collect();
    Ok(match lacking.len() {
        0 => String::new(),
        count => {
            let more = if count > NAMED_MAX { ", …" } else { "" };
            format!(
                "{count} objects that its log names are missing or short ({}{more})",
                named.join(", ")
            )
        }
    })
}

/// Objects that are named and not listed, or listed with another length; keys come without one.
async fn lacking(site: &dyn Site, state: &State) -> Result<Vec<(ObjectName, Option<u64>)>> {
    let id = state.header.vault;
    let mut wanted: BTreeMap<ObjectName, Option<u64>> = BTreeMap::new();
    // A key that nothing uses may be missing: a member that catches up leaves it out if its object is damaged.
    let mut used: BTreeSet<KeyId> = BTreeSet::new();
    for pack in state.catalog.packs.values() {
        if pack.condemned.is_none() {
            wanted.insert(ObjectName::pack(id, pack.id), Some(pack.len));
            used.extend(&pack.keys);
        }
    }
    used.extend(state.catalog.sessions.values().map(|open| open.key.key));
    for key in used.iter().filter_map(|key| state.catalog.keys.get(key)) {
        let reference = key.reference;
        let name = ObjectName::session_key(id, reference.key, reference.generation);
        wanted.insert(name, None);
    }
    for folder in ["packs/", "keys/"] {
        let prefix = format!("{}{folder}", ObjectName::vault_prefix(id));
        for info in site.list(&prefix, None).await? {
            if let Some(len) = wanted.get(&info.name)
                && len.is_none_or(|len| info.size == len)
            {
                wanted.remove(&info.name);
            }
        }
    }
    Ok(wanted.into_iter().collect())
}
